"""What a progress display shows: one row of numbers per group.

Law: reads the client's own counters and nothing else: it sends nothing, waits for nothing and holds
no result. However many groups there are, what comes out has at most `MAX_ROWS` rows and one for all
others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_ROWS = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One group at one moment. Counts are of tasks; `rate` in tasks per second, `eta_s` (time left)
    and `took_s` (from the start of the group to its end) in seconds.

    `done` ended well, `failed` ended without a result; `waiting` is what neither runs nor has
    ended. `key` tells groups of one name apart. `started` and `ended`: when the group's first task
    began and its last one ended, in unix seconds, as far as that is known.
    """

    name: str
    total: int
    done: int
    failed: int
    running: int
    rate: float | None = None
    eta_s: float | None = None
    took_s: float | None = None
    key: int = 0
    started: float | None = None
    ended: float | None = None

    @property
    def waiting(self) -> int:
        """Tasks that have not started: in a queue, or their inputs are not there yet."""
        return max(0, self.total - self.done - self.failed - self.running)

    @property
    def is_finished(self) -> bool:
        """Whether nothing will change any more by itself."""
        return self.done + self.failed >= self.total


def bound_rows(rows: Sequence[Row], limit: int = MAX_ROWS) -> list[Row]:
    """Return at most `limit` rows, in their order, and one more that sums up the rest.

    Unfinished groups go first into the choice, then those that failed, then the largest.
    """
    if len(rows) <= limit:
        return list(rows)
    order = sorted(
        range(len(rows)),
        key=lambda i: (rows[i].is_finished, -rows[i].failed, -rows[i].total, i),
    )
    kept = set(order[:limit])
    rest = [row for i, row in enumerate(rows) if i not in kept]
    shown = [row for i, row in enumerate(rows) if i in kept]
    return [*shown, sum_rows(f"other ({len(rest):,} groups)", rest)]


def sum_rows(name: str, rows: Iterable[Row]) -> Row:
    """Return one row for all: counts and rates added, the longest time left."""
    total = done = failed = running = 0
    rates: list[float] = []
    etas: list[float] = []
    for row in rows:
        total += row.total
        done += row.done
        failed += row.failed
        running += row.running
        if row.rate is not None:
            rates.append(row.rate)
        if row.eta_s is not None:
            etas.append(row.eta_s)
    return Row(
        name, total, done, failed, running, sum(rates) if rates else None, max(etas, default=None)
    )
