"""Consumers that are sent along with their producers, and what becomes of them when things go
wrong.
"""

from __future__ import annotations

from typing import Any

from cellspan.engine.messages import (
    CancelTasks,
    HoldTasks,
    ReleaseTasks,
    RunSpan,
    SpanDone,
    SpanReturned,
    TakeBack,
    TasksDone,
    TasksFailed,
    TasksReopened,
)

from .driver import CLIENT, OTHER_CLIENT, OTHER_WORKER, WORKER, Driver


def make_driver(**more: Any) -> Driver:
    return Driver(along_s=0.16, **more)


def chain(d: Driver, n: int, links: int) -> list[int]:
    """Submit a map and maps over it, each over the one before; return their groups."""
    groups = [d.each(n, ["range", 0, 1])]
    for _ in range(links):
        groups.append(d.each(n, ["same", groups[-1], 0]))
    return groups


def test_a_chain_goes_out_as_a_whole_and_nothing_waits_for_a_link() -> None:
    d = make_driver()
    first, second, third = chain(d, 2, 2)
    spans = d.spans()
    assert [(s.group, s.start, s.stop) for s in spans] == [
        (first, 0, 2), (second, 0, 2), (third, 0, 2)
    ]  # fmt: skip
    assert not any(s.holders or s.passing for s in spans)  # the client holds all of them
    worker = d.core.ledger.workers[WORKER]
    assert (worker.tasks, worker.along) == (2, 4)
    d.done(spans[0])
    assert (worker.tasks, worker.along) == (2, 2)
    d.done(spans[1])
    d.done(spans[2])
    assert d.counts(third) == {"done": 2}


def test_what_nobody_holds_is_passing() -> None:
    d = make_driver()
    first, second, third = chain(d, 2, 2)
    d.say(CLIENT, ReleaseTasks(first, [0, 2]))
    d.say(CLIENT, ReleaseTasks(second, [0, 2]))
    assert [s.passing for s in d.spans()] == [True, True, False]
    assert third in d.core.ledger.groups


def test_a_graph_goes_along_as_far_as_its_inputs_are_with_the_worker() -> None:
    d = make_driver(workers=2, slots=1)
    graph = d.graph()
    # two roots on two workers: 2 follows 0, 3 follows 1, 4 takes both and has to wait
    d.extend(graph, 0, [[], [], [(graph, 0)], [(graph, 1)], [(graph, 2), (graph, 3)]])
    d.place()
    sent = [(p, m.start, m.stop) for p, m in d.sent() if isinstance(m, RunSpan)]
    mine = [row for row in sent if row[1] in (0, 2)]
    assert len({peer for peer, _, _ in mine}) == 1
    assert sorted(row[1] for row in sent if row[1] >= 2) == [2, 3]
    assert d.counts(graph) == {"assigned": 4, "waiting": 1}


def test_where_there_was_no_room_it_goes_on_later() -> None:
    d = make_driver(slots=1)
    first = d.each(1, ["range", 0, 1])
    (span,) = d.spans()
    d.done(span)  # 1 ms
    graph = d.graph()
    d.extend(graph, 0, [[]])
    (span,) = d.spans()
    d.done(span)  # learned: 1 ms
    count = 1000  # a second of work
    d.extend(graph, 1, [[(graph, at)] for at in range(count)])
    spans = d.spans()
    sent = sum(s.stop - s.start for s in spans)
    assert 100 < sent < count
    done = 0
    while spans:
        for span in spans:
            d.done(span)
            done += span.stop - span.start
        spans = d.spans()
    assert done == count and first in d.core.ledger.groups


def test_a_task_that_fails_takes_along_what_follows_it() -> None:
    d = make_driver()
    first, second, third = chain(d, 2, 2)
    spans = d.spans()
    d.failed(spans[0], 0)
    sent = d.sent()
    assert [m for _, m in sent if isinstance(m, TakeBack)] == [
        TakeBack(spans[1].assignment, [0, 1], True), TakeBack(spans[2].assignment, [0, 1], True)
    ]  # fmt: skip
    failed = [m for _, m in sent if isinstance(m, TasksFailed)]
    assert [(m.group, m.runs) for m in failed] == [
        (first, [0, 1]), (second, [0, 1]), (third, [0, 1])
    ]  # fmt: skip
    assert failed[1].failure["origin"] == failed[2].failure["origin"] == [first, 0]
    for span in spans:
        d.done(span, 1, 2)
    assert d.counts(third) == {"done": 1, "failed": 1}


