"""What the scheduler's core costs at sizes that no single machine has: `python -m
benchmarks.core_costs`.

The real core, without processes, sockets or waiting: simulated workers finish their spans in
simulated time, and the CPU time of the core's calls is taken. Prints rows like measure.py.

Law: the core is used by its public methods, as its shell uses it.
"""

from __future__ import annotations

import heapq
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cellspan.engine.codec import encode
from cellspan.engine.diagnostics.counters import bin_of
from cellspan.engine.ids import make_group_id
from cellspan.engine.messages import Heartbeat, RunSpan, SnapshotTaken, SpanDone, SubmitGroup
from cellspan.engine.scheduler.core import SchedulerCore
from cellspan.engine.scheduler.desk import find_interval_s

WORKERS = (10, 100, 1000, 10_000)
SLOTS = 8
TASK_S = 0.02
SPAN_TASKS = 16
"""What a span comes to: 40 ms of work for each slot."""
SKIPPED, SKIPPED_PER_WORKER = 2000, 4
"""The first reports: probes, and the filling of the queues. After that a report is answered by a
span."""
MEASURED = 8000
LARGE = 160
"""From so many workers on spans grow with their number (scheduler/lengths.py)."""
CHUNK = 500
"""The cost is the median of those of so many spans each."""
CLIENT, FIRST_WORKER = 1, 10


class Cost(NamedTuple):
    """CPU seconds for a span: of the decision (`place`) alone, and of all that the core does from
    a report until the next span is assigned. `reports`: how many were measured, `spans`: how many
    were assigned because of them."""

    decision_s: float
    all_s: float
    reports: int
    spans: int


class Simulated:
    """A core with so many workers, and the spans that they have."""

    def __init__(self, workers: int, seed: int = 1) -> None:
        self.core = SchedulerCore()
        self.now = 0.0
        self.done = 0
        self._random = random.Random(seed)
        self._serial = 0
        self._running: list[tuple[float, int, int, RunSpan]] = []
        self._free_at: dict[int, float] = {}
        self._number = 0
        self.core.add_client(CLIENT, {"name": "ada"}, self.now)
        for peer in range(FIRST_WORKER, FIRST_WORKER + workers):
            info = {
                "name": f"w{peer}", "slots": SLOTS, "address": f"sim://{peer}",
                "host": f"h{peer}", "memory_limit_bytes": 64 << 30,
            }  # fmt: skip
            self.core.add_worker(peer, info, self.now)
            self._free_at[peer] = 0.0

    def submit(self, n: int, source: int | None = None) -> int:
        """Submit a map over a range, or over the results of another group; return its id."""
        self._serial += 1
        group, function = make_group_id(CLIENT, self._serial), bytes(16)
        argument = ["range", 0, 1] if source is None else ["same", source, 0]
        layer = {"kind": "each", "n": n, "function": function, "args": [argument], "names": []}
        message = SubmitGroup(group, f"map-{self._serial}", layer, {function: b"f"}, {}, False)
        self.core.handle(CLIENT, message, self.now)
        return group

    def place(self) -> int:
        """Have the core place; return how many spans it handed out."""
        self.core.place(self.now)
        return self._take()

    def _take(self) -> int:
        count = 0
        for peer, message in self.core.take_sends():
            if isinstance(message, RunSpan):
                count += 1
                self._number += 1
                tasks = message.stop - message.start
                lasts_s = TASK_S * tasks / SLOTS * self._random.uniform(0.9, 1.1)
                end = max(self.now, self._free_at[peer]) + lasts_s
                self._free_at[peer] = end
                heapq.heappush(self._running, (end, self._number, peer, message))
        return count

    def step(self) -> tuple[int, int, int] | None:
        """Let the next span end. Return how many were handed out because of it, and the CPU time
        (ns) of `place` and of all; None: nothing runs."""
        if not self._running:
            return None
        self.now, _, peer, span = heapq.heappop(self._running)
        tasks = span.stop - span.start
        self.done += tasks
        report = SpanDone(
            assignment=span.assignment, group=span.group, start=span.start, stop=span.stop,
            nbytes=8 * tasks, seconds=TASK_S * tasks, times=[bin_of(TASK_S), tasks], blocks=None,
        )  # fmt: skip
        began = time.thread_time_ns()
        self.core.handle(peer, report, self.now)
        handled = time.thread_time_ns()
        self.core.place(self.now)
        placed = time.thread_time_ns()
        return self._take(), placed - handled, placed - began

    def run(self) -> None:
        """Let all spans end."""
        while self.step():
            pass


