"""What workers report: results, failures, returned spans, data that was put on them.

Reports are checked against the assignment that they name. A report of an assignment that is over is
late by a race (the task was cancelled, released or taken back meanwhile): what the worker then has
in its store and nobody knows of is freed there.

Law: only reports of live assignments move tasks to DONE, or to FAILED on a worker's word.
"""

from __future__ import annotations

from typing import Any

from pyroaring import BitMap

from ..errors import PeerError
from ..ids import MAX_TASKS
from ..messages import DataStored, Failure, SpanDone, SpanReturned, TaskFailed
from .groups import Assignment, Group
from .layers import Data
from .ledger import Ledger
from .moves import ASSIGNED, DONE, READY, WAITING, add_copy, catch_up, move
from .news import tell_done
from .peers import Worker
from .recovery import Work, await_inputs, fail, remove_claim, requeue
from .release import settle, settle_inputs
from .runs import clip, runs_of, set_of, set_of_runs


def find_assignment(
    ledger: Ledger, worker: Worker, message: SpanDone | TaskFailed | SpanReturned
) -> Assignment | None:
    """Return the assignment that a report names, None if it is over.

    Raises:
        PeerError: it is another worker's, of another group, or was never made.
    """
    assignment = ledger.assignments.get(message.assignment)
    if assignment is None:
        if not 0 < message.assignment <= ledger.last_assignment:
            raise PeerError(f"{worker} reports on assignment {message.assignment}, never made")
        return None
    if assignment.worker is not worker or assignment.group.id != message.group:
        raise PeerError(f"{worker} reports on {assignment}, which it does not have")
    return assignment


def on_span_done(ledger: Ledger, worker: Worker, message: SpanDone) -> None:
    """Tasks of an assignment have results."""
    start, stop = message.start, message.stop
    _check_run(worker, start, stop)
    assignment = find_assignment(ledger, worker, message)
    if assignment is None:  # late by a race: nobody waits for it
        _free_strays(ledger, worker, message.group, set_of(start, stop))
        return
    group, count = assignment.group, stop - start
    if not assignment.left.contains_range(start, stop):
        tasks = clip(assignment.left, start, stop)
        _free_strays(ledger, worker, group.id, set_of(start, stop) - tasks)
        runs = runs_of(tasks)
        if not runs:  # all of it was cancelled or released, or has been reported before
            return
    else:
        runs = [start, stop]
    since = assignment.since
    share = sum(runs[1::2]) - sum(runs[::2])
    nbytes = message.nbytes * share // count
    span = (assignment.stop - assignment.start) // worker.slots
    worker.is_behind = False
    seconds = ledger.placement.on_report(group, worker, share, message.seconds * share / count)
    group.learn(share, seconds, nbytes, max(1, span))
    group.counters.on_done(share, message.seconds, message.times, nbytes, ledger.now)
    ledger.activity.add(group.id, message.seconds, ledger.now, since)
    for first, last in zip(runs[::2], runs[1::2], strict=True):
        move(
            ledger, group, range(first, last), ASSIGNED, DONE, assignment=assignment, worker=worker
        )
        _on_done(ledger, group, first, last, worker, message.blocks)
    if message.passed:
        ledger.passed.append((group, worker, set_of_runs(runs)))


def drop_passed(ledger: Ledger) -> None:
    """Look at results that were passed on: where nothing that follows is with their worker any more
    and somebody wants them still, they are lost, and computed again.
    """
    passed, ledger.passed = ledger.passed, []
    work: Work = []
    for group, worker, results in passed:
        held = group.holders.get(worker.peer)
        if held is None or ledger.workers.get(worker.peer) is not worker:
            continue
        still = results & held
        needed = BitMap()
        for number, consumer in group.consumers.items() if still else ():
            needed |= consumer.layer.needed(group.id, still, worker.having.get(number, BitMap()))
        if needed:
            ledger.passed.append((group, worker, needed))
        if still - needed:
            reason = f"worker {worker.name} passed it on to what follows and did not keep it"
            work += remove_claim(ledger, group, worker, still - needed, reason, tell=False)
    await_inputs(ledger, work)


def _on_done(
    ledger: Ledger, group: Group, start: int, stop: int, worker: Worker, blocks: list[Any] | None
) -> None:
    """A run of tasks is done: tell who waits, ready who takes its results, let go what is not
    wanted any more.
    """
    tell_done(ledger, group, start, stop, worker, blocks)
    if group.consumers:
        results = set_of(start, stop)
        for consumer in group.consumers.values():
            pending = consumer.pending()
            if pending:
                complete = consumer.layer.on_done(group.id, results, pending, ledger.done_of)
                if consumer.along:
                    catch_up(ledger, consumer, worker, complete & consumer.along)
                    complete &= consumer.waiting
                move(ledger, consumer, complete, WAITING, READY)
    if group.layer.has_inputs:
        settle_inputs(ledger, group, set_of(start, stop))
    if not group.is_held(start, stop):
        settle(ledger, group, set_of(start, stop))


def _free_strays(ledger: Ledger, worker: Worker, number: int, results: BitMap) -> None:
    """A worker has results that no record says it has: let it drop them.

    Not those of tasks that it has been assigned again meanwhile: they are about to be replaced.
    """
    group = ledger.groups.get(number)
    if group is not None:
        held = group.holders.get(worker.peer)
        if held is not None:
            results = results - held
        for assignment in worker.assignments.values():
            if assignment.group is group:
                results = results - assignment.left
    if results:
        ledger.outbox.free(worker.peer, number, results)


