"""What a connection and a listener are, whatever carries them.

Law: a connection belongs to one loop and is used on its thread only (sharing.py has the exception).
It carries messages and knows
nothing of what they mean. Messages sent in one turn of the loop leave as one frame; messages that
arrive before the owner has set `on_messages` are kept for it. A carrier (stream.py, memory.py) only
moves frames.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from typing import Any

from ..codec import MAX_BUFFERS, decode, encode
from ..errors import CellspanError, ConnectionClosed, PeerError
from ..messages import Blob, Hello, Message, Turned, Welcome
from .frames import Frame, FrameReader

logger = logging.getLogger("cellspan.transport")

OnMessages = Callable[[list[Message]], None]
OnClose = Callable[[Exception | None], None]

MAX_MESSAGES_PER_FRAME = 16_384
GC_THRESHOLDS = (20_000, 20, 50)
DRAINED_BYTES = 1 << 20
"""`drain` returns when no more than this is waiting to leave."""


class Connection:
    """One connection to one peer.

    `peer_info` is the `info` of the peer's Hello (on the listener's side). `is_local`: the peer is
    on this host by construction. `on_messages(messages)` is called with all messages of one
    arrival; if it raises, the connection ends. `on_close(error)` is called once when the connection
    has ended for whatever reason: None if one of the two sides closed it in order.
    """

    def __init__(self, label: str, is_local: bool) -> None:
        self.peer_info: dict[str, Any] = {}
        self.is_local = is_local
        self.label = label
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._outgoing: list[Message] = []
        self._flush_is_due = False
        self._kept: list[Message] = []
        self._on_messages: OnMessages | None = None
        self._on_close: OnClose | None = None
        self._is_closing = False
        self._is_lost = False
        self._error: Exception | None = None
        self._lost = self._loop.create_future()
        self._drainers: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        state = "closed" if self._is_lost else "closing" if self._is_closing else "open"
        return f"<{type(self).__name__} {self.label} {state}>"

    # --- for the owner ----------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Queue a message; it leaves at the end of this turn of the loop.

        Raises:
            ConnectionClosed: the connection has ended or is ending.
        """
        if self._is_closing:
            raise ConnectionClosed(self._why_closed())
        self._outgoing.append(message)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush_when_due)

    def flush(self) -> None:
        """Write what is queued now: for an owner that knows that its turn is over."""
        messages, self._outgoing = self._outgoing, []
        if not messages or self._is_lost:
            return
        try:
            for first in range(0, len(messages), MAX_MESSAGES_PER_FRAME):
                parts = encode(messages[first : first + MAX_MESSAGES_PER_FRAME])
                if len(parts) - 1 > MAX_BUFFERS:
                    raise ValueError(f"a frame of {len(parts) - 1} buffers")
                self._write(parts)
        except Exception as error:  # our own fault: the peer must not wait for what never comes
            logger.exception("%s: messages that cannot be sent", self.label)
            self.abort(error)

    def send_now(self, messages: Sequence[Message]) -> None:
        """Write messages at once, after what is queued: for an owner that knows that its turn is
        over, and that has gathered what this peer gets. It saves the loop a turn.

        Raises:
            ConnectionClosed: the connection has ended or is ending.
        """
        if self._is_closing:
            raise ConnectionClosed(self._why_closed())
        self._outgoing += messages
        self.flush()

    @property
    def backlog_bytes(self) -> int:
        """Bytes that are written but have not left this process."""
        raise NotImplementedError

    async def drain(self) -> None:
        """Wait until little is left to be sent.

        Raises:
            ConnectionClosed: the connection ended meanwhile.
        """
        self.flush()
        while self.backlog_bytes > DRAINED_BYTES and not self._is_lost:
            drainer = self._loop.create_future()
            self._drainers.append(drainer)
            await drainer
        if self._is_lost:
            raise ConnectionClosed(self._why_closed())

    @property
    def is_closing(self) -> bool:
        """True from `close` or loss on: nothing can be sent any more."""
        return self._is_closing

    def close(self) -> None:
        """Send what is queued, then end the connection. No message is delivered any more."""
        if not self._is_closing:
            self.flush()
            self._is_closing = True
            self._end()

    def abort(self, error: Exception | None = None) -> None:
        """End the connection at once; `on_close` will be told of `error`."""
        if self._is_lost:
            return
        if self._error is None:
            self._error = error
        self._is_closing = True
        self._break()

    async def closed(self) -> None:
        """Wait until the connection has ended."""
        await asyncio.shield(self._lost)

    @property
    def on_messages(self) -> OnMessages | None:
        return self._on_messages

    @on_messages.setter
    def on_messages(self, callback: OnMessages | None) -> None:
        self._on_messages = callback
        if callback is not None and self._kept:
            self._loop.call_soon(self._deliver_kept)

    @property
    def on_close(self) -> OnClose | None:
        return self._on_close

    @on_close.setter
    def on_close(self, callback: OnClose | None) -> None:
        self._on_close = callback
        if callback is not None and self._is_lost:
            self._loop.call_soon(callback, self._error)

    # --- for the handshake ------------------------------------------------------------------------

    def keep(self, messages: Sequence[Message]) -> None:
        """Put messages back: they are delivered when `on_messages` is set again."""
        self._kept[:0] = messages

    def send_first(self, message: Message) -> None:
        """Queue a message before all that is queued already."""
        self.send(message)
        self._outgoing.insert(0, self._outgoing.pop())

    @property
    def reader(self) -> FrameReader:
        return self._reader

    # --- for carriers -----------------------------------------------------------------------------

    def _write(self, parts: list[Blob]) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        """End the carrier once everything written has left."""
        raise NotImplementedError

    def _break(self) -> None:
        """End the carrier now."""
        raise NotImplementedError

    def _take_frames(self, frames: list[Frame]) -> None:
        try:
            if len(frames) == 1:
                messages = decode(*frames[0])
            else:
                messages = [message for frame in frames for message in decode(*frame)]
        except PeerError as error:
            self._drop(error)
            return
        self._deliver(messages)

    def _deliver(self, messages: list[Message]) -> None:
        if self._is_closing or not messages:
            return
        if self._kept or self._on_messages is None:
            self._kept += messages
            return
        try:
            self._on_messages(messages)
        except CellspanError as error:
            self._drop(error)
        except Exception as error:
            logger.exception("%s: a fault while handling messages", self.label)
            self.abort(error)

    def _drop(self, error: Exception) -> None:
        logger.warning("%s: connection dropped: %s", self.label, error)
        self.abort(error)

    def _was_lost(self, error: Exception | None) -> None:
        """The carrier has ended: tell whoever waits, once."""
        if self._is_lost:
            return
        if self._error is None:
            self._error = error
        self._is_closing = self._is_lost = True
        self._wake_drainers()
        if not self._lost.done():
            self._lost.set_result(None)
        callback, self._on_messages = self._on_close, None
        if callback is not None:
            callback(self._error)

    def _wake_drainers(self) -> None:
        drainers, self._drainers = self._drainers, []
        for drainer in drainers:
            if not drainer.done():
                drainer.set_result(None)

    def _flush_when_due(self) -> None:
        self._flush_is_due = False
        self.flush()

    def _deliver_kept(self) -> None:
        if self._on_messages is not None:
            messages, self._kept = self._kept, []
            self._deliver(messages)

    def _why_closed(self) -> str:
        because = f": {self._error}" if self._error is not None else ""
        return f"the connection with {self.label} is closed{because}"


def is_turn_over(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether nothing else is to run in this turn of the loop, so that what would be done at
    its end may be done now.

    It saves whoever is alone a turn of the loop; with more at hand, their news go together. The
    standard library's loop keeps what is to run in `_ready`; another loop always says False.
    """
    ready = getattr(loop, "_ready", None)
    return ready is not None and not ready


def calm_garbage_collector() -> None:
    """Have the garbage collector look seldom: for a process of ours that has started and from now
    on makes few cycles. Not for processes of users."""
    gc.collect()
    gc.freeze()  # what the process begins with is never garbage
    gc.set_threshold(*GC_THRESHOLDS)


class Listener:
    """Accepts connections. `address` is where to reach it, with the real port."""

    def __init__(self, address: str) -> None:
        self.address = address

    def close(self) -> None:
        """Accept nothing any more; connections that were admitted live on."""
        raise NotImplementedError


Admit = Callable[[Hello, Connection], Welcome | Turned]
"""The owner's say on who comes in. It sets the connection's callbacks before it returns a Welcome;
what it sends in the meantime follows the Welcome."""
