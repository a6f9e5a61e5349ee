"""Rebalance: slots are free, nothing is ready, and other workers have tasks that have not begun.

Spans are short in expected time and shorter towards an end, so this is for what could not be
known: tasks that take longer than those before them, workers that are slower or were given too
much. A worker is asked for the unstarted tail of a span and answers with what it gives back
(`SpanReturned`); only then are the tasks placed again, so no task ever runs twice because of it.

A worker is asked if its last task is expected to be over more than GAIN_S sooner elsewhere, where
its inputs have to be moved to and where it may run slower; or if it is late.

Law: asks, never takes. Looked at every PERIOD_S at most, and then at LOOK_AT workers that queue
tasks at most, the most loaded of them first.
"""

from __future__ import annotations

from itertools import islice

from ..messages import TakeBack
from .groups import Assignment
from .ledger import Ledger
from .peers import Worker
from .runs import clip, runs_of

PERIOD_S = 0.005
GAIN_S = 0.002
"""Less is not worth a round trip and the messages."""
PATIENCE_S = 0.010
"""A span is left alone for so long after twice the time that its worker's queue should take."""

LOOK_AT = 64
MAX_ASKED = 64
"""So many spans are asked for at a time at most."""


def rebalance(ledger: Ledger) -> None:
    """Ask workers that queue for work for those that have none."""
    if ledger.now < ledger.next_balance:
        return
    queueing = ledger.placement.queueing
    ledger.next_balance = ledger.now + PERIOD_S
    looked_at = [(_queue_s(worker), worker) for worker in islice(queueing.values(), LOOK_AT)]
    looked_at.sort(key=lambda row: -row[0])
    left = min(MAX_ASKED, 2 * ledger.placement.free_count)
    for queue_s, worker in looked_at:
        del queueing[worker.peer]  # and to the end: the others are looked at next
        queueing[worker.peer] = worker
        if left > 0:
            left -= _ask(ledger, worker, queue_s, left)


def _queue_s(worker: Worker) -> float:
    """Return how long the tasks that have not begun are expected to keep a worker busy."""
    queued = worker.tasks - worker.slots
    return worker.load_s * queued / (worker.tasks + worker.along) / worker.slots


def _ask(ledger: Ledger, worker: Worker, queue_s: float, limit: int) -> int:
    """Ask for the tails of some spans, half of what is queued. Return how many were asked for."""
    wanted = (worker.tasks - worker.slots + 1) // 2
    asked = 0
    for assignment in reversed(list(worker.assignments.values())):  # the latest first
        if wanted <= 0 or asked == limit:
            break
        if assignment.is_asked or assignment.group.restriction is not None:
            continue  # or it may run nowhere else
        if not _is_worth_it(ledger, assignment, queue_s):
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
    if asked:
        ledger.placement.on_worker_changed(worker)
    return asked


def _is_worth_it(ledger: Ledger, assignment: Assignment, queue_s: float) -> bool:
    """Return whether a span is late, or its last task would begin sooner elsewhere."""
    if ledger.now - assignment.since > 2 * queue_s + PATIENCE_S:
        return True
    # of what runs about half is over
    wait_s = queue_s - assignment.task_s / 2
    if wait_s < GAIN_S:
        return False
    return wait_s - GAIN_S > ledger.placement.loss_s(ledger, assignment)
