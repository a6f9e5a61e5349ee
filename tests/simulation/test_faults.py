"""Clusters that suffer: users who do everything that they may, and a different mix of faults for
each seed.

Law: a run is right only as a whole: every result equals the oracle's, every failure is explained,
the invariants hold, and after the heal everybody gets all that he waits for, within a bound of
simulated time, and nothing is left behind.
"""

from __future__ import annotations

import pytest

from .faults import Faults
from .scenario import Outcome, run_faulty, run_plain

LARGE = [
    (50_000, 0.0004, Faults(kill_executor_s=0.02, stall_s=0.02)),
    (
        20_000,
        0.001,
        Faults(
            kill_executor_s=0.05,
            kill_worker_s=0.03,
            cut_worker_s=0.05,
            join_worker_s=0.1,
            slow=0.2,
            repeat=0.05,
        ),
    ),
]
"""Tasks per map, their mean duration in seconds, and what goes wrong."""


def assert_worked(outcome: Outcome) -> None:
    """A run in which nothing happened would prove nothing."""
    assert outcome.tasks > 20
    assert outcome.finished > 10
    assert outcome.checked > 0


@pytest.mark.parametrize("seed", range(8))
def test_few_workers_with_all_invariants_after_every_event(seed: int) -> None:
    assert_worked(run_faulty(seed, workers=3, tasks=30, actions=15, check_every=1))


@pytest.mark.parametrize("seed", range(100, 132))
def test_several_workers_with_faults(seed: int) -> None:
    workers = 5 + seed % 6
    assert_worked(run_faulty(seed, workers, tasks=60, check_every=20))


@pytest.mark.parametrize(("tasks", "mean_s", "faults"), LARGE)
def test_a_hundred_workers_with_faults_amid_chained_maps(
    tasks: int, mean_s: float, faults: Faults
) -> None:
    outcome = run_plain(
        7, 100, tasks, slots=2, mean_s=mean_s, chain=2, faults=faults, check_every=4000
    )
    assert outcome.tasks == 2 * tasks
    assert outcome.checked >= outcome.tasks
