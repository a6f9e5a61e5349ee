"""Tasks that may not begin just anywhere or at any time: those that ask for resources, and those
that are to run once on each executor.

Law: what is dealt out is never dealt out twice: a piece has its resources from when it is given to
an executor until it is over, however that ends; executors say nothing about them. First come, first
served for each resource: nobody overtakes who asks for the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..resources import Ask, Grant, Offer, Pool
from .assignments import Assignment
from .slots import Piece, Slot


class Limited:
    """The assignments of such groups, and what of the worker's resources is dealt out."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self._pool = Pool(offer)
        self._waiting: list[Assignment] = []
        self._grants: dict[int, Grant] = {}
        # Of what is to run once on each executor: those that have it, or have run it.
        self._served: dict[Assignment, set[int]] = {}

    @property
    def is_used(self) -> bool:
        """Whether there is anything to look after."""
        return bool(self._waiting or self._grants or self._served)

    def clear(self) -> None:
        """Forget all work."""
        self._pool = Pool(self._offer)
        self._waiting.clear()
        self._grants.clear()
        self._served.clear()

    def add(self, assignment: Assignment) -> None:
        """Tasks of an assignment are to be run, or to be run after all."""
        if assignment not in self._waiting:
            self._waiting.append(assignment)
            self._waiting.sort(key=lambda waiting: waiting.assignment)  # as they came

    def dispatch(
        self,
        slots: dict[int, Slot],
        pick_slot: Callable[[], Slot | None],
        begin: Callable[[Assignment, Slot, Grant], Piece | None],
    ) -> None:
        """Give executors what may begin now. `begin` gives one task to an executor, or returns
        None if it cannot be run at all.
        """
        for over in [assignment for assignment in self._served if not assignment.open]:
            del self._served[over]
        self._collect(piece.number for slot in slots.values() for piece in slot.pieces())
        blocked: set[str] = set()
        for assignment in self._waiting[:]:
            ask: Ask = assignment.group.resources
            while assignment.queued and blocked.isdisjoint(ask):
                once = assignment.group.once
                slot = self._pick_unserved(assignment, slots) if once else pick_slot()
                if slot is None:
                    break
                grant = self._pool.take(ask, slot.executor)
                if grant is None:
                    break
                piece = begin(assignment, slot, grant)
                if piece is None:
                    self._pool.give_back(grant)
                    continue
                self._grants[piece.number] = grant
                if once:
                    self._served.setdefault(assignment, set()).add(slot.executor)
            if assignment.queued:
                blocked.update(ask)
            else:
                self._waiting.remove(assignment)

    def _collect(self, alive: Iterable[int]) -> None:
        """Take back what pieces had that are over."""
        for number in self._grants.keys() - set(alive):
            self._pool.give_back(self._grants.pop(number))

    def _pick_unserved(self, assignment: Assignment, slots: dict[int, Slot]) -> Slot | None:
        served = self._served.get(assignment, set())
        for slot in slots.values():
            if slot.is_open and slot.queued is None and slot.executor not in served:
                return slot
        return None

    def on_taken(self, slot: Slot, piece: Piece) -> None:
        """A piece was taken back from an executor, which will never run it."""
        served = self._served.get(piece.assignment)
        if served is not None:
            served.discard(slot.executor)

    def on_replaced(self, gone: Slot, new: int) -> None:
        """An executor has ended, and a new one takes its place: what the old one has run once, the
        new one need not.
        """
        self._pool.forget(gone.executor)
        unfinished = {piece.assignment for piece in gone.pieces()}
        for assignment, served in self._served.items():
            if gone.executor in served and assignment not in unfinished:
                served.add(new)
