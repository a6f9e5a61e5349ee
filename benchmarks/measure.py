"""Measure one system, alone in this process: ``python -m benchmarks.measure SYSTEM MEASURE [MEASURE
...]``.

Prints one JSON line per measure: {"measure", "value", "unit", "n", "samples"}. Rates are tasks per
second of wall time from the call to the last result; latency and transfer are medians of their
samples in seconds.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from .systems.base import BaseSystem, NotOffered

ARRAY_BYTES = 100_000_000
SLOW = {"dask": 20, "ray": 5}
"""How many times fewer tasks a system is given where the full number would take many minutes; rates
stay comparable, and the table shows the number.
"""


def rate(run: Callable[[int], None], n: int, repeats: int) -> dict[str, Any]:
    """Return the median rate of `repeats` runs of `n` tasks."""
    samples = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(n)
        samples.append(n / (time.perf_counter() - start))
    return {"value": statistics.median(samples), "unit": "tasks/s", "n": n, "samples": samples}


def seconds(run: Callable[[], float], repeats: int) -> dict[str, Any]:
    """Return the median of what `run` returns, in seconds."""
    samples = [run() for _ in range(repeats)]
    return {"value": statistics.median(samples), "unit": "s", "n": repeats, "samples": samples[:20]}


def timed(run: Callable[[], None]) -> float:
    """Return how long one call takes, in seconds."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(name: str, system: BaseSystem, label: str) -> dict[str, Any]:
    """Carry out one measure on a started system."""
    few = SLOW.get(label, 1)
    match name:
        case "map_100k":
            return rate(system.map_noop, 100_000 // few, 3)
        case "map_1m":
            return rate(
                system.map_noop, 1_000_000 // (few * 10 if few > 1 else 1), 3 if few == 1 else 1
            )
        case "submit_20k":
            return rate(
                system.submit_noop, 20_000 // (4 if label == "dask" else 1), 3 if few == 1 else 1
            )
        case "tree":
            leaves = 4096 // (4 if label == "dask" else 1)

            def add_up(_: int) -> None:
                assert system.add_tree(leaves) == leaves

            return rate(add_up, 2 * leaves - 1, 3 if label == "cellspan" else 1)
        case "first":
            return seconds(lambda: timed(lambda: system.first_of_map(1_000_000)), 3)
        case "latency":
            timed(system.round_trip)
            return seconds(lambda: timed(system.round_trip), 300)
        case "pending":
            n = 1_000_000 // (few if few > 1 else 1)
            with tempfile.TemporaryDirectory() as folder:
                return {
                    "value": system.bytes_per_pending(n, folder),
                    "unit": "B/task",
                    "n": n,
                    "samples": [],
                }
        case "array_executors":
            return seconds(lambda: system.transfer_s(ARRAY_BYTES, "executors"), 5)
        case "array_workers":
            return seconds(lambda: system.transfer_s(ARRAY_BYTES, "workers"), 5)
    raise ValueError(f"unknown measure {name!r}")


def run(label: str, names: list[str]) -> Iterator[dict[str, Any]]:
    """Start the system once per layout and yield a row per measure, the start-up time first."""
    module = importlib.import_module(f"benchmarks.systems.{label}_system")
    two_workers = [name for name in names if name == "array_workers"]
    one_worker = [name for name in names if name != "array_workers"]
    for layout, wanted in (({}, one_worker), ({"workers": 2, "cores": 1}, two_workers)):
        if not wanted:
            continue
        try:
            system = module.System(**layout)
        except TypeError:  # this system knows no layouts
            system = module.System()
        start = time.perf_counter()
        with system:
            if not layout:
                ready = time.perf_counter() - start
                yield {
                    "measure": "start",
                    "value": ready,
                    "unit": "s",
                    "n": 1,
                    "samples": [],
                    "version": system.version(),
                }
            for name in wanted:
                try:
                    yield {"measure": name, **measure(name, system, label)}
                except NotOffered:
                    yield {"measure": name, "value": None}


if __name__ == "__main__":
    for row in run(sys.argv[1], sys.argv[2:]):
        print(json.dumps(row), flush=True)
