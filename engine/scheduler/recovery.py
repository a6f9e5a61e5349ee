"""Recovery: tasks that must wait, run again or fail because of what happened to others.

- `await_inputs`: tasks came to WAITING; ready what is complete, bring back released inputs, fail
  what cannot be.
- `fail`: tasks fail, and with them all unfinished tasks that take their results; every failure
  names its origin.
- `lose`: results are gone with their last holder; compute them again (lineage), or fail what cannot
  be computed.
- `requeue`, `remove_claim`, `retry`, `revive`: the ways into these.

Law: no recursion and no order among tasks is relied on: each function works off a list, and looks
again at the state of what it takes from it. A task that cannot run any more fails with a cause;
none is left waiting for ever.
"""

from __future__ import annotations

from typing import TypeAlias

from pyroaring import BitMap

from ..ids import GroupId
from ..messages import Failure, TakeBack
from .along import recall
from .graph import Graph
from .groups import Assignment, Group
from .layers import Data
from .ledger import Ledger
from .moves import ASSIGNED, DONE, FAILED, READY, RELEASED, WAITING, drop_claim, move
from .news import tell_done, tell_failed, tell_reopened
from .peers import Client, Worker
from .release import forget, settle, settle_inputs
from .restrictions import can_run_again, find_stranded
from .runs import clip, runs_of

Work: TypeAlias = list[tuple[Group, BitMap]]


def await_inputs(ledger: Ledger, work: Work) -> None:
    """These tasks have come to WAITING (by the caller): see to it that they run as soon as they
    can.
    """
    work = list(work)
    broken: list[tuple[Group, BitMap, Failure]] = []
    while work:
        group, tasks = work.pop()
        tasks = tasks & group.waiting
        if not tasks:
            continue
        complete = group.layer.count_again(tasks, ledger.done_of)
        move(ledger, group, complete, WAITING, READY)
        rest = tasks - complete
        if rest and group.layer.has_inputs:
            _bring_inputs(ledger, group, rest, work, broken)
    for group, tasks, failure in broken:
        fail(ledger, group, tasks & (group.waiting | group.ready), failure)


def _bring_inputs(
    ledger: Ledger,
    group: Group,
    tasks: BitMap,
    work: Work,
    broken: list[tuple[Group, BitMap, Failure]],
) -> None:
    """Put released inputs of waiting tasks on `work`, and tasks whose inputs cannot come among the
    `broken`.
    """
    layer = group.layer
    for number, results in layer.inputs_of(tasks).items():
        producer = ledger.groups.get(number)
        if producer is None:
            failure: Failure = {
                "kind": "lost",
                "text": f"an input of it, of group {number:x}, had been released before",
                "origin": [number, results.min()],
            }
            broken.append((group, layer.consumers_of(number, results) & tasks, failure))
            continue
        for start, stop, failure in _failures_in(producer, results & producer.failed):
            part = clip(results, start, stop)
            taking = layer.consumers_of(number, part) & tasks
            broken.append((group, taking, _derive(producer, part, failure)))
        back = can_run_again(producer, results & producer.released)
        if back:
            move(ledger, producer, back, RELEASED, WAITING)
            work.append((producer, back))
        beyond = results - producer.done - producer.failed - producer.unfinished()
        if beyond:
            failure = {
                "kind": "lost",
                "text": f"an input of it, of group {producer.name!r}, had been released before",
                "origin": [number, beyond.min()],
            }
            broken.append((group, layer.consumers_of(number, beyond) & tasks, failure))


def _failures_in(group: Group, tasks: BitMap) -> list[tuple[int, int, Failure]]:
    runs = runs_of(tasks)
    pairs = zip(runs[::2], runs[1::2], strict=True)
    return [section for start, stop in pairs for section in group.failures.sections(start, stop)]


