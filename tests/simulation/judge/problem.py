"""A problem: groups of tasks with true durations and sizes, and the machines that are to run them.

The cluster is told of the groups as a client would tell it; durations, sizes and speeds are what
only the oracle knows in advance.

Law: data, and how it is submitted. Groups are numbered as the client numbers them, from 1 on.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cellspan.engine.ids import digest_of, make_group_id
from cellspan.engine.messages import ExtendGroup, Message, SubmitGroup
from cellspan.engine.scheduler.fold import make_levels

CLIENT = 1
FUNCTION = b"function"
DIGEST = digest_of(FUNCTION)
CHUNK = 512

Floats = NDArray[np.float64]
Sizes = NDArray[np.int64]
Dep = tuple[int, int]
"""A result: number of the group, index of the task."""


@dataclass(frozen=True)
class Machine:
    """A worker. `speed`: durations are divided by it; `path`: ``site/rack/host``."""

    slots: int = 2
    speed: float = 1.0
    path: str = ""


@dataclass(frozen=True)
class Network:
    """Latency in seconds and bandwidth in bytes per second, by level (see `level_of`)."""

    latency_s: tuple[float, ...] = (50e-6, 200e-6, 500e-6, 5e-3)
    bandwidth: tuple[float, ...] = (4e9, 1e9, 4e8, 5e7)
    control_s: float = 200e-6
    """From a peer to the scheduler, or back."""

    def seconds(self, level: int, nbytes: int) -> float:
        """Return how long a transfer takes."""
        return self.latency_s[level] + nbytes / self.bandwidth[level]


def level_of(path: str, other: str) -> int:
    """Return how far apart two workers are: 0 on one host, 1 in one rack, 2 on one site, else 3."""
    one, two = path.split("/"), other.split("/")
    for level in range(len(one)):
        if one[: len(one) - level] == two[: len(two) - level]:
            return min(level, 3)
    return 3


@dataclass
class Work:
    """A group. `durations` in seconds at speed 1, `sizes` of results in bytes, one per task.

    What it takes: `same`: ``(group number, offset)`` per argument of an `Each`; `fold`: ``(group
    number, offset, count, fan-in)``; `edges`: the inputs of each task of a `Graph`.
    """

    name: str
    durations: Floats
    sizes: Sizes
    same: list[Dep] = field(default_factory=list)
    fold: tuple[int, int, int, int] | None = None
    edges: list[list[Dep]] | None = None
    is_taken: bool = False
    """Whether tasks take its results: set by the problem."""

    @property
    def n(self) -> int:
        """Return the number of tasks."""
        return len(self.durations)

    @property
    def has_inputs(self) -> bool:
        """Return whether its tasks take results."""
        return bool(self.same or self.fold or self.edges)


@dataclass
class Problem:
    """See the head of this file. `is_large`: too large for a list-scheduling oracle."""

    name: str
    works: list[Work]
    machines: list[Machine]
    network: Network = Network()
    is_large: bool = False

    def __post_init__(self) -> None:
        for number, work in enumerate(self.works, 1):
            taken = {group for group, _ in work.same}
            taken |= {dep[0] for deps in work.edges or () for dep in deps}
            taken |= {number, work.fold[0]} if work.fold else set()
            for group in taken:
                self.works[group - 1].is_taken = True

    @property
    def tasks(self) -> int:
        """Return the number of tasks."""
        return sum(work.n for work in self.works)

    @property
    def held(self) -> int:
        """Return the number of tasks that the client holds futures of: of a fold the root."""
        return sum(1 if work.fold else work.n for work in self.works)

    @property
    def slots(self) -> int:
        """Return the number of slots."""
        return sum(machine.slots for machine in self.machines)

    def inputs(self, number: int) -> Iterator[Sequence[Dep]]:
        """Yield the inputs of each task of a group."""
        work = self.works[number - 1]
        if work.edges is not None:
            yield from work.edges
        elif work.fold is not None:
            source, offset, count, fanin = work.fold
            for start, stop, group, low, high in make_levels(number, source, offset, count, fanin):
                for at in range(stop - start):
                    first = low + at * fanin
                    yield [(group, i) for i in range(first, min(high, first + fanin))]
        else:
            for i in range(work.n):
                yield [(group, i + offset) for group, offset in work.same]

    def messages(self) -> Iterator[Message]:
        """Yield what the client says."""
        blobs = {DIGEST: FUNCTION}
        for number, work in enumerate(self.works, 1):
            group = make_group_id(CLIENT, number)
            if work.edges is not None:
                layer = {"kind": "graph", "function": DIGEST}
                yield SubmitGroup(group, work.name, layer, {**blobs}, {}, False)
                for start in range(0, work.n, CHUNK):
                    yield _extend(group, start, work.edges[start : start + CHUNK])
                continue
            if work.fold is not None:
                source, offset, count, fanin = work.fold
                layer = {
                    "kind": "fold", "n": work.n, "function": DIGEST, "initial": None,
                    "group": make_group_id(CLIENT, source), "offset": offset, "count": count,
                    "fanin": fanin,
                }  # fmt: skip
            else:
                args = [["same", make_group_id(CLIENT, g), offset] for g, offset in work.same]
                layer = {
                    "kind": "each", "n": work.n, "function": DIGEST, "names": [],
                    "args": args or [["range", 0, 1]],
                }  # fmt: skip
            yield SubmitGroup(group, work.name, layer, {**blobs}, {}, False)


def _extend(group: int, start: int, edges: list[list[Dep]]) -> Message:
    flat = [dep for deps in edges for dep in deps]
    count = len(edges)
    counts = array("I", map(len, edges)) if flat else array("I")
    return ExtendGroup(
        group, start, count, bytes(count), array("I", [1] * count).tobytes(), counts.tobytes(),
        array("q", [make_group_id(CLIENT, number) for number, _ in flat]).tobytes(),
        array("I", [index for _, index in flat]).tobytes(),
    )  # fmt: skip


def number_of(group: int) -> int:
    """Return the number of a group in its problem."""
    return group & 0xFFFFFFFF
