"""The simulated clusters whose scheduler core is timed do all of their work."""

from __future__ import annotations

from benchmarks.core_costs import Simulated, cost_of, fill, measure_snapshot, spread_of


def test_all_tasks_are_run() -> None:
    simulated = Simulated(workers=3)
    source = simulated.submit(2000)
    simulated.place()
    simulated.run()
    assert simulated.done == 2000
    simulated.submit(2000, source)
    simulated.place()
    simulated.run()
    assert simulated.done == 4000
    assert simulated.core.snapshot(simulated.now).totals["done"] == 4000


def test_every_measured_report_is_answered_by_about_a_span() -> None:
    for over_results in (False, True):
        cost = cost_of(5, over_results, measured=200, chunk=50)
        assert cost.reports == 200
        assert 150 <= cost.spans <= 250
        assert 0 < cost.decision_s < cost.all_s


def test_a_filled_cluster_has_tasks_in_every_state() -> None:
    totals = fill(20, 40_000, 10).core.snapshot(1.0).totals
    assert totals["total"] == 40_000
    assert all(totals[state] for state in ("ready", "running", "done"))


def test_snapshot_is_measured_in_bytes_and_share() -> None:
    size, share = measure_snapshot(workers=20, tasks=40_000)
    assert 1000 < size["value"] < 100_000
    assert share["value"] > 0


def test_spread() -> None:
    assert spread_of([1.0, 1.0]) == 0
    assert abs(spread_of([0.8, 1.0, 1.2]) - 0.2) < 1e-9
