"""Tables of what was measured, for the terminal and for RESULTS.md.

Law: formatting only. A figure that is not there is a dash, and why it is not there stands below the
table.
"""

from __future__ import annotations

from typing import Any

from .catalogue import BUDGETS, CORE_JOBS, GOALS, MEASURES
from .patterns import PATTERNS

Row = dict[str, Any]
Results = dict[str, dict[str, Row]]
"""Rows by system and measure."""

LEAST_BYTES = 0.1
"""Memory per task below this cannot be told from noise of the process's size."""
FULL_NUMBERS = {
    "map_100k": 100_000, "map_1m": 1_000_000, "submit_20k": 20_000, "tree": 8191,
    "first": 1_000_000, "pending": 1_000_000, "pending_graph": 131_071,
    "chain_trivial": 100_000, "chain_10us": 100_000,
}  # fmt: skip
SYMBOLIC = (
    ("wire_bytes", "bytes the client sent", "B"),
    ("client_s", "client's time until submitted", "s"),
    ("scheduler_bytes", "scheduler's memory, at most more", "kB"),
    ("end_to_end_s", "end to end", "s"),
)


def figure(value: float, unit: str) -> str:
    """Return a number with its unit for people."""
    match unit:
        case "s":
            return f"{value * 1e3:,.2f} ms" if value < 0.9995 else f"{value:,.2f} s"
        case "us":
            return f"{value * 1e6:,.1f} us"
        case "tasks/s":
            return f"{value:,.0f}/s"
        case "B/s":
            return f"{value / 1e9:,.2f} GB/s"
        case "%":
            return f"{value:.1%}"
        case "x":
            return f"{value:,.2f}x"
        case "kB":
            return f"{value / 1e3:,.0f} kB"
        case "B/task" if value < LEAST_BYTES:
            return f"< {LEAST_BYTES} B/task"
        case "B/task":
            return f"{value:,.1f} B/task"
    return f"{value:,.0f} {unit}"


def show(measure: str, row: Row | None) -> str:
    """Return a measured figure; with the number of tasks where it is not the full one."""
    if row is None or row.get("value") is None:
        return "-"
    text = figure(row["value"], row["unit"])
    if row.get("bound"):
        text = f"{row['bound']} {text}"
    full = FULL_NUMBERS.get(measure)
    return text if full is None or row["n"] == full else f"{text} (n={row['n']:,})"


def times_better(ours: Row | None, theirs: Row | None, better: str) -> float | None:
    """Return how many times better ours is (above 1 is better), None if one is not there."""
    if not ours or not theirs or ours.get("value") is None or theirs.get("value") is None:
        return None
    mine, other = float(ours["value"]), float(theirs["value"])
    if ours["unit"] == "B/task":
        mine, other = max(mine, LEAST_BYTES), max(other, LEAST_BYTES)
    if not mine or not other:
        return None
    return mine / other if better == "higher" else other / mine


def ratio_text(quotient: float | None) -> str:
    """Return a ratio for people, or a dash."""
    if quotient is None:
        return "-"
    return f"{quotient:,.0f}x" if quotient >= 10 else f"{quotient:.2f}x"


def verdict(value: float, limit: float, better: str) -> str:
    """Return 'holds', or by how much a budget is missed."""
    missed = limit / value if better == "higher" else value / limit
    return "holds" if missed <= 1 else f"**missed by {missed:.2f}x**"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def budget_table(results: Results, measures: list[str]) -> str:
    """Return the budgets of the measures with what was measured, the peers of the same run, and
    whether they hold."""
    ours = results.get("cellspan", {})
    peers = [name for name in results if name != "cellspan"]
    rows = []
    for name, limit in BUDGETS:
        if name not in measures:
            continue
        title, better, _, unit = MEASURES[name]
        row = ours.get(name)
        sign = ">=" if better == "higher" else "<="
        rows.append(
            [
                title,
                f"{sign} {figure(limit, unit)}",
                show(name, row),
                verdict(row["value"], limit, better) if row else "**not measured**",
                *_beside(name, row, results, peers, better),
            ]
        )
    for peer, limit in GOALS.items():
        found = _least_metg_ratio(results, peer)
        if found is not None:
            quotient, pattern = found
            rows.append(
                [
                    f"METG: times smaller than that of {peer}, worst pattern ({pattern})",
                    f">= {figure(limit, 'x')}", figure(quotient, "x"),
                    verdict(quotient, limit, "higher"), *["-"] * (2 * len(peers)),
                ]
            )  # fmt: skip
    head = ["budget", "", "cellspan", "", *(x for peer in peers for x in (peer, "ratio"))]
    return markdown(head, rows) if rows else ""


def _beside(
    name: str, ours: Row | None, results: Results, peers: list[str], better: str
) -> list[str]:
    cells = []
    for peer in peers:
        theirs = results[peer].get(name)
        cells += [show(name, theirs), ratio_text(times_better(ours, theirs, better))]
    return cells


def _least_metg_ratio(results: Results, peer: str) -> tuple[float, str] | None:
    found = []
    for pattern in PATTERNS:
        name = f"metg_{pattern}"
        ours, theirs = results.get("cellspan", {}).get(name), results.get(peer, {}).get(name)
        quotient = times_better(ours, theirs, "lower")
        if quotient is not None:
            found.append((quotient, pattern))
    return min(found, default=None)


