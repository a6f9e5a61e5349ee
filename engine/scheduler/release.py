"""Release: tasks that nobody wants are let go, their results freed, and groups without any other
task forgotten.

A task is wanted while a client holds its future, a data set has it, or an unfinished task takes its
result; and while it is unfinished, if a client asked that it be computed in any case.

Law: `settle` is the only way to let tasks go, and it asks for every task whether it is wanted;
callers name candidates. Payloads and groups are dropped only when nothing that is kept could ask
for them to be computed again.
"""

from __future__ import annotations

from pyroaring import BitMap

from ..ids import GroupId
from ..messages import TakeBack
from .graph import Graph
from .groups import Group
from .handing import free_shards, undefine
from .ledger import Ledger
from .moves import ASSIGNED, DONE, FAILED, READY, RELEASED, WAITING, move
from .peers import Client
from .runs import runs_of, set_of


def settle(ledger: Ledger, group: Group, tasks: BitMap) -> None:
    """These tasks may be wanted by nobody any more: let go of those that are not, and of what only
    they took.
    """
    stack = [(group, tasks)]
    while stack:
        group, tasks = stack.pop()
        tasks = find_unwanted(group, tasks)
        if not tasks:
            continue
        dropped = _let_go(ledger, group, tasks)
        if dropped and group.layer.has_inputs:
            for number, results in group.layer.inputs_of(dropped).items():
                if number in ledger.groups:
                    stack.append((ledger.groups[number], results))
        ledger.ending[group.id] = group
        free_shards(ledger, group, tasks)
        if isinstance(group.layer, Graph):
            _drop_chunks(ledger, group, tasks)


def settle_inputs(ledger: Ledger, group: Group, tasks: BitMap) -> None:
    """These tasks are finished: their inputs may be wanted by nobody any more."""
    for number, results in group.layer.inputs_of(tasks).items():
        if number in ledger.groups:
            settle(ledger, ledger.groups[number], results)


def find_unwanted(group: Group, tasks: BitMap) -> BitMap:
    """Return which of these tasks are wanted by nobody and not released yet."""
    tasks = tasks - group.released
    for held in group.holds.values():
        if not tasks:
            return tasks
        tasks -= held
    if group.published:
        tasks -= group.published
    if group.kept:
        tasks -= group.kept & group.unfinished()
    for consumer in group.consumers.values():
        if not tasks:
            return tasks
        tasks -= consumer.layer.needed(group.id, tasks, consumer.unfinished())
    return tasks


def _let_go(ledger: Ledger, group: Group, tasks: BitMap) -> BitMap:
    """Move tasks to RELEASED. Return those that had not been computed."""
    dropped = BitMap()
    for state in (WAITING, READY):
        part = tasks & group.sets[state]
        if part:
            move(ledger, group, part, state, RELEASED)
            dropped |= part
    running = tasks & group.assigned
    if running:
        dropped |= running
        for assignment in list(group.assignments.values()):
            part = running & assignment.left
            if part:
                worker = assignment.worker.peer
                ledger.outbox.send(worker, TakeBack(assignment.id, runs_of(part), False))
                move(ledger, group, part, ASSIGNED, RELEASED, assignment=assignment)
    for state in (DONE, FAILED):
        part = tasks & group.sets[state]
        if part:
            move(ledger, group, part, state, RELEASED)
    for index in _few(group.raised, tasks):
        del group.raised[index]
    for index in _few(group.crashes, tasks):
        del group.crashes[index]
    return dropped


def _few(counts: dict[int, int], tasks: BitMap) -> list[int]:
    return [index for index in counts if index in tasks] if counts else []


# --- holds ------------------------------------------------------------------------------------


def add_hold(group: Group, client: Client, start: int, stop: int) -> None:
    """A client holds the futures of a run of tasks."""
    held = group.holds.get(client.peer)
    if held is None:
        held = group.holds[client.peer] = BitMap()
        client.holds[group.id] = group
    held.add_range(start, stop)


