"""The client's protocol without sockets: what is sent, and what is known after each message."""

from __future__ import annotations

import gc
import pickle
from array import array
from typing import Any

import pytest

from cellspan.engine.client.failures import exception_of
from cellspan.engine.client.futures import Future, Futures
from cellspan.engine.client.runs import RunSet
from cellspan.engine.client.session import MAX_MISSES, Session
from cellspan.engine.client.state import GroupState
from cellspan.engine.errors import ConnectionClosed, DataLost, TaskCancelled, TaskError
from cellspan.engine.messages import (
    CancelTasks,
    CloseGroup,
    ExtendGroup,
    GroupRefused,
    HoldTasks,
    Message,
    ReleaseTasks,
    RetryTasks,
    SubmitGroup,
    TasksDone,
    TasksFailed,
    TasksReopened,
    WantResults,
)

WORKER = 1000


@pytest.fixture
def session() -> Session:
    return Session(7, "cluster-id", "cluster", "me")


def make_map(session: Session, n: int, wanted: bool = False) -> Futures:
    layer = {"kind": "each", "n": n, "function": b"f" * 16, "args": [], "names": []}
    group = session.add_group("square", n, layer, {}, {}, wanted)
    group.is_map = True
    return Futures(group, range(n))


def submit(session: Session, *deps: Future, key: str = "f") -> Future:
    group = session.open_graph(key, key, b"f" * 16, b"blob", {})
    places = [(d.key.group, d.key.index) for d in deps]
    return Future(group, session.add_call(group, b"call", places))


def block(start: int, *values: Any) -> list[Any]:
    return [start, start + len(values), False, [pickle.dumps(list(values), 5)]]


def done(group: GroupState, start: int, stop: int, *blocks: list[Any]) -> TasksDone:
    return TasksDone(group.id, start, stop, WORKER, list(blocks) or None)


def sent(session: Session) -> list[Message]:
    return session.take_sends()


# --- submitting --------------------------------------------------------------------------------


def test_many_submits_are_one_message(session: Session) -> None:
    futures = [submit(session) for _ in range(1000)]
    first, second = sent(session)
    assert isinstance(first, SubmitGroup) and first.wanted and first.layer["kind"] == "graph"
    assert isinstance(second, ExtendGroup)
    assert (second.start, second.count, second.payload) == (0, 1000, b"call" * 1000)
    assert array("I", second.lengths).tolist() == [4] * 1000
    assert second.dep_counts == second.dep_groups == second.dep_indices == b""
    assert [f.index for f in futures] == list(range(1000))
    assert sent(session) == []


def test_later_submits_extend_the_group_and_carry_their_dependencies(session: Session) -> None:
    first = submit(session)
    sent(session)
    both = [submit(session), submit(session, first, first), submit(session)]
    (more,) = sent(session)
    assert isinstance(more, ExtendGroup) and more.group == first.key.group
    assert (more.start, more.count) == (1, 3)
    assert array("I", more.dep_counts).tolist() == [0, 2, 0]
    assert array("q", more.dep_groups).tolist() == [first.key.group] * 2
    assert array("I", more.dep_indices).tolist() == [0, 0]
    assert len(both) == 3


def test_a_group_is_sent_after_what_it_depends_on(session: Session) -> None:
    a = submit(session, key="f")
    b = submit(session, a, key="g")
    c = submit(session, b, key="f")
    known: set[tuple[int, int]] = set()
    for message in sent(session):
        if isinstance(message, ExtendGroup):
            own = {(message.group, message.start + i) for i in range(message.count)}
            groups, indices = array("q", message.dep_groups), array("I", message.dep_indices)
            assert set(zip(groups, indices, strict=True)) <= known | own
            known |= own
    assert known == {(f.key.group, f.key.index) for f in (a, b, c)}


def test_a_map_is_sent_after_submits_that_it_may_depend_on(session: Session) -> None:
    one = submit(session)
    many = make_map(session, 3)
    kinds = [type(m) for m in sent(session)]
    assert kinds == [SubmitGroup, ExtendGroup, SubmitGroup]
    assert one.key.group != many.group_id


