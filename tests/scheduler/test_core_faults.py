"""Examples: tasks that fail, executors and workers that are lost, inputs that cannot be had."""

from __future__ import annotations

import pytest

from cellspan.engine.errors import PeerError
from cellspan.engine.messages import (
    DataStored,
    FreeResults,
    HoldTasks,
    ReleaseTasks,
    RunSpan,
    SpanDone,
    SpanReturned,
    TasksDone,
    TasksFailed,
    TasksReopened,
)

from .driver import CLIENT, OTHER_CLIENT, OTHER_WORKER, WORKER, Driver


def test_an_error_reaches_all_who_depend_on_it() -> None:
    d = Driver(slots=4)
    first = d.each(3)
    second = d.each(3, ["same", first, 0])
    third = d.each(2, ["blob", b"b" * 16, [second, 1]])
    (span,) = d.spans()
    d.failed(span, 1, exception=b"pickle", traceback="Traceback ...")
    sent = d.expect_kinds(*[(CLIENT, TasksFailed)] * 3)
    assert [(m.group, m.runs) for m in sent] == [(first, [1, 2]), (second, [1, 2]), (third, [0, 2])]
    direct, *derived = [m.failure for m in sent]
    assert direct == {
        "kind": "raised", "text": "task 1 raised", "worker": "w11",
        "exception": b"pickle", "traceback": "Traceback ...",
    }  # fmt: skip
    for failure in derived:
        assert failure["origin"] == [first, 1] and failure["exception"] == b"pickle"
        assert "g1[1]" in failure["text"] and "task 1 raised" in failure["text"]
    assert d.core.ledger.groups[first].counters.error == "task 1 raised"


def test_retries_are_used_up() -> None:
    d = Driver()
    group = d.each(1, retries=2)
    for _ in range(2):
        (span,) = d.spans()
        d.failed(span, 0)
        d.expect()
    (span,) = d.spans()
    d.failed(span, 0)
    (failed,) = d.expect_kinds((CLIENT, TasksFailed))
    assert failed.failure["kind"] == "raised"
    assert d.counts(group) == {"failed": 1}


def test_what_cannot_be_pickled_is_not_tried_again() -> None:
    d = Driver()
    d.each(1, retries=5)
    (span,) = d.spans()
    d.failed(span, 0, "unserializable")
    (failed,) = d.expect_kinds((CLIENT, TasksFailed))
    assert failed.failure["kind"] == "unserializable"


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"exit_code": -9, "signal": 9}, "signal 9"),
        ({"exit_code": 3}, "exit code 3"),
        ({"oom": True, "signal": 9}, "no memory left"),
        ({}, "task 0 crashed"),
    ],
)
def test_a_task_that_takes_executors_down_is_given_up(more: dict[str, object], text: str) -> None:
    d = Driver()
    d.each(1, allowed_failures=1)
    (span,) = d.spans()
    d.failed(span, 0, "crashed", **more)
    d.expect()
    (span,) = d.spans()
    d.failed(span, 0, "crashed", log=["one", "two"], **more)
    (failed,) = d.expect_kinds((CLIENT, TasksFailed))
    said = failed.failure["text"]
    assert failed.failure["kind"] == "crashed" and "g1[0]" in said and "2 times" in said
    assert text in said and "w11" in said and said.endswith("log:\none\ntwo")


def test_tasks_beside_a_crash_are_not_blamed() -> None:
    d = Driver()
    group = d.each(2, allowed_failures=0)
    for _ in range(5):
        (span,) = d.spans()
        d.say(WORKER, SpanReturned(span.assignment, group, [0, 2], "an executor ended"))
        d.expect()
    d.run_all()
    assert d.counts(group) == {"done": 2}


def test_what_only_a_lost_worker_had_is_computed_again() -> None:
    d = Driver()
    group = d.each(4)
    (span,) = d.spans()
    d.done(span)
    (running,) = d.spans()
    d.core.remove_worker(WORKER, "killed by signal 9", d.now)
    (reopened,) = d.expect_kinds((CLIENT, TasksReopened))
    assert reopened.runs == [0, 2]
    assert "w11" in reopened.reason and "signal 9" in reopened.reason
    d.add_worker(OTHER_WORKER)
    d.run_all()
    assert d.counts(group) == {"done": 4}
    with pytest.raises(PeerError):
        d.say(WORKER, SpanDone(running.assignment, group, 2, 4, 0, 0.0, [], None))


