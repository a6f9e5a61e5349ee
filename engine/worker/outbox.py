"""Messages to the scheduler that one turn of the loop brings about.

Law: order is kept, but adjacent finished stretches of one assignment become one `SpanDone`: news
cost per turn, not per piece. A stretch never comes to stand before one of an earlier assignment:
that may hold its inputs. News that nobody waits for may be held for a moment, so that more of them
become one; as soon as there is other news, all leave together.
"""

from __future__ import annotations

from ..ids import AssignmentId
from ..messages import Message, SpanDone


class Outbox:
    """Collects messages; `take` gives them and begins anew."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._last_done: dict[AssignmentId, SpanDone] = {}
        self._highest: AssignmentId = 0
        self._is_patient = True
        self.held_until: float | None = None
        """When what is held leaves at the latest; None: nothing is held."""

    def add(self, message: Message) -> None:
        """Add a message that is sent as it is."""
        self._is_patient = False
        self._messages.append(message)

    def add_done(self, done: SpanDone, *, patient: bool = False) -> None:
        """Add a finished stretch, joined with the last one of its assignment if they are
        neighbours. `patient`: nobody waits for it."""
        self._is_patient = self._is_patient and patient
        last = self._last_done.get(done.assignment)
        if (
            last is not None
            and (last.blocks is None) == (done.blocks is None)
            and last.passed == done.passed
        ):
            if done.start == last.stop:
                last.stop = done.stop
                _join(last, done)
                return
            if done.stop == last.start:
                last.start = done.start
                _join(last, done)
                return
        if done.assignment < self._highest:
            self._last_done = {k: v for k, v in self._last_done.items() if k < done.assignment}
        self._highest = done.assignment
        self._last_done[done.assignment] = done
        self._messages.append(done)

    def take(self) -> list[Message]:
        """Return what was added since the last call; nothing while it is held."""
        if self.held_until is not None:
            if self._is_patient:
                return []
            self.held_until = None
        messages, self._messages = self._messages, []
        self._is_patient = True
        if messages:
            self._last_done = {}
            self._highest = 0
        return messages

    def hold(self, until: float) -> None:
        """Hold what there is, unless somebody may wait for it; what is held already leaves no
        later by this."""
        if self._messages and self._is_patient and self.held_until is None:
            self.held_until = until


def _join(last: SpanDone, done: SpanDone) -> None:
    last.nbytes += done.nbytes
    last.seconds += done.seconds
    if done.blocks is not None:
        assert last.blocks is not None
        last.blocks += done.blocks
    counts = dict(zip(last.times[::2], last.times[1::2], strict=True))
    for found, count in zip(done.times[::2], done.times[1::2], strict=True):
        counts[found] = counts.get(found, 0) + count
    last.times = [number for pair in counts.items() for number in pair]