def test_an_open_group_that_nobody_holds_is_closed_when_idle(session: Session) -> None:
    future = submit(session)
    group = future.key.group
    del future
    assert [type(m) for m in sent(session)] == [SubmitGroup, ExtendGroup, ReleaseTasks]
    assert session.close_idle(), "it has grown since the last look"
    again = submit(session)
    assert again.key.group == group
    assert not session.close_idle(), "somebody holds a task again"
    del again
    sent(session)
    session.close_idle()
    assert not session.close_idle()
    assert sent(session) == [CloseGroup(group)] and group not in session.groups
    assert submit(session).key.group != group


def test_an_interrupt_in_the_middle_of_a_submit_does_no_harm(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = submit(session)

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunSet, "add", interrupt)
        with pytest.raises(KeyboardInterrupt):
            submit(session)
    third = submit(session)
    _, more = sent(session)
    assert isinstance(more, ExtendGroup) and (more.start, more.count) == (0, 3)
    assert len(more.payload) == sum(array("I", more.lengths)) == 12
    assert (first.index, third.index) == (0, 2)


# --- results -----------------------------------------------------------------------------------


def test_pushed_results_are_here_at_once(session: Session) -> None:
    futures = make_map(session, 6, wanted=True)
    group = session.groups[futures.group_id]
    session.handle(done(group, 0, 4, block(0, 0, 1), block(2, 4, 9)))
    assert [f.result(timeout=0) for f in futures[:4]] == [0, 1, 4, 9]
    assert [f.status for f in futures] == ["done"] * 4 + ["pending"] * 2
    with pytest.raises(TimeoutError, match=r"square\[5\]: it is pending"):
        futures[5].result(timeout=0)


def test_a_result_is_the_same_object_each_time(session: Session) -> None:
    futures = make_map(session, 1, wanted=True)
    session.handle(done(session.groups[futures.group_id], 0, 1, block(0, {"a": 1})))
    assert futures[0].result() is futures[0].result()


def test_wanting_asks_for_what_is_pending_and_fetches_what_is_done(session: Session) -> None:
    futures = make_map(session, 10)
    group = session.groups[futures.group_id]
    session.handle(done(group, 2, 5))
    sent(session)
    session.want(group, 0, 10)
    assert sent(session) == [WantResults(group.id, [0, 2, 5, 10])]
    assert [(f.worker, f.start, f.stop) for f in session.take_fetches()] == [(WORKER, 2, 5)]
    session.want(group, 0, 10)
    assert sent(session) == [] and session.take_fetches() == [], "asked once is enough"
    session.handle(done(group, 5, 7, block(5, 25)))  # the other one was too large to come along
    assert [(f.start, f.stop) for f in session.take_fetches()] == [(6, 7)]
    assert futures[5].result() == 25


def test_fetched_results_are_taken_in_and_missing_ones_asked_for_again(session: Session) -> None:
    futures = make_map(session, 4)
    group = session.groups[futures.group_id]
    session.handle(done(group, 0, 4))
    session.want(group, 0, 4)
    sent(session)
    (fetch,) = session.take_fetches()
    missing = session.fetched(fetch, [block(0, 0, 1)])
    assert missing == [(2, 4)]
    session.ask_again(fetch, missing, "gone")
    assert sent(session) == [WantResults(group.id, [2, 4])]
    session.handle(TasksDone(group.id, 2, 4, WORKER + 1, None))
    (fetch,) = session.take_fetches()
    assert (fetch.worker, fetch.start, fetch.stop) == (WORKER + 1, 2, 4)
    assert session.fetched(fetch, [block(2, 4, 9)]) == []
    assert [f.result() for f in futures] == [0, 1, 4, 9]


def test_results_that_cannot_be_fetched_are_lost_in_the_end(session: Session) -> None:
    futures = make_map(session, 1)
    group = session.groups[futures.group_id]
    session.want(group, 0, 1)
    for _ in range(MAX_MISSES + 1):
        session.handle(done(group, 0, 1))
        (fetch,) = session.take_fetches()
        session.ask_again(fetch, session.fetched(fetch, []), "the worker does not answer")
    with pytest.raises(DataLost, match="the worker does not answer"):
        futures[0].result(timeout=0)


