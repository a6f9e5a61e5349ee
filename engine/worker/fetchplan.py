"""Which inputs are on their way, and which assignments wait for them.

Law: a result is asked for once, however many assignments wait for it. Pure bookkeeping: the shell
moves the bytes.
"""

from __future__ import annotations

from typing import Any

from ..ids import GroupId, PeerId
from ..messages import Runs
from . import runs as runs_
from .assignments import Assignment, Needs
from .effects import Fetch
from .store import Store


class FetchPlan:
    """Fetches on their way by number, with the assignments that wait for each."""

    def __init__(self) -> None:
        self._numbers = 0
        self._fetches: dict[int, tuple[Fetch, list[Assignment]]] = {}
        self._by_group: dict[GroupId, set[int]] = {}

    def request(
        self, assignment: Assignment, needs: Needs, holders: list[list[Any]], store: Store
    ) -> tuple[list[Fetch], Needs]:
        """Let an assignment wait for all its `needs` that are not in the store.

        Returns the new fetches, and what neither is on its way nor has a holder.
        """
        new: list[Fetch] = []
        lost: Needs = {}
        for group, runs in needs.items():
            missing = missing_of(store, group, runs)
            for number in list(self._by_group.get(group, ())):
                fetch, waiting = self._fetches[number]
                found, missing = runs_.split(missing, [fetch.start, fetch.stop])
                if found:
                    waiting.append(assignment)
                    assignment.fetches.add(number)
            for holder_group, start, stop, worker, address in holders:
                if holder_group != group or not missing:
                    continue
                found, missing = runs_.split(missing, [start, stop])
                for a, b in runs_.pairs(found):
                    new.append(self._add(assignment, worker, address, group, a, b))
            if missing:
                lost[group] = missing
        return new, lost

    def _add(
        self,
        assignment: Assignment,
        worker: PeerId,
        address: str,
        group: GroupId,
        start: int,
        stop: int,
    ) -> Fetch:
        self._numbers += 1
        fetch = Fetch(self._numbers, worker, address, group, start, stop)
        self._fetches[fetch.number] = fetch, [assignment]
        self._by_group.setdefault(group, set()).add(fetch.number)
        assignment.fetches.add(fetch.number)
        return fetch

    def take(self, number: int) -> tuple[Fetch, list[Assignment]] | None:
        """Return a fetch that has ended, and who waited for it; None if it was given up before."""
        entry = self._fetches.pop(number, None)
        if entry is None:
            return None
        fetch, waiting = entry
        numbers = self._by_group[fetch.group]
        numbers.discard(number)
        if not numbers:
            del self._by_group[fetch.group]
        for assignment in waiting:
            assignment.fetches.discard(number)
        return fetch, waiting

    def abandon(self, assignment: Assignment) -> None:
        """Let an assignment wait no more; its fetches go on (others may want them, and what comes
        is kept)."""
        for number in assignment.fetches:
            self._fetches[number][1].remove(assignment)
        assignment.fetches.clear()

    def clear(self) -> None:
        """Give up everything; what comes later is not known any more."""
        self._fetches.clear()
        self._by_group.clear()


def missing_of(store: Store, group: GroupId, runs: Runs) -> Runs:
    """Return those of the runs' tasks whose results are not in the store."""
    return [bound for a, b in runs_.pairs(runs) for bound in store.missing(group, a, b)]


def rows_of(needs: Needs, worker: PeerId) -> list[list[int]]:
    """Return needs as rows ``[group, index, worker]``: what `SpanReturned.missing` lists."""
    return [[group, i, worker] for group, runs in needs.items() for i in runs_.indices(runs)]
