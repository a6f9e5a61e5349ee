"""News for clients: whoever holds futures of tasks learns what became of them.

Law: reads the ledger and writes to its outbox, nothing else. A client hears of the tasks it holds
and of no others.
"""

from __future__ import annotations

from pyroaring import BitMap

from ..ids import PeerId
from ..messages import Block, Failure
from .groups import Group
from .ledger import Ledger
from .peers import Worker
from .runs import clip, runs_of


def tell_done(
    ledger: Ledger,
    group: Group,
    start: int,
    stop: int,
    worker: Worker,
    blocks: list[Block] | None = None,
) -> None:
    """Tell all who hold tasks of a run that a worker has their results; `blocks` go to those who
    want them.
    """
    for client, held in group.holds.items():
        if held.contains_range(start, stop):
            _tell_run(ledger, group, client, start, stop, worker, blocks)
        else:
            runs = runs_of(clip(held, start, stop))
            for first, last in zip(runs[::2], runs[1::2], strict=True):
                _tell_run(ledger, group, client, first, last, worker, blocks)


def _tell_run(
    ledger: Ledger,
    group: Group,
    client: PeerId,
    start: int,
    stop: int,
    worker: Worker,
    blocks: list[Block] | None,
) -> None:
    if blocks is not None:
        if group.has_wish(client, start, stop):
            blocks = [block for block in blocks if block[0] < stop and block[1] > start]
        else:
            blocks = None
    ledger.outbox.done(client, group.id, start, stop, worker.peer, blocks)


def tell_where(ledger: Ledger, group: Group, client: PeerId, tasks: BitMap) -> None:
    """Tell one client who has the results of these done tasks."""
    runs = runs_of(tasks)
    for first, last in zip(runs[::2], runs[1::2], strict=True):
        for start, stop, worker in group.where.sections(first, last):
            ledger.outbox.done(client, group.id, start, stop, worker.peer, None)


def tell_failed(ledger: Ledger, group: Group, tasks: BitMap, failure: Failure) -> None:
    """Tell all who hold any of these tasks why they have no result."""
    for client, held in group.holds.items():
        told = tasks & held
        if told:
            ledger.outbox.failed(client, group.id, told, failure)


def tell_reopened(ledger: Ledger, group: Group, tasks: BitMap, reason: str) -> None:
    """Tell all who hold any of these tasks that they are computed again."""
    for client, held in group.holds.items():
        told = tasks & held
        if told:
            ledger.outbox.reopened(client, group.id, told, reason)
