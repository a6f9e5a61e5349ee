"""What the records held when the core was at fault, in words for its log.

Law: bounded, reads only, and trusts nothing that it reads: a part that cannot be told is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .core import SchedulerCore
from .groups import Group
from .ledger import Ledger
from .runs import runs_of

MAX_GROUPS = 30
MAX_ASSIGNMENTS = 100
MAX_RUNS = 12


def dump(core: SchedulerCore) -> str:
    """Return groups with their tasks by state, assignments, workers and clients, a line each."""
    ledger = core.ledger
    lines: list[str] = []
    for tell in (_tell_peers, _tell_groups, _tell_assignments):
        _gather(lines, tell, ledger)
    return "\n".join(lines)


def _gather(lines: list[str], tell: Callable[[Ledger], Iterable[str]], ledger: Ledger) -> None:
    try:
        lines.extend(tell(ledger))
    except Exception as error:
        lines.append(f"({tell.__name__} failed: {error!r})")


def _tell_peers(ledger: Ledger) -> Iterable[str]:
    for client in ledger.clients.values():
        yield f"client {client.peer} {client.name!r}: holds tasks of {len(client.holds)} groups"
    for worker in ledger.workers.values():
        yield (
            f"worker {worker.peer} {worker.name!r}: {worker.slots} slots, {worker.tasks} tasks in "
            f"{len(worker.assignments)} assignments, results of {len(worker.holds)} groups"
        )


def _tell_groups(ledger: Ledger) -> Iterable[str]:
    yield f"{len(ledger.groups)} groups; the newest:"
    for group in list(ledger.groups.values())[-MAX_GROUPS:]:
        yield (
            f"group {group.id:x} {group.name!r} {group.layer.kind} n={group.n} "
            f"owner={group.owner} open={group.is_open} {_tell_states(group)}"
        )


def _tell_states(group: Group) -> str:
    return " ".join(
        f"{state}={_tell_runs(runs_of(tasks))}" for state, tasks in group.sets.items() if tasks
    )


def _tell_runs(runs: list[int]) -> str:
    pairs = [f"{start}-{stop}" for start, stop in zip(runs[::2], runs[1::2], strict=True)]
    more = f" and {len(pairs) - MAX_RUNS} runs more" if len(pairs) > MAX_RUNS else ""
    return f"[{' '.join(pairs[:MAX_RUNS])}{more}]"


def _tell_assignments(ledger: Ledger) -> Iterable[str]:
    yield f"{len(ledger.assignments)} assignments; the newest:"
    for assignment in list(ledger.assignments.values())[-MAX_ASSIGNMENTS:]:
        yield (
            f"assignment {assignment.id}: group {assignment.group.id:x} "
            f"[{assignment.start}, {assignment.stop}) left={_tell_runs(runs_of(assignment.left))} "
            f"worker={assignment.worker.peer}"
        )
