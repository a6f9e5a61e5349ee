"""How far some tasks are, in numbers.

Law: done and failed are counted here, exactly; what only the scheduler knows (running, rate) comes
from its latest snapshot and is as old as that.
"""

from __future__ import annotations

from dataclasses import dataclass

from .state import GroupState


@dataclass(frozen=True, slots=True)
class GroupProgress:
    """Counts of tasks: `total = done + failed + running + waiting`.

    `rate` in tasks per second, lately; `eta_s` is the time left in seconds, None if it cannot be
    told. `running` and `rate` are of the whole group. `group` is its number in the cluster.
    """

    total: int
    done: int
    failed: int
    running: int
    waiting: int
    rate: float
    eta_s: float | None
    name: str = ""
    group: int = 0

    @property
    def is_finished(self) -> bool:
        return self.done + self.failed >= self.total


def progress_of(group: GroupState, indices: range) -> GroupProgress:
    """Return the progress of some tasks of a group."""
    session = group.session
    done, failed = _count(group, indices)
    if done + failed < len(indices) and session.closed is None:
        session.refresh()
        done, failed = _count(group, indices)
    left = len(indices) - done - failed
    row = session.rows.get(group.id)
    running = min(row.running, left) if row is not None else 0
    rate = float(row.rate) if row is not None and left else 0.0
    return GroupProgress(
        total=len(indices),
        done=done,
        failed=failed,
        running=running,
        waiting=left - running,
        rate=rate,
        eta_s=(left / rate if rate > 0 else None) if left else 0.0,
        name=group.name,
        group=group.id,
    )


def _count(group: GroupState, indices: range) -> tuple[int, int]:
    with group.session.lock:
        if abs(indices.step) == 1 and indices:
            start, stop = min(indices[0], indices[-1]), max(indices[0], indices[-1]) + 1
            failed = sum(b - a for a, b, _ in group.failed.items_in(start, stop))
            return group.done.count_in(start, stop), failed
        failed = sum(index in group.failed for index in indices)
        return sum(index in group.done for index in indices), failed
