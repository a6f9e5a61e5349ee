"""Handing out: a planned span becomes an assignment and the messages that a worker needs for it.

Law: a worker is told of a group once, and is sent a blob or a chunk of items once, however many
spans it gets. Decides nothing: what is handed out to whom is placement's business.
"""

from __future__ import annotations

from typing import Any

from pyroaring import BitMap

from ..messages import DefineGroup, ForgetGroup, PlanExchange, RunSpan
from ..options import FOR_WORKERS
from .exchange import Exchange
from .graph import Graph
from .groups import Assignment, Group
from .layers import Each
from .ledger import Ledger
from .moves import ASSIGNED, READY, move
from .peers import Worker
from .placement import Plan
from .runs import clip, runs_of, set_of


def hand_out(ledger: Ledger, plan: Plan, source: str = READY) -> None:
    """Assign a span and tell its worker. From WAITING it is sent along with its inputs."""
    group, worker, start, stop, task_s = plan
    layer = group.layer
    if isinstance(layer, Exchange):
        assert layer.is_merge(start) or stop <= layer.count, f"{group}: [{start}, {stop}) mixed"
        if not layer.owners:
            _plan_exchange(ledger, group, layer)
    if group.id not in worker.knows:
        define(ledger, group, worker)
    ledger.last_assignment += 1
    number = ledger.last_assignment
    assignment = Assignment(number, group, worker, start, stop, task_s, ledger.now)
    move(ledger, group, range(start, stop), source, ASSIGNED, assignment=assignment)
    message = RunSpan(number, group.id, start, stop, group.is_wanted(start, stop))
    if group.consumers:  # what takes these results can only be with this worker, too
        message.patient = ledger.placement.worker_count == 1
    else:
        message.patient = not message.inline
    if isinstance(layer, Graph):
        message.payload, message.lengths = layer.cut(start, stop)
        if layer.has_inputs:
            message.inputs = layer.cut_inputs(start, stop)
    elif isinstance(layer, Each) and layer.chunked:
        message.chunks = _take_chunks(ledger, layer, worker.knows[group.id], start, stop)
    if layer.has_inputs:
        message.holders = find_holders(ledger, group, worker, start, stop)
    message.passing = group.is_passing(start, stop)
    ledger.outbox.send(worker.peer, message)


def define(ledger: Ledger, group: Group, worker: Worker) -> None:
    """Tell a worker of a group, with the blobs that are new to it."""
    worker.knows[group.id] = set()
    group.known_by[worker.peer] = worker
    digests = dict.fromkeys(group.layer.define_blobs())
    new = {d: ledger.blobs[d] for d in digests if d not in worker.blob_uses}
    for digest in digests:
        worker.blob_uses[digest] = worker.blob_uses.get(digest, 0) + 1
    layer = group.layer
    options = {name: group.options[name] for name in FOR_WORKERS if name in group.options}
    ledger.outbox.send(worker.peer, DefineGroup(group.id, group.name, layer.wire, new, options))
    if isinstance(layer, Exchange):
        owners = [(row, ledger.workers.get(row[2])) for row in layer.owners]
        rows = [[a, b, peer, owner.address] for (a, b, peer), owner in owners if owner is not None]
        ledger.outbox.send(worker.peer, PlanExchange(group.id, rows))


def _plan_exchange(ledger: Ledger, group: Group, layer: Exchange) -> None:
    """The splits of an exchange begin: plan who merges what, and tell the owners of the group, so
    that they take the shards that others make for them.
    """
    layer.plan([(worker.peer, worker.slots) for worker in ledger.workers.values()])
    for peer in dict.fromkeys(peer for _, _, peer in layer.owners):
        if group.id not in ledger.workers[peer].knows:
            define(ledger, group, ledger.workers[peer])


def undefine(ledger: Ledger, group: Group) -> None:
    """Tell all workers that know a group that it is over."""
    digests = dict.fromkeys(group.layer.define_blobs())
    for worker in group.known_by.values():
        del worker.knows[group.id]
        for digest in digests:
            worker.blob_uses[digest] -= 1
            if not worker.blob_uses[digest]:
                del worker.blob_uses[digest]
        ledger.outbox.send(worker.peer, ForgetGroup(group.id))
    group.known_by.clear()


def free_shards(ledger: Ledger, group: Group, tasks: BitMap) -> None:
    """Tasks were let go of: shards of the splits among them may lie with every worker that knows
    the group.
    """
    layer = group.layer
    splits = clip(tasks, 0, layer.count) if isinstance(layer, Exchange) else None
    if splits:
        for peer in group.known_by:
            ledger.outbox.free(peer, group.id, splits)


def find_holders(
    ledger: Ledger, group: Group, worker: Worker, start: int, stop: int
) -> list[list[Any]]:
    """Return the inputs of a span that a worker lacks and who has them: ``[group, start, stop,
    worker, address]``.

    For merges of an exchange: a row for each worker that has some splits, from its first to its
    last one (those of several workers may lie between each other).
    """
    found: list[list[Any]] = []
    layer = group.layer
    if isinstance(layer, Exchange) and layer.is_merge(start):
        for peer, here in group.holders.items():
            last = min(here.max(), layer.count - 1)
            if peer != worker.peer and here.min() <= last:
                address = ledger.workers[peer].address
                found.append([group.id, here.min(), last + 1, peer, address])
        return found
    for number, results in layer.inputs_of(set_of(start, stop)).items():
        producer = ledger.groups[number]
        held = producer.holders.get(worker.peer)
        lacking = results if held is None else results - held
        runs = runs_of(lacking)
        for first, last in zip(runs[::2], runs[1::2], strict=True):
            for begin, end, holder in producer.where.sections(first, last):
                found.append([number, begin, end, holder.peer, holder.address])
    return found


def _take_chunks(
    ledger: Ledger, layer: Each, sent: set[tuple[int, int]], start: int, stop: int
) -> list[list[Any]]:
    chunks: list[list[Any]] = []
    for position, size, digests in layer.chunked:
        for number in range(start // size, (stop - 1) // size + 1):
            if (position, number) not in sent:
                sent.add((position, number))
                chunks.append([position, number, ledger.blobs[digests[number]]])
    return chunks
