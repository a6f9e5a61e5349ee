"""Connections over sockets: unix, and TCP under TLS.

Law: bytes are received into the memory that the frame reader names and are written from the memory
they are in. A large buffer is handed to the transport in slices, and no slice before the last one
has nearly left, so neither the loop nor the memory is taken by it. Small frames leave in one write.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from ..codec import encode
from ..errors import ConnectionClosed, PeerError
from ..messages import Blob, Message
from .base import DRAINED_BYTES, Connection, logger
from .sharing import CAN_SHARE, Listening
from .unix import UnixTransport

JOIN_BYTES = 64 << 10
SLICE_BYTES = 256 << 10
CLOSE_TIMEOUT_S = 5.0
"""A peer that does not take the last bytes in this time loses them."""

_PEERCRED = struct.Struct("3i")


class StreamConnection(Connection, asyncio.BufferedProtocol):
    """A connection that is also the protocol of an asyncio transport.

    `on_made` is called when the socket (and TLS) stands. With `same_user_only` the other end of a
    unix socket must belong to our own user, where the system can tell.
    """

    def __init__(
        self, label: str, on_made: Callable[[StreamConnection], None] | None, same_user_only: bool
    ) -> None:
        super().__init__(label, is_local=same_user_only)
        self._on_made = on_made
        self._same_user_only = same_user_only
        self._transport: asyncio.Transport | None = None
        self._queue: deque[memoryview] = deque()
        self._queued_bytes = 0
        self._is_paused = False
        self._close_timer: asyncio.TimerHandle | None = None
        self._wire = threading.RLock()
        """Held by whoever writes: the loop, or a thread by `send_here`."""

    # --- for other threads than the loop's --------------------------------------------------------

    def share(self) -> Listening | None:
        """Have threads listen and speak here too; None if this carrier cannot. On the loop.

        From now on `on_messages` is not called for what a thread has read.
        """
        if not CAN_SHARE or not isinstance(self._transport, UnixTransport):
            return None
        listening = Listening(self, self._transport)
        self._transport.share(listening)
        return listening

    def send_here(self, messages: Sequence[Message]) -> None:
        """Send, from any thread, after all that was sent before: at once if nothing is in the way,
        otherwise soon, by the loop. Nothing is sent on a connection that is ending."""
        with self._wire:
            transport = self._transport
            if not (self._outgoing or self._queue or self.backlog_bytes or self._is_closing):
                assert isinstance(transport, UnixTransport)
                try:
                    parts = encode(messages)
                except Exception as error:  # our own fault, as in `flush`
                    logger.exception("%s: messages that cannot be sent", self.label)
                    self._loop.call_soon_threadsafe(self.abort, error)
                    return
                if len(parts) == 1:
                    transport.write_here(bytes(parts[0]))
                    return
            self._outgoing += messages
        self._loop.call_soon_threadsafe(self.flush)

    def drop_soon(self, error: PeerError) -> None:
        """The peer breaks the protocol, as a thread has found: end the connection, on the loop."""
        self._loop.call_soon_threadsafe(self._drop, error)

    # --- asyncio.BufferedProtocol -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=SLICE_BYTES, low=SLICE_BYTES // 4)
        if self._same_user_only and not _is_our_user(transport.get_extra_info("socket")):
            logger.warning("%s: a process of another user", self.label)
            self.abort(PeerError("a process of another user"))
        elif self._on_made is not None:
            self._on_made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.get_buffer()

    def buffer_updated(self, count: int) -> None:
        try:
            frames = self._reader.advance(count)
        except PeerError as error:
            self._drop(error)
            return
        if frames:
            self._take_frames(frames)

    def eof_received(self) -> bool:
        if not self._reader.is_between_frames and not self._is_closing:
            self.abort(ConnectionClosed("the other side ended in the middle of a frame"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._queue.clear()
        self._queued_bytes = 0
        self._was_lost(exc)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        with self._wire:
            self._pump()
        if self.backlog_bytes <= DRAINED_BYTES:
            self._wake_drainers()

    # --- Connection -------------------------------------------------------------------------------

    def flush(self) -> None:
        if self._outgoing:
            with self._wire:
                super().flush()

    @property
    def backlog_bytes(self) -> int:
        if self._transport is None or self._is_lost:
            return 0
        return self._queued_bytes + self._transport.get_write_buffer_size()

    def _write(self, parts: list[Blob]) -> None:
        if len(parts) == 1 and not self._queue and not self._is_paused:
            head, transport = parts[0], self._transport
            if transport is not None and len(head) <= SLICE_BYTES:
                transport.write(head)
                return
        for part in _join_small(parts):
            self._queue.append(part)
            self._queued_bytes += len(part)
        self._pump()

    def _pump(self) -> None:
        queue, transport = self._queue, self._transport
        if transport is None:
            return
        while queue and not self._is_paused and not transport.is_closing():
            part = queue[0]
            if len(part) > SLICE_BYTES:
                queue[0] = part[SLICE_BYTES:]
                part = part[:SLICE_BYTES]
            else:
                queue.popleft()
            self._queued_bytes -= len(part)
            transport.write(part)
        if self._is_closing and not queue:
            transport.close()

    def _end(self) -> None:
        with self._wire:
            self._pump()
        self._close_timer = self._loop.call_later(CLOSE_TIMEOUT_S, self._break)

    def _break(self) -> None:
        if self._transport is not None and not self._is_lost:
            self._transport.abort()


def _join_small(parts: list[Blob]) -> list[memoryview]:
    """Return the same bytes with neighbours of a small size made one."""
    if len(parts) == 1:
        return [memoryview(parts[0])]
    joined: list[memoryview] = []
    small: list[Blob] = []
    for part in parts:
        view = memoryview(part).cast("B")
        if len(view) < JOIN_BYTES:
            small.append(view)
            continue
        if small:
            joined.append(memoryview(b"".join(small)))
            small = []
        joined.append(view)
    if small:
        joined.append(memoryview(b"".join(small)))
    return joined


def _is_our_user(end: Any) -> bool:
    """True unless the system says that the other end of a unix socket is another user's."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:  # macOS: the folder's mode 0700 keeps others out
        return True
    credentials = end.getsockopt(socket.SOL_SOCKET, option, _PEERCRED.size)
    return bool(_PEERCRED.unpack(credentials)[1] == os.getuid())
