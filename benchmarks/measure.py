"""Measure one system, alone in this process: ``python -m benchmarks.measure SYSTEM BASE_S SPIN_S
JOB [JOB ...]`` (the two numbers: how long the kernel takes, metg.py).

Prints one JSON line per measure: {"measure", "value", "unit", "n", ...}, and {"begin": JOB} and
{"end": JOB} around each job, so that whoever reads knows what it was that never ended. Rates are
tasks per second of wall time from the call to the last result; latency and transfers are medians of
their samples in seconds. Where there is nothing to measure the row has an "error" in words.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from . import symbolic, work
from .metg import Bench, Kernel
from .patterns import PATTERNS
from .systems.base import BaseSystem

Row = dict[str, Any]
Job = Callable[[BaseSystem, str], Iterator[Row]]

ARRAY_BYTES = 100_000_000
FEWER = {"dask": 20, "ray": 10}
"""How many times fewer tasks a system is given where the full number would take many minutes; rates
stay comparable, and the table shows the number.
"""
CHAIN_ITEMS = {"dask": 300, "ray": 1000}
LINKS = 10
SHORT_START_S = 2.0


def rate(run: Callable[[int], None], n: int, repeats: int) -> Row:
    """Return the median rate of `repeats` runs of `n` tasks."""
    samples = []
    for _ in range(repeats):
        samples.append(n / timed(lambda: run(n)))
    return {"value": statistics.median(samples), "unit": "tasks/s", "n": n, "samples": samples}


def median_of(samples: list[float], unit: str = "s") -> Row:
    """Return the median of samples as a row."""
    return {"value": statistics.median(samples), "unit": unit, "n": len(samples),
            "samples": samples[:20]}  # fmt: skip


def timed(run: Callable[[], object]) -> float:
    """Return how long one call takes, in seconds."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def map_100k(system: BaseSystem, label: str) -> Iterator[Row]:
    few = FEWER.get(label, 1)
    yield {"measure": "map_100k", **rate(system.map_noop, 100_000 // few, 3 if few == 1 else 2)}


def map_1m(system: BaseSystem, label: str) -> Iterator[Row]:
    few = FEWER.get(label, 1)
    n = 1_000_000 // (few if few == 1 else few * 10)
    yield {"measure": "map_1m", **rate(system.map_noop, n, 3 if few == 1 else 1)}


def submit_20k(system: BaseSystem, label: str) -> Iterator[Row]:
    n = 20_000 // (4 if label == "dask" else 1)
    repeats = 1 if label in FEWER else 3
    yield {"measure": "submit_20k", **rate(system.submit_noop, n, repeats)}


def tree(system: BaseSystem, label: str) -> Iterator[Row]:
    leaves = 4096 // (4 if label == "dask" else 1)

    def add_up(_: int) -> None:
        assert system.add_tree(leaves) == leaves

    repeats = 1 if label in FEWER else 3
    yield {"measure": "tree", **rate(add_up, 2 * leaves - 1, repeats)}


def first(system: BaseSystem, label: str) -> Iterator[Row]:
    n = 20_000 if label in FEWER else 1_000_000
    samples = [timed(lambda: system.first_of_map(n)) for _ in range(1 if label in FEWER else 3)]
    yield {"measure": "first", **median_of(samples), "n": n}


def latency(system: BaseSystem, label: str) -> Iterator[Row]:
    for _ in range(20):
        system.round_trip()
    samples = [timed(system.round_trip) for _ in range(200 if label == "dask" else 1000)]
    yield {"measure": "latency", **median_of(samples)}
    yield {
        "measure": "latency_p99",
        "value": statistics.quantiles(samples, n=100)[98],
        "unit": "s",
        "n": len(samples),
    }


def pending(system: BaseSystem, label: str) -> Iterator[Row]:
    n = 20_000 if label in FEWER else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        value = system.bytes_per_pending(n, folder)
    yield {"measure": "pending", "value": value, "unit": "B/task", "n": n}


def pending_graph(system: BaseSystem, label: str) -> Iterator[Row]:
    leaves = 65_536 // (32 if label in FEWER else 1)
    with tempfile.TemporaryDirectory() as folder:
        value = system.bytes_per_pending_sum(leaves, folder)
    yield {"measure": "pending_graph", "value": value, "unit": "B/task", "n": 2 * leaves - 1}


def array_executors(system: BaseSystem, label: str) -> Iterator[Row]:
    yield from _array(system, "executors")


def array_workers(system: BaseSystem, label: str) -> Iterator[Row]:
    yield from _array(system, "workers")


def _array(system: BaseSystem, across: str) -> Iterator[Row]:
    samples = [system.transfer_s(ARRAY_BYTES, across) for _ in range(7)]
    there, touched = (median_of(list(column)) for column in zip(*samples, strict=True))
    yield {"measure": f"array_{across}", **there}
    yield {"measure": f"array_{across}_touched", **touched}
    if across == "workers":
        rates = [ARRAY_BYTES / sample[1] for sample in samples]
        yield {"measure": "array_workers_rate", **median_of(rates, "B/s")}


def chain_trivial(system: BaseSystem, label: str) -> Iterator[Row]:
    repeats = 3 if label not in FEWER else 1
    yield _chain(system, label, "chain_trivial", work.increment, work.increment_ten, repeats)


def chain_10us(system: BaseSystem, label: str) -> Iterator[Row]:
    link, whole = work.increment_slowly, work.increment_slowly_ten
    yield _chain(system, label, "chain_10us", link, whole, 1)


def _chain(
    system: BaseSystem,
    label: str,
    name: str,
    link: Callable[[int], int],
    whole: Callable[[int], int],
    repeats: int,
) -> Row:
    """Return the time of a chain of maps over the time of one map of the composed function."""
    n = CHAIN_ITEMS.get(label, 100_000)
    times: dict[int, list[float]] = {LINKS: [], 1: []}
    for fn in (link, whole):  # both known everywhere
        system.chain(fn, 100, 1)
    for _ in range(repeats):
        for fn, links in ((link, LINKS), (whole, 1)):
            start = time.perf_counter()
            results = system.chain(fn, n, links)
            times[links].append(time.perf_counter() - start)
            assert results == list(range(LINKS, n + LINKS)), f"{name}: wrong results"
    chain_s, whole_s = (statistics.median(samples) for samples in times.values())
    return {
        "measure": name, "value": chain_s / whole_s, "unit": "x", "n": n,
        "samples": [chain_s, whole_s],
    }  # fmt: skip


JOBS: dict[str, Job] = {
    "map_100k": map_100k,
    "map_1m": map_1m,
    "submit_20k": submit_20k,
    "tree": tree,
    "first": first,
    "latency": latency,
    "pending": pending,
    "pending_graph": pending_graph,
    "array_executors": array_executors,
    "chain_trivial": chain_trivial,
    "chain_10us": chain_10us,
    "array_workers": array_workers,
}
"""`taskbench` needs the kernel too, and `start` and `symbolic` start systems of their own."""
APART: dict[str, dict[str, int]] = {
    "pending": {}, "pending_graph": {}, "array_workers": {"workers": 2, "cores": 1},
}  # fmt: skip
"""Jobs on a system of their own, and its layout: where memory is measured, none that was used and
freed before may lie about."""


def taskbench(system: BaseSystem, kernel: Kernel) -> Iterator[Row]:
    """Yield a row for each pattern, and the worst of them."""
    rows = []
    with Bench(system, kernel) as bench:
        for pattern in PATTERNS:
            rows.append({"measure": f"metg_{pattern}", **bench.measure(pattern)})
            yield rows[-1]
    worst = max(rows, key=lambda row: float(row["value"]))
    yield {
        "measure": "metg_worst",
        "value": worst["value"],
        "unit": "s",
        "n": worst["n"],
        "bound": worst["bound"],
        "share": min(float(row["share"]) for row in rows),
    }


def start(system_type: type[BaseSystem]) -> Iterator[Row]:
    """Yield how long it takes from nothing to the first result; imports are done before."""
    import_s = timed(system_type.prepare)
    samples: list[float] = []
    while len(samples) < 3 and (not samples or samples[0] < SHORT_START_S):
        began = time.perf_counter()
        with system_type() as system:
            samples.append(time.perf_counter() - began)
            version = system.version()
    yield {"measure": "start", **median_of(samples), "import_s": import_s, "version": version}


def guarded(job: str, rows: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """Yield the beginning and the end of a job and its rows, or why there are none."""
    yield {"begin": job}
    try:
        yield from rows()
    except Exception as error:
        yield {"job": job, "error": reason_of(error)}
    yield {"end": job}


def reason_of(error: Exception) -> str:
    """Return an exception in a line."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def run(label: str, kernel: Kernel, jobs: list[str]) -> Iterator[Row]:
    """Start the system once per layout and yield the rows of the jobs."""
    system_type = importlib.import_module(f"benchmarks.systems.{label}_system").System
    for job in [job for job in jobs if job in system_type.lacks]:
        yield {"job": job, "error": system_type.lacks[job], "is_offered": False}
        yield {"end": job}
    jobs = [job for job in jobs if job not in system_type.lacks]
    if "start" in jobs:
        yield from guarded("start", partial(start, system_type))
    shared = [job for job in (*JOBS, "taskbench") if job in jobs and job not in APART]
    groups = [({}, shared), *((APART[job], [job]) for job in jobs if job in APART)]
    for layout, wanted in groups:
        if not wanted:
            continue
        try:
            system = system_type(**layout)
        except TypeError:  # this system knows no layouts
            system = system_type()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(system)
            except Exception as error:
                yield from ({"job": job, "error": reason_of(error)} for job in wanted)
                yield from ({"end": job} for job in wanted)
                continue
            for job in wanted:
                rows = partial(taskbench, system, kernel)
                if job in JOBS:
                    rows = partial(JOBS[job], system, label)
                yield from guarded(job, rows)
    if "symbolic" in jobs:
        yield from guarded("symbolic", partial(symbolic.measure, system_type))


if __name__ == "__main__":
    measured = Kernel(float(sys.argv[2]), float(sys.argv[3]))
    for row in run(sys.argv[1], measured, sys.argv[4:]):
        print(json.dumps(row), flush=True)