def remove_hold(ledger: Ledger, group: Group, client: Client, tasks: BitMap) -> None:
    """A client holds futures of these tasks no more."""
    held = group.holds.get(client.peer)
    if held is None:
        return
    gone = held & tasks
    held -= gone
    if client.peer in group.wants:
        wanted = group.wants[client.peer]
        wanted -= gone
    if not held:
        del group.holds[client.peer]
        del client.holds[group.id]
    settle(ledger, group, gone)


def close(ledger: Ledger, group: Group) -> None:
    """No task will be appended to a group."""
    group.is_open = False
    owner = ledger.clients.get(group.owner)
    if owner is not None:
        owner.opened.pop(group.id, None)
    ledger.ending[group.id] = group


# --- the end of payloads and groups -----------------------------------------------------------


def _drop_chunks(ledger: Ledger, group: Group, tasks: BitMap) -> None:
    """Tasks of a `Graph` were released: drop the payloads that nothing can ask for again."""
    layer = group.layer
    assert isinstance(layer, Graph)
    stack = [
        (group, at)
        for at in range(layer.find_chunk(tasks.min()), layer.find_chunk(tasks.max()) + 1)
    ]
    while stack:
        group, at = stack.pop()
        layer = group.layer
        assert isinstance(layer, Graph)
        chunk = layer.chunks[at]
        if chunk is None or chunk.pins or not _is_private(group):
            continue
        if not group.released.contains_range(chunk.start, chunk.start + chunk.count):
            continue
        for number, index in layer.drop(at):
            producer = ledger.groups.get(number)
            if layer.unlink(number) and producer is not None:
                producer.consumers.pop(group.id)
                ledger.ending[number] = producer
            if producer is None or not isinstance(producer.layer, Graph):
                continue
            if producer is group and index >= chunk.start:  # an edge inside the chunk is not a pin
                continue
            unpinned = producer.layer.pin(index, -1)
            if unpinned is not None:
                stack.append((producer, unpinned))


def _is_private(group: Group) -> bool:
    """Return whether only graphs take results of a group: others are not counted by chunk."""
    return all(isinstance(consumer.layer, Graph) for consumer in group.consumers.values())


def end_groups(ledger: Ledger) -> None:
    """Forget the groups among the candidates that have no task left that could be asked for."""
    while ledger.ending:
        _, group = ledger.ending.popitem()
        if group.id in ledger.groups:
            ended = find_ended(group)
            for found in ended:
                forget(ledger, found)


def find_ended(group: Group) -> list[Group]:
    """Return a group and all that take its results, directly or not, if all of them are over; else
    nothing.
    """
    found: dict[GroupId, Group] = {}
    stack = [group]
    while stack:
        group = stack.pop()
        if group.is_open or len(group.released) < group.n:
            return []
        found[group.id] = group
        stack += [consumer for number, consumer in group.consumers.items() if number not in found]
    return list(found.values())


def forget(ledger: Ledger, group: Group) -> None:
    """Drop all records of a group whose tasks are all released; its counters stay for a while."""
    del ledger.groups[group.id]
    undefine(ledger, group)
    ledger.placement.restrictions.leave(group)
    ledger.drop_blobs(group)
    ledger.finished.append(group.counters)
    for client in group.holds:  # of tasks that never came to be
        ledger.clients[client].holds.pop(group.id, None)
    for number in group.layer.producers():
        producer = ledger.groups.get(number)
        if producer is None:
            continue
        producer.consumers.pop(group.id)
        ledger.ending[number] = producer
        if isinstance(producer.layer, Graph) and producer.n:
            if isinstance(group.layer, Graph):
                _unpin_all(ledger, group, producer)
            _drop_chunks(ledger, producer, set_of(0, producer.n))


def _unpin_all(ledger: Ledger, group: Group, producer: Group) -> None:
    """Take away the pins that chunks of a forgotten graph still have on those of a producer."""
    assert isinstance(group.layer, Graph) and isinstance(producer.layer, Graph)
    for chunk in group.layer.chunks:
        if chunk is not None:
            for number, index in group.layer.edges_of(chunk.start, chunk.start + chunk.count):
                if number == producer.id:
                    producer.layer.pin(index, -1)
