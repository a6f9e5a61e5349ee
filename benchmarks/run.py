"""Run the same work on cellspan and its peers, one after the other, and print a table of ratios.

    python -m benchmarks.run [--systems cellspan,dask,ray,futures] [--measures ...] [--write]

Every system runs in a process of its own, with the same number of slots, on an otherwise idle
machine, in one run of this program. A peer that is not installed is left out and named. `--write`
stores the table in benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

SYSTEMS = {
    "cellspan": "cellspan",
    "dask": "distributed",
    "ray": "ray",
    "futures": "concurrent.futures",
}
MEASURES = {
    "start": ("cluster ready, first result", "lower"),
    "map_100k": ("no-op map of 100,000", "higher"),
    "map_1m": ("no-op map of 1,000,000", "higher"),
    "submit_20k": ("20,000 single submits", "higher"),
    "tree": ("tree of 8,191 adds, each a task", "higher"),
    "first": ("first result of a map of 1,000,000", "lower"),
    "latency": ("submit -> result, one at a time, median", "lower"),
    "pending": ("scheduler memory per pending mapped task", "lower"),
    "array_executors": ("100 MB array to another process of the worker", "lower"),
    "array_workers": ("100 MB array to another worker", "lower"),
}
LEAST_BYTES = 0.1
"""Memory per task below this cannot be told from noise of the process's size."""
ROOT = Path(__file__).resolve().parents[1]


def collect(system: str, measures: list[str]) -> dict[str, dict[str, Any]]:
    """Return the rows that one system printed, by measure."""
    wanted = [name for name in measures if name != "start"]
    command = [sys.executable, "-m", "benchmarks.measure", system, *wanted]
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        rows = {}
        for line in process.stdout:
            if not line.startswith("{"):
                continue
            row = json.loads(line)
            rows[row["measure"]] = row
            print(f"  {system:<10} {row['measure']:<16} {show(row)}", flush=True)
    if process.returncode:
        print(
            f"  {system} ended with exit code {process.returncode}; what it measured before is kept"
        )
    return rows


def show(row: dict[str, Any] | None) -> str:
    """Return a figure for people, with its unit and, where it is not the full one, the number of
    tasks.
    """
    if row is None or row.get("value") is None:
        return "-"
    value, unit = row["value"], row["unit"]
    if unit == "s":
        return f"{value * 1e3:,.2f} ms" if value < 1 else f"{value:,.2f} s"
    if unit == "tasks/s":
        return f"{value:,.0f}/s" + (
            f" (n={row['n']:,})" if row["n"] not in (100_000, 1_000_000, 20_000, 8_191) else ""
        )
    return f"{value:,.1f} {unit}" if value >= LEAST_BYTES else f"< {LEAST_BYTES} {unit}"


def ratio(ours: dict[str, Any] | None, theirs: dict[str, Any] | None, better: str) -> str:
    """Return how many times better ours is (above 1 is better), or a dash."""
    if not ours or not theirs or ours.get("value") is None or theirs.get("value") is None:
        return "-"
    mine, other = ours["value"], theirs["value"]
    if ours["unit"] == "B/task":
        mine, other = max(mine, LEAST_BYTES), max(other, LEAST_BYTES)
    quotient = mine / other if better == "higher" else other / mine
    return f"{quotient:,.0f}x" if quotient >= 10 else f"{quotient:.2f}x"


def table(results: dict[str, dict[str, dict[str, Any]]], measures: list[str]) -> str:
    """Return the results as a Markdown table; the ratio says how many times better cellspan is."""
    names = list(results)
    peers = [name for name in names if name != "cellspan"]
    head = ["what", *names, *(f"vs {peer}" for peer in peers)]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for measure in measures:
        title, better = MEASURES[measure]
        cells = [show(results[name].get(measure)) for name in names]
        ours = results.get("cellspan", {}).get(measure)
        ratios = [ratio(ours, results[peer].get(measure), better) for peer in peers]
        lines.append("| " + " | ".join([title, *cells, *ratios]) + " |")
    return "\n".join(lines)


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
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, load average before the run {load:.1f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="comma-separated, in order")
    parser.add_argument("--measures", default=",".join(MEASURES), help="comma-separated")
    parser.add_argument(
        "--write", action="store_true", help="store the table in benchmarks/RESULTS.md"
    )
    options = parser.parse_args()
    measures = options.measures.split(",")
    machine, when = describe_machine(), datetime.datetime.now(datetime.UTC).date().isoformat()
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for system in options.systems.split(","):
        if importlib.util.find_spec(SYSTEMS[system].split(".")[0]) is None:
            print(f"{system}: {SYSTEMS[system]} is not installed, left out")
            continue
        print(f"{system}:", flush=True)
        results[system] = collect(system, measures)
    text = table(results, measures)
    versions = ", ".join(
        f"{name} {rows['start']['version']}" for name, rows in results.items() if "start" in rows
    )
    print(f"\n{machine}\n{versions}\n\n{text}")
    if options.write:
        write_page(text, machine, versions, when)
    return 0 if all(rows for rows in results.values()) else 1


def write_page(text: str, machine: str, versions: str, when: str) -> None:
    """Store the table with what a reader must know to judge it."""
    page = f"""# Results of `make bench`

Made by `make bench` on {when}.

- Machine: {machine}
- Versions: {versions} (for `futures`: Python)
- All systems ran in this one run, in turn, with 2 slots each. Rates are medians of three runs (one
  for slow peers). `n=` marks a peer that was given fewer tasks because the full number would take
  many minutes. `vs`: how many times better cellspan is.

{text}
"""
    (ROOT / "benchmarks" / "RESULTS.md").write_text(page)


if __name__ == "__main__":
    sys.exit(main())
