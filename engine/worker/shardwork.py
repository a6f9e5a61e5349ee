"""The part of a worker's core that has to do with shards and with moving to disk: what the shell
brings, and whether merges can run by it.

Law: as in core.py. What is here of which exchange, the desk knows (shards.py).
"""

from __future__ import annotations

from ..errors import StoreFull
from .assignments import Assignment
from .dispatcher import Dispatcher
from .shards import Parcel, ShardDesk
from .store import Store


class ShardWork:
    """See the head of this file. What is not implemented here is the core's."""

    store: Store
    _desk: ShardDesk
    _dispatcher: Dispatcher

    def on_shards(self, number: int, parcels: list[Parcel], now: float) -> None:
        """Take the shards that a fetch brought; they may be fewer than were asked for."""
        full = self._desk.keep(parcels, is_pushed=False)
        for assignment in self._desk.take(number):
            self._run_merges(assignment, full)
        self._sweep()
        self._dispatcher.dispatch(now)

    def put_shards(self, parcels: list[Parcel]) -> str | None:
        """Take shards that another worker has sent of itself; return None, or why they cannot all
        be kept."""
        full = self._desk.keep(parcels, is_pushed=True)
        self._sweep()
        return None if full is None else str(full)

    def _run_merges(self, assignment: Assignment, full: StoreFull | None) -> None:
        """What could be had of the inputs of merges is here: run them if that is all."""
        missing = self._desk.missing(assignment, assignment.start, assignment.stop)
        if not missing:
            self._dispatcher.add(assignment)
        elif full is not None:
            self._fail_full(assignment, full)
        else:
            rows = self._desk.blame(assignment, missing)
            self._return_all(assignment, "shards could not be fetched", rows)

    def on_spilled(self, number: int, path: str | None, places: list[int]) -> None:
        """Answer to `Spill`, if the block is still here: it is on disk now, or with None could not
        be moved."""
        self.store.on_spilled(number, path, places)

    def _sweep(self) -> None:
        raise NotImplementedError

    def _fail_full(self, assignment: Assignment, full: StoreFull) -> None:
        raise NotImplementedError

    def _return_all(self, assignment: Assignment, reason: str, missing: list[list[int]]) -> None:
        raise NotImplementedError
