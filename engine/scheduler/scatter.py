"""Where scattered data goes: clients ask, put it on the workers themselves, and the workers report
it.

A client that asks while there is no worker, or while workers drop their stores for a restart, is
answered afterwards.

Law: an answer promises nothing: data exists only when a worker has said so (`DataStored`). It is
noted what goes where, so that data fails when its worker is lost before it could say so.
"""

from __future__ import annotations

from typing import Any

from pyroaring import BitMap

from ..errors import PeerError
from ..ids import PeerId
from ..messages import PickWorkers, WorkersPicked
from .ledger import Ledger
from .peers import Client, Worker


def pick(ledger: Ledger, client: Client, message: PickWorkers) -> None:
    """Answer where to put data, now or when there is a worker."""
    if not all(type(size) is int and size >= 0 for size in message.nbytes):
        raise PeerError("PickWorkers: sizes are whole numbers of bytes")
    if ledger.workers and not ledger.is_restarting:
        _answer(ledger, client.peer, message)
    else:
        ledger.unplaced.append((client.peer, message))


def answer_waiting(ledger: Ledger) -> None:
    """There is a worker that keeps what it is given: answer those who asked before."""
    if ledger.is_restarting or not ledger.workers:
        return
    waiting, ledger.unplaced = ledger.unplaced, []
    for peer, message in waiting:
        _answer(ledger, peer, message)


def forget_client(ledger: Ledger, peer: PeerId) -> None:
    """A client has left: it needs no answer."""
    ledger.unplaced = [asked for asked in ledger.unplaced if asked[0] != peer]


def _answer(ledger: Ledger, client: PeerId, message: PickWorkers) -> None:
    workers = sorted(ledger.workers.values(), key=_fullness)
    places: list[list[Any]] = []
    count = len(message.nbytes)
    if message.broadcast:
        places = [[0, count, worker.peer, worker.address] for worker in workers if count]
    else:
        start, total = 0, sum(message.nbytes) + count  # so that empty results are spread as well
        reached = 0
        for number, worker in enumerate(workers, 1):
            stop = start
            while stop < count:
                size = message.nbytes[stop] + 1
                if (reached + size / 2) * len(workers) >= total * number:
                    break
                reached += size
                stop += 1
            if stop > start:
                places.append([start, stop, worker.peer, worker.address])
                start = stop
    group = ledger.groups.get(message.group)
    if group is not None:
        for start, stop, peer, _ in places:
            group.expected.setdefault(peer, BitMap()).add_range(start, stop)
    ledger.outbox.send(client, WorkersPicked(message.request, places))


def _fullness(worker: Worker) -> tuple[float, PeerId]:
    """Order workers by how much they have stored, in 64 MB steps; then by age."""
    return worker.stats.get("store_bytes", 0.0) // (64 << 20), worker.peer