def measure_table(results: Results, measures: list[str]) -> str:
    """Return all that systems were compared by; the ratio says how many times better cellspan
    is."""
    peers = [name for name in results if name != "cellspan"]
    head = ["what", *results, *(f"vs {peer}" for peer in peers)]
    rows = []
    for name in measures:
        title, better, job, _ = MEASURES[name]
        if job in ("taskbench", "symbolic", *CORE_JOBS):
            continue  # these have tables of their own
        shown = [show(name, found.get(name)) for found in results.values()]
        ours = results.get("cellspan", {}).get(name)
        ratios = [ratio_text(times_better(ours, results[peer].get(name), better)) for peer in peers]
        rows.append([title, *shown, *ratios])
    return markdown(head, rows) if rows else ""


def taskbench_table(results: Results) -> str:
    """Return METG by pattern, and the rate of tasks without work, in the way that was taken."""
    rows = []
    systems = [name for name, found in results.items() if "metg_worst" in found]
    peers = [name for name in systems if name != "cellspan"]
    for pattern in PATTERNS if systems else ():
        name = f"metg_{pattern}"
        cells = [pattern]
        for system in systems:
            row = results[system].get(name)
            cells.append(show(name, row))
            way = row["way"] if row and row.get("way") else ""
            cells.append(f"{row['rates'][way]:,.0f}/s ({way})" if row and way else "-")
        ours = results.get("cellspan", {}).get(name)
        cells += [
            ratio_text(times_better(ours, results[peer].get(name), "lower")) for peer in peers
        ]
        rows.append(cells)
    head = [
        "pattern", *(x for name in systems for x in (name, "empty tasks")),
        *(f"vs {peer}" for peer in peers),
    ]  # fmt: skip
    if not rows:
        return ""
    got = ", ".join(f"{results[name]['metg_worst']['share']:.0%} ({name})" for name in systems)
    note = f"Bare processes got at least so much of the cores meanwhile: {got}."
    return f"{markdown(head, rows)}\n\n{note}"


def symbolic_table(results: Results) -> str:
    """Return the figures of the symbolic maps by their size."""
    row = results.get("cellspan", {}).get("symbolic_wire")
    if not row or not row.get("samples"):
        return ""
    head = ["tasks in each of 3 maps", *(f"{size['n']:,}" for size in row["samples"])]
    rows = [
        [title, *(figure(size[key], unit) for size in row["samples"])]
        for key, title, unit in SYMBOLIC
    ]
    return markdown(head, rows)


def decision_table(results: Results) -> str:
    """Return what a decision and a report cost by the number of workers."""
    found = [results.get("cellspan", {}).get(name) for name in ("decision", "decision_inputs")]
    rows = []
    for what, row in zip(("map over a range", "map over results"), found, strict=True):
        if row and row.get("samples"):
            head = ["CPU time", *(f"{size[0]:,} workers" for size in row["samples"])]
            rows.append([f"decision, {what}", *(figure(size[1], "us") for size in row["samples"])])
            rows.append(
                [f"report to next span, {what}"]
                + [figure(size[2], "us") for size in row["samples"]]
            )
    return markdown(head, rows) if rows else ""


def reasons(failures: list[tuple[str, str, str]]) -> str:
    """Return why figures are not there, a line for each system and reason. `failures`: system,
    job, reason."""
    jobs: dict[tuple[str, str], list[str]] = {}
    for system, job, reason in failures:
        jobs.setdefault((system, reason), []).append(job)
    return "\n".join(
        f"- {system}, {', '.join(found)}: {reason}" for (system, reason), found in jobs.items()
    )


def sections(
    results: Results, measures: list[str], failures: list[tuple[str, str, str]]
) -> list[tuple[str, str]]:
    """Return title and text of each part of the results that is not empty."""
    every = [
        ("Budgets", budget_table(results, measures)),
        ("All systems", measure_table(results, measures)),
        ("Task Bench", taskbench_table(results)),
        ("Symbolic maps: 3 in a chain, and the sum of the last", symbolic_table(results)),
        ("The scheduler's core with simulated workers", decision_table(results)),
        ("Not measured", reasons(failures)),
    ]
    return [(title, text) for title, text in every if text]


def make_page(
    text: str, machine: str, versions: str, when: str, took_s: float, spin_s: float
) -> str:
    """Return RESULTS.md: the tables with what a reader must know to judge them."""
    return f"""# Results of `make bench`

Made by `make bench` on {when}, in {took_s / 60:.0f} minutes.

- Machine: {machine}
- Versions: {versions} (for `futures`: Python)
- All systems ran in this one run, in turn, with 2 slots each. Rates are medians of three runs (one
  or two for slow peers). `n=` marks a peer that was given fewer tasks because the full number would
  take many minutes. Ratios say how many times better cellspan is.
- Start: from nothing to the first result, library already imported. Transfers: from the submission
  of a reader until it has the array, and until it has read a number of every page. Pending: growth
  of the scheduler process; below 0.1 B per task it cannot be told from noise.
- Task Bench (Slaughter et al., SC20): 8 columns (four per slot), 50 rows, 16 bytes from task to
  task, results checked. METG(50 %) is the slots' time per task at which their kernels keep them
  half busy, so the kernel itself is half as long. Where a system can take a graph in two ways, the
  faster one at empty tasks was taken, and is named. The kernel does not hold the interpreter's
  lock; a spin of it took {spin_s * 1e6:.3f} us with both cores at work.
- Simulated workers: the real scheduler core in one process, CPU time only.

{text}
"""
