"""Sets of task indices and maps over runs of them: the small tools that all of this room stands on.

A set of tasks is a compressed bitmap (pyroaring), on the wire a list of runs (messages.py).
`RunMap` keeps one value per task as long as values come in runs: who holds a result, why a task
failed.

Law: nothing here knows what a task is. Cost follows the number of runs, never the number of
indices.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from pyroaring import BitMap

from ..errors import PeerError
from ..ids import MAX_TASKS, GroupId
from ..messages import Runs

V = TypeVar("V")

MAX_WIRE_RUNS = 1 << 22


def set_of(start: int, stop: int) -> BitMap:
    """Return the set of all indices in ``[start, stop)``."""
    found = BitMap()
    if start < stop:
        found.add_range(start, stop)
    return found


def clip(tasks: BitMap, start: int, stop: int) -> BitMap:
    """Return what of a set lies in ``[start, stop)``."""
    return tasks & set_of(start, stop)


def runs_of(tasks: BitMap) -> Runs:
    """Return a set as a flat list of runs."""
    count = len(tasks)
    if not count:
        return []
    low, high = tasks.min(), tasks.max() + 1
    if high - low == count:
        return [low, high]
    gaps = tasks.flip(low, high)  # holds the indices in between: each run ends at the next of them
    last_gap = gaps.max()
    runs: Runs = []
    start = low
    while start < last_gap:
        stop = gaps.next_set_bit(start)
        runs += (start, stop)
        start = tasks.next_set_bit(stop)
    runs += (start, high)
    return runs


def set_of_runs(runs: Runs, what: str = "runs") -> BitMap:
    """Return runs from the wire as a set.

    Raises:
        PeerError: they are not ascending pairs of task indices.
    """
    if len(runs) % 2 or len(runs) > MAX_WIRE_RUNS:
        raise PeerError(f"{what}: {len(runs)} numbers are not runs")
    found = BitMap()
    last = 0
    for i in range(0, len(runs), 2):
        start, stop = runs[i], runs[i + 1]
        if type(start) is not int or type(stop) is not int:
            raise PeerError(f"{what}: runs are integers")
        if not last <= start < stop <= MAX_TASKS:
            raise PeerError(f"{what}: [{start}, {stop}) after {last} is not a run")
        found.add_range(start, stop)
        last = stop
    return found


def tasks_of(rows: list[list[Any]], what: str) -> dict[GroupId, BitMap]:
    """Return rows ``[group, runs]`` from the wire as sets by group, none of them empty.

    Raises:
        PeerError: they are not such rows.
    """
    found: dict[GroupId, BitMap] = {}
    for row in rows:
        if len(row) != 2 or type(row[0]) is not int or not isinstance(row[1], list):
            raise PeerError(f"{what}: {str(row)[:80]} is no row of a group and runs")
        tasks = set_of_runs(row[1], what)
        if tasks:
            found[row[0]] = found.get(row[0], BitMap()) | tasks
    return found


def first_run(tasks: BitMap, limit: int) -> tuple[int, int]:
    """Return the first run of a set that is not empty, at most `limit` long."""
    return run_at(tasks, tasks.min(), limit)


def run_at(tasks: BitMap, start: int, limit: int) -> tuple[int, int]:
    """Return the run of a set from its member `start` on, at most `limit` long."""
    if tasks.contains_range(start, start + limit):
        return start, start + limit
    low, high = 1, limit  # [start, start + low) is in, [start, start + high) is not
    while high - low > 1:
        middle = (low + high) // 2
        if tasks.contains_range(start, start + middle):
            low = middle
        else:
            high = middle
    return start, start + low


class RunMap(Generic[V]):
    """A value for some indices, kept as runs of identical values: arrays sorted by index."""

    __slots__ = ("_starts", "_stops", "_values")

    def __init__(self) -> None:
        self._starts = array("Q")
        self._stops = array("Q")
        self._values: list[V] = []

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self._values)

    def set(self, start: int, stop: int, value: V) -> None:
        """Let all indices in ``[start, stop)`` have this value."""
        stops = self._stops
        if not stops or start >= stops[-1]:  # in order: by far the most frequent case
            if stops and start == stops[-1] and self._values[-1] is value:
                stops[-1] = stop
                return
            self._starts.append(start)
            stops.append(stop)
            self._values.append(value)
            return
        self.clear(start, stop)
        at = bisect_left(self._starts, start)
        if at and stops[at - 1] == start and self._values[at - 1] is value:
            stops[at - 1] = stop
            if at < len(stops) and self._starts[at] == stop and self._values[at] is value:
                stops[at - 1] = stops[at]
                self._delete(at, at + 1)
        elif at < len(stops) and self._starts[at] == stop and self._values[at] is value:
            self._starts[at] = start
        else:
            self._insert(at, start, stop, value)

    def clear(self, start: int, stop: int) -> None:
        """Let no index in ``[start, stop)`` have a value."""
        starts, stops, values = self._starts, self._stops, self._values
        first = bisect_right(stops, start)
        last = bisect_left(starts, stop)
        if first >= last:
            return
        head, tail, value = starts[first], stops[last - 1], values[last - 1]
        if head < start:
            if last - first == 1 and tail > stop:
                stops[first] = start
                self._insert(first + 1, stop, tail, value)
                return
            stops[first] = start
            first += 1
        if tail > stop and first < last:
            starts[last - 1] = stop
            last -= 1
        if first < last:
            self._delete(first, last)

    def find(self, index: int) -> V | None:
        """Return the value of one index, None if it has none."""
        at = bisect_right(self._stops, index)
        if at < len(self._values) and self._starts[at] <= index:
            return self._values[at]
        return None

    def sections(self, start: int, stop: int) -> Iterator[tuple[int, int, V]]:
        """Yield ``(start, stop, value)`` for what has a value in a range, ascending."""
        starts, stops, values = self._starts, self._stops, self._values
        for at in range(bisect_right(stops, start), bisect_left(starts, stop)):
            yield max(start, starts[at]), min(stop, stops[at]), values[at]

    def _insert(self, at: int, start: int, stop: int, value: V) -> None:
        self._starts.insert(at, start)
        self._stops.insert(at, stop)
        self._values.insert(at, value)

    def _delete(self, first: int, last: int) -> None:
        del self._starts[first:last]
        del self._stops[first:last]
        del self._values[first:last]
