"""The results that a worker holds: blocks, found by group and index.

Law: pure bookkeeping. Each held task belongs to exactly one run of its group's index and each run
to one block; a block lives as long as a task of it does. Small blocks lie here in memory; large
ones are files, which the shell unlinks when `take_doomed` names them. When memory is over its
limit, the oldest blocks are to be moved to disk: `take_spills` names them, and they are where they
were until the shell says `on_spilled`. What a file or a part holds is never looked at.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from ..errors import StoreFull
from ..executor.values import SHARDS, Part, nbytes_of
from ..ids import GroupId
from ..messages import Block, BlockFile, Runs
from .runs import pairs

MIN_SPILL_BYTES = 512
"""Smaller blocks stay in memory: moving them would not give any."""


class StoredBlock:
    """One block: `parts` in memory, or `path` and `places` of its file. `alive` counts its tasks
    that are held; `is_on_disk`: it takes no memory."""

    __slots__ = (
        "alive", "group", "is_on_disk", "nbytes", "number", "parts", "path", "places", "single",
        "start", "stop",
    )  # fmt: skip

    def __init__(
        self,
        group: GroupId,
        start: int,
        stop: int,
        single: int,
        parts: list[Part],
        path: str | None = None,
        places: list[int] | None = None,
    ) -> None:
        self.group = group
        self.start = start
        self.stop = stop
        self.single = single
        self.parts = parts
        self.path = path
        self.places = places or []
        self.nbytes = sum(self.places[1::2]) if path else sum(map(nbytes_of, parts))
        self.number = 0
        self.alive = 0
        self.is_on_disk = False

    def shards(self) -> tuple[int, list[int]] | None:
        """Return of what it has shards: the first output that they are for, and the splits; None:
        it has results."""
        return (0, [self.start]) if self.single == SHARDS else None

    def to_block(self) -> Block:
        """Return the block in wire form; only for blocks in memory."""
        assert self.path is None
        return [self.start, self.stop, self.single, self.parts]

    def to_file(self) -> BlockFile:
        """Return the block file in wire form; only for blocks in files."""
        return [self.start, self.stop, self.single, self.path, self.places]


class _Index:
    """The runs of one group: parallel lists, ascending, not overlapping."""

    __slots__ = ("blocks", "starts", "stops")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.stops: list[int] = []
        self.blocks: list[StoredBlock] = []

    def overlapping(self, start: int, stop: int) -> tuple[int, int]:
        """Return the slice of runs that overlap `[start, stop)`."""
        return bisect_right(self.stops, start), bisect_left(self.starts, stop)


class Store:
    """Blocks by group. `limit_bytes` is what they may take of memory (shared memory included),
    `disk_bytes` what they may take of the disk, in `disk_folder`; `nbytes` and `disk_nbytes` are
    what they take."""

    def __init__(self, limit_bytes: int, disk_bytes: int = 0, disk_folder: str = "") -> None:
        self.limit_bytes = limit_bytes
        self.disk_bytes = disk_bytes
        self.disk_folder = disk_folder
        self.nbytes = 0
        self.disk_nbytes = 0
        self._movable: dict[int, StoredBlock] = {}
        """What may be moved to disk, oldest first."""
        self._movable_nbytes = 0
        self._moving: dict[int, StoredBlock] = {}
        self._moving_nbytes = 0
        self._spills: list[StoredBlock] = []
        self._groups: dict[GroupId, _Index] = {}
        self._numbers = 0
        self._doomed_paths: list[str] = []
        self._doomed_numbers: list[int] = []

    def add(self, block: StoredBlock, start: int, stop: int) -> int:
        """Hold those tasks of `[start, stop)` (a part of the block) that are not here yet; return
        how many they are.

        Raises:
            StoreFull: there is no room; nothing is changed, and the block's file is doomed.
        """
        index = self._groups.get(block.group) or _Index()
        gaps = list(self._gaps(index, start, stop))
        if not gaps:
            self.doom(block)
            return 0
        self._numbers += 1
        block.number = self._numbers
        try:
            self.reserve(block)
        except StoreFull:
            self.doom(block)
            raise
        self._groups[block.group] = index
        for a, b in gaps:
            place = bisect_left(index.starts, a)
            index.starts.insert(place, a)
            index.stops.insert(place, b)
            index.blocks.insert(place, block)
            block.alive += b - a
        return block.alive

    # --- room ----------------------------------------------------------------------------------

    def reserve(self, block: StoredBlock) -> None:
        """Count what a block takes, which has its number; it may be moved to disk from now on.

        Raises:
            StoreFull: neither memory nor disk has room for it; it is not counted.
        """
        folder = self.disk_folder
        block.is_on_disk = bool(folder and block.path and block.path.startswith(f"{folder}/"))
        used = self.nbytes + self.disk_nbytes + block.nbytes
        is_full = used > self.limit_bytes + self.disk_bytes
        if block.is_on_disk:
            is_full = is_full or self.disk_nbytes + block.nbytes > self.disk_bytes
        elif block.nbytes < MIN_SPILL_BYTES:  # it stays in memory, whatever may be moved
            stays = self.nbytes - self._moving_nbytes - self._movable_nbytes
            is_full = is_full or stays + block.nbytes > self.limit_bytes
        if is_full:
            raise StoreFull(
                f"the worker's store holds {self.nbytes / 1e6:,.0f} MB of at most "
                f"{self.limit_bytes / 1e6:,.0f} MB in memory and {self.disk_nbytes / 1e6:,.0f} MB "
                f"of at most {self.disk_bytes / 1e6:,.0f} MB on disk: no room for "
                f"{block.nbytes / 1e6:,.1f} MB more. Release futures that are no longer needed, "
                "return smaller results, or give the cluster more memory or disk."
            )
        if block.is_on_disk:
            self.disk_nbytes += block.nbytes
        else:
            self.nbytes += block.nbytes
            self._let_move(block)
            self._plan_spills()

    def give_back(self, block: StoredBlock) -> None:
        """Count what a block took no more, and have its file removed."""
        if self._movable.pop(block.number, None) is not None:
            self._movable_nbytes -= block.nbytes
        if self._moving.pop(block.number, None) is not None:
            self._moving_nbytes -= block.nbytes
        if block.is_on_disk:
            self.disk_nbytes -= block.nbytes
        else:
            self.nbytes -= block.nbytes
        self._doomed_numbers.append(block.number)
        self.doom(block)

    @property
    def is_over(self) -> bool:
        """Is memory at its limit? Then new files go to disk at once, however fast they come."""
        return self.disk_bytes > 0 and self.nbytes >= self.limit_bytes

    def _let_move(self, block: StoredBlock) -> None:
        if block.nbytes >= MIN_SPILL_BYTES and self.disk_bytes:
            self._movable[block.number] = block
            self._movable_nbytes += block.nbytes

    def _plan_spills(self) -> None:
        while self.nbytes - self._moving_nbytes > self.limit_bytes and self._movable:
            block = next(iter(self._movable.values()))
            if self.disk_nbytes + self._moving_nbytes + block.nbytes > self.disk_bytes:
                return
            del self._movable[block.number]
            self._movable_nbytes -= block.nbytes
            self._moving[block.number] = block
            self._moving_nbytes += block.nbytes
            self._spills.append(block)

    def take_spills(self) -> list[StoredBlock]:
        """Return, once, the blocks that are to be moved to disk now."""
        spills, self._spills = self._spills, []
        return spills

    def on_disk_full(self) -> None:
        """The disk has less room than it had: it takes no more than what is there now."""
        self.disk_bytes = self.disk_nbytes

    def is_moving(self, number: int) -> bool:
        """Return whether a block is still here that is to be moved to disk."""
        return number in self._moving

    def on_spilled(self, number: int, path: str | None, places: list[int]) -> None:
        """The shell has moved a block that `is_moving`: it is on disk now, under `path` (if it had
        a path before, that leads there too), or could not be moved if `path` is None: it will be
        tried again when more is stored."""
        block = self._moving.pop(number)
        self._moving_nbytes -= block.nbytes
        if path is None:
            self._let_move(block)
            return
        if block.path is None:
            block.path, block.places, block.parts = path, places, []
        block.is_on_disk = True
        self.nbytes -= block.nbytes
        self.disk_nbytes += block.nbytes

    def next_number(self) -> int:
        """Return a number that no block has: things of other kinds are numbered in the same row."""
        self._numbers += 1
        return self._numbers

    def find(self, group: GroupId, start: int, stop: int) -> list[StoredBlock]:
        """Return the blocks that hold tasks of `[start, stop)`, each once."""
        index = self._groups.get(group)
        if index is None:
            return []
        first, last = index.overlapping(start, stop)
        return list(dict.fromkeys(index.blocks[first:last]))

    def has(self, group: GroupId, task: int) -> bool:
        """Return whether a task's result is here."""
        index = self._groups.get(group)
        if index is None:
            return False
        place = bisect_right(index.stops, task)
        return place < len(index.starts) and index.starts[place] <= task

    def missing(self, group: GroupId, start: int, stop: int) -> Runs:
        """Return the tasks of `[start, stop)` that are not here."""
        index = self._groups.get(group)
        if index is None:
            return [start, stop]
        return [bound for gap in self._gaps(index, start, stop) for bound in gap]

    def free(self, group: GroupId, runs: Runs) -> None:
        """Drop these tasks' results, as far as they are here."""
        index = self._groups.get(group)
        if index is None:
            return
        for start, stop in pairs(runs):
            self._cut(index, start, stop)
        if not index.starts:
            del self._groups[group]

    def clear(self) -> None:
        """Drop everything."""
        for group, index in list(self._groups.items()):
            self.free(group, [index.starts[0], index.stops[-1]])

    def take_doomed(self) -> tuple[list[str], list[int]]:
        """Return, once, paths to unlink, and the numbers of the blocks that are gone."""
        doomed = self._doomed_paths, self._doomed_numbers
        self._doomed_paths, self._doomed_numbers = [], []
        return doomed

    def held(self) -> dict[GroupId, Runs]:
        """Return all that is here, as runs by group (adjacent runs of different blocks are not
        joined)."""
        return {
            group: [b for pair in zip(i.starts, i.stops, strict=True) for b in pair]
            for group, i in self._groups.items()
        }

    @staticmethod
    def _gaps(index: _Index, start: int, stop: int) -> Iterator[tuple[int, int]]:
        first, last = index.overlapping(start, stop)
        position = start
        for place in range(first, last):
            if position < index.starts[place]:
                yield position, index.starts[place]
            position = index.stops[place]
        if position < stop:
            yield position, stop

    def _cut(self, index: _Index, start: int, stop: int) -> None:
        first, last = index.overlapping(start, stop)
        kept: list[tuple[int, int, StoredBlock]] = []
        for place in range(first, last):
            a, b, block = index.starts[place], index.stops[place], index.blocks[place]
            if a < start:
                kept.append((a, start, block))
            if b > stop:
                kept.append((stop, b, block))
            block.alive -= min(b, stop) - max(a, start)
            if not block.alive:
                self.give_back(block)
        index.starts[first:last] = [a for a, _, _ in kept]
        index.stops[first:last] = [b for _, b, _ in kept]
        index.blocks[first:last] = [block for _, _, block in kept]

    def doom(self, block: StoredBlock) -> None:
        """Have the file of a block removed that is not, or no more, in the store."""
        if block.path is not None:
            self._doomed_paths.append(block.path)
