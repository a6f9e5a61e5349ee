"""What goes back to the worker: blocks of results, and failures in words.

Law: one bad result never spoils its neighbours: it is found by halving and fails alone, with a
text that names the task and the type. Whatever the user's exception does when it is printed or
pickled, a failure comes out.
"""

from __future__ import annotations

import errno
import traceback
from typing import Any

import cloudpickle

from .files import MIN_FILE_BYTES, SMALL_RESULT_BYTES, write_pieces
from .shards import Shards, dump_shards
from .values import (
    SHARDS,
    DumpFailed,
    Part,
    load_blob,
    make_block,
    make_single_block,
    nbytes_of,
)

SINGLE_BYTES = 32 << 10
"""From this mean size on, each result becomes a block of its own, which can be moved and freed
alone."""
MAX_TEXT = 2000
MAX_TRACEBACK = 20_000


class Packer:
    """Makes blocks of the results of one group, in memory or in files of the store folder (when
    that has no room of the spill folder, if there is one)."""

    def __init__(self, store: str, executor: str, spill: str = "") -> None:
        self._store = store
        self._spill = spill
        self._executor = executor
        self.spills = False
        """Memory is full: files go to the spill folder."""
        self._files = 0
        self._single: set[int] = set()

    def pack(
        self, group: int, name: str, start: int, results: list[Any], large: bool
    ) -> tuple[list[list[Any]], list[Part], list[dict[str, Any]]]:
        """Return ``(blocks, buffers, failures)`` for the results of tasks from `start` on.

        A block is ``[start, stop, single, number of buffers]`` or, in a file, ``[start, stop,
        single, path, places]``. `large`: the results are known to be large, do not try them as
        one list.
        """
        blocks: list[list[Any]] = []
        buffers: list[Part] = []
        failures: list[dict[str, Any]] = []
        single = large or group in self._single or len(results) == 1
        stack = [(start, results)] if results and not single else []
        if single:
            stack = [(start + i, results[i : i + 1]) for i in reversed(range(len(results)))]
        while stack:
            first, some = stack.pop()
            try:
                block = make_block(first, some) if not single else make_single_block(first, some[0])
                nbytes = sum(map(nbytes_of, block[3]))
                blocks.append(self._place(block, nbytes, buffers))
            except DumpFailed as error:
                if len(some) == 1:
                    failures.append(_describe_undumped(name, first, some[0], error))
                    continue
                half = len(some) // 2
                stack += [(first + half, some[half:]), (first, some[:half])]
            except OSError as error:
                failures += [
                    _describe_unstored(name, i, error) for i in range(first, first + len(some))
                ]
            else:
                self._learn(group, nbytes, len(some))
        return blocks, buffers, failures

    def pack_shards(
        self, name: str, start: int, results: list[Shards]
    ) -> tuple[list[list[Any]], list[Part], list[dict[str, Any]]]:
        """As `pack`, for the shards of splits from `start` on: a block for each split."""
        blocks: list[list[Any]] = []
        buffers: list[Part] = []
        failures: list[dict[str, Any]] = []
        for index, shards in enumerate(results, start):
            try:
                table, pieces = dump_shards(shards)
                nbytes = len(table) + sum(map(nbytes_of, pieces))
                if nbytes < MIN_FILE_BYTES:
                    blocks.append([index, index + 1, SHARDS, 2])
                    buffers += [table, b"".join(pieces)]
                else:
                    path, places = self._write([[table], pieces])
                    blocks.append([index, index + 1, SHARDS, path, places])
            except DumpFailed as error:
                text = f"task {index} of {name!r} split its input: {error}"
                failures.append({"index": index, "kind": "unserializable", "text": text[:MAX_TEXT]})
            except OSError as error:
                failures.append(_describe_unstored(name, index, error))
        return blocks, buffers, failures

    def forget(self, group: int) -> None:
        """Forget what was learned about a group's sizes."""
        self._single.discard(group)

    def _learn(self, group: int, nbytes: int, count: int) -> None:
        if nbytes >= SINGLE_BYTES * count:
            self._single.add(group)
        elif count == 1 and nbytes < SINGLE_BYTES // 4:
            self._single.discard(group)

    def _place(self, block: list[Any], nbytes: int, buffers: list[Part]) -> list[Any]:
        start, stop, single, parts = block
        if nbytes < MIN_FILE_BYTES or nbytes <= SMALL_RESULT_BYTES * (stop - start):
            buffers += parts
            return [start, stop, single, len(parts)]
        path, places = self._write([[part] for part in parts])
        return [start, stop, single, path, places]

    def _write(self, parts: list[list[Part]]) -> tuple[str, list[int]]:
        """Write parts, in pieces, to a new file: of the store folder, or when that is full of the
        spill folder. Return its path and the places of the parts in it.

        Raises:
            OSError: there is no room.
        """
        self._files += 1
        if not self.spills or not self._spill:
            path = f"{self._store}/{self._executor}-{self._files}"
            try:
                return path, write_pieces(path, parts)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._spill:
                    raise
        path = f"{self._spill}/{self._executor}-{self._files}"
        return path, write_pieces(path, parts)


def describe_raised(
    name: str, index: int, error: BaseException
) -> tuple[dict[str, Any], bytes | None]:
    """Return the failure of a task that raised, and the pickled exception if it can travel.

    Exceptions that would end the reader's process or loop (SystemExit and its like) travel as
    text only.
    """
    kind = type(error).__qualname__
    try:
        words = str(error)
    except Exception as second:
        words = f"<its text cannot be had: {type(second).__name__}>"
    try:
        trail = "".join(_format(error))
    except Exception as second:
        trail = f"{kind}: {words}\n(its traceback cannot be formatted: {type(second).__name__})\n"
    if len(trail) > MAX_TRACEBACK:
        trail = trail[: MAX_TRACEBACK // 2] + "\n  ...\n" + trail[-MAX_TRACEBACK // 2 :]
    text = f"{kind}: {words}" if words else kind
    if not isinstance(error, Exception):
        text = f"the task ended with {text}"
    failure = {"index": index, "kind": "raised", "text": text[:MAX_TEXT], "traceback": trail}
    return failure, _dump_exception(error)


def _format(error: BaseException) -> list[str]:
    # the first entry is the loop's own: of no use to the reader
    trail = error.__traceback__.tb_next if error.__traceback__ else None
    return traceback.format_exception(type(error), error, trail)


def _dump_exception(error: BaseException) -> bytes | None:
    if not isinstance(error, Exception):
        return None
    try:
        dumped: bytes = cloudpickle.dumps(error, protocol=5)
        if type(load_blob(dumped)) is not type(error):
            return None
    except BaseException:  # user code runs here (__reduce__, __init__): it may raise anything
        return None
    return dumped


def _describe_undumped(name: str, index: int, result: Any, error: DumpFailed) -> dict[str, Any]:
    kind = f"{type(result).__module__}.{type(result).__qualname__}"
    why = error.__cause__ or error
    text = f"task {index} of {name!r} returned a {kind}, which cannot be pickled: {why}"
    return {"index": index, "kind": "unserializable", "text": text[:MAX_TEXT]}


def _describe_unstored(name: str, index: int, error: OSError) -> dict[str, Any]:
    text = f"the result of task {index} of {name!r} could not be written to the store: {error}"
    return {"index": index, "kind": "store", "text": text[:MAX_TEXT]}