def test_a_task_that_fails_inside_its_own_span_fails_the_rest_of_it() -> None:
    d = make_driver(slots=1)
    graph = d.graph()
    d.extend(graph, 0, [[]])
    (span,) = d.spans()
    d.done(span)
    d.extend(graph, 1, [[], *[[(graph, at)] for at in range(1, 4)]])
    spans = d.spans()
    assert [(s.start, s.stop) for s in spans] == [(1, 2), (2, 5)]
    d.done(spans[0])
    d.failed(spans[1], 2)
    assert d.counts(graph) == {"done": 2, "failed": 3}
    taken = [m for _, m in d.sent() if isinstance(m, TakeBack)]
    assert [(m.assignment, m.runs) for m in taken] == [
        (spans[1].assignment, [3, 4]), (spans[1].assignment, [4, 5])
    ]  # fmt: skip


def test_what_follows_a_returned_task_waits_again_and_goes_with_it_once_more() -> None:
    d = make_driver()
    first, second = chain(d, 2, 1)
    spans = d.spans()
    d.say(WORKER, SpanReturned(spans[0].assignment, first, [0, 1], "its executor died"))
    assert [m for _, m in d.sent()] == [TakeBack(spans[1].assignment, [0, 1], False)]
    assert d.counts(second) == {"waiting": 1, "assigned": 1}
    again = d.spans()
    assert [(s.group, s.start, s.stop) for s in again] == [(first, 0, 1), (second, 0, 1)]


def test_a_lost_worker_takes_a_chain_with_it_and_another_one_runs_it() -> None:
    d = make_driver()
    groups = chain(d, 2, 3)
    assert len(d.spans()) == 4
    d.add_worker(OTHER_WORKER)
    d.core.remove_worker(WORKER, "it was killed", d.now)
    d.sent()
    d.place()
    sent = [(p, m.group) for p, m in d.sent() if isinstance(m, RunSpan)]
    assert sent == [(OTHER_WORKER, group) for group in groups]


def test_what_follows_a_cancelled_task_is_taken_back() -> None:
    d = make_driver()
    first, second = chain(d, 2, 1)
    spans = d.spans()
    d.say(CLIENT, CancelTasks(first, [0, 2], "ada", True))
    taken = [m for _, m in d.sent() if isinstance(m, TakeBack)]
    assert [m.assignment for m in taken] == [s.assignment for s in spans]
    assert d.counts(second) == {"failed": 2}


def test_no_task_of_another_client_or_of_less_priority_goes_along() -> None:
    d = make_driver()
    first = d.each(2, ["range", 0, 1], priority=1)
    second = d.each(2, ["same", first, 0])
    (span,) = d.spans()
    assert span.group == first and d.counts(second) == {"waiting": 2}


def pass_on(d: Driver, span: RunSpan) -> None:
    """Let a worker report results that it did not keep."""
    count = span.stop - span.start
    times = [40, count]
    peer = d.peer_of(span)
    d.say(
        peer,
        SpanDone(span.assignment, span.group, span.start, span.stop, 0, 1e-3, times, None, True),
    )


def test_results_that_were_passed_on_are_released_by_what_follows() -> None:
    d = make_driver()
    first, second = chain(d, 2, 1)
    d.say(CLIENT, ReleaseTasks(first, [0, 2]))
    spans = d.spans()
    pass_on(d, spans[0])
    d.place()  # the report of what follows may come a turn later
    assert d.counts(first) == {"done": 2}
    d.done(spans[1])
    assert d.counts(first) == {"released": 2}
    d.place()
    assert d.counts(second) == {"done": 2} and not d.core.ledger.passed


def test_results_that_were_passed_on_are_computed_again_if_somebody_holds_them() -> None:
    d = make_driver()
    first, _ = chain(d, 2, 1)
    d.say(CLIENT, ReleaseTasks(first, [0, 2]))
    spans = d.spans()
    d.say(OTHER_CLIENT, HoldTasks(first, [1, 2]))
    pass_on(d, spans[0])
    d.done(spans[1])
    assert d.counts(first) == {"released": 1, "done": 1}
    d.sent()
    d.place()
    told = [(p, m) for p, m in d.sent() if p == OTHER_CLIENT or isinstance(m, RunSpan)]
    reopened = next(m for p, m in told if isinstance(m, TasksReopened))
    assert reopened.runs == [1, 2] and "did not keep it" in reopened.reason
    (again,) = [m for _, m in told if isinstance(m, RunSpan)]
    assert (again.group, again.start, again.stop) == (first, 1, 2) and not again.passing
    d.done(again)
    assert any(isinstance(m, TasksDone) for p, m in d.sent() if p == OTHER_CLIENT)