def test_lineage_goes_back_as_far_as_it_must() -> None:
    d = Driver()
    groups = [d.each(2)]
    for _ in range(3):
        groups.append(d.each(2, ["same", groups[-1], 0]))
    for group in groups[:-1]:
        d.say(CLIENT, ReleaseTasks(group, [0, 2]))
    d.run_all()
    assert [d.counts(g) for g in groups] == [{"released": 2}] * 3 + [{"done": 2}]
    d.core.remove_worker(WORKER, "killed", d.now)
    assert [d.counts(g) for g in groups] == [{"ready": 2}] + [{"waiting": 2}] * 3
    d.add_worker(OTHER_WORKER)
    d.run_all()
    assert [d.counts(g) for g in groups] == [{"released": 2}] * 3 + [{"done": 2}]


def test_ready_tasks_wait_again_for_lost_inputs() -> None:
    d = Driver(workers=1, slots=2)
    first = d.each(2)
    d.run_all()
    second = d.each(2, ["same", first, 0])
    graph = d.graph()
    d.extend(graph, 0, [[(first, 0), (first, 1)]])
    assert d.counts(second) == {"ready": 2}
    d.core.remove_worker(WORKER, "killed", d.now)
    assert d.counts(first) == {"ready": 2}
    assert d.counts(second) == {"waiting": 2} and d.counts(graph) == {"waiting": 1}
    d.add_worker(OTHER_WORKER)
    d.run_all()
    assert d.counts(second) == {"done": 2} and d.counts(graph) == {"done": 1}


def test_scattered_data_that_is_lost_is_lost() -> None:
    d = Driver()
    group = d.data(2)
    d.say(WORKER, DataStored(group, 0, 2, 16))
    consumer = d.each(1, ["same", group, 1])
    d.sent()
    d.core.remove_worker(WORKER, "killed", d.now)
    failed, derived = d.expect_kinds((CLIENT, TasksFailed), (CLIENT, TasksFailed))
    assert failed.runs == [0, 2] and failed.failure["kind"] == "lost"
    assert derived.group == consumer and derived.failure["origin"] == [group, 1]


def test_a_task_that_takes_workers_down_is_given_up() -> None:
    d = Driver(workers=0)
    group = d.each(1, allowed_failures=1)
    for peer in (WORKER, OTHER_WORKER):
        d.add_worker(peer)
        d.spans()
        d.core.remove_worker(peer, "killed by signal 9", d.now)
    (failed,) = d.expect_kinds((CLIENT, TasksFailed))
    assert failed.failure["kind"] == "crashed"
    assert "2 workers" in failed.failure["text"] and "signal 9" in failed.failure["text"]
    assert d.counts(group) == {"failed": 1}


def test_a_worker_that_is_taken_away_blames_nobody() -> None:
    d = Driver(workers=0)
    group = d.each(1, allowed_failures=0)
    for peer in range(20, 25):
        d.add_worker(peer)
        d.spans()
        d.core.remove_worker(peer, "scaled down", d.now, expected=True)
    assert d.counts(group) == {"ready": 1}


def test_an_input_that_cannot_be_had_is_computed_again() -> None:
    d = Driver(workers=2, slots=1)
    first = d.each(1)
    (span,) = d.spans()
    holder = d.peer_of(span)
    d.done(span)
    other = OTHER_WORKER if holder == WORKER else WORKER
    second = d.each(2, ["blob", b"b" * 16, [first, 0]])
    spans = {d.peer_of(span): span for span in d.spans()}
    assert set(spans) == {holder, other}
    stuck = spans[other]
    assert stuck.holders == [[first, 0, 1, holder, f"memory://{holder}"]]
    runs = [stuck.start, stuck.stop]
    d.say(other, SpanReturned(stuck.assignment, second, runs, "no input", [[first, 0, holder]]))
    free, reopened = d.expect_kinds((holder, FreeResults), (CLIENT, TasksReopened))
    assert free == FreeResults(first, [0, 1]) and reopened.runs == [0, 1]
    assert d.counts(first) == {"ready": 1}
    assert d.counts(second) == {"waiting": 1, "assigned": 1}
    d.done(spans[holder])  # it had the input in hand
    d.run_all()
    assert d.counts(first) == {"done": 1} and d.counts(second) == {"done": 2}


