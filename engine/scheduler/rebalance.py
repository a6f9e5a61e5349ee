"""Rebalance: slots are free, nothing is ready, and other workers have tasks that have not begun.

Spans are short in expected time, so this is for where the expectation was wrong: a span whose tasks
take far longer than those before them. A worker is asked for the unstarted tail of a span and
answers with what it gives back (`SpanReturned`); only then are the tasks placed again, so no task
ever runs twice because of it.

Law: asks, never takes. Looked at every PERIOD_S at most, and then at workers that queue tasks only.
"""

from __future__ import annotations

from ..messages import TakeBack
from .groups import Assignment
from .ledger import Ledger
from .runs import clip, runs_of

PERIOD_S = 0.05
PATIENCE_S = 0.05
"""A span is left alone for so long after the time it was expected to take."""

MAX_ASKED = 64
"""So many spans are asked for at a time at most."""


def rebalance(ledger: Ledger) -> None:
    """Ask workers that queue for work for those that have none."""
    if ledger.now < ledger.next_balance:
        return
    placement = ledger.placement
    ledger.next_balance = ledger.now + PERIOD_S + 1e-5 * len(placement.queueing)
    asked = 0
    for worker in list(placement.queueing.values()):
        queued = worker.tasks - worker.slots
        wanted = (queued + 1) // 2
        for assignment in reversed(list(worker.assignments.values())):  # the latest first
            if wanted <= 0 or asked == min(MAX_ASKED, 2 * placement.free_count):
                break
            if assignment.is_asked or not _is_late(ledger, assignment):
                continue
            if assignment.group.restriction is not None:  # it may run nowhere else
                continue
            left = assignment.left - assignment.group.along  # those have to be where they are
            if not left:
                continue
            count = min(wanted, len(left))
            tail = clip(left, left[len(left) - count], assignment.stop)
            ledger.outbox.send(worker.peer, TakeBack(assignment.id, runs_of(tail), False))
            assignment.is_asked = worker.is_behind = True
            wanted -= count
            asked += 1
        placement.on_worker_changed(worker)


def _is_late(ledger: Ledger, assignment: Assignment) -> bool:
    """Return whether a span has taken longer than it should have, with what was before it."""
    worker = assignment.worker
    expected_s = 2 * ledger.limits.queue_s + worker.load_s / worker.slots
    return ledger.now - assignment.since > expected_s + PATIENCE_S
