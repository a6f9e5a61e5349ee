"""Reports that nobody waits for: held while there is a backlog, never when somebody could use them
now."""

from __future__ import annotations

import pytest

from cellspan.engine.messages import SpanDone, TakeBack
from cellspan.engine.worker.core import HOLD_S

from .shell import Shell, define, each, outcomes, span


@pytest.fixture
def shell() -> Shell:
    """Two executors, and a group 1 of 1000 tasks that take 1 ms, as is known."""
    shell = Shell(2)
    shell.start_all()
    shell.handle(define(1, each(1000)))
    shell.handle(span(99, 1, 0, 40))
    shell.run_to_end()
    shell.sent.clear()
    return shell


def run_one(shell: Shell, number: int) -> None:
    """Let an executor end its piece."""
    assert shell.claim(number)
    while shell.step(number):
        pass
    shell.report(number, over=True)


def test_reports_of_a_backlog_leave_together_after_a_moment(shell: Shell) -> None:
    shell.handle(span(1, 1, 100, 500, patient=True))
    run_one(shell, 1)
    assert not shell.sent
    due = shell.core.next_wakeup()
    assert due == shell.now + HOLD_S
    shell.now += HOLD_S / 2
    run_one(shell, 2)
    assert not shell.sent and shell.core.next_wakeup() == due, "held no longer by the second one"
    shell.now = due
    shell.core.on_timer(shell.now)
    shell.perform()
    (done,) = shell.sent
    assert isinstance(done, SpanDone) and done.stop - done.start == 20
    assert shell.core.next_wakeup() is None


def test_what_somebody_may_wait_for_is_told_at_once(shell: Shell) -> None:
    shell.handle(span(1, 1, 100, 500))
    run_one(shell, 1)
    assert len(shell.sent) == 1 and shell.core.next_wakeup() is None


def test_other_news_takes_along_what_is_held(shell: Shell) -> None:
    shell.handle(span(1, 1, 100, 500, patient=True))
    run_one(shell, 1)
    assert not shell.sent
    shell.handle(span(2, 1, 600, 601))
    shell.handle(TakeBack(2, [600, 601], False))
    assert [type(m).__name__ for m in shell.sent] == ["SpanDone", "SpanReturned"]


def test_a_worker_that_runs_dry_holds_nothing(shell: Shell) -> None:
    shell.handle(span(1, 1, 100, 500, patient=True))
    shell.run_to_end()
    assert outcomes(shell.sent) == {1: {i: ["done"] for i in range(100, 500)}}
    assert shell.core.next_wakeup() is None
