"""Handing out: a planned span becomes an assignment and the messages that a worker needs for it.

Law: a worker is told of a group once, and is sent a blob or a chunk of items once, however many
spans it gets. Decides nothing: what is handed out to whom is placement's business.
"""

from __future__ import annotations

from typing import Any

from ..messages import DefineGroup, ForgetGroup, RunSpan
from ..options import FOR_WORKERS
from .graph import Graph
from .groups import Assignment, Group
from .layers import Each
from .ledger import Ledger
from .moves import ASSIGNED, READY, move
from .peers import Worker
from .placement import Plan
from .runs import runs_of, set_of


def hand_out(ledger: Ledger, plan: Plan) -> None:
    """Assign a span and tell its worker."""
    group, worker, start, stop, task_s = plan
    if group.id not in worker.knows:
        define(ledger, group, worker)
    ledger.last_assignment += 1
    number = ledger.last_assignment
    assignment = Assignment(number, group, worker, start, stop, task_s, ledger.now)
    move(ledger, group, range(start, stop), READY, ASSIGNED, assignment=assignment)
    message = RunSpan(number, group.id, start, stop, group.is_wanted(start, stop))
    layer = group.layer
    if isinstance(layer, Graph):
        message.payload, message.lengths = layer.cut(start, stop)
        if layer.has_inputs:
            message.inputs = layer.cut_inputs(start, stop)
    elif isinstance(layer, Each) and layer.chunked:
        message.chunks = _take_chunks(ledger, layer, worker.knows[group.id], start, stop)
    if layer.has_inputs:
        message.holders = find_holders(ledger, group, worker, start, stop)
    ledger.outbox.send(worker.peer, message)


def define(ledger: Ledger, group: Group, worker: Worker) -> None:
    """Tell a worker of a group, with the blobs that are new to it."""
    worker.knows[group.id] = set()
    group.known_by[worker.peer] = worker
    digests = dict.fromkeys(group.layer.define_blobs())
    new = {d: ledger.blobs[d] for d in digests if d not in worker.blob_uses}
    for digest in digests:
        worker.blob_uses[digest] = worker.blob_uses.get(digest, 0) + 1
    wire = group.layer.wire
    options = {name: group.options[name] for name in FOR_WORKERS if name in group.options}
    ledger.outbox.send(worker.peer, DefineGroup(group.id, group.name, wire, new, options))


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


def find_holders(
    ledger: Ledger, group: Group, worker: Worker, start: int, stop: int
) -> list[list[Any]]:
    """Return the inputs of a span that a worker lacks and who has them: ``[group, start, stop,
    worker, address]``.
    """
    found: list[list[Any]] = []
    for number, results in group.layer.inputs_of(set_of(start, stop)).items():
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
