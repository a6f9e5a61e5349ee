"""Examples: what clients do with their futures: hold, want, release, cancel, retry, leave."""

from __future__ import annotations

import pytest

from cellspan.engine.messages import (
    CancelTasks,
    CloseGroup,
    DefineGroup,
    ForgetGroup,
    FreeResults,
    HoldTasks,
    ReleaseTasks,
    RetryTasks,
    RunSpan,
    SpanDone,
    SpanReturned,
    TakeBack,
    TasksDone,
    TasksFailed,
    TasksReopened,
    WantResults,
)

from .driver import CLIENT, OTHER_CLIENT, WORKER, Driver, make_extension

CANCELLED = {"kind": "cancelled", "text": "cancelled by ada"}


def test_another_client_holds_a_task() -> None:
    d = Driver()
    group = d.each(3)
    d.say(OTHER_CLIENT, HoldTasks(group, [1, 2]))
    (span,) = d.spans()
    d.done(span)
    d.expect(
        (CLIENT, TasksDone(group, 0, 2, WORKER, None)),
        (OTHER_CLIENT, TasksDone(group, 1, 2, WORKER, None)),
    )
    d.say(CLIENT, ReleaseTasks(group, [0, 3]))
    d.expect((WORKER, FreeResults(group, [0, 1])))
    d.say(OTHER_CLIENT, ReleaseTasks(group, [1, 2]))
    d.expect((WORKER, FreeResults(group, [1, 2])), (WORKER, ForgetGroup(group)))


def test_who_comes_late_is_told_what_there_is() -> None:
    d = Driver(slots=4)
    group = d.each(4)
    (span,) = d.spans()
    d.done(span, 0, 2)
    d.failed(span, 2)
    d.sent()
    d.say(OTHER_CLIENT, HoldTasks(group, [0, 4]))
    done, failed = d.expect_kinds((OTHER_CLIENT, TasksDone), (OTHER_CLIENT, TasksFailed))
    assert (done.start, done.stop) == (0, 2) and failed.runs == [2, 3]


def test_a_released_task_is_computed_again_for_who_comes_late() -> None:
    d = Driver()
    group = d.each(2)
    d.run_all()
    d.say(CLIENT, ReleaseTasks(group, [0, 1]))
    d.sent()
    d.say(OTHER_CLIENT, HoldTasks(group, [0, 1]))
    d.expect()
    (span,) = d.spans()
    assert (span.start, span.stop) == (0, 1)
    d.done(span)
    d.expect((OTHER_CLIENT, TasksDone(group, 0, 1, WORKER, None)))


def test_what_is_gone_for_good_is_said() -> None:
    d = Driver()
    group = d.each(1)
    d.run_all()
    d.say(CLIENT, ReleaseTasks(group, [0, 1]))
    d.sent()
    d.say(OTHER_CLIENT, HoldTasks(group, [0, 1]))
    (failed,) = d.expect_kinds((OTHER_CLIENT, TasksFailed))
    assert failed.failure["kind"] == "lost" and "released" in failed.failure["text"]
    data = d.data(1)
    d.say(OTHER_CLIENT, HoldTasks(data, [0, 2]))
    (failed,) = d.expect_kinds((OTHER_CLIENT, TasksFailed))
    assert failed.runs == [1, 2]


def test_only_who_wants_results_gets_them() -> None:
    d = Driver()
    group = d.each(2, wanted=False)
    d.say(OTHER_CLIENT, HoldTasks(group, [0, 2]))
    d.say(OTHER_CLIENT, WantResults(group, [0, 2]))
    (span,) = d.spans()
    assert span.inline
    blocks = [[0, 2, False, [b"both"]]]
    d.say(WORKER, SpanDone(span.assignment, group, 0, 2, 4, 1e-3, [], blocks))
    d.expect(
        (CLIENT, TasksDone(group, 0, 2, WORKER, None)),
        (OTHER_CLIENT, TasksDone(group, 0, 2, WORKER, blocks)),
    )


def test_inputs_are_kept_while_a_task_needs_them() -> None:
    d = Driver()
    first = d.each(2)
    d.run_all()
    second = d.each(2, ["same", first, 0])
    d.say(CLIENT, ReleaseTasks(first, [0, 2]))
    d.sent()
    (span,) = d.spans()
    d.done(span, 0, 1)
    d.expect((CLIENT, TasksDone(second, 0, 1, WORKER, None)), (WORKER, FreeResults(first, [0, 1])))
    d.done(span, 1, 2)
    d.expect((CLIENT, TasksDone(second, 1, 2, WORKER, None)), (WORKER, FreeResults(first, [1, 2])))
    d.say(CLIENT, ReleaseTasks(second, [0, 2]))
    d.expect_kinds((WORKER, FreeResults), (WORKER, ForgetGroup), (WORKER, ForgetGroup))
    assert not d.core.ledger.groups


