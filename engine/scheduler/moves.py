"""The states of a task, the table of legal moves between them, and the one mover.

Law: no task changes its state anywhere else. `move` checks the table and keeps in step what stands
beside the sets:
counters, what is valid in one state only (holders of done tasks, failures of failed ones,
assignments of assigned ones), and the index of groups that have ready tasks. It never decides: who
moves what, and what follows for others, is the caller's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pyroaring import BitMap

from ..messages import Failure
from .restrictions import lend
from .runs import runs_of, set_of

if TYPE_CHECKING:
    from .groups import Assignment, Group
    from .ledger import Ledger
    from .peers import Worker

WAITING = "waiting"
READY = "ready"
ASSIGNED = "assigned"
DONE = "done"
FAILED = "failed"
RELEASED = "released"
STATES = (WAITING, READY, ASSIGNED, DONE, FAILED, RELEASED)

Tasks: TypeAlias = range | BitMap
"""Tasks of one group: a range where they are one run (cheaper), a set otherwise."""

MOVES: dict[tuple[str | None, str], str] = {
    (None, WAITING): "submitted",
    (None, READY): "submitted, and takes no results",
    (WAITING, READY): "its inputs are done",
    (WAITING, DONE): "scattered data was put on a worker",
    (WAITING, FAILED): "cancelled, or an input failed",
    (WAITING, RELEASED): "nobody wants it",
    (WAITING, ASSIGNED): "sent along with its unfinished inputs, all on that worker",
    (READY, ASSIGNED): "placed on a worker",
    (READY, WAITING): "an input was lost",
    (READY, FAILED): "cancelled, or an input failed",
    (READY, RELEASED): "nobody wants it",
    (ASSIGNED, DONE): "its worker has the result",
    (ASSIGNED, WAITING): "returned by its worker, or lost with it",
    (ASSIGNED, FAILED): "raised, crashed too often, or cancelled",
    (ASSIGNED, RELEASED): "nobody wants it",
    (DONE, WAITING): "its result was lost: it is computed again",
    (DONE, FAILED): "its result was lost and cannot be computed again",
    (DONE, RELEASED): "nobody wants it",
    (FAILED, WAITING): "retried",
    (FAILED, RELEASED): "nobody wants it",
    (RELEASED, WAITING): "its result is needed once more",
}
"""Every legal move and what causes it. From None: new tasks. The diagram in the docs and the matrix
of tests are made from this table."""


def is_legal(source: str | None, target: str) -> bool:
    """Return whether a task may go from one state to the other."""
    return (source, target) in MOVES


def draw_diagram() -> str:
    """Return the table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for (source, target), cause in MOVES.items():
        lines.append(f"    {source or '[*]'} --> {target}: {cause}")
    lines.append(f"    {RELEASED} --> [*]: its group is forgotten")
    return "\n".join(lines) + "\n"


def move(
    ledger: Ledger,
    group: Group,
    tasks: Tasks,
    source: str | None,
    target: str,
    *,
    assignment: Assignment | None = None,
    worker: Worker | None = None,
    failure: Failure | None = None,
) -> None:
    """Move tasks, all of which are in state `source` (None: new), to state `target`.

    To or from ASSIGNED needs `assignment`, all tasks in the one; to DONE needs `worker`, who holds
    the results; to FAILED needs `failure`.
    """
    count = len(tasks)
    if not count:
        return
    assert (source, target) in MOVES, f"{group}: no task goes from {source} to {target}"
    if source is not None:
        sources = group.sets[source]
        if type(tasks) is range:
            assert sources.contains_range(tasks.start, tasks.stop), f"{group}: {tasks} {source}?"
        else:
            assert tasks.issubset(sources), f"{group}: {runs_of(tasks)} are not {source}"
        _remove(sources, tasks)
        _leave(ledger, group, tasks, source, assignment)
    _add(group.sets[target], tasks)
    group.counters.on_move(source, target, count, ledger.now)
    if target == READY:
        ledger.placement.on_ready(group)
    elif target == DONE:
        assert worker is not None
        _add_holder(group, worker, tasks)
    elif target == FAILED:
        assert failure is not None
        for start, stop in _runs(tasks):
            group.failures.set(start, stop, failure)
    elif target == ASSIGNED:
        assert assignment is not None
        _enter_assignment(ledger, group, assignment, tasks, is_along=source == WAITING)


def _leave(
    ledger: Ledger, group: Group, tasks: Tasks, source: str, assignment: Assignment | None
) -> None:
    if source == ASSIGNED:
        assert assignment is not None
        _leave_assignment(ledger, group, assignment, tasks)
    elif source == DONE:
        _remove_holders(ledger, group, tasks)
    elif source == FAILED:
        for start, stop in _runs(tasks):
            group.failures.clear(start, stop)


def _runs(tasks: Tasks) -> list[tuple[int, int]]:
    if type(tasks) is range:
        return [(tasks.start, tasks.stop)]
    runs = runs_of(tasks)
    return list(zip(runs[::2], runs[1::2], strict=True))


# --- assignments ------------------------------------------------------------------------------