def cost_of(workers: int, over_results: bool, measured: int = MEASURED, chunk: int = CHUNK) -> Cost:
    """Return what a span costs with so many workers: in a map over a range, or over the results
    of a map that is done, which lie on all workers. In a large cluster spans are longer, and the
    map with them, so that all sizes hand out about as many."""
    skipped = SKIPPED + SKIPPED_PER_WORKER * workers
    longer = max(1.0, workers / LARGE)
    tasks = int((skipped + 2 * measured + 4 * workers) * SPAN_TASKS * longer)
    simulated = Simulated(workers)
    source = None
    if over_results:
        source = simulated.submit(tasks)
        simulated.place()
        simulated.run()
    simulated.submit(tasks, source)
    simulated.place()
    for _ in range(skipped):
        simulated.step()
    chunks: list[tuple[float, float]] = []
    reports = spans = 0
    for _ in range(measured // chunk):
        decision_ns = all_ns = given = 0
        while given < chunk:
            stepped = simulated.step()
            assert stepped is not None, "the map has ended too early"
            reports += 1
            given += stepped[0]
            decision_ns += stepped[1]
            all_ns += stepped[2]
        spans += given
        chunks.append((decision_ns / given, all_ns / given))
    decision, everything = (statistics.median(column) for column in zip(*chunks, strict=True))
    return Cost(decision * 1e-9, everything * 1e-9, reports, spans)


def spread_of(costs: list[float]) -> float:
    """Return by how much the costs differ from the middle of the largest and the smallest: 0.2 is
    'flat within 20 %'."""
    return (max(costs) - min(costs)) / (max(costs) + min(costs))


def measure_decisions() -> Iterator[dict[str, Any]]:
    """Yield the rows of the cost of a decision."""
    for name, over_results in (("decision", False), ("decision_inputs", True)):
        costs = [cost_of(workers, over_results) for workers in WORKERS]
        yield {
            "measure": name,
            "value": spread_of([cost.decision_s for cost in costs]),
            "unit": "%",
            "n": costs[0].reports,
            "samples": [
                [workers, cost.decision_s, cost.all_s, cost.spans]
                for workers, cost in zip(WORKERS, costs, strict=True)
            ],
        }


def fill(workers: int, tasks: int, groups: int) -> Simulated:
    """Return a cluster in the middle of its work: groups that are done, running and waiting."""
    simulated = Simulated(workers)
    for peer in range(FIRST_WORKER, FIRST_WORKER + workers):
        stats = {
            "cpu": (peer % 100) / 100, "memory_bytes": peer << 20, "store_bytes": peer << 18,
            "executors": SLOTS, "running": SLOTS,
        }  # fmt: skip
        simulated.core.handle(peer, Heartbeat(stats), simulated.now)
    for _ in range(groups):
        simulated.submit(tasks // groups)
    simulated.place()
    while simulated.done < tasks // 100 and simulated.step():
        pass
    return simulated


def measure_snapshot(workers: int = 10_000, tasks: int = 10_000_000) -> Iterator[dict[str, Any]]:
    """Yield the rows of a snapshot's size and of its share of the scheduler's CPU: what one costs,
    as often as the scheduler makes one while somebody looks.
    """
    simulated = fill(workers, tasks, 400)
    core, now = simulated.core, simulated.now
    samples = []
    for count in range(12):
        began = time.thread_time()
        wire = core.snapshot(now + count).to_wire()
        parts = encode([SnapshotTaken(1, wire)])
        samples.append(time.thread_time() - began)
    frame_bytes = sum(map(len, parts))
    nbytes = len(core.snapshot(now + 20.0).to_json().encode())
    middle_s = statistics.median(samples)
    yield {"measure": "snapshot_bytes", "value": max(nbytes, frame_bytes), "unit": "B", "n": tasks}
    yield {
        "measure": "snapshot_cpu",
        "value": middle_s / find_interval_s(middle_s),
        "unit": "%",
        "n": tasks,
        "samples": samples,
    }


ROWS: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
    "decisions": measure_decisions,
    "snapshot": measure_snapshot,
}


def main(jobs: list[str]) -> None:
    """Print the rows of the jobs, and where each begins and ends."""
    for job in jobs:
        print(json.dumps({"begin": job}), flush=True)
        for row in ROWS[job]():
            print(json.dumps(row), flush=True)
        print(json.dumps({"end": job}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(ROWS))