def _derive(group: Group, failed: BitMap, failure: Failure) -> Failure:
    """Return the failure of tasks that take results of these, which failed for one reason."""
    if "origin" in failure:
        return failure
    index = failed.min()
    which = f"{group.name}[{index}], which"
    if len(failed) > 1:
        which = f"tasks of {group.name}, [{index}] the first of them, which"
    text = f"it depends on {which} failed: {failure['text']}"
    return {**failure, "text": text, "origin": [group.id, index]}


# --- failing ----------------------------------------------------------------------------------


def fail(
    ledger: Ledger,
    group: Group,
    tasks: BitMap,
    failure: Failure,
    assignment: Assignment | None = None,
    seconds: float = 0.0,
    *,
    kill: bool = True,
) -> None:
    """Let tasks fail that are unfinished, or whose results are lost, and all that depend on them.

    Assigned ones are taken from their workers; executors that run one are killed, or with `kill`
    False left to run to an end that nobody hears of. With `assignment` its worker itself has said
    that they failed.
    """
    stack = [(group, tasks, failure)]
    failed: Work = []
    while stack:
        group, tasks, failure = stack.pop()
        tasks = tasks - group.failed - group.released  # it may be here a second time
        if not tasks:
            continue
        for state in (WAITING, READY, DONE):
            part = tasks & group.sets[state]
            if part:
                move(ledger, group, part, state, FAILED, failure=failure)
        if assignment is not None:  # the first one: what depends on it is taken back
            part = tasks & assignment.left
            move(ledger, group, part, ASSIGNED, FAILED, assignment=assignment, failure=failure)
            assignment = None
        if not tasks.isdisjoint(group.assigned):
            _fail_assigned(ledger, group, tasks & group.assigned, failure, kill)
        group.counters.on_failed(failure["text"], ledger.now, seconds)
        seconds = 0.0
        tell_failed(ledger, group, tasks, failure)
        failed.append((group, tasks))
        for consumer in group.consumers.values():
            taking = consumer.layer.consumers_of(group.id, tasks)
            taking &= consumer.pending() | consumer.ready
            if taking:
                taken = consumer.layer.inputs_of(taking)[group.id] & tasks
                stack.append((consumer, taking, _derive(group, taken, failure)))
    for group, tasks in failed:
        if group.layer.has_inputs:
            settle_inputs(ledger, group, tasks)
        settle(ledger, group, tasks)


def _fail_assigned(
    ledger: Ledger,
    group: Group,
    tasks: BitMap,
    failure: Failure,
    kill: bool,
) -> None:
    for found in list(group.assignments.values()):
        part = tasks & found.left
        if part:
            ledger.outbox.send(found.worker.peer, TakeBack(found.id, runs_of(part), kill))
            move(ledger, group, part, ASSIGNED, FAILED, assignment=found, failure=failure)


def cancel(ledger: Ledger, group: Group, tasks: BitMap, by: str, *, force: bool) -> None:
    """Let what is unfinished among tasks fail as cancelled; with `force` what runs is killed."""
    failure: Failure = {"kind": "cancelled", "text": f"cancelled by {by}"}
    unfinished = tasks & group.unfinished()
    if unfinished:
        fail(ledger, group, unfinished, failure, kill=force)


def abandon_data(ledger: Ledger, owner: Client) -> None:
    """A client has left: data that it was to put on workers never comes; others may wait for it."""
    for group in list(ledger.groups.values()):
        if group.owner == owner.peer and isinstance(group.layer, Data) and group.waiting:
            text = f"its client {owner.name} left before it had put this data on a worker"
            fail(ledger, group, group.waiting.copy(), {"kind": "lost", "text": text})


# --- losing -----------------------------------------------------------------------------------


