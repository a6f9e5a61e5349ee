"""The policy cannot get worse unnoticed: the judge's families, small, with bounds.

Law: ratios of virtual times and counts only; the same on every machine.
"""

from __future__ import annotations

from statistics import median

import pytest

from .cost import Feed, count_calls
from .families import machines, make_chain, make_map
from .fidelity import compare
from .oracle import lower_bound, run_heft
from .problem import Machine, Network, Problem, Work, level_of
from .report import MEDIAN_RATIO, SKEWED, SKEWED_RATIO, WORST_RATIO, Verdict, judge
from .run import run


@pytest.fixture(scope="module")
def verdicts() -> list[Verdict]:
    return judge(0.5, 0.02, 2)


def test_no_family_is_far_from_the_oracle(verdicts: list[Verdict]) -> None:
    ratios = {verdict.problem.name: verdict.ratio for verdict in verdicts}
    assert median(ratios.values()) <= MEDIAN_RATIO
    assert {n: r for n, r in ratios.items() if r > WORST_RATIO} == {}
    assert {n: r for n, r in ratios.items() if n in SKEWED and r > SKEWED_RATIO} == {}


def test_bytes_moved_are_bounded(verdicts: list[Verdict]) -> None:
    """By what the oracle moves, with some room, and by far less than without looking."""
    for verdict in verdicts:
        outcome, random = verdict.outcome, verdict.random
        assert random is not None
        assert outcome.bytes_moved <= 1.25 * verdict.bound.bytes_moved, verdict.problem.name
        assert outcome.bytes_moved <= random.bytes_moved, verdict.problem.name


def test_no_task_is_handed_out_twice_unless_it_was_given_back(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        for outcome in (verdict.outcome, verdict.random):
            assert outcome is not None
            assert outcome.assigned == outcome.tasks + outcome.taken_back
        assert verdict.outcome.taken_back < 0.2 * verdict.outcome.tasks, verdict.problem.name


def test_the_same_problem_gives_the_same_outcome() -> None:
    assert run(make_chain(0.3, 0.01, 5)) == run(make_chain(0.3, 0.01, 5))


def test_nothing_is_faster_than_its_lower_bound(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        least = lower_bound(verdict.problem).seconds
        assert verdict.outcome.seconds >= least
        assert verdict.bound.seconds >= least * (1 - 1e-9)


def test_oracle_knows_a_schedule_that_can_be_checked_by_hand() -> None:
    """Two slots far apart: moving takes longer than computing, so a chain stays where it began."""
    import numpy as np

    works = [
        Work("a", np.array([1.0, 1.0]), np.array([10**9, 10**9])),
        Work("b", np.array([2.0, 2.0]), np.array([1, 1]), same=[(1, 0)]),
    ]
    network = Network(latency_s=(0.0,) * 4, bandwidth=(1e8,) * 4)
    far = [Machine(1, 1.0, "a/a/a"), Machine(1, 1.0, "b/b/b")]
    bound = run_heft(Problem("two chains", works, far, network))
    assert bound.seconds == pytest.approx(3.0)
    assert bound.bytes_moved == 0
    assert lower_bound(Problem("two chains", works, far, network)).seconds == pytest.approx(3.0)


@pytest.mark.parametrize("has_inputs", [False, True])
def test_a_decision_takes_as_many_calls_with_many_workers_as_with_few(has_inputs: bool) -> None:
    few, many = (count_calls(Feed(n, has_inputs=has_inputs)) for n in (10, 2000))
    assert 0.8 < many / few < 1.2


@pytest.mark.parametrize(("tasks", "mean_s", "maps"), [(1000, 0.02, 2), (8000, 0.002, 1)])
def test_light_workers_take_as_long_as_real_ones(tasks: int, mean_s: float, maps: int) -> None:
    assert 0.93 < compare(tasks, mean_s, maps).ratio < 1.07


def test_levels() -> None:
    assert level_of("s/r/h", "s/r/h") == 0
    assert level_of("s/r/h", "s/r/i") == 1
    assert level_of("s/r/h", "s/q/h") == 2
    assert level_of("s/r/h", "t/r/h") == 3


def test_a_cluster_of_one_worker_does_all() -> None:
    problem = make_map(0.1, 0.01, 3)
    one = Problem("map", problem.works, machines(1), problem.network)
    outcome = run(one)
    assert outcome.tasks == outcome.assigned - outcome.taken_back == 200
    assert outcome.busy > 0.9
