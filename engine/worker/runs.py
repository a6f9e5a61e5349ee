"""Arithmetic on sets of task indices as flat runs ``[start, stop, start, stop, ...]``, ascending,
not touching.

Law: pure functions on small lists; nothing here knows what the indices mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pyroaring import BitMap

from ..messages import Runs


def pairs(runs: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Give the runs as (start, stop)."""
    return zip(runs[::2], runs[1::2], strict=True)


def count(runs: Sequence[int]) -> int:
    """Return the number of indices."""
    return sum(runs[1::2]) - sum(runs[::2])


def normalize(spans: Iterable[tuple[int, int]]) -> Runs:
    """Return any spans, in any order and overlapping, as runs."""
    runs: Runs = []
    for start, stop in sorted(spans):
        if start >= stop:
            continue
        if runs and start <= runs[-1]:
            runs[-1] = max(runs[-1], stop)
        else:
            runs += start, stop
    return runs


def of_indices(indices: Iterable[int]) -> Runs:
    """Return single indices, in any order and repeated, as runs."""
    return normalize((index, index + 1) for index in set(indices))


def indices(runs: Sequence[int]) -> Iterator[int]:
    """Give the indices one by one."""
    return (i for a, b in pairs(runs) for i in range(a, b))


def intersect(runs: Sequence[int], start: int, stop: int) -> Runs:
    """Return the part of runs that lies in `[start, stop)`."""
    return [
        bound
        for a, b in pairs(runs)
        if a < stop and b > start
        for bound in (max(a, start), min(b, stop))
    ]


def split(runs: Sequence[int], chosen: Sequence[int]) -> tuple[Runs, Runs]:
    """Return what of `runs` is in `chosen`, and what is not."""
    inside: Runs = []
    outside: Runs = []
    for start, stop in pairs(runs):
        position = start
        for a, b in pairs(intersect(chosen, start, stop)):
            if position < a:
                outside += position, a
            inside += a, b
            position = b
        if position < stop:
            outside += position, stop
    return inside, outside


def to_set(runs: Sequence[int]) -> BitMap:
    """Return runs as a set."""
    found = BitMap()
    for start, stop in pairs(runs):
        found.add_range(start, stop)
    return found


def of_set(tasks: BitMap) -> Runs:
    """Return a set as runs."""
    if not tasks:
        return []
    low, high = tasks.min(), tasks.max() + 1
    if high - low == len(tasks):
        return [low, high]
    gaps = tasks.flip(low, high)  # what lies in between: each run ends at the next of them
    last, runs, start = gaps.max(), [], low
    while start < last:
        stop = gaps.next_set_bit(start)
        runs += [start, stop]
        start = tasks.next_set_bit(stop)
    return [*runs, start, high]
