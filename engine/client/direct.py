"""A user's thread that waits speaks and listens on the connection itself.

The usual way leads over the client's own thread: it is woken to send, and wakes the user when the
answer is there. One who submits and waits, task after task, would spend more time on these two
switches than on all else here.

Law: what is done on behalf of the connection is done as a whole: Ctrl-C is held back while messages
are sent or taken in, and comes right after; only the wait itself is broken by it. Nothing of users
runs here. Where the connection cannot be shared (TLS, other systems than Linux) there is no
`Direct`, and all goes the usual way.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # `signal` wraps all in enumerations: slow
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from ..messages import Message
from ..transport.sharing import Listening
from .waiting import Gate, left_until

_SIGINT = int(signal.SIGINT)
_MAIN = threading.main_thread()


class Shield:
    """Holds Ctrl-C back for a moment; it comes when the moment is over. Not to be nested."""

    __slots__ = ("_frame", "_handler")

    def __init__(self) -> None:
        self._handler: Any = None
        self._frame: list[FrameType | None] = []

    def __enter__(self) -> None:
        if threading.current_thread() is not _MAIN:
            return  # no signal handler runs here
        handler = _signal.getsignal(_SIGINT)
        if callable(handler):
            self._handler = handler
            _signal.signal(_SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._frame.append(frame)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        handler = self._handler
        if handler is not None:
            _signal.signal(_SIGINT, handler)
            if self._frame:
                handler(signal.SIGINT, self._frame[0])


class Direct:
    """One client's connection, for its users' threads. `take` is given the messages that come.

    Who waits task after task need not hand the connection over to the loop in between: it is left
    out as long as `has_turn` says that a turn of it will come soon, which calls `look`.
    """

    def __init__(
        self,
        listening: Listening,
        take: Callable[[list[Message]], None],
        has_turn: Callable[[], bool],
    ) -> None:
        self._listening = listening
        self._take = take
        self._has_turn = has_turn
        self._is_crowded = False
        """Since the last `look` a thread had to wait while another listened."""

    def look(self) -> None:
        """In a turn of the loop: it listens again, unless a thread does."""
        self._is_crowded = False
        self._listening.give_back()

    def ring(self) -> None:
        """A gate has been opened: let the thread that listens look."""
        self._listening.ring()

    def listen(self, gate: Gate, deadline: float | None) -> bool | None:
        """Take in what comes until the gate is open; False when the deadline passes first, None if
        another thread listens, or the loop has to: then wait as usual."""
        listening = self._listening
        if not listening.begin():
            self._is_crowded = True
            listening.give_back()  # the other one may have left just before it could see that
            return None
        try:
            while not gate.is_open:
                left = left_until(deadline)
                readable, rung = listening.wait(None if left is None else int(left * 1000) + 1)
                if readable:
                    with Shield():
                        messages = listening.read()
                        if messages:
                            self._take(messages)
                    if messages is None:
                        return None
                elif rung:
                    return True if gate.is_open else None
                elif left == 0:
                    return False
            return True
        finally:
            listening.end(keep=gate.is_open and not self._is_crowded and self._has_turn())
