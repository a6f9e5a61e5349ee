"""Every state of a task with every event that can meet it: what becomes of it is written down here,
and all moves that are seen on the way are exactly those of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cellspan.engine.diagnostics.counters import GroupCounters
from cellspan.engine.messages import (
    CancelTasks,
    CloseGroup,
    DataStored,
    HoldTasks,
    ReleaseTasks,
    RetryTasks,
    SpanDone,
    SpanReturned,
    TaskFailed,
    WantResults,
)
from cellspan.engine.scheduler.moves import (
    ASSIGNED,
    DONE,
    FAILED,
    MOVES,
    READY,
    RELEASED,
    STATES,
    WAITING,
    draw_diagram,
    is_legal,
)

from .driver import CLIENT, OTHER_CLIENT, OTHER_WORKER, WORKER, Driver


class Case:
    """Task 0 of `group` in some state; it takes task 0 of `producer`. Task 1 of both is held and
    done or ready.
    """

    def __init__(self, state: str) -> None:
        d = self.d = Driver(slots=4)
        old = d.each(1)
        (self.over,) = d.spans()
        d.done(self.over)
        d.say(CLIENT, ReleaseTasks(old, [0, 1]))
        self.producer = d.each(2, retries=0)
        self.group = d.each(2, ["same", self.producer, 0], retries=1, allowed_failures=1)
        (self.feeding,) = d.spans()
        self.span = None
        if state != WAITING:
            d.done(self.feeding)
        if state in (ASSIGNED, DONE, FAILED, RELEASED):
            (self.span,) = d.spans()
        if state in (DONE, RELEASED):
            d.done(self.span)
        if state == FAILED:
            d.say(CLIENT, CancelTasks(self.group, [0, 1], "a test"))
        if state == RELEASED:
            d.say(CLIENT, ReleaseTasks(self.group, [0, 1]))
        d.sent()
        assert self.state() == state

    def state(self) -> str | None:
        """Return the state of the task, None if its group is forgotten."""
        group = self.d.core.ledger.groups.get(self.group)
        if group is None:
            return None
        (state,) = [name for name, tasks in group.sets.items() if 0 in tasks]
        return state

    def assignment(self) -> int:
        """Return the assignment that has or had the task; one that is over if there was none."""
        return self.span.assignment if self.span is not None else self.over.assignment


def place(c: Case) -> None:
    c.d.place()


def span_done(c: Case) -> None:
    c.d.say(WORKER, SpanDone(c.assignment(), c.group, 0, 1, 8, 1e-3, [40, 1], None))


def task_raised(c: Case) -> None:
    failure = {"kind": "raised", "text": "no"}
    c.d.say(WORKER, TaskFailed(c.assignment(), c.group, 0, 1e-3, failure))


def task_raised_too_often(c: Case) -> None:
    c.d.core.ledger.groups[c.group].retries = 0
    task_raised(c)


def task_crashed(c: Case) -> None:
    failure = {"kind": "crashed", "text": "no"}
    c.d.say(WORKER, TaskFailed(c.assignment(), c.group, 0, 1e-3, failure))


def span_returned(c: Case) -> None:
    c.d.say(WORKER, SpanReturned(c.assignment(), c.group, [0, 1], "taken back"))


def span_returned_without_input(c: Case) -> None:
    missing = [[c.producer, 0, WORKER]]
    c.d.say(WORKER, SpanReturned(c.assignment(), c.group, [0, 1], "no input", missing))


def input_done(c: Case) -> None:
    message = SpanDone(c.feeding.assignment, c.producer, 0, 1, 8, 1e-3, [40, 1], None)
    c.d.say(WORKER, message)


def input_failed(c: Case) -> None:
    failure = {"kind": "raised", "text": "no"}
    c.d.say(WORKER, TaskFailed(c.feeding.assignment, c.producer, 0, 1e-3, failure))


def input_cancelled(c: Case) -> None:
    c.d.say(CLIENT, CancelTasks(c.producer, [0, 1], "a test"))


def input_released(c: Case) -> None:
    c.d.say(CLIENT, ReleaseTasks(c.producer, [0, 1]))


def result_reported_missing(c: Case) -> None:
    """A consumer of the task could not fetch its result."""
    missing = [[c.group, 0, WORKER]]
    c.d.say(WORKER, SpanReturned(c.over.assignment, c.over.group, [0, 1], "no input", missing))


def cancel(c: Case) -> None:
    c.d.say(CLIENT, CancelTasks(c.group, [0, 1], "ada"))


def retry(c: Case) -> None:
    c.d.say(CLIENT, RetryTasks(c.group, [0, 1]))


def release(c: Case) -> None:
    c.d.say(CLIENT, ReleaseTasks(c.group, [0, 1]))


def release_all(c: Case) -> None:
    c.d.say(CLIENT, ReleaseTasks(c.group, [0, 2]))


def hold(c: Case) -> None:
    c.d.say(OTHER_CLIENT, HoldTasks(c.group, [0, 1]))


def want(c: Case) -> None:
    c.d.say(CLIENT, WantResults(c.group, [0, 1]))


def close(c: Case) -> None:
    c.d.say(CLIENT, CloseGroup(c.group))


def data_stored(c: Case) -> None:
    c.d.say(WORKER, DataStored(c.group, 0, 1, 8))


def client_leaves(c: Case) -> None:
    c.d.core.remove_client(CLIENT, c.d.now)


def worker_lost(c: Case) -> None:
    c.d.core.remove_worker(WORKER, "killed", c.d.now)


def worker_taken_away(c: Case) -> None:
    c.d.core.remove_worker(WORKER, "scaled down", c.d.now, expected=True)


def worker_joins(c: Case) -> None:
    c.d.add_worker(OTHER_WORKER)


def restart(c: Case) -> None:
    c.d.core.forget_everything(c.d.now)


Event = Callable[[Case], None]
GONE = None
W, R, A, D, F, L = WAITING, READY, ASSIGNED, DONE, FAILED, RELEASED

#                               waiting ready assigned done failed released
MATRIX: dict[Event, tuple[str | None, ...]] = {
    place:                       (W, A, A, D, F, L),
    span_done:                   (W, R, D, D, F, L),
    task_raised:                 (W, R, R, D, F, L),
    task_raised_too_often:       (W, R, F, D, F, L),
    task_crashed:                (W, R, R, D, F, L),
    span_returned:               (W, R, R, D, F, L),
    span_returned_without_input: (W, W, W, D, F, L),
    input_done:                  (R, R, A, D, F, L),
    input_failed:                (F, R, A, D, F, L),
    input_cancelled:             (F, R, A, D, F, L),
    input_released:              (W, R, A, D, F, L),
    result_reported_missing:     (W, R, A, R, F, L),
    cancel:                      (F, F, F, D, F, L),
    retry:                       (W, R, A, D, R, L),
    release:                     (L, L, L, L, L, L),
    release_all:                 (GONE, GONE, GONE, GONE, GONE, GONE),
    hold:                        (W, R, A, D, F, R),
    want:                        (W, R, A, D, F, L),
    close:                       (W, R, A, D, F, L),
    data_stored:                 (W, R, A, D, F, L),
    client_leaves:               (GONE, GONE, GONE, GONE, GONE, GONE),
    worker_lost:                 (W, W, W, W, F, L),
    worker_taken_away:           (W, W, W, W, F, L),
    worker_joins:                (W, R, A, D, F, L),
    restart:                     (GONE, GONE, GONE, GONE, GONE, GONE),
}  # fmt: skip

seen: set[tuple[str | None, str]] = set()


@pytest.fixture(autouse=True)
def moves_are_legal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every move that is counted in a test is in the table; all of them are gathered."""
    count = GroupCounters.on_move

    def on_move(self: GroupCounters, old: str | None, new: str, *rest: Any) -> None:
        assert is_legal(old, new), f"{old} -> {new}"
        seen.add((old, new))
        count(self, old, new, *rest)

    monkeypatch.setattr(GroupCounters, "on_move", on_move)
    yield


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", MATRIX, ids=lambda event: event.__name__)
def test_state_by_event(state: str, event: Event) -> None:
    case = Case(state)
    event(case)
    assert case.state() == MATRIX[event][STATES.index(state)]
    # Whatever happened: the invariants held (the core is validated), and the work can still end.
    case.d.sent()
    if event is not restart and CLIENT in case.d.core.ledger.clients:
        if WORKER not in case.d.core.ledger.workers:
            case.d.add_worker(WORKER)
        for assignment in list(case.d.core.ledger.assignments.values()):
            runs = [assignment.left.min(), assignment.left.max() + 1]
            peer, group = assignment.worker.peer, assignment.group.id
            case.d.say(peer, SpanReturned(assignment.id, group, runs, "to begin with"))
        case.d.run_all()
        assert case.state() in (DONE, FAILED, RELEASED, GONE)