def test_what_nobody_wants_is_dropped_with_what_only_it_needs() -> None:
    d = Driver(slots=1)
    first = d.each(2)
    second = d.each(2, ["same", first, 0])
    (span,) = d.spans()
    d.say(CLIENT, ReleaseTasks(first, [0, 2]))
    d.expect()
    d.say(CLIENT, ReleaseTasks(second, [0, 2]))
    d.expect(
        (WORKER, TakeBack(span.assignment, [0, 1], False)),
        (WORKER, ForgetGroup(first)),
    )
    d.say(WORKER, SpanReturned(span.assignment, first, [0, 1], "taken back"))
    d.expect()
    assert not d.core.ledger.groups


def test_a_dropped_task_that_runs_on_leaves_nothing_behind() -> None:
    d = Driver()
    group = d.each(2)
    (span,) = d.spans()
    d.say(CLIENT, ReleaseTasks(group, [0, 1]))
    d.expect_kinds((WORKER, TakeBack))
    d.say(WORKER, SpanDone(span.assignment, group, 0, 2, 16, 2e-3, [], None))
    d.expect(
        (WORKER, FreeResults(group, [0, 1])),
        (CLIENT, TasksDone(group, 1, 2, WORKER, None)),
    )


@pytest.mark.parametrize("force", [False, True])
def test_cancel(force: bool) -> None:
    d = Driver(slots=1)
    group = d.each(3)
    after = d.each(3, ["same", group, 0])
    (span,) = d.spans()
    d.say(CLIENT, CancelTasks(group, [0, 2], "", force))
    take, failed, derived = d.expect_kinds(
        (WORKER, TakeBack), (CLIENT, TasksFailed), (CLIENT, TasksFailed)
    )
    assert take == TakeBack(span.assignment, [0, 1], force), "what runs is killed if it must be"
    assert failed == TasksFailed(group, [0, 2], CANCELLED)
    assert derived.runs == [0, 2] and derived.failure["kind"] == "cancelled"
    assert derived.failure["origin"] == [group, 0]
    assert "tasks of g1, [0] the first" in derived.failure["text"]
    d.say(WORKER, SpanReturned(span.assignment, group, [0, 1], "killed"))
    d.run_all()
    assert d.counts(group) == d.counts(after) == {"failed": 2, "done": 1}
    d.sent()
    d.say(CLIENT, CancelTasks(group, [0, 3], "ada"))
    d.expect()  # nothing is left to be cancelled


def test_cancel_is_not_release() -> None:
    d = Driver()
    group = d.each(1)
    d.say(OTHER_CLIENT, HoldTasks(group, [0, 1]))
    d.say(OTHER_CLIENT, CancelTasks(group, [0, 1], "bob"))
    failure = {"kind": "cancelled", "text": "cancelled by bob"}
    d.expect(
        (CLIENT, TasksFailed(group, [0, 1], failure)),
        (OTHER_CLIENT, TasksFailed(group, [0, 1], failure)),
    )


def test_retry() -> None:
    d = Driver(slots=4)
    first = d.each(2)
    second = d.each(2, ["same", first, 0])
    (span,) = d.spans()
    d.failed(span, 0)
    d.done(span, 1, 2)
    d.sent()
    assert d.counts(second) == {"failed": 1, "ready": 1}
    d.say(CLIENT, RetryTasks(second, [0, 2]))
    reason = "retried by ada"
    d.expect(
        (CLIENT, TasksReopened(second, [0, 1], reason)),
        (CLIENT, TasksReopened(first, [0, 1], reason)),
    )
    d.run_all()
    assert d.counts(second) == d.counts(first) == {"done": 2}


def test_retried_tasks_have_all_their_tries_again() -> None:
    d = Driver()
    group = d.each(1, retries=1)
    for _ in range(2):
        for _ in range(2):
            (span,) = d.spans()
            d.failed(span, 0)
        assert d.counts(group) == {"failed": 1}
        d.say(CLIENT, RetryTasks(group, [0, 1]))
    d.run_all()
    assert d.counts(group) == {"done": 1}


def test_a_client_that_leaves_lets_go() -> None:
    d = Driver(slots=1)
    group = d.each(3)
    graph = d.graph()
    d.extend(graph, 0, [[(group, 0)]])
    d.say(OTHER_CLIENT, HoldTasks(group, [2, 3]))
    (span,) = d.spans()
    d.core.remove_client(CLIENT, d.now)
    d.expect((WORKER, TakeBack(span.assignment, [0, 1], False)))
    assert list(d.core.ledger.groups) == [group]
    assert d.counts(group) == {"released": 2, "ready": 1}
    d.run_all()
    d.core.remove_client(OTHER_CLIENT, d.now)
    assert not d.core.ledger.groups and not d.core.ledger.blobs


