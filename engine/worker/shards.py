"""Shards of exchanges on a worker: what other workers made for our merges, what is on its way, and
what we made for them.

A parcel is a block of shards for some outputs, of some splits: what one request brought, or one
push. The splits that were run here lie in the store, whole.

Law: pure bookkeeping, as in fetchplan.py. A merge runs when the shards of all splits are here,
however they came: pushed when they were made, or asked for. What is pushed may be lost, late or
refused; nothing relies on it. The scheduler is not told of parcels; it says when the splits are
over (`FreeResults`), and then they go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..errors import PeerError, StoreFull
from ..executor.values import SHARDS, Part
from ..ids import GroupId, PeerId
from ..messages import PlanExchange, Runs
from . import runs as runs_
from .assignments import Assignment
from .effects import Effect, FetchShards, PushShards
from .groups import Groups
from .store import Store, StoredBlock

MAX_MISSING = 4096
"""Rows of what is missing that go to the scheduler at a time: the rest is found the next time."""


class Parcel(StoredBlock):
    """Shards of the outputs `[output, end)` of the `splits`: table and data of each, as parts."""

    __slots__ = ("end", "output", "splits")

    def __init__(
        self,
        group: GroupId,
        splits: list[int],
        output: int,
        end: int,
        parts: list[Part],
        path: str | None = None,
        places: list[int] | None = None,
    ) -> None:
        super().__init__(group, min(splits), max(splits) + 1, SHARDS, parts, path, places)
        self.splits = splits
        self.output = output
        self.end = end

    def shards(self) -> tuple[int, list[int]]:
        """Return the first output that it is for, and the splits."""
        return self.output, self.splits


class _Here:
    """What is here of one exchange: parcels by their outputs, and the splits that each of these
    sets covers. `freed`: splits that are over, of which no push is taken any more."""

    def __init__(self) -> None:
        self.parcels: dict[tuple[int, int], list[Parcel]] = {}
        self.covered: dict[tuple[int, int], set[int]] = {}
        self.freed: set[int] = set()
        self.owners: list[list[Any]] = []


class ShardDesk:
    """All exchanges that a worker was told of."""

    def __init__(self, worker: PeerId, store: Store, groups: Groups) -> None:
        self.worker = worker
        self._store = store
        self._groups = groups
        self._here: dict[GroupId, _Here] = {}
        self._numbers = 0
        self._fetches: dict[int, tuple[FetchShards, list[Assignment]]] = {}

    # --- what the scheduler says ---------------------------------------------------------------

    def plan(self, message: PlanExchange) -> None:
        """Take the plan of who merges what.

        Raises:
            PeerError: there is no such exchange.
        """
        group = self._groups.find(message.group)
        if group is None or group.kind != "exchange":
            raise PeerError(f"a plan for group {message.group:x}, which is no exchange here")
        self._here.setdefault(message.group, _Here()).owners = message.owners

    def free(self, number: GroupId, runs: Runs) -> None:
        """These splits are over: drop what is here of them."""
        here = self._here.get(number)
        if here is None:
            return
        gone = {split for start, stop in runs_.pairs(runs) for split in range(start, stop)}
        here.freed |= gone
        self._keep_only(here, lambda parcel: not gone.issuperset(parcel.splits))

    def lose(self, number: GroupId, split: int) -> None:
        """The file that shards of a split lay in is gone: they have to be asked for again."""
        here = self._here.get(number)
        if here is not None:
            self._keep_only(here, lambda parcel: split not in parcel.splits)

    def _keep_only(self, here: _Here, is_kept: Callable[[Parcel], bool]) -> None:
        for columns, parcels in list(here.parcels.items()):
            kept = [parcel for parcel in parcels if is_kept(parcel)]
            if len(kept) == len(parcels):
                continue
            self._drop(parcel for parcel in parcels if not is_kept(parcel))
            here.parcels[columns] = kept
            here.covered[columns] = {split for parcel in kept for split in parcel.splits}
            if not kept:
                del here.parcels[columns], here.covered[columns]

    def forget(self, number: GroupId) -> None:
        """The group is over."""
        here = self._here.pop(number, None)
        for parcels in here.parcels.values() if here is not None else ():
            self._drop(iter(parcels))

    def clear(self) -> None:
        """Forget everything; what is on its way is not wanted any more."""
        self._fetches.clear()
        for number in list(self._here):
            self.forget(number)

    def _drop(self, parcels: Iterator[Parcel]) -> None:
        for parcel in parcels:
            self._store.give_back(parcel)

    # --- what is here --------------------------------------------------------------------------

    def missing(self, assignment: Assignment, start: int, stop: int) -> Runs:
        """Return the splits of which the shards for merges `[start, stop)` are not all here."""
        number, count = assignment.group.group, assignment.group.splits
        missing = self._store.missing(number, 0, count)
        here = self._here.get(number)
        if missing and here is not None:
            first, last = start - count, stop - count
            covered = [
                splits for (a, b), splits in here.covered.items() if a <= first and last <= b
            ]
            if covered:
                found = set().union(*covered)
                wanted = (i for a, b in runs_.pairs(missing) for i in range(a, b))
                missing = runs_.of_indices(i for i in wanted if i not in found)
        return missing

    def find(self, assignment: Assignment, start: int, stop: int) -> list[StoredBlock]:
        """Return the blocks and parcels that merges `[start, stop)` take from."""
        number, count = assignment.group.group, assignment.group.splits
        found = self._store.find(number, 0, count)
        here = self._here.get(number)
        if here is None or not self._store.missing(number, 0, count):
            return found
        first, last = start - count, stop - count
        for (a, b), parcels in here.parcels.items():
            if a <= first and last <= b:
                found += parcels
        return found

    # --- pulling -------------------------------------------------------------------------------

    def request(self, assignment: Assignment, holders: list[list[Any]]) -> list[Effect]:
        """Let an assignment of merges wait for the shards that are not here. Return new fetches,
        one for each worker that may have some which nobody has asked it for.

        Where the merges are ours by the plan, the shards of all that are ours are asked for, once.
        """
        assignment.holders = holders
        missing = self.missing(assignment, assignment.start, assignment.stop)
        if not missing:
            return []
        number = assignment.group.group
        start, stop = self._widen(assignment)
        effects: list[Effect] = []
        for _, first, last, worker, address in holders:
            asked = runs_.intersect(missing, first, last)
            for fetch, waiting in self._fetches.values():
                is_for_us = fetch.group == number and fetch.worker == worker
                if is_for_us and fetch.start <= start and stop <= fetch.stop:
                    found, asked = runs_.split(asked, fetch.runs)
                    if found:
                        waiting.append(assignment)
                        assignment.pulls.add(fetch.number)
            if asked and worker != self.worker:
                self._numbers += 1
                fetch = FetchShards(self._numbers, worker, address, number, asked, start, stop)
                self._fetches[fetch.number] = fetch, [assignment]
                assignment.pulls.add(fetch.number)
                effects.append(fetch)
        return effects

    def _widen(self, assignment: Assignment) -> tuple[int, int]:
        """Return the outputs to ask for: all that are planned to be ours, if these are of them."""
        count = assignment.group.splits
        start, stop = assignment.start - count, assignment.stop - count
        here = self._here.get(assignment.group.group)
        for first, last, worker, _ in here.owners if here is not None else ():
            if worker == self.worker and first <= start and stop <= last:
                return first, last
        return start, stop

    def take(self, number: int) -> list[Assignment]:
        """A fetch has ended. Return who waits for nothing more."""
        entry = self._fetches.pop(number, None)
        if entry is None:  # dropped by a restart
            return []
        for assignment in entry[1]:
            assignment.pulls.discard(number)
        return [assignment for assignment in entry[1] if not assignment.pulls]

    def abandon(self, assignment: Assignment) -> None:
        """Let an assignment wait no more; its fetches go on, what comes is kept."""
        for number in assignment.pulls:
            self._fetches[number][1].remove(assignment)
        assignment.pulls.clear()

    def blame(self, assignment: Assignment, missing: Runs) -> list[list[int]]:
        """Return rows ``[group, split, worker]`` for splits that came from nobody: all who may have
        been meant to have them, ourselves included."""
        number = assignment.group.group
        rows: list[list[int]] = []
        for split in (i for a, b in runs_.pairs(missing) for i in range(a, b)):
            rows.append([number, split, self.worker])
            rows += [
                [number, split, worker]
                for _, first, last, worker, _ in assignment.holders
                if first <= split < last
            ]
            if len(rows) >= MAX_MISSING:
                break
        return rows

    def keep(self, parcels: list[Parcel], *, is_pushed: bool) -> StoreFull | None:
        """Keep what came, as far as it is wanted and new. Return why something cannot be kept."""
        full: StoreFull | None = None
        for parcel in parcels:
            parcel.number = self._store.next_number()
            group = self._groups.find(parcel.group)
            if group is None or group.kind != "exchange":
                self._store.doom(parcel)  # it is over, or has not begun for us
                continue
            here = self._here.setdefault(parcel.group, _Here())
            columns = parcel.output, parcel.end
            covered = here.covered.get(columns, set())
            if covered.issuperset(parcel.splits) or (
                is_pushed and here.freed.issuperset(parcel.splits)
            ):
                self._store.doom(parcel)
                continue
            try:
                self._store.reserve(parcel)
            except StoreFull as error:
                self._store.doom(parcel)
                full = error
                continue
            here.parcels.setdefault(columns, []).append(parcel)
            here.covered[columns] = covered | set(parcel.splits)
        return full

    # --- pushing -------------------------------------------------------------------------------

    def push(self, block: StoredBlock) -> list[Effect]:
        """A split is done here: return what is to be sent to those who will merge its shards."""
        here = self._here.get(block.group)
        if here is None or block.single != SHARDS:
            return []
        return [
            PushShards(address, block.group, block.start, start, stop)
            for start, stop, worker, address in here.owners
            if worker != self.worker
        ]
