"""The iterables of a `map`, made ready to be cut into chunks: which of them can be sliced as they
are, which must be listed, which are the same for all tasks, and how many tasks they make.

Law: what cannot be a map is refused before anything is listed: lengths that differ, too many
tasks, iterables that never end. Nothing is pickled here.
"""

from __future__ import annotations

import itertools
import operator
import sys
from typing import Any, NamedTuple

from ..errors import InvalidArgument
from .futures import Futures, indices_of

MAX_MAP_TASKS = 500_000_000
"""Tasks of one map. The engine could count more, but nobody wants so many results one by one."""
MAX_LISTED = 1 << 24
"""Items of one map that must be listed: those of iterators, and of ranges beyond 64 bits."""

_ENDLESS = frozenset({itertools.count, itertools.cycle})


class Constant(NamedTuple):
    """An endless `itertools.repeat`."""

    value: Any


def prepare(iterable: Any, at: int) -> Any:
    """Return an iterable as something that can be sliced, as Constant, or as an iterator if its
    end is unknown.
    """
    if isinstance(iterable, range):
        return iterable
    if isinstance(iterable, Futures):
        indices_of(iterable)  # raises if they were released
        return iterable
    if type(iterable) in (list, tuple, str, bytes):
        return list(iterable) if type(iterable) is tuple else iterable
    numpy = sys.modules.get("numpy")
    if numpy is not None and type(iterable) is numpy.ndarray and iterable.ndim:
        return iterable  # its slices travel as arrays; items come out as they do by iterating
    if isinstance(iterable, itertools.repeat) and operator.length_hint(iterable, -1) < 0:
        return Constant(next(iterable))
    try:
        iterator = iter(iterable)
    except TypeError:
        raise InvalidArgument(
            f"map takes iterables, but argument {at + 1} after the function is a "
            f"{type(iterable).__name__}: for a value "
            "that is the same for all tasks use a keyword argument"
        ) from None
    if iterator is not iterable and hasattr(iterable, "__len__"):
        check_listed(_length_of(iterable))
        return list(iterator)
    check_listed(operator.length_hint(iterator, 0))
    return iterator


def common_length(columns: list[Any]) -> int:
    """Return the length that all columns have; iterators among them become lists of that length.

    What has no length of its own (`itertools.count`, a generator) may go on beyond the others, but
    not end before them.
    """
    lengths = {
        at: _length_of(column)
        for at, column in enumerate(columns)
        if not isinstance(column, Constant) and hasattr(column, "__len__")
    }
    unsized = [
        at
        for at, column in enumerate(columns)
        if not isinstance(column, Constant) and at not in lengths
    ]
    if not lengths and all(type(columns[at]) in _ENDLESS for at in unsized):
        raise InvalidArgument(
            "map needs at least one iterable that ends: map(f, range(10)); for one call use "
            "submit(f, ...)"
        )
    if not lengths:
        rows = list(
            itertools.islice(zip(*(columns[at] for at in unsized), strict=False), MAX_LISTED + 1)
        )
        check_listed(len(rows))
        for place, at in enumerate(unsized):
            columns[at] = [row[place] for row in rows]
        return len(rows)
    n = min(lengths.values())
    if n < max(lengths.values()):
        raise _differ(lengths)
    if n > MAX_MAP_TASKS:
        count = f"{n:,}" if n < sys.maxsize else "more than 2 ** 63"
        raise InvalidArgument(
            f"{count} tasks in one map; the limit is {MAX_MAP_TASKS:,}. Let each task do more: map "
            "over range(0, n, 1000), for example, and have the function go over its thousand"
        )
    for at in unsized:
        check_listed(n)
        columns[at] = list(itertools.islice(columns[at], n))
        if len(columns[at]) < n:
            raise _differ({**lengths, at: len(columns[at])})
    return n


def _length_of(column: Any) -> int:
    try:
        return len(column)
    except OverflowError:  # a range beyond 64 bits
        return sys.maxsize


def _differ(lengths: dict[int, int]) -> InvalidArgument:
    shown = ", ".join(f"argument {at + 1} has {n:,} items" for at, n in sorted(lengths.items()))
    return InvalidArgument(
        f"the iterables of a map must be equally long, but {shown}. Cut them "
        f"(items[:{min(lengths.values())}]); what is the same for all tasks is a keyword argument"
    )


def check_listed(count: int) -> None:
    """Raises: InvalidArgument: so many items are not to be listed."""
    if count > MAX_LISTED:
        raise InvalidArgument(
            f"a map would have to list more than {MAX_LISTED:,} items of an iterator before the "
            "first task could run. Pass a range or an array and let the tasks make their items of "
            "it, or submit the items in parts"
        )
