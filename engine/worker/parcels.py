"""The shell's part in moving shards of exchanges: cutting them out for others, and pushing them to
those who will merge them.

Law: decides nothing about tasks. Pushing is a kindness: to each worker one push is on its way at a
time, what comes meanwhile goes with the next, and what cannot be sent is forgotten (it will be
asked for). Nothing is copied into memory to wait there: shards are cut out of the store when their
turn comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from ..errors import CellspanError
from ..executor.files import map_parts
from ..executor.shards import cut_shards
from ..executor.values import SHARDS, block_nbytes
from ..ids import GroupId
from ..messages import Block, BlockFile
from .effects import PushShards
from .fetch import Fetcher
from .store import Store

PUSH_BYTES = 64 << 20
"""So much goes with one push, and what the last split of it has above that."""


def collect(
    store: Store, group: GroupId, splits: Iterable[int], start: int, stop: int, files: bool
) -> tuple[list[Block], list[BlockFile]]:
    """Return the shards of outputs `[start, stop)` of those of the splits that are in the store:
    as blocks, or with `files` those that lie in files by their names.
    """
    blocks: list[Block] = []
    named: list[BlockFile] = []
    for split in splits:
        for block in store.find(group, split, split + 1):
            if block.single != SHARDS:
                continue
            if block.path is not None and files:
                named.append(block.to_file())
                continue
            try:
                parts = block.parts if block.path is None else map_parts(block.path, block.places)
            except OSError:  # somebody removed it: then it is not here
                continue
            if 0 <= start < stop < len(parts[0]) // 8:
                blocks.append([split, split + 1, SHARDS, cut_shards(parts, start, stop)])
    return blocks, named


class Pusher:
    """What is to be pushed, by the address of the worker that it is for."""

    def __init__(self, fetcher: Fetcher, store: Store) -> None:
        self._fetcher = fetcher
        self._store = store
        self._due: dict[str, dict[tuple[GroupId, int, int], list[int]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def add(self, effect: PushShards) -> None:
        """Push shards when it is their turn."""
        due = self._due.setdefault(effect.address, {})
        due.setdefault((effect.group, effect.start, effect.stop), []).append(effect.split)
        if effect.address not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._run(effect.address))
            self._tasks[effect.address] = task

    def close(self) -> None:
        """Push no more."""
        for task in self._tasks.values():
            task.cancel()

    async def _run(self, address: str) -> None:
        try:
            peer = await self._fetcher.get_peer(address)
            due = self._due[address]
            while due:
                (group, start, stop), splits = due.popitem()
                blocks, files = self._take(
                    group, splits, start, stop, files=peer.connection.is_local
                )
                if splits:  # the rest, the next time
                    due[group, start, stop] = splits
                if blocks or files:
                    await peer.put_shards(group, start, stop, blocks, files)
        except (CellspanError, OSError):
            pass  # it is gone, or will be: whoever runs its merges asks for their shards
        finally:
            del self._tasks[address], self._due[address]

    def _take(
        self, group: GroupId, splits: list[int], start: int, stop: int, *, files: bool
    ) -> tuple[list[Block], list[Any]]:
        """Take splits from the end of the list until one push is full."""
        blocks: list[Block] = []
        named: list[BlockFile] = []
        nbytes = 0
        while splits and nbytes < PUSH_BYTES:
            some, more = collect(self._store, group, [splits.pop()], start, stop, files)
            nbytes += sum(map(block_nbytes, some))
            blocks += some
            named += more
        return blocks, named