def test_scattered_data_moves() -> None:
    d = Driver()
    group = d.data(3)
    d.say(WORKER, DataStored(group, 0, 2, 16))
    assert d.counts(group) == {"done": 2, "waiting": 1}
    d.say(CLIENT, ReleaseTasks(group, [1, 2]))
    d.core.remove_worker(WORKER, "killed", d.now)
    assert d.counts(group) == {"failed": 1, "released": 1, "waiting": 1}
    d.say(CLIENT, RetryTasks(group, [0, 3]))
    d.say(OTHER_CLIENT, HoldTasks(group, [1, 2]))
    assert d.counts(group) == {"failed": 1, "released": 1, "waiting": 1}


def test_tasks_sent_along_move() -> None:
    d = Driver(along_s=0.16)
    second = d.each(2, ["same", d.each(2, ["range", 0, 1]), 0])
    d.place()
    assert d.counts(second) == {"assigned": 2}


def test_all_moves_of_the_table_were_seen() -> None:
    """The matrix and the examples above take every move there is."""
    seen.clear()
    for event in MATRIX:
        for state in STATES:
            event(Case(state))
    test_scattered_data_moves()
    test_tasks_sent_along_move()
    assert seen == set(MOVES)


def test_the_diagram_is_drawn_from_the_table() -> None:
    drawn = draw_diagram()
    assert drawn.startswith("stateDiagram-v2\n")
    for source, target in MOVES:
        assert f"    {source or '[*]'} --> {target}: {MOVES[source, target]}\n" in drawn
