"""Where the time goes: processor time of each process for the same three kinds of work.

    python -m benchmarks.profile_path [--functions] [--trips 3000]

One task at a time, a map of 10^6, and a tree of 8,191 tasks, each on a cluster of one worker with
two slots. Processor time, not only wall time, because others on the machine disturb it less; it is
the system's own count (Linux: schedstat, in nanoseconds), all threads of a process together. With
`--functions` the calls and the profiled time by function follow, for one task at a time: the
profiler itself makes everything some times slower, so only the proportions count there.

docs/performance.md has what it printed.
"""

from __future__ import annotations

import argparse
import os
import pstats
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.systems.cellspan_system import System

WARM_TRIPS = 300
MAP_TASKS = 1_000_000
LEAVES = 4096
PROFILED_S = 2.0
SHOWN = 12
WAITS = ("poll", "recv", "select", "send", "acquire", "wait")

HOOK = """\
import cProfile, os, signal
_profiles = []
def _toggle(number, frame):
    if not _profiles:
        _profiles.append(cProfile.Profile())
        _profiles[0].enable()
    else:
        profile = _profiles.pop()
        profile.disable()
        profile.dump_stats(os.environ["PROFILE_PATH_FOLDER"] + "/%d" % os.getpid())
signal.signal(signal.SIGUSR2, _toggle)
"""
"""What all processes of the profiled cluster load at their start."""


def cpu_us(pid: int) -> float:
    """Return the processor time that a process has used so far, in microseconds."""
    total = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(path.read_text().split()[0])
        except OSError:
            continue  # the thread has ended
    return total / 1e3


def processes_of(system: System) -> dict[str, int]:
    """Return the pids of a started system by what they are."""
    scheduler = psutil.Process(system.cluster.info.pid)
    (worker,) = scheduler.children()
    found = {"client": os.getpid(), "scheduler": scheduler.pid, "worker": worker.pid}
    for number, executor in enumerate(worker.children(), 1):
        found[f"executor {number}"] = executor.pid
    return found


def measure(system: System, run: Callable[[], None]) -> tuple[float, dict[str, float]]:
    """Run something; return the wall time and each process's processor time, in microseconds."""
    pids = processes_of(system)
    before = {name: cpu_us(pid) for name, pid in pids.items()}
    start = time.perf_counter()
    run()
    wall = (time.perf_counter() - start) * 1e6
    return wall, {name: cpu_us(pid) - before[name] for name, pid in pids.items()}


def show(title: str, used: dict[str, float], tasks: int) -> None:
    """Print one row per process."""
    print(f"\n{title}")
    for name, us in used.items():
        print(f"  {name:<12} {us / tasks:10.3f} us per task  {us / 1e3:10.1f} ms")
    total = sum(used.values())
    print(f"  {'together':<12} {total / tasks:10.3f} us per task  {total / 1e3:10.1f} ms")


def trips(system: System, count: int) -> list[float]:
    """Return the wall time of each of so many round trips, in microseconds."""
    found = []
    for _ in range(count):
        start = time.perf_counter()
        system.round_trip()
        found.append((time.perf_counter() - start) * 1e6)
    return found


def add_up(system: System) -> None:
    """Add a tree of ones, each sum a task."""
    assert system.add_tree(LEAVES) == LEAVES


def profile_work(count: int) -> None:
    """Print processor time by process for the three kinds of work."""
    with System() as system:
        trips(system, WARM_TRIPS)
        walls: list[float] = []
        _, used = measure(system, lambda: walls.extend(trips(system, count)))
        tenth = statistics.quantiles(walls, n=10)[0]
        title = f"one task at a time: median {statistics.median(walls):.0f} us, "
        show(f"{title}fastest tenth {tenth:.0f} us, of {count}", used, count)
        system.map_noop(MAP_TASKS // 10)
        wall, used = measure(system, lambda: system.map_noop(MAP_TASKS))
        show(f"map of {MAP_TASKS:,} no-ops: {wall / 1e3:.0f} ms", used, MAP_TASKS)
        tasks = 2 * LEAVES - 1
        wall, used = measure(system, lambda: add_up(system))
        show(f"tree of {tasks:,} adds: {wall / 1e3:.0f} ms", used, tasks)


@contextmanager
def hooked() -> Iterator[Path]:
    """Have all processes that are started from here on profile themselves on SIGUSR2."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sitecustomize.py").write_text(HOOK)
        path = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = folder + (os.pathsep + path if path else "")
        os.environ["PROFILE_PATH_FOLDER"] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ["PROFILE_PATH_FOLDER"]
            if path is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = path


def profile_functions() -> None:
    """Print the profile by function of scheduler, worker and busiest executor."""
    with hooked() as folder, System() as system:
        trips(system, WARM_TRIPS)
        pids = processes_of(system)
        for name in ("scheduler", "worker", "executor 1"):
            file = folder / str(pids[name])
            os.kill(pids[name], signal.SIGUSR2)
            count, end = 0, time.monotonic() + PROFILED_S
            while time.monotonic() < end:
                system.round_trip()
                count += 1
            os.kill(pids[name], signal.SIGUSR2)
            while not file.exists() or not file.stat().st_size:
                system.round_trip()  # wakes it, so that the signal is seen
            show_functions(name, pstats.Stats(str(file)), count)


def show_functions(name: str, stats: pstats.Stats, count: int) -> None:
    """Print who used most time of their own; waiting is left out."""
    rows = [
        (own, calls, f"{Path(key[0]).name}:{key[1]} {key[2]}")
        for key, (_, calls, own, _, _) in stats.stats.items()  # type: ignore[attr-defined]
        if not any(f"'{wait}" in key[2] for wait in WAITS)
    ]
    total = sum(row[0] for row in rows) * 1e6 / count
    calls = sum(row[1] for row in rows) / count
    print(f"\n{name}: {calls:.0f} calls and {total:.0f} us (profiled) per task")
    for own, made, what in sorted(rows, reverse=True)[:SHOWN]:
        print(f"  {own * 1e6 / count:7.2f} us  {made / count:6.2f} calls  {what}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--functions", action="store_true", help="profile by function, too")
    parser.add_argument("--trips", type=int, default=3000, help="round trips, one at a time")
    options = parser.parse_args()
    print(f"load average before the run: {os.getloadavg()[0]:.1f}")
    profile_work(options.trips)
    if options.functions:
        profile_functions()


if __name__ == "__main__":
    main()
