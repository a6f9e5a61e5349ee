"""The layer `Fold`: a tree of fan-in k over a run of one group's results, without listing it.

All tasks of the tree are one group, level after level: first those that take the inputs, last the
root alone. Task `i` of a level takes results ``[i * k, (i + 1) * k)`` of the level below, the last
one what is left; so order is kept, and every answer follows from divisions on the ends of runs.

Law: as in layers.py: cost follows runs, not tasks; it knows no state of any task. The levels, as
rows of numbers, are all that a worker and its executors know of the tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from pyroaring import BitMap

from ..ids import Digest, GroupId
from .closed import ClosedForm, SetOf
from .runs import clip, runs_of


class Level(NamedTuple):
    """Tasks ``[start, stop)`` take the results ``[low, high)`` of a group, `fanin` each."""

    start: int
    stop: int
    group: GroupId
    low: int
    high: int


def make_levels(
    own: GroupId, group: GroupId, offset: int, count: int, fanin: int
) -> tuple[Level, ...]:
    """Return the levels of a tree over results ``[offset, offset + count)`` of a group; `own` is
    the group of the tree itself. `count` is at least 1, `fanin` at least 2.
    """
    levels: list[Level] = []
    start, low = 0, offset
    while not levels or count > 1:
        size = -(-count // fanin)
        levels.append(Level(start, start + size, group, low, low + count))
        group, low, count = own, start, size
        start += size
    return tuple(levels)


class Fold(ClosedForm):
    """A tree over results of one group. Nobody but the tree itself takes results of its inner
    tasks, as far as clients do not ask: they hold the root.
    """

    kind: ClassVar[str] = "fold"
    has_inputs: ClassVar[bool] = True
    __slots__ = ("_blobs", "_source", "fanin", "levels", "n", "own", "wire")

    def __init__(self, wire: dict[str, Any], own: GroupId) -> None:
        """`wire` has been checked. What workers are told has the levels instead of its numbers."""
        self.own = own
        self.fanin: int = wire["fanin"]
        self._source: GroupId = wire["group"]
        self.levels = make_levels(own, wire["group"], wire["offset"], wire["count"], self.fanin)
        self.n = self.levels[-1].stop
        function, initial = wire["function"], wire["initial"]
        self._blobs: list[Digest] = [function] if initial is None else [function, initial]
        self.wire = {
            "kind": "fold",
            "function": function,
            "initial": initial,
            "fanin": self.fanin,
            "levels": [list(level) for level in self.levels],
        }

    def producers(self) -> set[GroupId]:
        """Return the groups that it takes results of: its source, and itself where it has more
        than one level.
        """
        return {level.group for level in self.levels[:2]}

    def define_blobs(self) -> list[Digest]:
        """Return the blobs that a worker must have before its first span."""
        return self._blobs

    all_blobs = define_blobs

    # --- the algebra --------------------------------------------------------------------------

    def _sections(self, tasks: BitMap) -> Iterator[tuple[int, int, int]]:
        """Yield ``(level, start, stop)`` for the runs of tasks, cut where levels end."""
        levels, at = self.levels, 0
        runs = runs_of(tasks)
        for start, stop in zip(runs[::2], runs[1::2], strict=True):
            while start < stop:
                while levels[at].stop <= start:
                    at += 1
                end = min(stop, levels[at].stop)
                yield at, start, end
                start = end

    def inputs_of(self, tasks: BitMap) -> dict[GroupId, BitMap]:
        """Return the results that these tasks take, by group."""
        fanin = self.fanin
        found: dict[GroupId, BitMap] = {}
        for at, first, last in self._sections(tasks):
            start, _, group, low, high = self.levels[at]
            if group not in found:
                found[group] = BitMap()
            found[group].add_range(
                low + (first - start) * fanin, min(high, low + (last - start) * fanin)
            )
        return found

    def consumers_of(self, group: GroupId, results: BitMap) -> BitMap:
        """Return the tasks here that take any of these results of a group."""
        found = BitMap()
        fanin = self.fanin
        for level, first, last in self._taken(group, results):
            start, low = level.start, level.low
            found.add_range(start + (first - low) // fanin, start + (last - 1 - low) // fanin + 1)
        return found

    def _taken(self, group: GroupId, results: BitMap) -> Iterator[tuple[Level, int, int]]:
        """Yield ``(level, start, stop)``: runs of results of a group, and the level that takes
        them.
        """
        if group == self._source:
            level = self.levels[0]
            runs = runs_of(clip(results, level.low, level.high))
            for start, stop in zip(runs[::2], runs[1::2], strict=True):
                yield level, start, stop
        elif group == self.own:
            for at, start, stop in self._sections(results):
                if at + 1 < len(self.levels):  # nobody takes the root
                    yield self.levels[at + 1], start, stop

    def needed(self, group: GroupId, results: BitMap, unfinished: BitMap) -> BitMap:
        """Return which of these results are taken by the unfinished among the tasks here."""
        taking = self.consumers_of(group, results) & unfinished
        return self.inputs_of(taking).get(group, BitMap()) & results

    def complete(self, tasks: BitMap, done: SetOf) -> BitMap:
        """Return those of these tasks whose inputs are all done."""
        found = tasks
        for group, inputs in self.inputs_of(tasks).items():
            missing = inputs - done(group)
            if missing:
                found = found - self.consumers_of(group, missing)
        return found
