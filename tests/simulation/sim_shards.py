"""Shards in the simulation: what splits make and merges take, and how they move between workers.

A shard is a 64-bit value made of the split's value and the number of its output, with padding. The
blocks are those of executor/shards.py, and are cut by the real function.

Law: as sim_worker.py: it performs effects and decides nothing but by the drawn faults.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from cellspan.engine.executor.shards import cut_shards
from cellspan.engine.executor.values import SHARDS
from cellspan.engine.messages import Blob
from cellspan.engine.worker.effects import FetchShards, PushShards, Spill
from cellspan.engine.worker.runs import pairs
from cellspan.engine.worker.shards import Parcel

from . import work
from .work import Function, Values

if TYPE_CHECKING:
    from .sim_worker import SimWorker

FILE_BYTES = 65_536
REFUSED_S = 5e-3

Rows = list[tuple[int, list[Blob]]]
"""Splits, each with table and data of the shards that were asked for."""


def pack_split(function: Function, value: int, outputs: int) -> list[Blob]:
    """Return the table and the data of a split."""
    padding = bytes(function.nbytes - 8)
    values = work.split_value(function, value, outputs)
    data = b"".join(value.tobytes() + padding for value in values)
    step = function.nbytes
    return [array("Q", range(0, step * outputs + 1, step)).tobytes(), data]


def read_shards(parts: list[Blob], start: int, stop: int) -> Values:
    """Return the values of shards by their places in a table."""
    table, data = memoryview(parts[0]).cast("Q"), memoryview(parts[1])
    found = b"".join(bytes(data[at : at + 8]) for at in table[start:stop])
    return np.frombuffer(found, np.uint64)


class ShardMoves:
    """The part of a simulated worker that moves shards, and blocks to disk."""

    def __init__(self, worker: SimWorker, lose_pushes: float) -> None:
        self._worker = worker
        self._lose_pushes = lose_pushes
        self._files = 0

    def serve(self, group: int, splits: list[int], start: int, stop: int) -> Rows:
        """Return what is here of the shards for outputs `[start, stop)`."""
        worker = self._worker
        rows: Rows = []
        for split in splits:
            for block in worker.core.store.find(group, split, split + 1):
                parts = block.parts if block.path is None else worker.disk[block.path]
                assert block.single == SHARDS
                rows.append((split, cut_shards(parts, start, stop)))
        return rows

    def _as_parcels(
        self, group: int, rows: Rows, start: int, stop: int, other: SimWorker
    ) -> list[Parcel]:
        """Return rows as what the shell makes of them: one parcel, or where workers share a host
        (drawn) a link to the file of each."""
        parcels = []
        worker = self._worker
        if rows and worker.world.random.random() < 0.3:
            for row in list(rows):
                for block in other.core.store.find(group, row[0], row[0] + 1):
                    if block.path is not None:
                        rows.remove(row)
                        self._files += 1
                        path = f"{worker.name}-linked-{self._files}"
                        worker.disk[path] = other.disk[block.path]
                        outputs = block.places[1] // 8 - 1
                        parcel = Parcel(group, [row[0]], 0, outputs, [], path, block.places)
                        parcel.nbytes = 0
                        parcels.append(parcel)
        if rows:
            parts = [part for _, some in rows for part in some]
            parcel = Parcel(group, [split for split, _ in rows], start, stop, parts)
            if parcel.nbytes >= FILE_BYTES:
                path, places = self._write(parts)
                parcel = Parcel(group, parcel.splits, start, stop, [], path, places)
            parcels.append(parcel)
        return parcels

    def _write(self, parts: list[Blob]) -> tuple[str, list[int]]:
        self._files += 1
        worker = self._worker
        folder = worker.core.store.disk_folder
        prefix = f"{folder}/" if worker.core.store.is_over else ""
        path = f"{prefix}{worker.name}-shards-{self._files}"
        worker.disk[path] = parts
        places: list[int] = []
        for part in parts:
            places += (sum(places[-2:]), len(part))
        return path, places

    # --- effects ----------------------------------------------------------------------------------

    def fetch(self, fetch: FetchShards, after: Callable[..., None]) -> None:
        """Ask the other worker; `after` calls something later unless this one is dead by then."""
        worker = self._worker
        what = f"{worker.name} asks w{fetch.worker} for shards of {fetch.group:x} {fetch.runs[:4]}"
        worker.world.after(worker.delay(0), what, self._ask, fetch, after)

    def _ask(self, fetch: FetchShards, after: Callable[..., None]) -> None:
        other = self._worker.find_worker(fetch.address)
        if other is None or other.is_dead:
            after(REFUSED_S, "is refused", self._on_answer, fetch, None, [])
            return
        splits = [i for a, b in pairs(fetch.runs) for i in range(a, b)]
        self._worker.truth.moves["requests"] += 1
        rows = other.moves.serve(fetch.group, splits, fetch.start, fetch.stop)
        nbytes = sum(len(part) for _, parts in rows for part in parts)
        delay = self._worker.delay(nbytes)
        after(delay, f"gets shards {fetch.number}", self._on_answer, fetch, other, rows)

    def _on_answer(self, fetch: FetchShards, other: SimWorker | None, rows: Rows) -> None:
        parcels: list[Parcel] = []
        if other is not None and not other.is_dead:
            parcels = self._as_parcels(fetch.group, rows, fetch.start, fetch.stop, other)
        self._worker.core.on_shards(fetch.number, parcels, self._worker.world.now)

    def push(self, push: PushShards) -> None:
        """Send shards to another worker, if nothing comes between."""
        worker = self._worker
        if worker.world.random.random() < self._lose_pushes:
            return
        what = f"{worker.name} pushes {push.group:x}[{push.split}] to {push.address}"
        worker.world.after(worker.delay(0), what, self._send, push)

    def _send(self, push: PushShards) -> None:
        worker = self._worker
        other = worker.find_worker(push.address)
        if worker.is_dead or other is None or other.is_dead:
            return
        rows = self.serve(push.group, [push.split], push.start, push.stop)
        if rows:
            nbytes = sum(len(part) for _, parts in rows for part in parts)
            what = f"{other.name} is pushed {push.group:x}[{push.split}]"
            worker.world.after(worker.delay(nbytes), what, other.moves.take, push, rows, worker)

    def take(self, push: PushShards, rows: Rows, sender: SimWorker) -> None:
        """Another worker's push has arrived."""
        worker = self._worker
        if not worker.is_dead and not sender.is_dead:
            parcels = self._as_parcels(push.group, rows, push.start, push.stop, sender)
            worker.truth.moves["pushes"] += 1
            worker.core.put_shards(parcels)
            worker.flush()

    def spill(self, spill: Spill) -> None:
        """Move a block to disk, unless it is gone meanwhile; sometimes it does not work."""
        core, disk = self._worker.core, self._worker.disk
        if not core.store.is_moving(spill.number):
            return
        if self._worker.world.random.random() < 0.1:
            core.on_spilled(spill.number, None, [])
            return
        path, places = f"{core.store.disk_folder}/{self._worker.name}-s-{spill.number}", []
        if spill.path is None:
            disk[path] = list(spill.parts)
            for part in spill.parts:
                places += [sum(places[-2:]), len(part)]
        core.on_spilled(spill.number, path, places)


def merge_column(things: list[Any], parts_of: Callable[[Any], list[Blob]], splits: int,
                 start: int, stop: int) -> list[Values]:  # fmt: skip
    """Return for each split the values of its shards for outputs `[start, stop)`; raises KeyError
    with the split that is not there."""
    columns: dict[int, Values] = {}
    for thing in things:
        parts = parts_of(thing)
        for row, split in enumerate(thing.splits):
            at = start - thing.output, stop - thing.output
            columns[split] = read_shards(parts[2 * row : 2 * row + 2], *at)
            assert len(columns[split]) == stop - start
    return [columns[split] for split in range(splits)]