def _enter_assignment(
    ledger: Ledger, group: Group, assignment: Assignment, tasks: Tasks, *, is_along: bool
) -> None:
    worker, count = assignment.worker, len(tasks)
    ledger.assignments[assignment.id] = assignment
    group.assignments[assignment.id] = assignment
    worker.assignments[assignment.id] = assignment
    having = worker.having.get(group.id)
    if having is None:
        having = worker.having[group.id] = BitMap()
    _add(having, tasks)
    if is_along:
        _add(group.along, tasks)
        worker.along += count
        assignment.is_along = True
    else:
        worker.tasks += count
        worker.spans += 1
    worker.load_s += count * assignment.task_s
    if group.restriction is not None:
        lend(worker, group, count)
    ledger.placement.on_worker_changed(worker)


def _leave_assignment(ledger: Ledger, group: Group, assignment: Assignment, tasks: Tasks) -> None:
    worker, left = assignment.worker, assignment.left
    count = len(tasks)
    if type(tasks) is range:
        assert left.contains_range(tasks.start, tasks.stop), f"{assignment} does not have {tasks}"
    else:
        assert tasks.issubset(left), f"{assignment} does not have {runs_of(tasks)}"
    _remove(left, tasks)
    having = worker.having[group.id]
    _remove(having, tasks)
    if not having:
        del worker.having[group.id]
    along = _leave_along(group, tasks) if group.along else 0
    worker.along -= along
    worker.tasks -= count - along
    is_empty = not worker.tasks and not worker.along
    worker.load_s = 0.0 if is_empty else worker.load_s - count * assignment.task_s
    if group.restriction is not None:
        lend(worker, group, -count)
    if not left:
        del ledger.assignments[assignment.id]
        del group.assignments[assignment.id]
        del worker.assignments[assignment.id]
        worker.spans -= not assignment.is_along
    ledger.placement.on_worker_changed(worker)


def _leave_along(group: Group, tasks: Tasks) -> int:
    """Take tasks that are not assigned any more from those that were sent along; return how many
    were among them.
    """
    before = len(group.along)
    _remove(group.along, tasks)
    return before - len(group.along)


def catch_up(ledger: Ledger, group: Group, worker: Worker, tasks: BitMap) -> None:
    """The inputs of tasks that were sent along to a worker are all done: it can run them."""
    count = len(tasks)
    if count:
        assert tasks.issubset(group.along), f"{group}: {runs_of(tasks)} were not sent along"
        group.along -= tasks
        worker.along -= count
        worker.tasks += count
        ledger.placement.on_worker_changed(worker)


def _add(target: BitMap, tasks: Tasks) -> None:
    if type(tasks) is range:
        target.add_range(tasks.start, tasks.stop)
    else:
        target |= tasks


def _remove(target: BitMap, tasks: Tasks) -> None:
    if type(tasks) is range:
        target.remove_range(tasks.start, tasks.stop)
    else:
        target -= tasks


# --- holders ----------------------------------------------------------------------------------


def _add_holder(group: Group, worker: Worker, tasks: Tasks) -> None:
    """These tasks come to be done: the worker is the first to hold them."""
    held = group.holders.get(worker.peer)
    if held is None:
        held = group.holders[worker.peer] = BitMap()
        worker.holds[group.id] = group
    for start, stop in _runs(tasks):
        held.add_range(start, stop)
        group.where.set(start, stop, worker)


def _remove_holders(ledger: Ledger, group: Group, tasks: Tasks) -> None:
    """These tasks cease to be done: whoever still holds them is told to free them."""
    results = set_of(tasks.start, tasks.stop) if type(tasks) is range else tasks
    workers: dict[int, Worker] = {}
    for start, stop in _runs(tasks):
        for _, _, worker in group.where.sections(start, stop):
            workers[worker.peer] = worker
        group.where.clear(start, stop)
    if group.copied and not group.copied.isdisjoint(results):
        group.copied -= results
        workers.update((peer, ledger.workers[peer]) for peer in group.holders)
    for worker in workers.values():
        drop_claim(ledger, group, worker, results, tell=True)
    held_bytes = group.counters.bytes_held  # single sizes are not kept: the mean stands for them
    group.counters.on_freed(group.bytes_of(len(results)) if group.done else held_bytes)


def drop_claim(
    ledger: Ledger, group: Group, worker: Worker, results: BitMap, *, tell: bool
) -> None:
    """Let a worker hold these results of a group no more; with `tell` it is told to free them."""
    held = group.holders.get(worker.peer)
    if held is None:
        return
    gone = held & results
    if not gone:
        return
    held -= gone
    if not held:
        del group.holders[worker.peer]
        del worker.holds[group.id]
    if tell:
        ledger.outbox.free(worker.peer, group.id, gone)


def add_copy(group: Group, worker: Worker, results: BitMap) -> None:
    """A worker holds these done results too."""
    held = group.holders.get(worker.peer)
    if held is None:
        held = group.holders[worker.peer] = BitMap()
        worker.holds[group.id] = group
    group.copied |= results - held
    held |= results
