"""METG(50 %): the smallest tasks with which a system keeps its slots half busy.

After Task Bench (see patterns.py): the kernel is made shorter until the efficiency, that is the
time that all kernels take by themselves divided by the time that the slots had, falls to one half.
The granularity is the slots' time per task (wall time * slots / tasks), overheads included, so at
50 % it is twice the kernel's own length.

Width: the paper runs one column per core, and four such graphs at once to let systems overlap; with
two slots one column each leaves no pattern to speak of (a tree or an FFT of width 2), so here one
graph has four columns per slot. All systems get the same graphs.

Just before each pattern as many bare processes as slots run the kernel alone, and the share of the
cores that they got is told with the result. What others take is not corrected for (a system that
waits a lot would look better than it is), so far below 100 % the figures are too bad.

Law: lengths are numbers of spins of one kernel that is timed on all slots at once, before the
systems run: what the systems' own processes take from the cores counts against them.
"""

from __future__ import annotations

import concurrent.futures
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Self

from . import work
from .patterns import Graph, make_graph
from .systems.base import BaseSystem

COLUMNS_PER_SLOT = 4
STEPS = 50
SHORTEST_S, LONGEST_S = 5e-6, 0.06
STRIDE = 2.0
"""By how much it is made longer or shorter until one half has been crossed."""
CLOSE = 1.12
"""Two lengths on both sides of one half that are this close end the search."""
BOUND_S = 12.0
"""So long a search may take; the last bracket then stands."""
PROBE_SPINS = 4000
SHARE_S = 0.4


class Kernel(NamedTuple):
    """How long `work.spin` takes: ``base_s + spins * spin_s``."""

    base_s: float
    spin_s: float

    def spins_of(self, length_s: float) -> int:
        """Return the number of spins that take so long, at least one."""
        return max(1, round((length_s - self.base_s) / self.spin_s))

    def length_of(self, spins: int) -> float:
        """Return how long so many spins take, in seconds."""
        return self.base_s + spins * self.spin_s


class Found(NamedTuple):
    """The result of a search. `kernel_s`: the kernel's length at 50 %. `curve`: (length in s,
    efficiency) of all that was tried. `bound`: '>' or '<' where it is above or below what was
    searched, otherwise empty."""

    kernel_s: float
    curve: list[tuple[float, float]]
    bound: str


