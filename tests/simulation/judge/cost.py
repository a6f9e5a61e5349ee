"""What decisions cost: processor time per span, from 10 to 10,000 workers, and 10^7 tasks at once.

The scheduler's core alone is measured: a worker is a list of spans that are answered in turn, so
what is timed is `handle` of a report, `place`, and `take_sends`. The least of several rounds
counts: other work on the machine can only add to it.

Law: the only file of the judge that reads a clock, and that is the processor time of this process.
"""

from __future__ import annotations

import gc
import resource
from collections import deque
from dataclasses import dataclass
from time import process_time

import numpy as np

from cellspan.engine.ids import make_group_id
from cellspan.engine.messages import RunSpan, SpanDone, SubmitGroup
from cellspan.engine.scheduler.core import SchedulerCore

from .problem import CLIENT, DIGEST, FUNCTION, Machine, Problem, Work
from .report import SEED, table
from .run import FIRST_WORKER, Outcome, run

TASK_S = 0.005
EVENTS = 2000
ROUNDS = 7
WORKERS = (10, 100, 1000, 10_000)
SCALE_GRAIN_S = 0.001


@dataclass(frozen=True)
class Cost:
    """Seconds of processor time per span: its report, the decision, its message."""

    workers: int
    seconds: float


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
        # so many tasks that the shares of what is left never shorten a span
        n = 1 << 28
        first, second = make_group_id(CLIENT, 1), make_group_id(CLIENT, 2)
        self._submit(first, n, ["range", 0, 1])
        if has_inputs:
            self._submit(second, n, ["same", first, 0])
        self.turn()
        for _ in range(8):  # until spans have their length
            self.steps(4 * workers)

    def _submit(self, group: int, n: int, argument: list[object]) -> None:
        layer = {"kind": "each", "n": n, "function": DIGEST, "args": [argument], "names": []}
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
            began = process_time()
            feed.steps(EVENTS)
            least = min(least, process_time() - began)
    finally:
        gc.enable()
    return Cost(workers, least / EVENTS)


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
        rows.append([str(workers), f"{1e6 * plain.seconds:.1f}", f"{1e6 * chained.seconds:.1f}"])
    return table(["workers", "map (us)", "map over results (us)"], rows)


def write_scale(workers: int, tasks: int) -> str:
    """Return what is to be said of the large map as text."""
    found = measure_scale(workers, tasks, SCALE_GRAIN_S, SEED)
    outcome = found.outcome
    return (
        f"{tasks:,} tasks of {1e3 * SCALE_GRAIN_S:g} ms on {workers:,} workers of one slot: "
        f"{outcome.seconds:.2f} s of virtual time, {outcome.seconds / found.bound_s:.3f} times the "
        f"lower bound; {outcome.spans:,} spans, {outcome.received:,} messages of workers; "
        f"{found.cpu_s:.0f} s of processor time, {found.cpu_s / outcome.spans * 1e6:.0f} us for "
        f"each span with everything (scheduler, workers, the simulation); the process never had "
        f"more than {found.peak_bytes / 2**20:.0f} MiB.\n"
    )
