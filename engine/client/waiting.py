"""Waiting for tasks: in a thread, in an event loop, for all of some tasks or one by one.

Law: a waiter is told under the session's lock and only sets flags, counts and wakes; it never
blocks and runs no code of users. It always unregisters, however the wait ends (time-out and
KeyboardInterrupt included), so that a wait that was given up costs nothing afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from ..errors import InvalidArgument
from .runs import RunSet
from .session import Session
from .state import GroupState

_LONG_S = threading.TIMEOUT_MAX


def check_timeout(timeout: float | None) -> float | None:
    """Return the time-out in seconds, None for none.

    Raises:
        InvalidArgument: it is not a number, or negative.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise InvalidArgument(
            f"timeout is a number of seconds or None, not {timeout!r} ({type(timeout).__name__})"
        )
    if not timeout >= 0:
        raise InvalidArgument(f"timeout is not negative, but {timeout!r} was given")
    return None if math.isinf(timeout) else float(timeout)


class Gate:
    """Opens, and lets through one thread or one coroutine.

    No lock: the opener sets the flag and then looks for a waiter, the waiter shows itself and then
    looks at the flag.
    """

    __slots__ = ("_is_open", "_wake")

    def __init__(self) -> None:
        self._is_open = False
        self._wake: Callable[[], None] | None = None

    def open(self) -> None:
        """Let through whoever waits, and whoever comes."""
        if not self._is_open:
            self._is_open = True
            wake = self._wake
            if wake is not None:
                wake()

    @property
    def is_open(self) -> bool:
        return self._is_open

    def shut(self) -> None:
        """Close the gate again, for the next event."""
        self._is_open = False

    def pass_blocking(self, sessions: Iterable[Session], deadline: float | None) -> bool:
        """Wait in this thread; False when the deadline (of `time.monotonic`) passes first."""
        latch = threading.Lock()
        latch.acquire()
        only = sessions[0] if len(sessions := list(sessions)) == 1 else None

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # opened twice: it is free already
                latch.release()
            if only is not None:
                only.ring()

        self._wake = wake
        try:
            if self._is_open:
                return True
            for session in sessions:
                session.urge()
            if only is not None:
                passed = only.listen(self, deadline)
                if passed is not None:
                    return passed or self._is_open
            return latch.acquire(timeout=_left(deadline)) or self._is_open
        finally:
            self._wake = None

    async def pass_async(self, sessions: Iterable[Session], deadline: float | None) -> bool:
        """Wait in this coroutine; False when the deadline passes first."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def finish() -> None:
            if not future.done():
                future.set_result(None)

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there
                loop.call_soon_threadsafe(finish)

        self._wake = wake
        try:
            if self._is_open:
                return True
            for session in sessions:
                session.urge()
            async with asyncio.timeout(None if deadline is None else _left(deadline)):
                await future
        except TimeoutError:
            return self._is_open
        finally:
            self._wake = None
        return True


def deadline_of(timeout: float | None) -> float | None:
    """Return the moment at which a time-out ends."""
    return None if timeout is None else time.monotonic() + timeout


def left_until(deadline: float | None) -> float | None:
    """Return the seconds until a deadline, 0 if it has passed, None if there is none."""
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)


def _left(deadline: float | None) -> float:
    left = left_until(deadline)
    return _LONG_S if left is None else min(left, _LONG_S)


class Selection:
    """Some tasks of some groups: runs by group."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: dict[GroupState, RunSet] = {}

    def add(self, group: GroupState, start: int, stop: int) -> None:
        """Add `[start, stop)` of a group."""
        runs = self.parts.get(group)
        if runs is None:
            runs = self.parts[group] = RunSet()
        runs.add(start, stop)

    @property
    def count(self) -> int:
        return sum(runs.count for runs in self.parts.values())

    @property
    def sessions(self) -> set[Session]:
        return {group.session for group in self.parts}

    def runs(self) -> Iterable[tuple[GroupState, int, int]]:
        """Yield (group, start, stop)."""
        for group, runs in self.parts.items():
            for start, stop in runs:
                yield group, start, stop

    def describe(self) -> str:
        """Say in words how far the tasks are, for the text of a TimeoutError."""
        if not self.parts:
            return "nothing"
        total = done = failed = 0
        for group, start, stop in self.runs():
            total += stop - start
            bad = sum(b - a for a, b, _ in group.failed.items_in(start, stop))
            failed += bad
            done += group.count_finished(start, stop) - bad
        names = list(dict.fromkeys(group.name for group in self.parts))
        what = ", ".join(names[:3]) + (f" and {len(names) - 3} more groups" if names[3:] else "")
        if total == 1:
            group, start, _ = next(iter(self.runs()))
            state = "failed" if failed else "done, its result is on its way" if done else "pending"
            return f"task {group.name}[{start}]: {state}"
        return (
            f"{total:,} tasks of {what}: {done:,} done, {failed:,} failed, "
            f"{total - done - failed:,} pending"
        )