def test_an_open_graph_stays_and_a_closed_one_goes() -> None:
    d = Driver()
    group = d.graph()
    d.extend(group, 0, [[]])
    d.run_all()
    d.say(CLIENT, ReleaseTasks(group, [0, 1]))
    d.expect((WORKER, FreeResults(group, [0, 1])))
    d.extend(group, 1, [[]])
    d.run_all()
    d.say(CLIENT, CloseGroup(group))
    assert group in d.core.ledger.groups
    d.say(CLIENT, ReleaseTasks(group, [1, 2]))
    d.expect((WORKER, FreeResults(group, [1, 2])), (WORKER, ForgetGroup(group)))


def test_payloads_of_an_open_graph_do_not_pile_up() -> None:
    d = Driver(slots=4)
    group = d.graph()
    layer = d.core.ledger.groups[group].layer
    for start in range(0, 40, 2):  # each submission takes a result of the one before
        before = [(group, start - 1)] if start else []
        d.extend(group, start, [[], before])
        d.run_all()
        if start >= 2:
            d.say(CLIENT, ReleaseTasks(group, [start - 2, start]))
    kept = [chunk for chunk in layer.chunks if chunk is not None]
    assert len(kept) == 20, "the last is held, and might need all before it once more"
    d.say(CLIENT, ReleaseTasks(group, [38, 40]))
    assert not any(layer.chunks)


def test_an_unneeded_producer_is_forgotten_though_its_consumer_is_open() -> None:
    d = Driver()
    producer = d.each(1)
    graph = d.graph()
    d.extend(graph, 0, [[(producer, 0)]])
    d.say(CLIENT, ReleaseTasks(producer, [0, 1]))
    d.run_all()
    assert producer in d.core.ledger.groups
    d.say(CLIENT, ReleaseTasks(graph, [0, 1]))
    assert list(d.core.ledger.groups) == [graph]


def test_graphs_that_depend_on_each_other_are_forgotten_together() -> None:
    d = Driver(slots=4)
    first, second = d.graph(), d.graph()
    d.extend(first, 0, [[]])
    d.extend(second, 0, [[(first, 0)]])
    d.extend(first, 1, [[(second, 0)]])
    d.run_all()
    for group in (first, second):
        d.say(CLIENT, CloseGroup(group))
        d.say(CLIENT, ReleaseTasks(group, [0, 2]))
    assert not d.core.ledger.groups


def test_a_future_of_a_forgotten_group_cannot_be_an_input() -> None:
    d = Driver()
    graph = d.graph()
    d.extend(graph, 0, [[(77, 3)], [(graph, 0)], []])
    sent = d.expect_kinds((CLIENT, TasksFailed), (CLIENT, TasksFailed))
    assert {tuple(message.runs) for message in sent} == {(0, 1), (1, 2)}
    assert all(message.failure["kind"] == "lost" for message in sent)
    assert all(message.failure["origin"] == [77, 3] for message in sent)
    d.run_all()
    assert d.counts(graph) == {"failed": 2, "done": 1}


def test_an_empty_group_can_be_mapped_over() -> None:
    d = Driver()
    first = d.each(0)
    second = d.each(0, ["same", first, 0])
    d.expect()
    assert set(d.core.ledger.groups) == {first, second}
    d.say(CLIENT, CloseGroup(first))
    d.say(CLIENT, CloseGroup(second))
    assert not d.core.ledger.groups


def test_restart_forgets_everything() -> None:
    d = Driver(slots=1)
    group = d.each(3)
    graph = d.graph()
    d.extend(graph, 0, [[(group, 0)]])
    (span,) = d.spans()
    d.done(span)
    assert d.spans() and d.core.ledger.assignments
    d.core.forget_everything(d.now)
    failure = {"kind": "cancelled", "text": "the cluster was restarted"}
    sent = d.sent()
    assert (CLIENT, TasksFailed(group, [0, 3], failure)) in sent
    assert (CLIENT, TasksFailed(graph, [0, 1], failure)) in sent
    ledger = d.core.ledger
    assert not ledger.groups and not ledger.assignments and not ledger.blobs
    assert ledger.workers[WORKER].tasks == 0 and not ledger.workers[WORKER].knows
    d.say(CLIENT, make_extension(graph, 1, [[]]))
    (failed,) = d.expect_kinds((CLIENT, TasksFailed))
    assert failed.runs == [1, 2] and failed.failure["kind"] == "cancelled"
    d.each(1)
    d.expect_after_place((WORKER, DefineGroup), (WORKER, RunSpan))
