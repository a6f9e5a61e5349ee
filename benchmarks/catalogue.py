"""What is measured, in the words of the tables, and the budgets that cellspan is to keep.

The budgets are those of the design (section "Budgets"); where it says "flat", what counts as flat
stands in the title. A measure belongs to a job: what is run in one go (measure.py, core_costs.py).
"""

from __future__ import annotations

from typing import NamedTuple

from .patterns import PATTERNS


class Measure(NamedTuple):
    """`job`: what has to be run for it. `better`: 'higher' or 'lower'."""

    title: str
    better: str
    job: str
    unit: str


class Budget(NamedTuple):
    """`measure` of cellspan is to be at most (at least, where higher is better) `limit`."""

    measure: str
    limit: float


MEASURES: dict[str, Measure] = {
    "start": Measure("cluster ready, first result", "lower", "start", "s"),
    "map_100k": Measure("no-op map of 100,000", "higher", "map_100k", "tasks/s"),
    "map_1m": Measure("no-op map of 1,000,000", "higher", "map_1m", "tasks/s"),
    "submit_20k": Measure("20,000 single submits", "higher", "submit_20k", "tasks/s"),
    "tree": Measure("explicit graph: tree of 8,191 adds, each a task", "higher", "tree", "tasks/s"),
    "first": Measure("first result of a map of 1,000,000", "lower", "first", "s"),
    "latency": Measure("submit -> result, one at a time, median", "lower", "latency", "s"),
    "latency_p99": Measure("the same, 99th percentile", "lower", "latency", "s"),
    "pending": Measure("scheduler memory per pending mapped task", "lower", "pending", "B/task"),
    "pending_graph": Measure(
        "scheduler memory per pending task of an explicit graph", "lower", "pending_graph", "B/task"
    ),
    "array_executors": Measure(
        "100 MB array to another process of the worker, there", "lower", "array_executors", "s"
    ),
    "array_executors_touched": Measure(
        "the same, every page touched", "lower", "array_executors", "s"
    ),
    "array_workers": Measure(
        "100 MB array to another worker, there", "lower", "array_workers", "s"
    ),
    "array_workers_touched": Measure("the same, every page touched", "lower", "array_workers", "s"),
    "array_workers_rate": Measure(
        "transfer between workers of one host, every page touched", "higher", "array_workers", "B/s"
    ),
    "chain_trivial": Measure(
        "10 maps in a chain over 100,000 / one map of all ten, next to no work",
        "lower",
        "chain_trivial",
        "x",
    ),
    "chain_10us": Measure("the same, a function of about 10 us", "lower", "chain_10us", "x"),
    **{
        f"metg_{pattern}": Measure(f"METG(50 %) {pattern}", "lower", "taskbench", "s")
        for pattern in PATTERNS
    },
    "metg_worst": Measure(
        "smallest useful task: METG(50 %), worst pattern", "lower", "taskbench", "s"
    ),
    "symbolic_wire": Measure(
        "3 maps and a sum: bytes the client sends, 10^7 tasks each / 10^5", "lower", "symbolic", "x"
    ),
    "symbolic_client": Measure(
        "the same of 10^7: client's time until submitted", "lower", "symbolic", "s"
    ),
    "symbolic_memory": Measure(
        "the same: scheduler memory per task more than at 10^5", "lower", "symbolic", "B/task"
    ),
    "decision": Measure(
        "placement decision, 10 to 10,000 simulated workers: deviation, map over a range",
        "lower",
        "decisions",
        "%",
    ),
    "decision_inputs": Measure("the same, map over results", "lower", "decisions", "%"),
    "snapshot_bytes": Measure("snapshot at 10^7 tasks, 10^4 workers", "lower", "snapshot", "B"),
    "snapshot_cpu": Measure(
        "the same: share of the scheduler's CPU while somebody looks", "lower", "snapshot", "%"
    ),
}

BUDGETS = (
    Budget("map_1m", 1e6),
    Budget("submit_20k", 50_000),
    Budget("tree", 20_000),
    Budget("metg_worst", 0.25e-3),
    Budget("latency", 0.3e-3),
    Budget("first", 50e-3),
    Budget("pending", 16),
    Budget("pending_graph", 300),
    Budget("chain_trivial", 1.5),
    Budget("chain_10us", 1.5),
    Budget("array_workers_rate", 2e9),
    Budget("array_executors", 5e-3),
    Budget("array_executors_touched", 5e-3),
    Budget("decision", 0.2),
    Budget("decision_inputs", 0.2),
    Budget("snapshot_bytes", 100_000),
    Budget("snapshot_cpu", 0.01),
    Budget("start", 0.5),
    Budget("symbolic_wire", 1.2),
    Budget("symbolic_client", 5e-3),
    Budget("symbolic_memory", 0.1),
)

GOALS = {"dask": 20.0, "ray": 10.0}
"""So many times smaller than a peer's METG is cellspan's to be, in every pattern."""

CORE_JOBS = ("decisions", "snapshot")
"""Jobs of core_costs.py: of cellspan's scheduler core alone."""


def jobs_of(measures: list[str]) -> list[str]:
    """Return the jobs that measures need, each once, in the order of the catalogue."""
    return list(dict.fromkeys(MEASURES[name].job for name in MEASURES if name in measures))


def select(words: str) -> list[str]:
    """Return the measures that a list of names of measures or jobs, with commas, stands for.

    Raises:
        ValueError: there is no measure and no job of this name.
    """
    asked = [word for word in words.split(",") if word]
    jobs = {measure.job for measure in MEASURES.values()}
    for word in asked:
        if word not in MEASURES and word not in jobs:
            raise ValueError(
                f"there is no measure {word!r}; there are {', '.join(sorted(jobs | set(MEASURES)))}"
            )
    return [name for name, measure in MEASURES.items() if name in asked or measure.job in asked]
