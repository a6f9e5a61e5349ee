"""What could be reached: list scheduling with perfect knowledge, and lower bounds.

HEFT: H. Topcuoglu, S. Hariri, M.-Y. Wu, "Performance-effective and low-complexity task scheduling
for heterogeneous computing", IEEE Transactions on Parallel and Distributed Systems 13(3), 2002:
tasks in the order of their upward rank (mean duration and mean transfer times along the longest
way to an end), each on the processor that finishes it earliest, also in a gap between others.
A processor is one slot; slots of one worker share its results.

Law: it knows true durations, sizes and speeds, pays for transfers and for nothing else: no
messages, no decisions. Transfers do not disturb each other, here as in the simulation.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

import numpy as np

from .problem import Problem, level_of


@dataclass(frozen=True)
class Bound:
    """Seconds from the start to the end of the last task, and bytes moved. `by`: where from."""

    seconds: float
    bytes_moved: int
    by: str


def find_bound(problem: Problem) -> Bound:
    """Return the oracle's makespan, or the lower bound where its problem is too large for it."""
    return lower_bound(problem) if problem.is_large else run_heft(problem)


def lower_bound(problem: Problem) -> Bound:
    """Return the larger of the whole work divided by all slots, and the longest path."""
    work_s = float(sum(work.durations.sum() for work in problem.works))
    power = sum(machine.slots * machine.speed for machine in problem.machines)
    fastest = max(machine.speed for machine in problem.machines)
    longest = 0.0
    if any(work.has_inputs for work in problem.works):
        graph = _flatten(problem)
        ends = np.zeros(len(graph.durations))
        for task, inputs in enumerate(graph.inputs):
            begin = max((ends[i] for i in inputs), default=0.0)
            ends[task] = begin + graph.durations[task]
        longest = float(ends.max())
    else:
        longest = float(max(work.durations.max() for work in problem.works))
    return Bound(max(work_s / power, longest / fastest), 0, "bound")


class _Graph:
    """All tasks of a problem under one numbering; producers come before consumers."""

    def __init__(self, problem: Problem) -> None:
        starts = np.cumsum([0, *(work.n for work in problem.works)]).tolist()
        self.durations: list[float] = np.concatenate([w.durations for w in problem.works]).tolist()
        self.sizes: list[int] = np.concatenate([w.sizes for w in problem.works]).tolist()
        self.inputs: list[list[int]] = [
            [starts[group - 1] + index for group, index in deps]
            for number in range(1, len(problem.works) + 1)
            for deps in problem.inputs(number)
        ]
        self.consumers: list[list[int]] = [[] for _ in self.durations]
        for task, inputs in enumerate(self.inputs):
            for i in inputs:
                assert i < task
                self.consumers[i].append(task)


def _flatten(problem: Problem) -> _Graph:
    return _Graph(problem)


class _Slot:
    """A processor: its busy times, and the gaps between them, ascending."""

    __slots__ = ("end", "gaps")

    def __init__(self) -> None:
        self.end = 0.0
        self.gaps: list[tuple[float, float]] = []

    def find_start(self, ready: float, took: float) -> float:
        """Return the earliest start of a task that is ready at a time."""
        for begin, end in self.gaps:
            start = max(begin, ready)
            if start + took <= end:
                return start
        return max(self.end, ready)

    def take(self, start: float, took: float) -> None:
        """Be busy from a start on."""
        if start >= self.end:
            if start > self.end:
                self.gaps.append((self.end, start))
            self.end = start + took
            return
        for at, (begin, end) in enumerate(self.gaps):
            if begin <= start and start + took <= end:
                del self.gaps[at]
                for rest in ((begin, start), (start + took, end)):
                    if rest[1] - rest[0] > 1e-9:
                        insort(self.gaps, rest)
                return
        raise AssertionError("no such gap")


def run_heft(problem: Problem) -> Bound:
    """Return the schedule's length and what it moves."""
    graph, machines, network = _flatten(problem), problem.machines, problem.network
    count = len(machines)
    levels = [[level_of(a.path, b.path) for b in machines] for a in machines]
    latency, slowness = np.zeros((count, count)), np.zeros((count, count))
    for a in range(count):
        for b in range(count):
            if a != b:
                latency[a, b] = network.latency_s[levels[a][b]]
                slowness[a, b] = 1 / network.bandwidth[levels[a][b]]
    weights = np.array([machine.slots for machine in machines], float)
    pairs = np.outer(weights, weights) / weights.sum() ** 2
    mean_latency, mean_slowness = float((latency * pairs).sum()), float((slowness * pairs).sum())
    mean_speed = float(weights.sum() / sum(m.slots / m.speed for m in machines))
    ranks = [0.0] * len(graph.durations)
    for task in range(len(ranks) - 1, -1, -1):
        moving = mean_latency + graph.sizes[task] * mean_slowness
        after = max((ranks[c] for c in graph.consumers[task]), default=-moving)
        ranks[task] = graph.durations[task] / mean_speed + moving + after
    slots = [[_Slot() for _ in range(machine.slots)] for machine in machines]
    where, ends = [0] * len(ranks), [0.0] * len(ranks)
    copies: set[tuple[int, int]] = set()
    moved = 0
    for task in sorted(range(len(ranks)), key=lambda t: (-ranks[t], t)):
        ready = np.zeros(count)
        for i in graph.inputs[task]:
            arrival = ends[i] + latency[where[i]] + graph.sizes[i] * slowness[where[i]]
            np.maximum(ready, arrival, out=ready)
        best = (float("inf"), 0.0, 0, slots[0][0])
        for at, machine in enumerate(machines):
            took = graph.durations[task] / machine.speed
            if ready[at] + took >= best[0]:
                continue
            for slot in slots[at]:
                start = slot.find_start(float(ready[at]), took)
                if start + took < best[0]:
                    best = (start + took, start, at, slot)
        end, start, at, slot = best
        slot.take(start, end - start)
        where[task], ends[task] = at, end
        for i in graph.inputs[task]:
            if where[i] != at and (i, at) not in copies:
                copies.add((i, at))
                moved += graph.sizes[i]
    return Bound(max(ends), moved, "HEFT")
