"""What was reported of each assignment, and what a `TakeBack` still waits for.

Law: every task of every assignment leaves exactly once: done, failed, or returned; all three ways
lead through this file. A `TakeBack` is answered once, when it is clear what was begun.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..ids import AssignmentId, GroupId, PeerId
from ..messages import (
    INLINE_LIMIT_BYTES,
    Failure,
    Message,
    Runs,
    SpanDone,
    SpanReturned,
    TakeBack,
    TaskFailed,
)
from . import runs as runs_
from .assignments import Assignment
from .outbox import Outbox
from .store import StoredBlock
from .waiting import Expected


@dataclass(slots=True)
class Taking:
    """A `TakeBack` in work. `waits`: pieces of which it is not clear yet what of them was begun."""

    message: TakeBack
    group: GroupId
    collected: list[tuple[int, int]] = field(default_factory=list)
    waits: set[int] = field(default_factory=set)


class Ledger:
    """The assignments that are not wholly reported."""

    def __init__(self, worker: PeerId) -> None:
        self.worker = worker
        """Our own number: named where inputs are missing here."""
        self.assignments: dict[AssignmentId, Assignment] = {}
        self.takings: list[Taking] = []
        self.expected = Expected()
        self.outbox = Outbox()

    def take_sends(self) -> list[Message]:
        """Return the messages for the scheduler since the last call."""
        return self.outbox.take()

    def tell(self, message: Message) -> None:
        """Send the scheduler something that is no report on a task."""
        self.outbox.add(message)

    def clear(self) -> None:
        """Forget all assignments: nothing of them is reported any more."""
        self.assignments.clear()
        self.takings.clear()
        self.expected.clear()

    def add(self, assignment: Assignment) -> None:
        """An assignment came."""
        self.assignments[assignment.assignment] = assignment
        self.expected.add(assignment.group.group, assignment.start, assignment.stop)

    # --- reports -------------------------------------------------------------------------------

    def done(
        self, assignment: Assignment, block: StoredBlock, seconds: float, times: list[int]
    ) -> None:
        """The tasks of a block are done."""
        start, stop = block.start, block.stop
        is_small = block.path is None and block.nbytes <= INLINE_LIMIT_BYTES * (stop - start)
        blocks = [block.to_block()] if assignment.inline and is_small else None
        number, group = assignment.assignment, assignment.group.group
        self.outbox.add_done(
            SpanDone(number, group, start, stop, block.nbytes, seconds, times, blocks),
            patient=assignment.patient,
        )
        self._close(assignment, [start, stop])

    def passed(
        self, assignment: Assignment, start: int, stop: int, seconds: float, times: list[int]
    ) -> None:
        """Tasks are done whose results went on from hand to hand, and are not kept."""
        number, group = assignment.assignment, assignment.group.group
        done = SpanDone(number, group, start, stop, 0, seconds, times, None, True)
        self.outbox.add_done(done)
        self._close(assignment, [start, stop])

    def fail(self, assignment: Assignment, index: int, seconds: float, failure: Failure) -> None:
        """A task has failed."""
        group = assignment.group.group
        self.outbox.add(TaskFailed(assignment.assignment, group, index, seconds, failure))
        self._close(assignment, [index, index + 1])

    def fail_all(self, assignment: Assignment, runs: Runs, failure: Failure) -> None:
        """Tasks have failed, all for the same reason."""
        for start, stop in runs_.pairs(runs):
            for index in range(start, stop):
                self.fail(assignment, index, 0.0, failure)

    def give_back(
        self,
        assignment: Assignment,
        runs: Runs,
        reason: str,
        missing: list[list[int]] | None = None,
    ) -> None:
        """Tasks cannot be run here: return them, unless they are being taken back anyway."""
        self._return(assignment, self.collect(assignment, runs), reason, missing or [])

    def _return(
        self, assignment: Assignment, runs: Runs, reason: str, missing: list[list[int]]
    ) -> None:
        if runs:
            group = assignment.group.group
            self.outbox.add(SpanReturned(assignment.assignment, group, runs, reason, missing))
            self._close(assignment, runs)

    def _close(self, assignment: Assignment, runs: Runs) -> None:
        assignment.open -= runs_.count(runs)
        self.expected.remove(assignment.group.group, runs)
        assert assignment.open >= 0, assignment.assignment
        if not assignment.open:
            del self.assignments[assignment.assignment]

    # --- taking back ---------------------------------------------------------------------------

    def begin_taking(self, message: TakeBack) -> tuple[Taking, Assignment] | None:
        """Begin to take tasks back; None if the assignment was wholly reported: then it is
        answered."""
        assignment = self.assignments.get(message.assignment)
        if assignment is None:
            # late by a race: all of it was reported before the message came
            self.outbox.add(SpanReturned(message.assignment, 0, [], "nothing was left"))
            return None
        taking = Taking(message, assignment.group.group)
        self.takings.append(taking)
        taking.collected += runs_.pairs(assignment.drop_unbegun(message.runs))
        return taking, assignment

    def collect(self, assignment: Assignment, runs: Runs) -> Runs:
        """Tasks were not begun: give those that are being taken back to their `TakeBack`, and
        return those that were asked back before (they might have been begun then). What is left
        is returned."""
        for taking in self.takings:
            if taking.message.assignment == assignment.assignment:
                inside, runs = runs_.split(runs, taking.message.runs)
                taking.collected += runs_.pairs(inside)
        if runs and assignment.unwanted:
            unwanted, runs = runs_.split(runs, runs_.normalize(assignment.unwanted))
            self._return(assignment, unwanted, "asked back before", [])
        return runs

    def waits_for(self, number: int) -> bool:
        """Tell whether a `TakeBack` waits for a piece."""
        return any(number in taking.waits for taking in self.takings)

    def settle(self, number: int) -> None:
        """It is clear now what became of a piece."""
        for taking in self.takings:
            taking.waits.discard(number)
        self.answer()

    def answer(self) -> None:
        """Answer each `TakeBack` that waits for nothing more."""
        for taking in [taking for taking in self.takings if not taking.waits]:
            self.takings.remove(taking)
            message = taking.message
            runs = runs_.normalize(taking.collected)
            self.outbox.add(SpanReturned(message.assignment, taking.group, runs, "taken back"))
            assignment = self.assignments.get(message.assignment)
            if assignment is not None:
                assignment.unwanted += runs_.pairs(message.runs)
                self._close(assignment, runs)
