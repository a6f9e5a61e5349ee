"""A thousand workers and a million tasks, without faults: what the scheduler's work grows with.

Law: counts, not seconds: events are bounded by the number of spans, never by that of tasks, and no
task runs twice.
"""

from __future__ import annotations

import pytest

from .scenario import Outcome, run_plain


@pytest.fixture(scope="module")
def million() -> Outcome:
    return run_plain(1, 1000, 1_000_000, slots=1, mean_s=0.0005)


def test_every_task_runs_once_and_every_result_is_right(million: Outcome) -> None:
    assert million.finished == million.checked == million.tasks == 1_000_000


def test_scheduler_sees_spans_and_not_tasks(million: Outcome) -> None:
    assert million.sent["RunSpan"] < 20_000
    assert million.received["SpanDone"] < 60_000
    assert million.sent["TasksDone"] <= million.received["SpanDone"]


def test_cluster_is_kept_busy(million: Outcome) -> None:
    ideal_s = 1_000_000 * 0.0005 / 1000
    started_s = 0.5
    assert million.seconds < started_s + 10 * ideal_s + 7.0