def lose(ledger: Ledger, group: Group, results: BitMap, reason: str) -> Work:
    """Done tasks have lost their last holder. Return what has come to WAITING by that, for
    `await_inputs`.
    """
    back = can_run_again(group, results)
    dead = results - back
    work: Work = []
    if back:
        move(ledger, group, back, DONE, WAITING)
        tell_reopened(ledger, group, back, reason)
        work.append((group, back))
        for consumer in group.consumers.values():
            consumer.layer.on_lost(group.id, back, consumer.pending())
            taking = consumer.layer.consumers_of(group.id, back) & consumer.ready
            if taking:
                move(ledger, consumer, taking, READY, WAITING)
                work.append((consumer, taking))
        work += recall(ledger, group, back)
    if dead:
        text = f"the only copy of this data is gone: {reason}"
        fail(ledger, group, dead, {"kind": "lost", "text": text})
    return work


def remove_claim(
    ledger: Ledger, group: Group, worker: Worker, results: BitMap, reason: str, *, tell: bool
) -> Work:
    """A worker holds these results no more; others that do stand in. Return what has come to
    WAITING.
    """
    held = group.holders.get(worker.peer)
    if held is None:
        return []
    gone = held & results & group.done
    drop_claim(ledger, group, worker, gone, tell=tell)
    orphans = BitMap()
    runs = runs_of(gone)
    for first, last in zip(runs[::2], runs[1::2], strict=True):
        for start, stop, holder in group.where.sections(first, last):
            if holder is worker:
                orphans.add_range(start, stop)
    if orphans and not orphans.isdisjoint(group.copied):
        for peer, others in group.holders.items():
            common = orphans & others
            if common:
                _stand_in(ledger, group, ledger.workers[peer], common)
                orphans -= common
    return lose(ledger, group, orphans, reason) if orphans else []


def _stand_in(ledger: Ledger, group: Group, worker: Worker, results: BitMap) -> None:
    runs = runs_of(results)
    for start, stop in zip(runs[::2], runs[1::2], strict=True):
        group.where.set(start, stop, worker)
        tell_done(ledger, group, start, stop, worker)


def requeue(ledger: Ledger, assignment: Assignment, tasks: BitMap) -> Work:
    """Tasks of an assignment are to be placed again. Return what has come to WAITING."""
    move(ledger, assignment.group, tasks, ASSIGNED, WAITING, assignment=assignment)
    return [(assignment.group, tasks), *recall(ledger, assignment.group, tasks)]


def remove_worker(ledger: Ledger, worker: Worker, reason: str, *, blame: bool) -> None:
    """A worker is gone, with the tasks that it had and the results that it held.

    With `blame` the tasks that it may have been running are held to have taken it down.
    """
    suspects = worker.slots if blame else 0
    work: Work = []
    given_up: list[tuple[Group, BitMap, Failure]] = []
    for assignment in list(
        worker.assignments.values()
    ):  # in the order in which they were handed out
        group, left = assignment.group, assignment.left.copy()
        for index in (left - group.along)[:suspects] if suspects else ():
            suspects -= 1
            count = group.crashes[index] = group.crashes.get(index, 0) + 1
            if count > group.allowed_failures:
                text = (
                    f"{group.name}[{index}] was with {count} workers that were lost, so it is "
                    f"given up; the last one, {worker.name}: {reason}"
                )
                failure: Failure = {"kind": "crashed", "text": text, "worker": worker.name}
                given_up.append((group, BitMap((index,)), failure))
        work += requeue(ledger, assignment, left)
    for group in list(worker.holds.values()):
        held = group.holders.get(worker.peer)
        if held is None:
            continue  # released by the failures that a loss before it brought about
        lost = f"worker {worker.name} is gone ({reason})"
        work += remove_claim(ledger, group, worker, held.copy(), lost, tell=False)
    for number in worker.knows:
        ledger.groups[number].known_by.pop(worker.peer)
    stranded = find_stranded(worker)
    ledger.placement.on_worker_gone(worker)
    del ledger.workers[worker.peer]
    ledger.behind.pop(worker.peer, None)
    ledger.outbox.forget_peer(worker.peer)
    _lose_expected(ledger, worker, reason)
    for group, tasks in stranded:
        text = f"worker {worker.name} left before it had run this: {reason}"
        fail(ledger, group, tasks, {"kind": "departed", "text": text, "worker": worker.name})
    for group, tasks, failure in given_up:
        fail(ledger, group, tasks & group.waiting, failure)
    await_inputs(ledger, work)