def test_another_holder_stands_in_for_one_that_failed() -> None:
    d = Driver(workers=2, slots=1)
    group = d.each(1)
    (span,) = d.spans()
    holder = d.peer_of(span)
    other = OTHER_WORKER if holder == WORKER else WORKER
    d.done(span)
    d.say(other, DataStored(group, 0, 1, 8))
    d.sent()
    consumer = d.each(1, ["same", group, 0])
    (span,) = d.spans()
    peer = d.peer_of(span)
    d.say(peer, SpanReturned(span.assignment, consumer, [0, 1], "no input", [[group, 0, holder]]))
    done, _ = d.expect_kinds((holder, FreeResults), (CLIENT, TasksDone))[::-1]
    assert done == TasksDone(group, 0, 1, other, None)
    d.run_all()
    assert d.counts(consumer) == {"done": 1}


def test_missing_inputs_that_have_come_back_meanwhile() -> None:
    d = Driver()
    first = d.each(1)
    d.run_all()
    second = d.each(1, ["same", first, 0])
    (span,) = d.spans()
    d.sent()
    # The holder named is gone: nothing is known against the one that has it now.
    d.say(
        WORKER,
        SpanReturned(span.assignment, second, [0, 1], "late", [[first, 0, 99], [77, 0, WORKER]]),
    )
    d.expect()
    d.run_all()
    assert d.counts(second) == {"done": 1}


def test_an_assigned_task_whose_input_failed_meanwhile_fails_when_it_returns() -> None:
    d = Driver(workers=2, slots=1)
    data = d.data(1)
    d.say(WORKER, DataStored(data, 0, 1, 8))
    spans = []
    d.each(2, ["blob", b"b" * 16, [data, 0]])
    spans = {d.peer_of(span): span for span in d.spans()}
    d.core.remove_worker(WORKER, "killed", d.now, expected=True)
    d.sent()
    span = spans[OTHER_WORKER]
    runs = [span.start, span.stop]
    d.say(
        OTHER_WORKER,
        SpanReturned(span.assignment, span.group, runs, "no input", [[data, 0, WORKER]]),
    )
    (failed,) = d.expect_kinds((CLIENT, TasksFailed))
    assert failed.group == span.group and failed.failure["origin"] == [data, 0]


def test_a_late_answer_is_told_from_a_current_one() -> None:
    d = Driver()
    group = d.each(1)
    (old,) = d.spans()
    d.say(WORKER, SpanReturned(old.assignment, group, [0, 1], "an executor ended"))
    (new,) = d.spans()
    assert new.assignment != old.assignment
    d.say(WORKER, SpanDone(old.assignment, group, 0, 1, 8, 1e-3, [], None))
    d.expect()  # not freed: the same task is running there again
    assert d.counts(group) == {"assigned": 1}
    d.done(new)
    d.expect((CLIENT, TasksDone(group, 0, 1, WORKER, None)))


def test_data_for_a_group_that_is_gone_is_freed() -> None:
    d = Driver()
    d.say(WORKER, DataStored(77, 0, 2, 8))
    d.expect((WORKER, FreeResults(77, [0, 2])))
    group = d.each(2)
    d.say(WORKER, DataStored(group, 0, 2, 8))
    d.expect((WORKER, FreeResults(group, [0, 2])))


def test_a_worker_is_lost_while_nobody_wants_what_it_does() -> None:
    d = Driver()
    group = d.each(2)
    d.spans()
    d.core.remove_client(CLIENT, d.now)
    d.sent()
    d.core.remove_worker(WORKER, "killed", d.now)
    d.expect()
    assert group not in d.core.ledger.groups


def test_news_to_a_peer_that_left_are_not_sent() -> None:
    d = Driver()
    group = d.each(2)
    d.say(OTHER_CLIENT, HoldTasks(group, [0, 2]))
    d.place()
    (span,) = [m for _, m in d.sent() if isinstance(m, RunSpan)]
    d.done(span)
    d.core.remove_client(OTHER_CLIENT, d.now)
    d.expect((CLIENT, TasksDone(group, 0, 2, WORKER, None)))
