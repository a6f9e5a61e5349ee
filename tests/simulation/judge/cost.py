"""What decisions cost: processor time per span, from 10 to 10,000 workers, and 10^7 tasks at once.

The scheduler's core alone is measured: a worker is a list of spans that are answered in turn, so
what is timed is `handle` of a report, `place`, and `take_sends`. The least of several rounds
counts: other work on the machine can only add to it.

Law: the only file of the judge that reads a clock, and that is the processor time of this process.
"""

from __future__ import annotations

import gc
import resource
import sys
from collections import deque
from dataclasses import dataclass
from time import process_time

import numpy as np

from cellspan.engine.ids import make_group_id
from cellspan.engine.messages import DataStored, RunSpan, SpanDone, SubmitGroup
from cellspan.engine.scheduler.core import SchedulerCore

from .problem import CLIENT, DIGEST, FUNCTION, Machine, Problem, Work
from .report import SEED, table
from .run import FIRST_WORKER, Outcome, run

TASK_S = 0.01
EVENTS = 2000
WARM_UP = 6
TASKS = 1 << 26
ROUNDS = 15
COUNTED = 500
WORKERS = (10, 100, 1000, 10_000)
SCALE_GRAIN_S = 0.001


@dataclass(frozen=True)
class Cost:
    """Per span (its report, the decision, its message): processor time, and calls of functions."""

    workers: int
    seconds: float
    calls: float


class Feed:
    """A core with spans under way; each step reports the oldest and places what that makes room
    for."""

    def __init__(self, workers: int, *, has_inputs: bool) -> None:
        self.core = SchedulerCore()
        self.now = 0.0
        self.spans: deque[tuple[int, RunSpan]] = deque()
        for peer in range(FIRST_WORKER, FIRST_WORKER + workers):
            info = {"name": f"w{peer}", "slots": 2, "address": f"sim://{peer}", "topology": "h"}
            self.core.add_worker(peer, info, 0.0)
        self.core.add_client(CLIENT, {"name": "judge"}, 0.0)
        # the same number of tasks however many workers there are, and far more than are handed out
        first, second = make_group_id(CLIENT, 1), make_group_id(CLIENT, 2)
        if has_inputs:
            self._scatter(first, workers)
            self._submit(second, ["same", first, 0])
        else:
            self._submit(first, ["range", 0, 1])
        self.turn()
        self.steps(WARM_UP * workers)  # until spans have their length

    def _scatter(self, group: int, workers: int) -> None:
        """Let every worker hold its part of a group."""
        layer = {"kind": "data", "n": TASKS}
        self.core.handle(CLIENT, SubmitGroup(group, "data", layer, {}, {}, False), self.now)
        for at in range(workers):
            start, stop = TASKS * at // workers, TASKS * (at + 1) // workers
            message = DataStored(group, start, stop, 1000 * (stop - start))
            self.core.handle(FIRST_WORKER + at, message, self.now)

    def _submit(self, group: int, argument: list[object]) -> None:
        layer = {"kind": "each", "n": TASKS, "function": DIGEST, "args": [argument], "names": []}
        message = SubmitGroup(group, "map", layer, {DIGEST: FUNCTION}, {}, False)
        self.core.handle(CLIENT, message, self.now)

    def turn(self) -> None:
        """Place, and take what is sent."""
        self.core.place(self.now)
        for peer, message in self.core.take_sends():
            if type(message) is RunSpan:
                self.spans.append((peer, message))

    def steps(self, count: int) -> None:
        """Report so many spans."""
        spans, core = self.spans, self.core
        for _ in range(count):
            peer, span = spans.popleft()
            start, stop = span.start, span.stop
            seconds = (stop - start) * TASK_S
            report = SpanDone(
                span.assignment, span.group, start, stop, 8 * (stop - start), seconds, [], None
            )
            self.now += 1e-5
            core.handle(peer, report, self.now)
            self.turn()


def measure_cost(workers: int, *, has_inputs: bool) -> Cost:
    """Return what a span costs the core."""
    feed = Feed(workers, has_inputs=has_inputs)
    least = float("inf")
    gc.collect()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            before = feed.core.ledger.last_assignment
            began = process_time()
            feed.steps(EVENTS)
            took = process_time() - began
            spans = feed.core.ledger.last_assignment - before
            least = min(least, took / (EVENTS + spans) * 2)
    finally:
        gc.enable()
    return Cost(workers, least, count_calls(feed))


def count_calls(feed: Feed) -> float:
    """Return how many functions are called for a span, of Python or built in."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = feed.core.ledger.last_assignment
    sys.setprofile(count)
    try:
        feed.steps(COUNTED)
    finally:
        sys.setprofile(None)
    return 2 * calls / (COUNTED + feed.core.ledger.last_assignment - before)


@dataclass(frozen=True)
class Scale:
    """One large map. `peak_bytes`: the most memory that this process ever had."""

    outcome: Outcome
    bound_s: float
    cpu_s: float
    peak_bytes: int


def measure_scale(workers: int, tasks: int, grain_s: float, seed: int) -> Scale:
    """Run a map of so many tasks on so many workers of one slot."""
    rng = np.random.default_rng(seed)
    durations = rng.lognormal(-0.045, 0.3, tasks)
    durations *= grain_s
    sizes = np.broadcast_to(np.int64(8), tasks)
    machines = [Machine(1, 1.0, f"s/r{i // 40}/h{i}") for i in range(workers)]
    problem = Problem("large map", [Work("map", durations, sizes)], machines, is_large=True)
    bound_s = float(durations.sum()) / workers
    began = process_time()
    outcome = run(problem)
    cpu_s = process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Scale(outcome, bound_s, cpu_s, peak)


def write_costs() -> str:
    """Return the table of costs per span as text."""
    rows = []
    for workers in WORKERS:
        plain, chained = (measure_cost(workers, has_inputs=flag) for flag in (False, True))
        row = [f"{1e6 * plain.seconds:.1f}", f"{plain.calls:.0f}"]
        row += [f"{1e6 * chained.seconds:.1f}", f"{chained.calls:.0f}"]
        rows.append([str(workers), *row])
    return table(["workers", "map (us)", "calls", "over results (us)", "calls"], rows)


def write_scale(workers: int, tasks: int) -> str:
    """Return what is to be said of the large map as text."""
    found = measure_scale(workers, tasks, SCALE_GRAIN_S, SEED)
    outcome = found.outcome
    return (
        "One large map: "
        f"{tasks:,} tasks of {1e3 * SCALE_GRAIN_S:g} ms on {workers:,} workers of one slot: "
        f"{outcome.seconds:.2f} s of virtual time, {outcome.seconds / found.bound_s:.3f} times the "
        f"lower bound; {outcome.spans:,} spans, {outcome.received:,} messages of workers; "
        f"{found.cpu_s:.0f} s of processor time, {found.cpu_s / outcome.spans * 1e6:.0f} us for "
        f"each span with everything (scheduler, workers, the simulation); the process never had "
        f"more than {found.peak_bytes / 2**20:.0f} MiB.\n"
    )
