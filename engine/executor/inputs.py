"""What an executor keeps between pieces: definitions of groups, blobs, and things sent by number
(chunks, blocks).

Law: the worker alone decides what is kept; this side never drops anything by itself, so both
always agree. Things are unpickled when they are first used and then kept as values: tasks that
change an argument in place change it for the tasks after them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

from .calls import PayloadRows
from .files import map_parts
from .values import SHARDS, Part, Resolve, load_blob, load_shards, load_value

_UNLOADED = object()


class InputGone(Exception):
    """A result that the piece needs is not where the worker said: the piece goes back, nobody is
    to blame."""

    def __init__(self, group: int, index: int) -> None:
        super().__init__(group, index)
        self.group = group
        self.index = index


class Thing:
    """A chunk of items or a block of results, by number."""

    __slots__ = (
        "group", "is_mapped", "output", "parts", "path", "places", "single", "splits", "start",
        "stop", "value",
    )  # fmt: skip

    def __init__(self, header: list[Any], parts: list[Part]) -> None:
        self.group, self.start, self.stop, self.single = header[1:5]
        self.path: str | None = header[6]
        self.places: list[int] = header[7]
        # Of shards: the first output that they are for, and which splits they are of.
        self.output, self.splits = header[8] if len(header) > 8 else (0, [])
        self.parts = parts
        self.is_mapped = False
        self.value: Any = _UNLOADED

    def get_value(self) -> Any:
        """Return the list of results (or of items), or the one result of a single block."""
        if self.value is _UNLOADED:
            self._map()
            if self.single == SHARDS:
                return load_shards(self.parts)
            self.value = load_value(self.parts)
            self.parts = []  # buffers live on in the value where it needs them
        return self.value

    def get_shard(self, row: int, output: int) -> memoryview:
        """Return the shard for an output of the split in a row, packed."""
        self._map()
        at = output - self.output
        start, stop = memoryview(self.parts[2 * row]).cast("Q")[at : at + 2]
        return memoryview(self.parts[2 * row + 1])[start:stop]

    def _map(self) -> None:
        if self.path is not None and not self.is_mapped:
            try:
                self.parts = map_parts(self.path, self.places)
            except OSError as error:
                raise InputGone(self.group, self.start) from error
            self.is_mapped = True


class Blobs:
    """Contents by digest, shared by the groups that name them."""

    def __init__(self) -> None:
        self._contents: dict[str, Part] = {}
        self._values: dict[str, Any] = {}
        self._users: dict[str, set[int]] = {}

    def add(self, group: int, digests: Iterable[str], contents: dict[str, Part]) -> None:
        """Note that a group names these digests; `contents` has those that are new."""
        self._contents.update(contents)
        for digest in digests:
            self._users.setdefault(digest, set()).add(group)

    def get_value(self, digest: str, resolve: Resolve | None = None) -> Any:
        """Return the value of a blob, unpickled once (but each time where futures are nested in
        it)."""
        if resolve is not None:
            return load_blob(self._contents[digest], resolve)
        if digest not in self._values:
            self._values[digest] = load_blob(self._contents[digest])
        return self._values[digest]

    def forget(self, group: int) -> None:
        """Drop what only this group named."""
        for digest in [d for d, users in self._users.items() if group in users]:
            self._users[digest].discard(group)
            if not self._users[digest]:
                del self._users[digest]
                self._contents.pop(digest, None)
                self._values.pop(digest, None)


class Blocks:
    """The result blocks that one piece may use, found by (group, index)."""

    def __init__(self, things: Iterable[Thing]) -> None:
        self._groups: dict[int, list[Thing]] = {}
        for thing in things:
            self._groups.setdefault(thing.group, []).append(thing)
        for blocks in self._groups.values():
            blocks.sort(key=_start_of)
        self._starts = {g: [b.start for b in blocks] for g, blocks in self._groups.items()}
        self.own = 0
        self.memory: dict[int, Any] = {}
        """Of a piece whose tasks take each other's results: its group, and its results so far."""

    def find(self, group: int, index: int) -> Thing:
        """Return the block with the result of a task."""
        found = bisect_right(self._starts.get(group, ()), index) - 1
        if found >= 0:
            thing = self._groups[group][found]
            if index < thing.stop:
                return thing
        raise InputGone(group, index)

    def resolve(self, group: int, index: int) -> Any:
        """Return the result of a task."""
        if group == self.own and index in self.memory:
            return self.memory[index]
        thing = self.find(group, index)
        value = thing.get_value()
        return value if thing.single else value[index - thing.start]

    def column(self, group: int, start: int, stop: int) -> list[Any]:
        """Return the results of tasks `[start, stop)` as a list."""
        values: list[Any] = []
        while start < stop:
            thing = self.find(group, start)
            value = thing.get_value()
            end = min(stop, thing.stop)
            if thing.single:
                values.append(value)
            else:
                values.extend(value[start - thing.start : end - thing.start])
            start = end
        return values