def on_task_failed(ledger: Ledger, worker: Worker, message: TaskFailed) -> None:
    """A task of an assignment failed: it is tried again while it may be, and fails otherwise."""
    assignment = find_assignment(ledger, worker, message)
    index = message.index
    if assignment is None or index not in assignment.left:
        return  # late by a race: it was cancelled, released or taken back
    group = assignment.group
    failure: Failure = {**message.failure, "worker": worker.name}
    kind = failure.get("kind")
    if kind not in ("raised", "crashed", "timeout", "unserializable", "store"):
        raise PeerError(f"{worker} reports a failure of kind {kind!r}")
    failure.setdefault("text", f"{group.name}[{index}]: {kind}")
    group.learn(1, message.seconds * worker.pace.speed, 0, 1)
    ledger.activity.add(group.id, message.seconds, ledger.now, assignment.since)
    task = BitMap((index,))
    if kind in ("raised", "timeout"):
        count = group.raised[index] = group.raised.get(index, 0) + 1
        is_over = count > group.retries
    elif kind == "crashed":
        count = group.crashes[index] = group.crashes.get(index, 0) + 1
        is_over = count > group.allowed_failures
        if is_over:
            failure["text"] = describe_crash(group, index, count, worker, failure)
    else:
        is_over = True
    if is_over:
        fail(ledger, group, task, failure, assignment, message.seconds)
    else:
        group.counters.seconds += message.seconds
        await_inputs(ledger, requeue(ledger, assignment, task))


def describe_crash(group: Group, index: int, count: int, worker: Worker, failure: Failure) -> str:
    """Return a paragraph about a task that took its executor down too often."""
    if failure.get("oom"):
        cause = "it was killed because the worker had no memory left"
    elif failure.get("signal"):
        cause = f"it was ended by signal {failure['signal']}"
    elif failure.get("exit_code") is not None:
        cause = f"it ended with exit code {failure['exit_code']}"
    else:
        cause = str(failure["text"])
    times = "once" if count == 1 else f"{count} times"
    text = (
        f"{group.name}[{index}] took its executor down {times}; "
        f"the last one was on worker {worker.name}: {cause}"
    )
    lines = failure.get("log") or []
    if lines:
        text += "\nLast lines of its log:\n" + "\n".join(str(line) for line in lines[-10:])
    return text


def on_span_returned(ledger: Ledger, worker: Worker, message: SpanReturned) -> None:
    """Tasks of an assignment were not run: they are placed again, without blame.

    Where an input could not be fetched from a worker, that worker is not taken to hold it any more.
    """
    tasks = set_of_runs(message.runs, "SpanReturned")
    if not tasks and not message.missing:
        return  # all of what was to be taken back had been started: its report comes, or came
    assignment = find_assignment(ledger, worker, message)
    work: Work = []
    if assignment is not None:  # otherwise late by a race: released, cancelled or done
        assignment.is_asked = False
        tasks &= assignment.left
        if tasks:
            work += requeue(ledger, assignment, tasks)
    for (number, peer), results in _group_missing(message.missing).items():
        group, holder = ledger.groups.get(number), ledger.workers.get(peer)
        if group is None or holder is None:
            continue  # released, or lost with its worker, meanwhile
        reason = f"worker {holder.name} could not give it to {worker.name}"
        work += remove_claim(ledger, group, holder, results, reason, tell=True)
    await_inputs(ledger, work)


def _group_missing(missing: list[list[int]]) -> dict[tuple[int, int], BitMap]:
    found: dict[tuple[int, int], BitMap] = {}
    for row in missing:
        if len(row) != 3 or not all(type(number) is int for number in row):
            raise PeerError(f"SpanReturned: {row!r} names no missing input")
        number, index, peer = row
        _check_run(None, index, index + 1)
        found.setdefault((number, peer), BitMap()).add(index)
    return found


def on_data_stored(ledger: Ledger, worker: Worker, message: DataStored) -> None:
    """A worker has results that it did not compute: scattered data, or a copy of another worker's
    results.
    """
    start, stop = message.start, message.stop
    _check_run(worker, start, stop)
    stored = set_of(start, stop)
    group = ledger.groups.get(message.group)
    if group is None:  # released meanwhile
        ledger.outbox.free(worker.peer, message.group, stored)
        return
    source = ledger.workers.get(message.source)
    if source is not None:
        ledger.placement.on_moved(source, worker, message.nbytes, message.seconds)
    each = message.nbytes // (stop - start)
    copies = stored & group.done
    if copies:
        add_copy(group, worker, copies)
    new = stored & group.waiting if isinstance(group.layer, Data) else BitMap()
    runs = runs_of(new)
    for first, last in zip(runs[::2], runs[1::2], strict=True):
        nbytes = each * (last - first)
        group.learn(last - first, 0.0, nbytes, 1)
        group.counters.on_done(last - first, 0.0, [], nbytes, ledger.now)
        move(ledger, group, range(first, last), WAITING, DONE, worker=worker)
        _on_done(ledger, group, first, last, worker, None)
    strays = stored - copies - new
    if strays:  # released or lost meanwhile
        _free_strays(ledger, worker, group.id, strays)


def _check_run(worker: Worker | None, start: int, stop: int) -> None:
    if not 0 <= start < stop <= MAX_TASKS:
        raise PeerError(f"{worker}: [{start}, {stop}) is no run of tasks")