class AllOf:
    """Opens its gate when all tasks of a selection have come so far: finished, or (with `here`)
    results at hand.

    With `first_failure` a failed task opens it too, with `first` any finished task does.
    """

    def __init__(
        self,
        selection: Selection,
        *,
        here: bool = False,
        first_failure: bool = False,
        first: bool = False,
    ) -> None:
        self.selection = selection
        self.gate = Gate()
        self.here = here
        self.first_failure = first_failure
        self.first = first
        self._left = {group: runs.copy() for group, runs in selection.parts.items()}

    def start(self) -> None:
        """Look at what there is and listen from now on. Takes the locks of the sessions."""
        for group, runs in self.selection.parts.items():
            with group.session.lock:
                group.waiters.append(self)
                if group.session.closed is not None:
                    self.gate.open()
                for start, stop in runs:
                    self._look(group, start, stop)
        self._open_if_complete()

    def _look(self, group: GroupState, start: int, stop: int) -> None:
        left = RunSet()
        for a, b in (
            group.awaited_in(start, stop) if self.here else group.unfinished_in(start, stop)
        ):
            left.add(a, b)
        for a, b in left.gaps_in(start, stop):
            self._left[group].discard(a, b)
        failed = self.first_failure and bool(group.failed.items_in(start, stop))
        if failed or (self.first and group.count_finished(start, stop)):
            self.gate.open()

    def stop(self) -> None:
        """Listen no more. Takes the locks of the sessions."""
        for group in self.selection.parts:
            with group.session.lock:
                if self in group.waiters:
                    group.waiters.remove(self)

    def _open_if_complete(self) -> None:
        if not any(self._left.values()):
            self.gate.open()

    def on_finished(self, group: GroupState, start: int, stop: int, failed: bool) -> None:
        if not failed and self.here:
            return
        hit = self._left[group].discard(start, stop)
        if hit and (self.first or (failed and self.first_failure)):
            self.gate.open()
        self._open_if_complete()

    def on_here(self, group: GroupState, start: int, stop: int) -> None:
        if self.here:
            self._left[group].discard(start, stop)
            self._open_if_complete()

    def on_closed(self) -> None:
        self.gate.open()


class Finishing:
    """Hands out tasks of a selection in the order in which they finish."""

    def __init__(self, selection: Selection) -> None:
        self.gate = Gate()
        self.ready: deque[tuple[GroupState, int, int]] = deque()
        self.left = Selection()
        self.is_closed = False
        self.is_abandoned = False
        self.add(selection)

    def add(self, selection: Selection) -> None:
        """Listen to these tasks too. Takes the locks of their sessions."""
        for group, start, stop in selection.runs():
            with group.session.lock:
                if self not in group.waiters:
                    group.waiters.append(self)
                if group.session.closed is not None:
                    self.is_closed = True
                self.left.add(group, start, stop)
                for a, b in group.done.runs_in(start, stop):
                    self._finish(group, a, b)
                for a, b, _ in group.failed.items_in(start, stop):
                    self._finish(group, a, b)

    def stop(self) -> None:
        """Listen no more. Takes the locks."""
        for group in list(self.left.parts):
            with group.session.lock:
                if self in group.waiters:
                    group.waiters.remove(self)

    def abandon(self) -> None:
        """Listen no more, without the locks: may be called by the garbage collector anywhere."""
        self.is_abandoned = True

    def _finish(self, group: GroupState, start: int, stop: int) -> None:
        # First there, then no longer here: a reader that finds nothing left finds all of it ready.
        for a, b in self.left.parts[group].runs_in(start, stop):
            self.ready.append((group, a, b))
        self.left.parts[group].discard(start, stop)
        if self.ready:
            self.gate.open()

    def on_finished(self, group: GroupState, start: int, stop: int, failed: bool) -> None:
        if self.is_abandoned:
            group.waiters.remove(self)  # they are iterated over as a copy
        else:
            self._finish(group, start, stop)

    def on_here(self, group: GroupState, start: int, stop: int) -> None:
        pass

    def on_closed(self) -> None:
        self.is_closed = True
        self.gate.open()
