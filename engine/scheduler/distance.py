"""How far workers are apart, and what moving results between them takes.

A worker says where it is by a path, ``site/rack/host``. Two workers are on one host, in one rack,
on one site, or further apart: four levels. For each level latency and bandwidth are running
estimates of what workers report of their fetches.

Law: numbers in, numbers out; nothing here knows of tasks. An estimate is never more than FACTOR
times better or worse than the last after a single report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .peers import Worker

LEVELS = 4
LATENCY_S = 0.5e-3
"""What a transfer is expected to take beside its bytes, before any was seen."""
SMALL_BYTES = 1 << 16
"""Up to here a transfer tells of latency, beyond it of bandwidth."""
WEIGHT = 0.2
FACTOR = 4.0


def level_between(one: Worker, other: Worker) -> int:
    """Return how far apart two workers are: 0 on one host, 1 in one rack, 2 on one site, 3 further.

    Paths are compared from the left: the level is the number of parts from the first difference on.
    """
    a, b = one.path, other.path
    if a == b:
        return 0
    same = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        same += 1
    return min(max(len(a), len(b)) - same, LEVELS - 1)


class Distances:
    """The estimates by level: seconds, and bytes per second."""

    def __init__(self, bandwidth: float) -> None:
        self.latency_s = [LATENCY_S] * LEVELS
        self.bandwidth = [bandwidth] * LEVELS

    def learn(self, one: Worker, other: Worker, nbytes: int, seconds: float) -> None:
        """Take in that a transfer of `nbytes` between two workers took `seconds`."""
        if seconds <= 0:
            return
        level = level_between(one, other)
        if nbytes <= SMALL_BYTES:
            self.latency_s[level] = _approach(self.latency_s[level], seconds)
        else:
            rest_s = max(seconds - self.latency_s[level], seconds / 4)
            self.bandwidth[level] = _approach(self.bandwidth[level], nbytes / rest_s)

    def seconds(self, one: Worker, other: Worker, nbytes: int) -> float:
        """Return how long moving so many bytes is expected to take."""
        level = level_between(one, other)
        return self.latency_s[level] + nbytes / self.bandwidth[level]


def _approach(known: float, seen: float) -> float:
    seen = min(max(seen, known / FACTOR), known * FACTOR)
    return known + WEIGHT * (seen - known)
