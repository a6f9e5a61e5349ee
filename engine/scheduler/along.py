"""Along: consumers are sent to a worker together with their producers, so that a link of a chain
does not cost the way to the scheduler and back.

A waiting task may go along if every input of it is done, or is being computed by that one worker.
What can go along with a span is found as a closure, layer by layer, until the worker has `along_s`
of work per slot; where it stopped is remembered, and gone on from when the worker has caught up.

Law: a task that was sent along is assigned, and stands in `along` of its group until its inputs are
done. Its unfinished inputs are all assigned to its worker: when one of them leaves it unfinished,
`recall` has it wait here again.
"""

from __future__ import annotations

from typing import TypeAlias

from pyroaring import BitMap

from ..ids import MAX_TASKS, GroupId
from ..messages import TakeBack
from .graph import Graph
from .groups import Group
from .handing import hand_out
from .ledger import Ledger
from .lengths import MIN_TASK_S
from .moves import ASSIGNED, WAITING, move
from .peers import Worker
from .placement import GUESS_S, Plan
from .runs import runs_of

Work: TypeAlias = list[tuple[Group, BitMap]]

MAX_ALONG = 1 << 12
"""A worker is sent about so many tasks of explicit graphs along at most."""

PROBE = 16
"""While nothing is known of a group, so many of its tasks go along for each slot."""

MOVING_S = 1e-3
"""A task goes along only if moving the inputs that lie elsewhere takes less than this, where moving
takes longest."""


class _Closure:
    """What is to go along with the tasks of one worker, by group, and not assigned yet."""

    def __init__(self, ledger: Ledger, worker: Worker) -> None:
        self.ledger = ledger
        self.worker = worker
        self.load_s = worker.load_s
        self.found: dict[GroupId, BitMap] = {}

    def has(self, number: GroupId) -> BitMap:
        """Return the tasks of a group whose results the worker has, can get, or will have."""
        found = self.ledger.done_of(number)
        for tasks in (self.worker.having.get(number), self.found.get(number)):
            if tasks:
                found = found | tasks
        return found

    def is_full(self, group: Group) -> bool:
        """Has the worker enough to do, so that consumers of a group are to come later?"""
        limits, worker = self.ledger.limits, self.worker
        if not isinstance(group.layer, Graph):
            return False  # spans are as long as their whole chain allows
        return self.load_s >= limits.along_s * worker.slots or worker.along > MAX_ALONG

    def follow(self, producer: Group, results: BitMap) -> tuple[Work, bool]:
        """Take in the consumers of these results that can go along. Return them, and whether there
        was room for all.
        """
        new: Work = []
        is_all = True
        for consumer in producer.consumers.values():
            if not consumer.waiting or not _goes_with(consumer, producer):
                continue
            able = consumer.layer.consumers_of(producer.id, results) & consumer.waiting
            if consumer.id in self.found:
                able -= self.found[consumer.id]
            if not able:
                continue
            able = consumer.layer.complete(able, self.has)
            if self.ledger.placement.worker_count > 1 and able:
                able = able[: len(results)]  # of what spreads out others shall have their share
                if not self._is_near(consumer, able):
                    continue
            fitting = able[: self._room_for(consumer)]
            is_all = is_all and len(fitting) == len(able)
            if fitting:
                self._take(consumer, fitting)
                new.append((consumer, fitting))
        return new, is_all

    def _room_for(self, group: Group) -> int:
        limits, worker = self.ledger.limits, self.worker
        if group.mean_s() is None:
            return worker.slots * PROBE
        if not isinstance(group.layer, Graph):
            return MAX_TASKS
        room_s = limits.along_s * worker.slots - self.load_s
        count = max(0, min(int(room_s / _task_s(group)), limits.max_span * worker.slots))
        size = group.layer.bytes_per_task()
        return min(count, int(limits.span_bytes / size)) if size else count

    def _take(self, group: Group, tasks: BitMap) -> None:
        self.load_s += len(tasks) * _task_s(group)
        if group.id in self.found:
            self.found[group.id] |= tasks
        else:
            self.found[group.id] = tasks.copy()

    def _is_near(self, group: Group, tasks: BitMap) -> bool:
        """Return whether it takes no time worth speaking of to move inputs of tasks here."""
        nbytes = 0
        for number, results in group.layer.inputs_of(tasks).items():
            producer = self.ledger.groups[number]
            far = results & producer.done
            if far and self.worker.peer in producer.holders:
                far -= producer.holders[self.worker.peer]
            nbytes += producer.bytes_of(len(far))
        return nbytes * self.ledger.placement.distances.slowest_byte_s() < MOVING_S


