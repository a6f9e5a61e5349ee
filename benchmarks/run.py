"""Run the same work on cellspan and its peers, one after the other; print the budgets and tables.

    python -m benchmarks.run [--systems cellspan,dask,ray,futures] [--measures ...] [--write]

Every system runs in a process of its own, with the same number of slots, on an otherwise idle
machine, in one run of this program. A peer that is not installed is left out and named. One that
fails, or says nothing for too long, is ended; what it was doing is marked, and the rest of its
work begins anew. `--write` stores the tables in benchmarks/RESULTS.md, if everything was asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.util
import json
import os
import platform
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, TextIO

import psutil

from . import report
from .catalogue import CORE_JOBS, MEASURES, jobs_of, select
from .metg import Kernel, calibrate

SYSTEMS = {
    "cellspan": "cellspan",
    "dask": "distributed",
    "ray": "ray",
    "futures": "concurrent.futures",
}
SLOTS = 2
SILENT_S = 150.0
"""A system that prints nothing for so long is ended."""
BUSY_LOAD = 0.5
ROOT = Path(__file__).resolve().parents[1]

Failure = tuple[str, str, str]


class Runner:
    """Runs the jobs of one system in processes, and keeps the rows. `failures`: system, job,
    reason."""

    def __init__(self, system: str, command: list[str]) -> None:
        self.system = system
        self.rows: dict[str, dict[str, Any]] = {}
        self.failures: list[Failure] = []
        self._command = command
        self._job = ""
        self._ended: set[str] = set()

    def run(self, jobs: list[str]) -> None:
        """Run all jobs; after one that ended its process, those after it in a new process."""
        left = list(jobs)
        while left:
            self._job = ""
            self._ended.clear()
            reason = self._run_process(left)
            if not reason:
                return
            culprits = [self._job] if self._job and self._job not in self._ended else []
            if not culprits and not self._ended:  # it does not even begin
                culprits = left
            for job in culprits:
                self._fail(job, reason)
            left = [job for job in left if job not in self._ended and job not in culprits]

    def _run_process(self, jobs: list[str]) -> str:
        """Run jobs in one process; return why it ended before it was through, or an empty text."""
        env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
        with (
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(
                [*self._command, *jobs], cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE,
                stderr=errors, start_new_session=True,
            ) as process,
        ):  # fmt: skip
            assert process.stdout is not None
            lines: queue.Queue[str | None] = queue.Queue()
            threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
            try:
                while (line := lines.get(timeout=SILENT_S)) is not None:
                    self._take(line)
            except queue.Empty:
                _kill_group(process)
                return f"no answer within {SILENT_S:.0f} s"
            except BaseException:  # it is in a session of its own, where Ctrl+C does not reach it
                _kill_group(process)
                raise
            if not (code := process.wait()):
                return ""
            errors.seek(0)
            said = [line for line in errors.read().splitlines() if line.strip()]
            return f"its process ended with code {code}: {said[-1][:300] if said else 'no words'}"

    def _take(self, line: str) -> None:
        if not line.startswith("{"):
            return
        row = json.loads(line)
        if "begin" in row:
            self._job = row["begin"]
        elif "end" in row:
            self._ended.add(row["end"])
        elif "error" in row:
            self._fail(row["job"], row["error"], is_fault=row.get("is_offered", True))
        else:
            self.rows[row["measure"]] = row
            text = report.show(row["measure"], row)
            print(f"  {self.system:<10} {row['measure']:<24} {text}", flush=True)

    def _fail(self, job: str, reason: str, is_fault: bool = True) -> None:
        self.failures.append((self.system, job, reason))
        word = "FAILED" if is_fault else "-"
        print(f"  {self.system:<10} {job:<24} {word}: {reason}", flush=True)


def _read(stream: TextIO, lines: queue.Queue[str | None]) -> None:
    with contextlib.suppress(ValueError):  # the stream is closed: nobody reads any more
        for line in stream:
            lines.put(line)
    lines.put(None)


def _kill_group(process: subprocess.Popen[str]) -> None:
    """End a process that we started, and all that it started in its session."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        for child in children:  # those that have made sessions of their own
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def describe_machine() -> str:
    """Return a line on the machine: processor, cores, memory, system, Python, load."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip()
            for line in cpuinfo.read_text().splitlines()
            if "model name" in line
        ]
        model = names[0] if names else model
    memory = psutil.virtual_memory().total / 2**30
    load = os.getloadavg()[0]
    busy = "" if load <= BUSY_LOAD else " (**not idle: take the figures with care**)"
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, load average before the run {load:.1f}{busy}"
    )


def measure_all(systems: list[str], measures: list[str], kernel: Kernel) -> list[Runner]:
    """Run the jobs of all systems that are installed, one system after the other."""
    runners = []
    wanted = jobs_of(measures)
    numbers = [repr(kernel.base_s), repr(kernel.spin_s)]
    for system in systems:
        if importlib.util.find_spec(SYSTEMS[system].split(".")[0]) is None:
            print(f"{system}: {SYSTEMS[system]} is not installed, left out")
            continue
        print(f"{system}:", flush=True)
        command = [sys.executable, "-m", "benchmarks.measure", system, *numbers]
        runner = Runner(system, command)
        runner.run([job for job in wanted if job not in CORE_JOBS])
        core = [job for job in wanted if job in CORE_JOBS]
        if system == "cellspan" and core:
            simulated = Runner(system, [sys.executable, "-m", "benchmarks.core_costs"])
            simulated.run(core)
            runner.rows |= simulated.rows
            runner.failures += simulated.failures
        runners.append(runner)
    return runners


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="comma-separated, in order")
    parser.add_argument(
        "--measures", default=",".join(MEASURES), help="measures or jobs, comma-separated"
    )
    parser.add_argument(
        "--write", action="store_true", help="store the tables in benchmarks/RESULTS.md"
    )
    options = parser.parse_args()
    try:
        measures = select(options.measures)
    except ValueError as error:
        parser.error(str(error))
    systems = options.systems.split(",")
    if unknown := set(systems) - set(SYSTEMS):
        parser.error(f"there is no system {unknown.pop()!r}; there are {', '.join(SYSTEMS)}")
    began = time.monotonic()
    machine, when = describe_machine(), datetime.datetime.now(datetime.UTC).date().isoformat()
    kernel = calibrate(SLOTS)
    runners = measure_all(systems, measures, kernel)
    results = {runner.system: runner.rows for runner in runners}
    failures = [failure for runner in runners for failure in runner.failures]
    versions = ", ".join(
        f"{name} {rows['start']['version']}" for name, rows in results.items() if "start" in rows
    )
    took_s = time.monotonic() - began
    parts = report.sections(results, measures, failures)
    text = "\n\n".join(f"## {title}\n\n{table}" for title, table in parts)
    print(f"\n{machine}\n{versions}\n\n{text}\n\ntook {took_s:.0f} s")
    if options.write and (set(systems) < set(SYSTEMS) or set(measures) < set(MEASURES)):
        print("only a part was asked for: benchmarks/RESULTS.md is left as it is")
    elif options.write:
        page = report.make_page(text, machine, versions, when, took_s, kernel.spin_s)
        (ROOT / "benchmarks" / "RESULTS.md").write_text(page)
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
