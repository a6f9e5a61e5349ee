"""Tasks that run longer than they may: the worker looks at the page that it shares with the
executor, and ends the executor of a task that is there for too long.

Law: looks at pages only while a task of a group with a time limit runs; nothing is asked of
executors and nothing is added to their loops. A task has its whole time: it is counted from when it
was first seen. Blamed is the task that the page still names when its executor has ended; others of
its piece that were not reported run again.
"""

from __future__ import annotations

from ..messages import Failure
from .dispatcher import Dispatcher
from .effects import Effect, ReadPage
from .slots import Slot

LEAST_LOOK_S = 0.005
LONGEST_LOOK_S = 0.25
LOOKS = 20
"""A task is looked at so often in the time that it may run, within the two bounds."""


class Deadlines:
    """What was seen of running tasks."""

    def __init__(self, dispatcher: Dispatcher, effects: list[Effect], worker: str) -> None:
        self._dispatcher = dispatcher
        self._effects = effects
        self._worker = worker
        self.is_used = False
        """Some group has a time limit."""
        self._looked = 0.0
        # By executor: piece, task, since when.
        self._seen: dict[int, tuple[int, int, float]] = {}
        # By executor: piece and task that it was killed for, and the seconds that it might take.
        self._overdue: dict[int, tuple[int, int, float]] = {}

    def _watched(self) -> list[tuple[Slot, float, float]]:
        """Return the slots to be looked at, with the time limit and when they began."""
        found = []
        for slot in self._dispatcher.slots.values():
            piece = slot.running
            if piece is not None and not slot.is_doomed:
                limit_s = piece.assignment.group.timeout_s
                if limit_s is not None:
                    found.append((slot, limit_s, piece.began))
        return found

    def next_wakeup(self) -> float | None:
        """Return when `on_timer` wants to be called, if at all."""
        watched = self._watched()
        return min((self._due_of(*entry) for entry in watched), default=None)

    def _due_of(self, slot: Slot, limit_s: float, began: float) -> float:
        every_s = min(max(limit_s / LOOKS, LEAST_LOOK_S), LONGEST_LOOK_S)
        return max(began, self._looked) + every_s

    def on_timer(self, now: float) -> None:
        """Look at the pages, if it is time."""
        if not self.is_used:
            return
        watched = self._watched()
        if any(now >= self._due_of(*entry) for entry in watched):
            self._looked = now
            for slot, _, _ in watched:
                assert slot.running is not None
                self._effects.append(ReadPage(slot.executor, slot.running.number))

    def on_page(
        self, executor: int, number: int, page_piece: int, page_index: int, now: float
    ) -> None:
        """Answer to `ReadPage`: what the executor's page says."""
        slot = self._dispatcher.slots.get(executor)
        piece = slot.running if slot is not None else None
        if slot is None or piece is None or piece.number != number or page_piece != number:
            self._seen.pop(executor, None)  # not begun yet, or over
            return
        limit_s = piece.assignment.group.timeout_s
        seen = self._seen.get(executor)
        if limit_s is None or seen is None or seen[:2] != (number, page_index):
            self._seen[executor] = (number, page_index, now)
        elif now - seen[2] >= limit_s and not slot.is_doomed:
            self._overdue[executor] = (number, page_index, limit_s)
            self._dispatcher.kill(slot)

    def find_overdue(
        self, slot: Slot, page_piece: int, page_index: int
    ) -> tuple[int, float, Failure] | None:
        """An executor has ended. Return the task that it was killed for, with its seconds and why
        it failed; None if it was not killed for one, or that task was over just in time.
        """
        self._seen.pop(slot.executor, None)
        overdue = self._overdue.pop(slot.executor, None)
        piece = slot.running
        if overdue is None or piece is None or overdue[:2] != (page_piece, page_index):
            return None
        number, index, limit_s = overdue
        if piece.number != number or not piece.at <= index < piece.stop:
            return None
        name = piece.assignment.group.name
        text = (
            f"{name}[{index}] ran longer than its limit of {limit_s:g} s on worker "
            f"{self._worker}, and was ended"
        )
        return index, limit_s, {"kind": "timeout", "text": text, "worker": self._worker}