def _lose_expected(ledger: Ledger, worker: Worker, reason: str) -> None:
    """Data that was to be put on a worker, and that it has not reported, went with it."""
    for group in list(ledger.groups.values()):
        tasks = group.expected.pop(worker.peer, None)
        if tasks is None:
            continue
        tasks &= group.waiting
        for elsewhere in group.expected.values():
            tasks -= elsewhere
        text = f"the worker that this data was put on is gone: {worker.name}: {reason}"
        fail(ledger, group, tasks, {"kind": "lost", "text": text, "worker": worker.name})


# --- once more --------------------------------------------------------------------------------


def retry(ledger: Ledger, group: Group, tasks: BitMap, reason: str) -> None:
    """Run the failed among these tasks again, and the failed tasks that they depend on."""
    stack = [(group, tasks & group.failed)]
    work: Work = []
    passed: dict[GroupId, BitMap] = {}
    while stack:
        group, tasks = stack.pop()
        # Released ones will be computed for those that take their results: what they need, too.
        lower = can_run_again(group, tasks & group.released)
        if lower:
            before = passed.get(group.id, BitMap())
            lower = lower - before
            passed[group.id] = before | lower
        tasks = can_run_again(group, tasks & group.failed)
        if tasks:
            move(ledger, group, tasks, FAILED, WAITING)
            group.counters.on_retried()
            for counts in (group.raised, group.crashes):
                for index in [i for i in counts if i in tasks]:
                    del counts[index]
            tell_reopened(ledger, group, tasks, reason)
            work.append((group, tasks))
        if (tasks or lower) and group.layer.has_inputs:
            for number, results in group.layer.inputs_of(tasks | lower).items():
                if number in ledger.groups:
                    stack.append((ledger.groups[number], results))
    await_inputs(ledger, work)


def revive(ledger: Ledger, group: Group, tasks: BitMap) -> BitMap:
    """Somebody wants released tasks. Return those that can be computed once more, and are now."""
    back = can_run_again(group, tasks & group.released)
    if back:
        move(ledger, group, back, RELEASED, WAITING)
        await_inputs(ledger, [(group, back)])
    return back


def pin_inputs(ledger: Ledger, group: Group, start: int, stop: int) -> None:
    """Tasks of a `Graph` were appended: the chunks of graphs that they take results of must be kept
    for them.
    """
    assert isinstance(group.layer, Graph)
    for number, index in group.layer.edges_of(start, stop):
        producer = ledger.groups.get(number)
        if producer is None or not isinstance(producer.layer, Graph) or index >= producer.n:
            continue
        if producer is not group or index < start:
            producer.layer.pin(index, 1)


def forget_all(ledger: Ledger, reason: str) -> None:
    """Let everything that clients hold fail as cancelled, and forget all groups and assignments."""
    failure: Failure = {"kind": "cancelled", "text": reason}
    for group in ledger.groups.values():
        for assignment in list(group.assignments.values()):
            left = assignment.left.copy()
            move(ledger, group, left, ASSIGNED, FAILED, assignment=assignment, failure=failure)
        for state in (WAITING, READY, DONE):
            part = group.sets[state].copy()
            move(ledger, group, part, state, FAILED, failure=failure)
        tell_failed(ledger, group, group.failed, failure)
        move(ledger, group, group.failed.copy(), FAILED, RELEASED)
        group.counters.on_failed(reason, ledger.now)
        group.is_open = False
    for client in ledger.clients.values():
        client.holds.clear()
        client.opened.clear()
    for group in ledger.groups.values():
        group.holds.clear()
    for group in list(ledger.groups.values()):
        if group.id in ledger.groups:
            forget(ledger, group)
    ledger.ending.clear()
