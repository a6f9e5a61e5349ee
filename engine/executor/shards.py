"""Shards: what a split of an exchange makes, one for each output, and what a merge takes.

A split's block is a table of offsets and the shards end to end, each a packed value of its own
(values.py), so that a merge unpickles its own shard of each split and nothing else, and a worker
can cut out the shards of some outputs without looking into them.

Law: standard library only, as all of this room. The number of shards is checked here, where the
task can fail for it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

from .inputs import InputGone, Thing
from .values import ALIGNMENT, DumpFailed, Part, dump_value, load_blob, nbytes_of, pack_pieces


class Shards:
    """What a split returned, checked: one shard for each output."""

    __slots__ = ("values",)

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def __sizeof__(self) -> int:
        """Return about how large the shards are, as far as they say so: they are written to the
        store before too many of them pile up.
        """
        return sum(getattr(shard, "nbytes", 0) or shard.__sizeof__() for shard in self.values)


def call_split(split: Callable[[Any, int], Any], outputs: int, value: Any) -> Shards:
    """Return the shards that a user's function makes of one input.

    Raises:
        TypeError, ValueError: it did not return a sequence of `outputs` shards.
    """
    found = split(value, outputs)
    kind = type(found).__name__
    if not hasattr(found, "__len__") or isinstance(found, str | bytes | Mapping | Set):
        raise TypeError(
            f"split returned a {kind}; it must return a sequence (a list, say) of exactly "
            f"{outputs} shards, one for each output"
        )
    if len(found) != outputs:
        raise ValueError(
            f"split returned a {kind} of {len(found)} shards; exactly {outputs} were expected, one "
            "for each output"
        )
    return Shards(list(found))


def dump_shards(shards: Shards) -> tuple[bytes, list[Part]]:
    """Return the table of offsets, and the shards as pieces to be laid end to end.

    Raises:
        DumpFailed: one of them cannot be pickled; the text says which.
    """
    table = array("Q", [0])
    pieces: list[Part] = []
    position = 0
    for number, shard in enumerate(shards.values):
        try:
            parts, _ = dump_value(shard)
        except DumpFailed as error:
            raise DumpFailed(f"shard {number}: {error.__cause__ or error}") from error
        padding = -position % ALIGNMENT if len(parts) > 1 else 0
        if padding:  # it counts to the shard before, which does not mind
            pieces.append(bytes(padding))
            position += padding
            if number:
                table[-1] = position
        some = pack_pieces(parts)
        pieces += some
        position += sum(map(nbytes_of, some))
        table.append(position)
    return table.tobytes(), pieces


def cut_shards(parts: list[Part], start: int, stop: int) -> list[Part]:
    """Return table and data of the shards `[start, stop)` of a split's block, given its own: a view
    of it, cut where buffers stay aligned.
    """
    offsets = memoryview(parts[0]).cast("Q")[start : stop + 1]
    base = offsets[0] - offsets[0] % ALIGNMENT
    table = array("Q", [offset - base for offset in offsets])
    return [table.tobytes(), memoryview(parts[1])[base : offsets[-1]]]


class MergeRows:
    """The inputs of one merge after the other: lists of a shard of each split, in order. What makes
    up a row is unpickled when it is its turn, so that a bad shard fails its own merge alone.
    """

    def __init__(
        self, things: Iterable[Thing], group: int, count: int, start: int, stop: int
    ) -> None:
        """`things` hold the shards of outputs `[start, stop)` of `count` splits of a group.

        Raises:
            InputGone: one does not.
        """
        rows: dict[int, tuple[Thing, int]] = {}
        for thing in things:
            for row, split in enumerate(thing.splits):
                rows[split] = thing, row
        for split in range(count):
            if split not in rows:
                raise InputGone(group, split)
        self._rows = [rows[split] for split in range(count)]
        self._at = start
        self._stop = stop

    def __iter__(self) -> MergeRows:
        return self

    def __next__(self) -> list[Any]:
        output = self._at
        if output == self._stop:
            raise StopIteration
        self._at += 1
        try:
            return [load_blob(thing.get_shard(row, output)) for thing, row in self._rows]
        except StopIteration as error:  # from user code: it must not look like the end of the rows
            raise RuntimeError("unpickling a shard raised StopIteration") from error