def calibrate(slots: int) -> Kernel:
    """Time the kernel in `slots` processes at once, and return the mean of them."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(slots, mp_context=context) as pool:
        found = list(pool.map(time_kernel, [0.2] * slots))
        found = list(pool.map(time_kernel, [1.0] * slots))
    return Kernel(*(statistics.mean(column) for column in zip(*found, strict=True)))


def time_kernel(lasting_s: float) -> Kernel:
    """Time the kernel here: the lower quartile of many short runs, so that a moment in which
    somebody else had the core is left out."""
    few: list[float] = []
    many: list[float] = []
    end = time.perf_counter() + lasting_s
    while time.perf_counter() < end:
        for samples, spins in ((few, 1), (many, PROBE_SPINS)):
            start = time.perf_counter()
            work.spin(spins)
            samples.append(time.perf_counter() - start)
    one, lot = (statistics.quantiles(samples, n=4)[0] for samples in (few, many))
    spin_s = (lot - one) / (PROBE_SPINS - 1)
    return Kernel(max(0.0, one - spin_s), spin_s)


def search(
    efficiency_at: Callable[[float], float], has_time: Callable[[], bool], first_s: float
) -> Found:
    """Find the kernel's length at which the efficiency is one half: strides from `first_s` until it
    is crossed, then bisection in log space, then the line between the last two (the inverse of the
    efficiency is linear in the inverse of the length, if the overhead per task does not depend on
    it)."""
    curve: list[tuple[float, float]] = []

    def is_half(length_s: float) -> bool:
        curve.append((length_s, efficiency_at(length_s)))
        return curve[-1][1] >= 0.5

    low = high = min(max(first_s, SHORTEST_S), LONGEST_S)
    if is_half(high):
        while (low := high / STRIDE) >= SHORTEST_S and has_time() and is_half(low):
            high = low
        if curve[-1][1] >= 0.5:
            return Found(high, curve, "<")
    else:
        while (high := low * STRIDE) <= LONGEST_S and has_time() and not is_half(high):
            low = high
        if curve[-1][1] < 0.5:
            return Found(low, curve, ">")
    while high / low > CLOSE and has_time():
        middle = math.sqrt(low * high)
        if is_half(middle):
            high = middle
        else:
            low = middle
    known = dict(curve)
    (x, y), (u, v) = ((1 / length, 1 / max(known[length], 1e-9)) for length in (low, high))
    return Found(1 / (u + (2 - v) * (x - u) / (y - v)), curve, "")


def digest_all(graph: Graph) -> list[bytes]:
    """Return the results that the sinks of a graph must have, computed here one after the other."""
    results: list[bytes] = []
    for label, deps in graph.tasks:
        results.append(work.digest(label, *(results[dep] for dep in deps)))
    return [results[index] for index in graph.sinks]


def count_spins(lasting_s: float) -> float:
    """Run the kernel here for some time; return how many spins there were per second."""
    spins = 0
    start = time.perf_counter()
    while (took_s := time.perf_counter() - start) < lasting_s:
        work.spin(PROBE_SPINS)
        spins += PROBE_SPINS
    return spins / took_s


class Bench:
    """Runs graphs on one system that is started. A context manager, because of the bare processes
    that show how idle the machine is."""

    def __init__(self, system: BaseSystem, kernel: Kernel) -> None:
        self.system = system
        self.kernel = kernel
        context = multiprocessing.get_context("spawn")
        self._bare = concurrent.futures.ProcessPoolExecutor(system.slots, mp_context=context)

    def __enter__(self) -> Self:
        self._measure_share(0.05)
        return self

    def __exit__(self, *exc: object) -> None:
        self._bare.shutdown()

    def _measure_share(self, lasting_s: float = SHARE_S) -> float:
        """Return the share of the slots' time that bare processes get now, at most 1."""
        rates = list(self._bare.map(count_spins, [lasting_s] * self.system.slots))
        return min(1.0, statistics.mean(rates) * self.kernel.spin_s)

    def measure(self, pattern: str) -> dict[str, Any]:
        """Return the row of a pattern: the granularity at 50 %, in seconds, and how it was found.

        Raises:
            AssertionError: the system has computed something else than the graph.
        """
        system = self.system
        graph = make_graph(pattern, COLUMNS_PER_SLOT * system.slots, STEPS)
        truth = digest_all(graph)
        walls = {}
        for way in system.graph_ways:  # the first run of each is to warm up
            walls[way] = min(self._run(graph, 1, way, truth) for _ in range(3))
        way = min(walls, key=walls.__getitem__)
        share = self._measure_share()
        end = time.perf_counter() + BOUND_S

        def efficiency_at(length_s: float) -> float:
            spins = self.kernel.spins_of(length_s)
            wall_s = self._median(graph, spins, way, truth)
            work_s = len(graph.tasks) * self.kernel.length_of(spins)
            return work_s / (wall_s * system.slots)

        # If an overhead does not depend on the kernel, this is where the slots are half busy.
        first_s = walls[way] * system.slots / len(graph.tasks)
        found = search(efficiency_at, lambda: time.perf_counter() < end, first_s)
        return {
            "value": 2 * found.kernel_s,
            "unit": "s",
            "n": len(graph.tasks),
            "samples": found.curve,
            "way": way,
            "rates": {name: len(graph.tasks) / wall_s for name, wall_s in walls.items()},
            "bound": found.bound,
            "share": share,
        }

    def _median(self, graph: Graph, spins: int, way: str, truth: list[bytes]) -> float:
        samples: list[float] = []
        while len(samples) < 3 or (sum(samples) < 0.25 and len(samples) < 15):
            samples.append(self._run(graph, spins, way, truth))
            if sum(samples) > 1.0:
                break
        return statistics.median(samples)

    def _run(self, graph: Graph, spins: int, way: str, truth: list[bytes]) -> float:
        start = time.perf_counter()
        results = self.system.run_graph(graph, spins, way)
        wall_s = time.perf_counter() - start
        assert results == truth, f"{graph.pattern}: wrong results"
        return wall_s