def test_a_result_that_cannot_be_unpickled_says_so(session: Session) -> None:
    future = submit(session)
    bad = [0, 1, True, [b"cno_such_module\nThing\n."]]
    session.handle(done(future._group, 0, 1, bad))
    with pytest.raises(TaskError, match="cannot be unpickled here: ModuleNotFoundError"):
        future.result()
    assert future.done() and future.exception() is None


# --- failures ----------------------------------------------------------------------------------


def test_failures_are_told_and_shared(session: Session) -> None:
    futures = make_map(session, 5)
    group = session.groups[futures.group_id]
    failure = {
        "kind": "raised",
        "text": "x",
        "exception": pickle.dumps(KeyError("k")),
        "traceback": "TB",
    }
    session.handle(TasksFailed(group.id, [1, 3], failure))
    assert [f.status for f in futures] == ["pending", "failed", "failed", "pending", "pending"]
    error = futures[1].exception(timeout=0)
    assert isinstance(error, KeyError) and error is futures[2].exception()
    assert "TB" in str(error.__cause__) and futures[1].traceback() == "TB"
    with pytest.raises(KeyError):
        futures[2].result()


def test_a_task_that_called_exit_does_not_end_this_process(session: Session) -> None:
    future = submit(session)
    failure = {"kind": "raised", "text": "x", "exception": pickle.dumps(SystemExit(3))}
    session.handle(TasksFailed(future.key.group, [0, 1], failure))
    with pytest.raises(TaskError, match=r"f\[0\] called sys.exit\(3\)"):
        future.result()


def test_reopened_tasks_are_pending_but_results_that_are_here_stay(session: Session) -> None:
    futures = make_map(session, 4, wanted=True)
    group = session.groups[futures.group_id]
    session.handle(done(group, 0, 2, block(0, 0)))
    session.handle(TasksReopened(group.id, [0, 4], "worker lost"))
    assert [f.status for f in futures] == ["done", "pending", "pending", "pending"]
    session.handle(done(group, 1, 2, block(1, 1)))
    assert futures[1].result(timeout=0) == 1


def test_a_refused_group_fails_and_is_not_joined_again(session: Session) -> None:
    future = submit(session)
    session.handle(GroupRefused(future.key.group, "no such layer"))
    with pytest.raises(TaskError, match="no such layer"):
        future.result(timeout=0)
    assert submit(session).key.group != future.key.group


def test_cancelled_here_means_cancelled_now(session: Session) -> None:
    futures = make_map(session, 4, wanted=True)
    group = session.groups[futures.group_id]
    session.handle(done(group, 0, 1, block(0, 0)))
    sent(session)
    assert futures.cancel() == 3
    assert sent(session) == [CancelTasks(group.id, [1, 4], "me", True)]
    assert [f.cancelled() for f in futures] == [False, True, True, True]
    with pytest.raises(TaskCancelled, match="cancelled by me"):
        futures[2].result()
    session.handle(done(group, 1, 2, block(1, 1)))
    assert futures[1].cancelled(), "the result came too late"
    assert futures[1].cancel() and futures[0].cancel() is False


def test_retry_after_cancel_ignores_the_late_word_of_cancelling(session: Session) -> None:
    futures = make_map(session, 3, wanted=True)
    group = session.groups[futures.group_id]
    futures.cancel()
    assert futures.retry() == 3
    kinds = [type(m) for m in sent(session)]
    assert kinds == [SubmitGroup, CancelTasks, RetryTasks, WantResults]
    session.handle(done(group, 0, 1, block(0, 0)))  # was done before the cancelling came
    late = {"kind": "cancelled", "text": "cancelled by me"}
    session.handle(TasksFailed(group.id, [1, 3], late))
    assert [f.status for f in futures] == ["done", "pending", "pending"]
    session.handle(TasksFailed(group.id, [1, 2], late))
    assert futures[1].status == "cancelled", "but a second one counts"


# --- holding -----------------------------------------------------------------------------------


