"""Faults, and users whose groups ask for resources, name workers, have time limits and are shared.

Law: as in test_faults.py. Besides, every executor checks that its tasks run where they may, and
that nothing of a worker is given out twice.
"""

from __future__ import annotations

import pytest

from .scenario import run_faulty
from .test_faults import assert_worked


@pytest.mark.parametrize("seed", range(1000, 1008))
def test_few_workers_with_all_invariants_after_every_event(seed: int) -> None:
    assert_worked(
        run_faulty(seed, workers=3, tasks=30, actions=15, check_every=1, has_options=True)
    )


@pytest.mark.parametrize("seed", range(1100, 1116))
def test_several_workers_with_faults(seed: int) -> None:
    workers = 5 + seed % 6
    assert_worked(run_faulty(seed, workers, tasks=60, check_every=20, has_options=True))


def test_a_worker_that_is_told_to_restart_twice_answers_twice() -> None:
    """It answered the second order only, and whoever waited for the first waited on."""
    assert_worked(run_faulty(2024, 5, tasks=60, check_every=5, has_options=True))
