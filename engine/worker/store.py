"""The results that a worker holds: blocks, found by group and index.

Law: pure bookkeeping. Each held task belongs to exactly one run of its group's index and each run
to one block; a block lives as long as a task of it does. Small blocks lie here in memory; large
ones are files, which the shell unlinks when `take_doomed` names them. What a file or a part holds
is never looked at.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from ..errors import StoreFull
from ..executor.values import Part, nbytes_of
from ..ids import GroupId
from ..messages import Block, BlockFile, Runs
from .runs import pairs


class StoredBlock:
    """One block: `parts` in memory, or `path` and `places` of its file. `alive` counts its tasks
    that are held."""

    __slots__ = (
        "alive", "group", "nbytes", "number", "parts", "path", "places", "single", "start", "stop"
    )  # fmt: skip

    def __init__(
        self,
        group: GroupId,
        start: int,
        stop: int,
        single: bool,
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
    """Blocks by group. `limit_bytes` is what it may hold altogether."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.nbytes = 0
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
            self._doom_file(block)
            return 0
        if self.nbytes + block.nbytes > self.limit_bytes:
            self._doom_file(block)
            raise StoreFull(
                f"the worker's store holds {self.nbytes / 1e6:,.0f} MB of at most "
                f"{self.limit_bytes / 1e6:,.0f} MB: no room for {block.nbytes / 1e6:,.1f} MB more. "
                "Release futures that are no longer needed, return smaller results, or give the "
                "cluster more memory."
            )
        self._groups[block.group] = index
        self._numbers += 1
        block.number = self._numbers
        self.nbytes += block.nbytes
        for a, b in gaps:
            place = bisect_left(index.starts, a)
            index.starts.insert(place, a)
            index.stops.insert(place, b)
            index.blocks.insert(place, block)
            block.alive += b - a
        return block.alive

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
                self._drop(block)
        index.starts[first:last] = [a for a, _, _ in kept]
        index.stops[first:last] = [b for _, b, _ in kept]
        index.blocks[first:last] = [block for _, _, block in kept]

    def _drop(self, block: StoredBlock) -> None:
        self.nbytes -= block.nbytes
        self._doomed_numbers.append(block.number)
        self._doom_file(block)

    def _doom_file(self, block: StoredBlock) -> None:
        if block.path is not None:
            self._doomed_paths.append(block.path)