def _goes_with(consumer: Group, producer: Group) -> bool:
    if consumer is producer and consumer.layer.kind == "exchange":
        return False  # merges go where the shards are sent to
    if not (_is_free(consumer) and _is_free(producer)):
        return False
    return consumer.owner == producer.owner and consumer.priority >= producer.priority


def _is_free(group: Group) -> bool:
    """May its tasks be in one piece with others? Not if they run with resources of their own, on
    some workers only, or have to be watched.
    """
    return group.restriction is None and "timeout" not in group.options


def _task_s(group: Group) -> float:
    mean = group.mean_s()
    return GUESS_S if mean is None else max(mean, MIN_TASK_S)


def send_along(ledger: Ledger, worker: Worker, group: Group, tasks: BitMap) -> None:
    """A worker was given these tasks: give it consumers of theirs, too."""
    if group.consumers and ledger.limits.along_s:
        worker.frontier.append((group, tasks))
        _advance(ledger, worker)


def resume(ledger: Ledger, worker: Worker) -> None:
    """Go on where there was no room: the worker has worked off half of what it had."""
    if worker.load_s < ledger.limits.along_s * worker.slots / 2:
        _advance(ledger, worker)


def _advance(ledger: Ledger, worker: Worker) -> None:
    closure = _Closure(ledger, worker)
    rest: Work = []
    stack, worker.frontier = worker.frontier, rest
    while stack:
        group, tasks = stack.pop()
        having = worker.having.get(group.id)
        new = closure.found.get(group.id)
        if ledger.groups.get(group.id) is not group or (having is None and new is None):
            continue
        if closure.is_full(group):
            rest.append((group, tasks))
            continue
        still = tasks & closure.has(group.id) - group.done
        if still:
            following, is_all = closure.follow(group, still)
            stack += following
            if not is_all:
                rest.append((group, still))
    _hand_out(ledger, closure)
    if rest:
        ledger.behind[worker.peer] = worker
    else:
        ledger.behind.pop(worker.peer, None)


def _hand_out(ledger: Ledger, closure: _Closure) -> None:
    """Assign what was found: producers before their consumers, as the worker wants it."""
    groups = sorted((ledger.groups[number] for number in closure.found), key=_order)
    for group in groups:
        runs = runs_of(closure.found[group.id])
        task_s = _task_s(group)
        for start, stop in zip(runs[::2], runs[1::2], strict=True):
            hand_out(ledger, Plan(group, closure.worker, start, stop, task_s), WAITING)
            ledger.placement.charge(group.owner, (stop - start) * task_s)


def _order(group: Group) -> tuple[int, int]:
    return group.depth, group.serial


def recall(ledger: Ledger, group: Group, tasks: BitMap) -> Work:
    """These tasks will not be done where they were to be: what was sent along because of them
    waits again. Return it, for `await_inputs`.
    """
    work: Work = []
    stack = [(group, tasks)]
    while stack:
        group, tasks = stack.pop()
        for consumer in group.consumers.values():
            if not consumer.along:
                continue
            back = consumer.layer.consumers_of(group.id, tasks) & consumer.along
            if not back:
                continue
            for assignment in list(consumer.assignments.values()):
                part = back & assignment.left
                if part:
                    message = TakeBack(assignment.id, runs_of(part), False)
                    ledger.outbox.send(assignment.worker.peer, message)
                    move(ledger, consumer, part, ASSIGNED, WAITING, assignment=assignment)
            work.append((consumer, back))
            stack.append((consumer, back))
    return work
