"""Exchanges of some size in the simulation: pushed, asked for, and through losses.

Law: counts, never seconds. Each merge takes a shard of every split, and a result shows whether it
did; how the shards travelled must make no difference.
"""

from __future__ import annotations

import pytest

from .faults import Faults
from .scenario import run_exchange

INPUTS, OUTPUTS = 60, 80
TASKS = 2 * INPUTS + OUTPUTS


def test_what_is_pushed_need_not_be_asked_for() -> None:
    outcome = run_exchange(1, 6, INPUTS, OUTPUTS)
    assert outcome.checked == OUTPUTS and outcome.finished == TASKS
    assert outcome.moves["pushes"] == 5 * INPUTS
    # the last splits' shards are under way when the first merges begin, and some merges run where
    # there is room
    assert outcome.moves.get("requests", 0) < outcome.moves["pushes"] / 2


def test_without_pushes_each_worker_asks_each_other_few_times() -> None:
    outcome = run_exchange(1, 6, INPUTS, OUTPUTS, faults=Faults(lose_pushes=1.0))
    assert outcome.checked == OUTPUTS and outcome.finished == TASKS
    assert "pushes" not in outcome.moves
    assert outcome.moves["requests"] <= outcome.sent["RunSpan"] * 5


@pytest.mark.parametrize("seed", range(6))
def test_workers_come_and_go(seed: int) -> None:
    faults = Faults(
        kill_worker_s=0.03, cut_worker_s=0.1, kill_executor_s=0.05, join_worker_s=0.1,
        lose_pushes=[0.0, 0.3, 1.0][seed % 3],
    )  # fmt: skip
    outcome = run_exchange(seed, 8, INPUTS, OUTPUTS, faults=faults, check_every=20)
    assert outcome.checked >= OUTPUTS and outcome.finished >= TASKS


def test_what_the_scheduler_says_does_not_grow_with_the_shards() -> None:
    """Four times the shards: about twice the tasks, and about so much more is said."""
    small, large = (run_exchange(3, 40, n, n) for n in (100, 200))
    assert large.finished == 600
    for kind in ("RunSpan", "FreeResults", "TasksDone", "PlanExchange"):
        assert large.sent[kind] < 2.5 * small.sent[kind] + 50
