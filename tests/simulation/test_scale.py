"""A thousand workers and a million tasks, without faults: what the scheduler's work grows with.

Law: counts and simulated time, never the seconds of this machine: events are bounded by the number
of spans and not by that of tasks, no task runs twice, and the slots are kept busy.
"""

from __future__ import annotations

import pytest

from .scenario import READY_S, Outcome, run_plain

WORKERS = 1000
TASKS = 1_000_000
MEAN_S = 0.00025


@pytest.fixture(scope="module")
def million() -> Outcome:
    return run_plain(1, WORKERS, TASKS, slots=1, mean_s=MEAN_S)


def test_every_task_runs_once_and_every_result_is_right(million: Outcome) -> None:
    assert million.finished == million.checked == million.tasks == TASKS


def test_scheduler_sees_spans_and_not_tasks(million: Outcome) -> None:
    # Probes, growth and an even end take about fifteen spans for each worker; beyond that a slot
    # reports every ten milliseconds.
    assert million.sent["RunSpan"] < 20 * WORKERS
    ten_ms = TASKS * MEAN_S / 0.010
    assert million.received["SpanDone"] < 2 * million.sent["RunSpan"] + ten_ms
    assert million.sent["TasksDone"] <= million.received["SpanDone"]


def test_slots_are_kept_busy(million: Outcome) -> None:
    ideal_s = TASKS * MEAN_S / WORKERS
    assert million.seconds - READY_S < 1.2 * ideal_s
