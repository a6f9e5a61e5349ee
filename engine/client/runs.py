"""Sets and maps of task indices, kept as runs.

Law: the cost of everything here follows the number of runs, never the number of tasks. Plain data:
no locks, no messages, no futures. Whoever shares one between threads guards it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

V = TypeVar("V")


class RunSet:
    """A set of indices as ascending runs that do not touch.

    `count` is the number of indices in it. The bounds lie in one flat list ``[start, stop, start,
    stop, ...]``: that is `messages.Runs` as it stands.
    """

    __slots__ = ("bounds", "count")

    def __init__(self, runs: Iterable[int] = ()) -> None:
        self.bounds: list[int] = []
        self.count = 0
        flat = iter(runs)
        for start, stop in zip(flat, flat, strict=True):
            self.add(start, stop)

    def __repr__(self) -> str:
        return f"RunSet({self.bounds})"

    def __bool__(self) -> bool:
        return self.count > 0

    def __contains__(self, index: int) -> bool:
        return bisect_right(self.bounds, index) & 1 == 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the runs as (start, stop)."""
        bounds = self.bounds
        return zip(bounds[::2], bounds[1::2], strict=True)

    def copy(self) -> RunSet:
        """Return an independent copy."""
        other = RunSet()
        other.bounds, other.count = self.bounds.copy(), self.count
        return other

    def take(self) -> list[int]:
        """Return the runs as a flat list, and be empty from now on."""
        bounds, self.bounds, self.count = self.bounds, [], 0
        return bounds

    def add(self, start: int, stop: int) -> int:
        """Add `[start, stop)`; return how many indices of it were not there before."""
        if start >= stop:
            return 0
        bounds = self.bounds
        if not bounds or start > bounds[-1]:
            bounds += (start, stop)
            self.count += stop - start
            return stop - start
        if start == bounds[-1]:
            bounds[-1] = stop
            self.count += stop - start
            return stop - start
        fresh = stop - start - self.count_in(start, stop)
        if fresh:
            first, last = bisect_left(bounds, start), bisect_right(bounds, stop)
            edges = [start] if not first & 1 else []
            if not last & 1:
                edges.append(stop)
            bounds[first:last] = edges
            self.count += fresh
        return fresh

    def discard(self, start: int, stop: int) -> int:
        """Take `[start, stop)` out; return how many indices of it were there."""
        bounds = self.bounds
        if not bounds or start >= bounds[-1]:
            return 0
        if bounds[-2] == start and bounds[-1] == stop:  # the newest are most often asked for
            del bounds[-2:]
            self.count -= stop - start
            return stop - start
        gone = self.count_in(start, stop)
        if gone:
            bounds = self.bounds
            first, last = bisect_left(bounds, start), bisect_right(bounds, stop)
            edges = [start] if first & 1 else []
            if last & 1:
                edges.append(stop)
            bounds[first:last] = edges
            self.count -= gone
        return gone

    def count_in(self, start: int, stop: int) -> int:
        """Return how many indices of `[start, stop)` are in the set."""
        if not self.bounds or start >= self.bounds[-1]:
            return 0
        return sum(b - a for a, b in self.runs_in(start, stop))

    def runs_in(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the parts of `[start, stop)` that are in the set."""
        bounds = self.bounds
        if start >= stop or not bounds or start >= bounds[-1]:
            return []
        at = bisect_right(bounds, start) & ~1
        found = []
        while at < len(bounds) and bounds[at] < stop:
            found.append((max(bounds[at], start), min(bounds[at + 1], stop)))
            at += 2
        return found

    def gaps_in(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the parts of `[start, stop)` that are not in the set."""
        if not self.bounds or start >= self.bounds[-1]:
            return [(start, stop)] if start < stop else []
        found = []
        for a, b in self.runs_in(start, stop):
            if start < a:
                found.append((start, a))
            start = b
        if start < stop:
            found.append((start, stop))
        return found


class RunMap(Generic[V]):
    """A value for each of some indices, the same for all indices of a run.

    `count` is the number of indices that have one. Neighbouring runs with equal values become one.
    """

    __slots__ = ("count", "starts", "stops", "values")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.stops: list[int] = []
        self.values: list[V] = []
        self.count = 0

    def __bool__(self) -> bool:
        return self.count > 0

    def __contains__(self, index: int) -> bool:
        at = bisect_right(self.starts, index) - 1
        return at >= 0 and index < self.stops[at]

    def __iter__(self) -> Iterator[tuple[int, int, V]]:
        """Yield (start, stop, value), ascending."""
        return zip(self.starts.copy(), self.stops.copy(), self.values.copy(), strict=True)

    def find(self, index: int) -> V | None:
        """Return the value at `index`, None if there is none."""
        at = bisect_right(self.starts, index) - 1
        return self.values[at] if at >= 0 and index < self.stops[at] else None

    def find_run(self, index: int) -> tuple[int, int, V] | None:
        """Return the run that holds `index` with its value, None if there is none."""
        at = bisect_right(self.starts, index) - 1
        if at < 0 or index >= self.stops[at]:
            return None
        return self.starts[at], self.stops[at], self.values[at]

    def set(self, start: int, stop: int, value: V) -> None:
        """Give all of `[start, stop)` this value, whatever was there."""
        if start >= stop:
            return
        starts, stops, values = self.starts, self.stops, self.values
        if stops and start < stops[-1]:
            self.clear(start, stop)
            at = bisect_left(starts, start)
        else:
            at = len(starts)
        self.count += stop - start
        if at and stops[at - 1] == start and values[at - 1] == value:
            at -= 1
            stops[at] = stop
        else:
            starts.insert(at, start)
            stops.insert(at, stop)
            values.insert(at, value)
        after = at + 1
        if after < len(starts) and starts[after] == stops[at] and values[after] == value:
            stops[at] = stops[after]
            del starts[after], stops[after], values[after]

    def clear(self, start: int, stop: int) -> int:
        """Take the values of `[start, stop)` away; return how many indices had one."""
        starts, stops, values = self.starts, self.stops, self.values
        if start >= stop or not stops or start >= stops[-1]:
            return 0
        first = bisect_right(stops, start)
        last = bisect_left(starts, stop)
        if first >= last:
            return 0
        if last == first + 1 and start <= starts[first] and stops[first] <= stop:
            gone = stops[first] - starts[first]
            del starts[first], stops[first], values[first]
            self.count -= gone
            return gone
        gone = sum(
            min(b, stop) - max(a, start)
            for a, b in zip(starts[first:last], stops[first:last], strict=True)
        )
        kept: list[tuple[int, int, V]] = []
        if starts[first] < start:
            kept.append((starts[first], start, values[first]))
        if stops[last - 1] > stop:
            kept.append((stop, stops[last - 1], values[last - 1]))
        starts[first:last] = [run[0] for run in kept]
        stops[first:last] = [run[1] for run in kept]
        values[first:last] = [run[2] for run in kept]
        self.count -= gone
        return gone

    def items_in(self, start: int, stop: int) -> list[tuple[int, int, V]]:
        """Return the parts of `[start, stop)` that have a value, with it."""
        if not self.stops or start >= self.stops[-1]:
            return []
        at = bisect_right(self.stops, start)
        last = bisect_left(self.starts, stop)
        return [
            (max(self.starts[k], start), min(self.stops[k], stop), self.values[k])
            for k in range(at, last)
        ]

    def gaps_in(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the parts of `[start, stop)` that have no value."""
        if not self.stops or start >= self.stops[-1]:
            return [(start, stop)] if start < stop else []
        found = []
        for a, b, _ in self.items_in(start, stop):
            if start < a:
                found.append((start, a))
            start = b
        if start < stop:
            found.append((start, stop))
        return found