def test_a_task_is_released_with_its_last_future(session: Session) -> None:
    futures = make_map(session, 10)
    group = session.groups[futures.group_id]
    kept = [futures[3], futures[3], futures[7]]
    tail = futures[8:]
    sent(session)
    del futures
    assert sent(session) == [ReleaseTasks(group.id, [0, 3, 4, 7])]
    kept.pop(0)
    assert sent(session) == []
    kept.pop(0)
    assert sent(session) == [ReleaseTasks(group.id, [3, 4])]
    tail.release()
    assert len(tail) == 0
    kept.clear()
    assert sent(session) == [ReleaseTasks(group.id, [7, 10])]
    assert group.id not in session.groups
    session.handle(done(group, 0, 10))  # late news of nothing


def test_a_drop_while_the_lock_is_taken_is_done_later(session: Session) -> None:
    future = submit(session)
    sent(session)
    group = future.key.group
    with session.lock:
        del future  # as the garbage collector might, anywhere
        gc.collect()
    assert sent(session) == [ReleaseTasks(group, [0, 1])]


def test_released_futures_cannot_be_used(session: Session) -> None:
    future = submit(session)
    future.release()
    assert future.status == "released" and not future.done()
    for use in (future.result, future.cancel, future.retry, lambda: pickle.dumps(future)):
        with pytest.raises(ValueError, match=r"f\[0\] was released"):
            use()


def test_futures_of_other_clients_are_held_and_released(session: Session) -> None:
    group = session.attach(99, "theirs", [4, 6])
    futures = Futures(group, range(4, 6))
    assert sent(session) == [HoldTasks(99, [4, 6])]
    session.handle(TasksDone(99, 4, 6, WORKER, [block(4, "a", "b")]))
    assert [f.result(timeout=0) for f in futures] == ["a", "b"]
    futures.release()
    session.take_drops()
    again = Futures(session.attach(99, "theirs", [4, 5]), range(4, 5))
    kinds = [type(m) for m in sent(session)]
    assert kinds == [ReleaseTasks, HoldTasks], "in this order, or the hold would be gone"
    assert len(again) == 1


# --- the end -----------------------------------------------------------------------------------


def test_a_lost_connection_fails_what_is_not_here(session: Session) -> None:
    futures = make_map(session, 2, wanted=True)
    called: list[Future] = []
    session.run_callback = lambda call: call()
    futures[1].add_done_callback(called.append)
    session.handle(done(session.groups[futures.group_id], 0, 1, block(0, 5)))
    session.close(ConnectionClosed("the scheduler is gone"))
    assert futures[0].result() == 5 and [f.index for f in called] == [1]
    assert futures[1].status == "disconnected"
    with pytest.raises(ConnectionClosed, match="the scheduler is gone"):
        futures[1].result()
    with pytest.raises(ConnectionClosed, match="the scheduler is gone"):
        make_map(session, 1)


def test_everything_forgotten_is_cancelled(session: Session) -> None:
    futures = make_map(session, 2, wanted=True)
    session.handle(done(session.groups[futures.group_id], 0, 1, block(0, 5)))
    session.forget_all("the cluster was restarted")
    assert futures[0].result() == 5 and futures[1].cancelled()
    record = futures[1]._group.failed.find(1)
    assert record is not None and "restarted" in str(exception_of(record, "t"))


def test_messages_that_are_not_about_tasks_are_left_to_others(session: Session) -> None:
    from cellspan.engine.messages import Accepted

    assert not session.handle(Accepted(1))
    assert session.handle(TasksDone(12345, 0, 1, WORKER, None))


def test_what_is_let_go_of_unfinished_is_told_at_once_and_the_rest_now_and_then(
    session: Session,
) -> None:
    futures = [submit(session), submit(session)]
    (group,) = session.groups.values()
    sent(session)
    session.handle(done(group, 0, 1, block(0, None)))
    futures.pop(0).release()
    assert not session.has_sends() and session.take_sends(releases=False) == []
    futures.pop().release()
    assert session.has_sends()
    assert session.take_sends(releases=False) == [ReleaseTasks(group.id, [0, 2])]
    assert not session.has_sends()
