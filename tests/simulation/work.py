"""What simulated tasks do: a 64-bit value made of their arguments' values, a duration, misdeeds.

A *function* is a small JSON blob that the executor gets from the real `define` frame. Its result
is a hash of the argument values, so a wrong, missing or swapped input shows in every result behind
it. Which tasks are slow, raise or crash follows from the function's tag and the task's index alone,
never from the order of events.

Law: pure. The array forms and the integer forms give the same numbers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from random import Random
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cellspan.engine.messages import Blob

Values: TypeAlias = NDArray[np.uint64]
Deps: TypeAlias = list[tuple[int, int]]
Resolve: TypeAlias = Callable[[int, int], int]

MASK = (1 << 64) - 1
_C1, _C2 = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F
_A1, _A2 = np.uint64(_C1), np.uint64(_C2)
_S1, _S2, _ZERO = np.uint64(29), np.uint64(32), np.uint64(0)
_DEP = struct.Struct("<qI")
_VALUE = struct.Struct("<Q")
ITEMS_MARK = b"ITEMS..."

_draw = Random("durations")
SPREAD = np.array([_draw.lognormvariate(-0.18, 0.6) for _ in range(1024)])
"""Factors on a function's mean duration; their mean is about 1, the largest about 6."""


@dataclass(frozen=True)
class Function:
    """Durations in seconds. A task whose hash divides by `raises` always raises, by `flaky` it does
    so the first `flaky_times` times, by `crashes` it ends its executor `crash_times` times; 0 means
    never. `nbytes`: size of a result.
    """

    tag: int
    mean_s: float
    nbytes: int = 8
    raises: int = 0
    flaky: int = 0
    flaky_times: int = 1
    crashes: int = 0
    crash_times: int = 1

    def to_blob(self) -> bytes:
        """Return it as a blob."""
        return json.dumps(asdict(self)).encode()


@lru_cache(4096)
def read_function(blob: bytes) -> Function:
    """Return the function of a blob."""
    return Function(**json.loads(blob))


# --- values ---------------------------------------------------------------------------------------


def mix(value: int, other: int) -> int:
    """Return a hash of two values."""
    x = ((value ^ other) * _C1 + _C2) & MASK
    x ^= x >> 29
    x = x * _C2 & MASK
    return x ^ x >> 32


def mix_arrays(values: Values, others: Values | np.uint64) -> Values:
    """Return the hashes of pairs of values; either may have length 1."""
    x = ((values ^ others) * _A1) + _A2
    x ^= x >> _S1
    x *= _A2
    x ^= x >> _S2
    return x


def call(function: Function, args: Iterable[int]) -> int:
    """Return the value of one task."""
    value = function.tag
    for arg in args:
        value = mix(value, arg)
    return mix(value, 0)


def call_arrays(function: Function, columns: Sequence[Values], count: int) -> Values:
    """Return the values of `count` tasks; a column of length 1 is the same for all."""
    values = np.full(1, function.tag, np.uint64)
    for column in columns:
        values = mix_arrays(values, column)
    values = mix_arrays(values, _ZERO)
    return values if len(values) == count else np.repeat(values, count)


def split_value(function: Function, value: int, outputs: int) -> Values:
    """Return the values of the shards that a split makes of one value."""
    return mix_arrays(np.arange(outputs, dtype=np.uint64), np.uint64(mix(function.tag, value)))


def range_column(first: int, step: int, start: int, stop: int) -> Values:
    """Return ``first + step * i`` for the tasks `[start, stop)`."""
    return np.arange(start, stop, dtype=np.uint64) * np.uint64(step) + np.uint64(first)


# --- what lies in blobs and payloads --------------------------------------------------------------


def pack_call(constant: int, deps: Deps) -> bytes:
    """Return a value that is made of a constant and the results of other tasks, as bytes."""
    return _VALUE.pack(constant) + b"".join(_DEP.pack(*dep) for dep in deps)


def read_call(blob: Blob, resolve: Resolve) -> int:
    """Return the value that `pack_call` describes; `resolve` gives results of tasks."""
    (value,) = _VALUE.unpack_from(blob)
    for group, index in _DEP.iter_unpack(bytes(blob[_VALUE.size :])):
        value = mix(value, resolve(group, index))
    return int(value)


def pack_items(values: Values) -> bytes:
    """Return a chunk of items."""
    return ITEMS_MARK + values.tobytes()


def read_items(blob: Blob) -> Values:
    """Return the items of a chunk."""
    assert bytes(blob[:8]) == ITEMS_MARK
    return np.frombuffer(blob, np.uint64, offset=8)


# --- how tasks behave -----------------------------------------------------------------------------

PAGE = 4096


def _hashes(function: Function, salt: int, start: int, stop: int) -> Values:
    indices = np.arange(start, stop, dtype=np.uint64)
    return mix_arrays(indices, np.uint64(function.tag ^ salt))


@lru_cache(1024)
def _durations_page(function: Function, page: int) -> NDArray[np.float64]:
    hashes = _hashes(function, 1, page * PAGE, (page + 1) * PAGE)
    factors: NDArray[np.float64] = SPREAD[hashes & np.uint64(1023)]
    return factors * function.mean_s


def durations(function: Function, start: int, stop: int) -> NDArray[np.float64]:
    """Return the durations of tasks `[start, stop)` in seconds."""
    first, last = start // PAGE, (stop - 1) // PAGE
    if first == last:
        return _durations_page(function, first)[start - first * PAGE : stop - first * PAGE]
    pages = np.concatenate([_durations_page(function, page) for page in range(first, last + 1)])
    return pages[start - first * PAGE : stop - first * PAGE]


def _marked(function: Function, salt: int, every: int, start: int, stop: int) -> NDArray[np.bool_]:
    if not every:
        return np.zeros(stop - start, np.bool_)
    marks: NDArray[np.bool_] = _hashes(function, salt, start, stop) % np.uint64(every) == 0
    return marks


def raising(function: Function, start: int, stop: int) -> NDArray[np.bool_]:
    """Return which of tasks `[start, stop)` always raise."""
    return _marked(function, 2, function.raises, start, stop)


def flaky(function: Function, start: int, stop: int) -> NDArray[np.bool_]:
    """Return which of tasks `[start, stop)` raise at first."""
    return _marked(function, 3, function.flaky, start, stop)


def crashing(function: Function, start: int, stop: int) -> NDArray[np.bool_]:
    """Return which of tasks `[start, stop)` end their executor at first."""
    return _marked(function, 4, function.crashes, start, stop)
