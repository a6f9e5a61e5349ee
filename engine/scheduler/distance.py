"""How far workers are apart, and what moving results between them takes.

A worker says where it is by a path, ``site/rack/host``. Two workers are on one host, in one rack,
on one site, or further apart: four levels. For each level latency and bandwidth are running
estimates of what workers report of their fetches.

Law: numbers in, numbers out; nothing here knows of tasks. The first reports count most; later ones
change an estimate by a part of WEIGHT, and a single one never by more than FACTOR.
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
WEIGHT = 0.1
FACTOR = 8.0


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


class Estimate:
    """A running mean."""

    __slots__ = ("_count", "value")

    def __init__(self, value: float) -> None:
        self.value = value
        self._count = 0

    @property
    def is_seen(self) -> bool:
        """Return whether anything was taken in."""
        return self._count > 0

    def learn(self, seen: float) -> None:
        """Take in what was seen."""
        self._count += 1
        seen = min(max(seen, self.value / FACTOR), self.value * FACTOR)
        self.value += max(WEIGHT, 1 / (1 + self._count)) * (seen - self.value)


class Distances:
    """The estimates by level. `bandwidth`, in bytes per second, is expected before any was seen."""

    def __init__(self, bandwidth: float) -> None:
        self._latencies_s = [Estimate(LATENCY_S) for _ in range(LEVELS)]
        self._byte_s = [Estimate(1 / bandwidth) for _ in range(LEVELS)]

    def learn(self, one: Worker, other: Worker, nbytes: int, seconds: float) -> None:
        """Take in that a transfer of `nbytes` between two workers took `seconds`."""
        if seconds <= 0:
            return
        level = level_between(one, other)
        latency = self._latencies_s[level]
        if nbytes <= SMALL_BYTES:
            latency.learn(seconds)
        else:
            self._byte_s[level].learn(max(seconds - latency.value, seconds / 4) / nbytes)

    def slowest_byte_s(self) -> float:
        """Return how many seconds a byte takes where it takes longest, of what was seen so far."""
        seen = [estimate.value for estimate in self._byte_s if estimate.is_seen]
        return max(seen, default=self._byte_s[0].value)

    def seconds(self, one: Worker, other: Worker, nbytes: int) -> float:
        """Return how long moving so many bytes is expected to take."""
        level = level_between(one, other)
        return self._latencies_s[level].value + nbytes * self._byte_s[level].value
