"""The tables say what was measured, and by how much a budget is missed."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.catalogue import BUDGETS, CORE_JOBS, MEASURES, jobs_of, select
from benchmarks.core_costs import ROWS
from benchmarks.measure import JOBS
from benchmarks.report import figure, sections, show, times_better, verdict
from benchmarks.systems import dask_system, futures_system, ray_system


def row(value: float | None, unit: str, n: int = 1, **more: Any) -> dict[str, Any]:
    return {"value": value, "unit": unit, "n": n, **more}


def test_every_budget_has_a_measure_and_every_measure_a_job() -> None:
    assert {budget.measure for budget in BUDGETS} <= set(MEASURES)
    jobs = {*JOBS, *ROWS, "start", "taskbench", "symbolic"}
    assert {measure.job for measure in MEASURES.values()} == jobs
    assert set(CORE_JOBS) == set(ROWS)


def test_what_a_peer_lacks_are_jobs() -> None:
    jobs = {measure.job for measure in MEASURES.values()}
    for peer in (dask_system, ray_system, futures_system):
        assert set(peer.System.lacks) <= jobs


def test_selecting_by_measure_and_by_job() -> None:
    assert jobs_of(select("taskbench,latency_p99")) == ["latency", "taskbench"]
    with pytest.raises(ValueError, match="'nonsense'"):
        select("latency,nonsense")


def test_verdicts() -> None:
    assert verdict(2e6, 1e6, "higher") == "holds"
    assert verdict(0.5e6, 1e6, "higher") == "**missed by 2.00x**"
    assert verdict(0.3e-3, 0.3e-3, "lower") == "holds"
    assert verdict(0.45e-3, 0.3e-3, "lower") == "**missed by 1.50x**"


def test_ratios_are_above_one_where_cellspan_is_better() -> None:
    assert times_better(row(2, "s"), row(6, "s"), "lower") == 3
    assert times_better(row(6, "tasks/s"), row(2, "tasks/s"), "higher") == 3
    assert times_better(row(None, "s"), row(6, "s"), "lower") is None
    assert times_better(row(0.0, "B/task"), row(3000, "B/task"), "lower") == 30_000


def test_fewer_tasks_than_the_full_number_are_shown() -> None:
    assert show("map_100k", row(650, "tasks/s", 5000)) == "650/s (n=5,000)"
    assert show("map_100k", row(650, "tasks/s", 100_000)) == "650/s"
    assert show("latency", None) == "-"
    assert show("metg_fft", row(0.016, "s", bound=">")) == "> 16.00 ms"


def test_units() -> None:
    assert figure(0.00031, "s") == "0.31 ms"
    assert figure(3.2e9, "B/s") == "3.20 GB/s"
    assert figure(0.0425, "%") == "4.2%"
    assert figure(0.001, "B/task") == "< 0.1 B/task"


def test_tables_have_budgets_peers_ratios_and_reasons() -> None:
    metg = {"way": "submits", "rates": {"submits": 1000.0}}
    ours = {
        "latency": row(0.6e-3, "s"),
        "metg_fft": row(1e-3, "s", 400, **metg),
        "metg_worst": row(1e-3, "s", 400, share=0.97),
    }
    theirs = {
        "latency": row(6e-3, "s"),
        "metg_fft": row(10e-3, "s", 400, **metg),
        "metg_worst": row(10e-3, "s", 400, share=1.0),
    }
    failures = [("dask", job, "there is no such map") for job in ("first", "map_1m")]
    names = ["latency", "first", "metg_fft", "metg_worst"]
    parts = dict(sections({"cellspan": ours, "dask": theirs}, names, failures))
    budgets = parts["Budgets"].splitlines()
    found = next(line for line in budgets if line.startswith("| submit -> result"))
    assert "<= 0.30 ms | 0.60 ms | **missed by 2.00x** | 6.00 ms | 10x" in found
    found = next(line for line in budgets if line.startswith("| first result"))
    assert "**not measured**" in found
    found = next(line for line in budgets if "that of dask" in line)
    assert "fft" in found and ">= 20.00x | 10.00x | **missed by 2.00x**" in found
    assert "1,000/s (submits)" in parts["Task Bench"]
    assert parts["Task Bench"].endswith("97% (cellspan), 100% (dask).")
    assert parts["Not measured"] == "- dask, first, map_1m: there is no such map"
    assert len({line.count("|") for line in budgets}) == 1
