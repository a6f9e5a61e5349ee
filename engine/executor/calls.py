"""The inner loops: call the user's function for one task after the other.

Law: nothing here does more per task than it must. Before each call the loop writes the task's
index into the page that it shares with the worker (who has to be blamed if the process dies?) and
looks there whether the piece was cut short. The order of the two matters: the worker writes its
cut, waits, and then reads the index; so either the loop sees the cut or the worker sees the task
that was begun after all.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from time import perf_counter_ns
from typing import Any, NamedTuple

from .values import Part, Resolve, load_blob

# Words of the page that worker and executor share (unsigned, 64 bits).
PIECE_WORD = 0
"""The piece that is running; 0 when there is none."""
INDEX_WORD = 1
"""Its task that is running, or was the last to run."""
CUT_WORD = 2
"""Written by the worker: the piece that must not begin another task."""
PAGE_BYTES = 4096

FLUSH_NS = 50_000_000
"""Work after which finished tasks are reported although the piece goes on."""
FLUSH_BYTES = 1 << 20
"""Results (as far as they can be seen from outside) after which they are reported."""
FLUSH_TASKS = 100_000

_TINY = frozenset({type(None), bool, int, float})

EXHAUSTED, FLUSH, CUT, RAISED = range(4)

BIN_COUNT = 160
# The upper edges of all histogram bins but the last: the bins of diagnostics/counters.py, in
# nanoseconds.
_EDGES_NS = [1000 * 2 ** (i / 4) for i in range(1, BIN_COUNT)]
_bin_of_ns = partial(bisect_right, _EDGES_NS)


class Stretch(NamedTuple):
    """What came of some tasks in a row: `results` of those that returned, then why the loop
    stopped."""

    results: list[Any]
    durations_ns: list[int]
    why: int
    error: BaseException | None
    large: bool


def times_of(durations_ns: Sequence[int]) -> list[int]:
    """Return durations as a flat histogram ``[bin, count, bin, count, ...]``."""
    if len(durations_ns) == 1:
        return [_bin_of_ns(durations_ns[0]), 1]
    return [number for pair in Counter(map(_bin_of_ns, durations_ns)).items() for number in pair]


def call_one(
    function: Callable[[Any], Any],
    values: Iterator[Any],
    index: int,
    page: memoryview[int],
    piece: int,
) -> Stretch:
    """Call a function of one argument for each value. The time between two ends counts as a
    task's duration."""
    results: list[Any] = []
    keep = results.append
    clock = perf_counter_ns
    begin = clock()
    ends: list[int] = []
    tick = ends.append
    deadline = begin + FLUSH_NS
    last = index + FLUSH_TASKS
    size = 0
    why, error = EXHAUSTED, None
    try:
        for value in values:
            page[1] = index  # INDEX_WORD
            if page[2] == piece:  # CUT_WORD
                why = CUT
                break
            result = function(value)
            now = clock()
            tick(now)
            keep(result)
            index += 1
            if type(result) not in _TINY:
                size += size_of(result)
            if now > deadline or size > FLUSH_BYTES or index > last:
                why = FLUSH
                break
    except BaseException as raised:
        why, error = RAISED, raised
        tick(clock())
    durations = [end - start for start, end in zip([begin, *ends], ends, strict=False)]
    return Stretch(results, durations, why, error, size > FLUSH_BYTES)


def call_many(
    function: Callable[..., Any],
    rows: Iterator[tuple[tuple[Any, ...], dict[str, Any]]],
    index: int,
    page: memoryview[int],
    piece: int,
    memory: dict[int, Any] | None = None,
) -> Stretch:
    """Call a function with each row's ``(args, kwargs)``. Making a row may raise: then the task
    that it is for failed. `memory` takes results by index, for later rows of the piece."""
    results: list[Any] = []
    durations: list[int] = []
    clock = perf_counter_ns
    begin = clock()
    deadline = begin + FLUSH_NS
    last = index + FLUSH_TASKS
    size = 0
    why, error = EXHAUSTED, None
    try:
        while True:
            page[1] = index  # INDEX_WORD
            if page[2] == piece:  # CUT_WORD
                why = CUT
                break
            begin = clock()
            row = next(rows, None)
            if row is None:
                break
            begin = clock()
            result = function(*row[0], **row[1])
            now = clock()
            durations.append(now - begin)
            results.append(result)
            if memory is not None:
                memory[index] = result
            index += 1
            if type(result) not in _TINY:
                size += size_of(result)
            if now > deadline or size > FLUSH_BYTES or index > last:
                why = FLUSH
                break
    except BaseException as raised:
        why, error = RAISED, raised
        durations.append(clock() - begin)
    return Stretch(results, durations, why, error, size > FLUSH_BYTES)


class PayloadRows:
    """The rows of a `Graph` piece: unpickled one by one, so that a bad one fails alone and the
    next is still there."""

    def __init__(self, payload: Part, lengths: list[int], resolve: Resolve | None) -> None:
        self._view = memoryview(payload)
        self._lengths = iter(lengths)
        self._position = 0
        self._resolve = resolve

    def __iter__(self) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
        return self

    def __next__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        start = self._position
        self._position = start + next(self._lengths)
        blob = self._view[start : self._position]
        try:
            row: tuple[tuple[Any, ...], dict[str, Any]] = load_blob(blob, self._resolve)
        except StopIteration as error:  # from user code: it must not look like the end of the rows
            raise RuntimeError("unpickling the arguments raised StopIteration") from error
        return row


def size_of(result: Any) -> int:
    """Return what can be seen from outside of a result's size; the user's `__sizeof__` may be
    wrong in any way."""
    try:
        return sys.getsizeof(result)
    except Exception:
        return 0
