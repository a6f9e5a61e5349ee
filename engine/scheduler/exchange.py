"""The layer `Exchange`: every input is split into shards, one for each output, and each output is
merged from its shards of all inputs, without listing the pairs.

All tasks are one group: first `count` splits, task `i` of which takes result ``offset + i`` of the
source; then `outputs` merges, each of which takes a shard of every split. So there are two answers
to every question, and what lies between them, ``count * outputs`` shards, is never listed.

Law: as in layers.py: cost follows runs, not tasks; it knows no state of any task. `owners` is a
plan, made once: which worker is to merge which outputs, so that shards can be sent there as soon as
they are made. Nothing relies on it being followed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, ClassVar

from pyroaring import BitMap

from ..ids import Digest, GroupId, PeerId
from .closed import ClosedForm, SetOf
from .runs import clip, set_of


class Exchange(ClosedForm):
    """An all-to-all exchange over results of one group. Nobody but its merges takes the results of
    its splits, as far as clients do not ask: they hold the merges.
    """

    kind: ClassVar[str] = "exchange"
    has_inputs: ClassVar[bool] = True
    __slots__ = (
        "_owned", "_starts", "count", "n", "offset", "outputs", "own", "owners", "source", "wire"
    )  # fmt: skip

    def __init__(self, wire: dict[str, Any], own: GroupId) -> None:
        """`wire` has been checked."""
        self.own = own
        self.wire = wire
        self.source: GroupId = wire["group"]
        self.offset: int = wire["offset"]
        self.count: int = wire["count"]
        self.outputs: int = wire["outputs"]
        self.n = self.count + self.outputs
        # Outputs [start, stop) are to be merged by a worker; ascending, without gaps.
        self.owners: list[tuple[int, int, PeerId]] = []
        self._starts: list[int] = []
        self._owned: dict[PeerId, tuple[int, int]] = {}

    def producers(self) -> set[GroupId]:
        """Return the groups that it takes results of: its source and itself."""
        return {self.source, self.own}

    def define_blobs(self) -> list[Digest]:
        """Return the blobs that a worker must have before its first span."""
        return [self.wire["function"], self.wire["split"]]

    all_blobs = define_blobs

    # --- the algebra --------------------------------------------------------------------------

    def inputs_of(self, tasks: BitMap) -> dict[GroupId, BitMap]:
        """Return the results that these tasks take, by group."""
        found: dict[GroupId, BitMap] = {}
        splits = clip(tasks, 0, self.count)
        if splits:
            found[self.source] = splits.shift(self.offset)
        if self._has_merges(tasks):
            found[self.own] = set_of(0, self.count)
        return found

    def consumers_of(self, group: GroupId, results: BitMap) -> BitMap:
        """Return the tasks here that take any of these results of a group."""
        if group == self.source:
            return clip(results, self.offset, self.offset + self.count).shift(-self.offset)
        if group == self.own and results and results.min() < self.count:
            return set_of(self.count, self.n)
        return BitMap()

    def needed(self, group: GroupId, results: BitMap, unfinished: BitMap) -> BitMap:
        """Return which of these results are taken by the unfinished among the tasks here."""
        if group == self.source:
            return clip(unfinished, 0, self.count).shift(self.offset) & results
        if group == self.own and self._has_merges(unfinished):
            return clip(results, 0, self.count)
        return BitMap()

    def complete(self, tasks: BitMap, done: SetOf) -> BitMap:
        """Return those of these tasks whose inputs are all done."""
        splits = clip(tasks, 0, self.count)
        found = splits & done(self.source).shift(-self.offset) if splits else splits
        if self._has_merges(tasks) and done(self.own).contains_range(0, self.count):
            found |= clip(tasks, self.count, self.n)
        return found

    def on_done(self, group: GroupId, results: BitMap, waiting: BitMap, done: SetOf) -> BitMap:
        """These results are done now. Return the waiting tasks that are complete by that."""
        if group == self.own and not done(group).contains_range(0, self.count):
            return BitMap()
        return self.complete(self.consumers_of(group, results) & waiting, done)

    def _has_merges(self, tasks: BitMap) -> bool:
        return bool(tasks) and tasks.max() >= self.count

    # --- who merges what ------------------------------------------------------------------------

    def is_merge(self, task: int) -> bool:
        """Return whether a task is a merge, not a split."""
        return task >= self.count

    def plan(self, workers: Sequence[tuple[PeerId, int]]) -> None:
        """Plan an owner for each output, as runs in proportion to the workers' slots: rows of
        ``(worker, slots)``, at least one.
        """
        if len(workers) > self.outputs:  # one output each, for workers that lie far apart
            workers = [workers[at * len(workers) // self.outputs] for at in range(self.outputs)]
        total = sum(slots for _, slots in workers)
        start = passed = 0
        for peer, slots in workers:
            passed += slots
            stop = self.outputs * passed // total
            if start < stop:
                self.owners.append((start, stop, peer))
                self._owned[peer] = self.count + start, self.count + stop
            start = stop
        self._starts = [start for start, _, _ in self.owners]

    def owner_of(self, task: int) -> PeerId | None:
        """Return the worker that is to run a merge, None if none was planned."""
        if not self.owners:
            return None
        return self.owners[bisect_right(self._starts, task - self.count) - 1][2]

    def owned_by(self, peer: PeerId) -> BitMap:
        """Return the merges that a worker is to run."""
        return set_of(*self._owned.get(peer, (0, 0)))