def _start_of(thing: Thing) -> int:
    start: int = thing.start
    return start


TAKEN, CONSTANT, COLUMN = range(3)
"""Where an argument comes from: the link before in a chain, the same for all, one per task."""

Column = tuple[int, Any]
"""(one of the three above, the one value or an iterable with one per task)"""
Rows = Iterator[tuple[tuple[Any, ...], dict[str, Any]]]


class EachArguments:
    """Arguments of the tasks of an `Each` piece, made from its layer's specs."""

    def __init__(
        self,
        layer: dict[str, Any],
        start: int,
        stop: int,
        blobs: Blobs,
        blocks: Blocks,
        get_chunk: Callable[[int, int], list[Any]],
        taken: int = 0,
    ) -> None:
        """`taken`: a group whose results are not here but come from hand to hand."""
        self._span = start, stop
        self._taken = taken
        self._blobs = blobs
        self._blocks = blocks
        self._get_chunk = get_chunk
        self._names: list[str] = layer["names"]
        self._columns = [self._column(p, spec) for p, spec in enumerate(layer["args"])]

    def single_column(self) -> Iterator[Any] | None:
        """Return the values of the only argument, when there is just one, by position."""
        if len(self._columns) != 1 or self._names:
            return None
        values: Iterator[Any] = iter(self._spread(self._columns[0]))
        return values

    def sources(self) -> list[tuple[int, str | None, Any]]:
        """Return for each argument where it comes from, its keyword if it has one, and its value or
        column.
        """
        keywords: list[str | None] = [None] * (len(self._columns) - len(self._names))
        keywords += self._names
        return [(c[0], name, c[1]) for c, name in zip(self._columns, keywords, strict=True)]

    def rows(self) -> Rows:
        """Return ``(args, kwargs)`` of one task after the other."""
        start, stop = self._span
        if not self._columns:
            return repeat(((), {}), stop - start)
        positional = len(self._columns) - len(self._names)
        if not self._names:
            columns = map(self._spread, self._columns)
            return zip(zip(*columns, strict=True), repeat({}), strict=False)
        return self._named_rows(positional)

    def _named_rows(self, positional: int) -> Rows:
        return (
            (row[:positional], dict(zip(self._names, row[positional:], strict=True)))
            for row in zip(*map(self._spread, self._columns), strict=True)
        )

    def _spread(self, column: Column) -> Any:
        source, value = column
        return repeat(value, self._span[1] - self._span[0]) if source == CONSTANT else value

    def _column(self, position: int, spec: Sequence[Any]) -> Column:
        start, stop = self._span
        match spec:
            case ["blob", digest, deps]:
                resolve = self._blocks.resolve if deps else None
                return CONSTANT, self._blobs.get_value(digest, resolve)
            case ["range", first, step]:
                if not step:
                    return CONSTANT, first
                return COLUMN, range(first + step * start, first + step * stop, step)
            case ["items", size, _]:
                return COLUMN, self._items(position, size)
            case ["same", group, _] if group == self._taken:
                return TAKEN, None
            case ["same", group, offset]:
                return COLUMN, self._blocks.column(group, start + offset, stop + offset)
        raise ValueError(f"unknown argument spec {spec[0]!r}")

    def _items(self, position: int, size: int) -> list[Any]:
        start, stop = self._span
        values: list[Any] = []
        while start < stop:
            number, skip = divmod(start, size)
            items = self._get_chunk(position, number)
            end = min(stop, (number + 1) * size)
            values.extend(items[skip : skip + end - start])  # a chunk may be an array
            start = end
        return values


def payload_rows(payload: Part, lengths: list[int], blocks: Blocks | None) -> Rows:
    """Return the rows of a `Graph` piece; `blocks` when futures may be nested in them."""
    return PayloadRows(payload, lengths, blocks.resolve if blocks else None)


def take_levels(layer: dict[str, Any], start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield ``(group, first, last)``: the runs of results that tasks `[start, stop)` of a `Fold`
    take, level by level."""
    fanin = layer["fanin"]
    for begin, end, group, low, high in layer["levels"]:
        first, last = max(start, begin), min(stop, end)
        if first < last:
            yield group, low + (first - begin) * fanin, min(high, low + (last - begin) * fanin)


def fold_rows(
    layer: dict[str, Any], start: int, stop: int, blobs: Blobs, blocks: Blocks
) -> Iterator[list[Any]]:
    """Return the inputs of one task of a `Fold` after the other, as lists; an initial value stands
    before the first result of all."""
    fanin = layer["fanin"]
    rows: list[list[Any]] = []
    for group, first, last in take_levels(layer, start, stop):
        column = blocks.column(group, first, last)
        rows += [column[at : at + fanin] for at in range(0, len(column), fanin)]
    if start == 0 and layer["initial"] is not None:
        # unpickled each time: the function may change it in place
        rows[0].insert(0, blobs.get_value(layer["initial"], blocks.resolve))
    return iter(rows)
