"""Bytes over a unix socket: what asyncio's own transport does, in fewer steps.

A frame of one task is some hundred bytes, and its way through asyncio's transports costs as much as
all that we do with it. TCP stays with asyncio, because of TLS.

Law: bytes only, no frames and no messages. One loop, its thread only. Protocols see what asyncio's
transports would show them: `connection_made` first, `connection_lost` once and in a turn of its
own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .addresses import BACKLOG

if TYPE_CHECKING:
    from .sharing import Listening

logger = logging.getLogger("cellspan.transport")

ACCEPT_AGAIN_S = 1.0
"""How long nobody is let in when the process has no file descriptors left."""

Protocol = asyncio.BufferedProtocol


class UnixTransport(asyncio.Transport):
    """One connected, non-blocking socket with its protocol."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: Protocol
    ) -> None:
        super().__init__({"socket": sock})
        self._loop = loop
        self._sock = sock
        self._protocol = protocol
        self._waiting: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self._high = self._low = 64 << 10
        self._is_full = False
        self._is_closing = False
        self._is_reading = True
        self._listening: Listening | None = None
        sock.setblocking(False)
        protocol.connection_made(self)
        if not self._is_closing and self._is_reading:
            loop.add_reader(sock, self._on_readable)

    @property
    def sock(self) -> socket.socket:
        return self._sock

    # --- reading ----------------------------------------------------------------------------------

    def share(self, listening: Listening) -> None:
        """From now on threads may read here too, by turns."""
        self._listening = listening
        self._loop.remove_reader(self._sock)
        self._loop.add_reader(listening, self._on_shared)

    def _on_shared(self) -> None:
        listening = self._listening
        if listening is not None and listening.begin_on_loop():
            try:
                self._on_readable()
            finally:
                listening.end_on_loop()

    def _unshare(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            self._loop.remove_reader(listening)
            listening.close()

    def _on_readable(self) -> None:
        if not self._is_reading:
            return
        protocol = self._protocol
        try:
            count = self._sock.recv_into(protocol.get_buffer(-1))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(error)
            return
        if count:
            protocol.buffer_updated(count)
        elif not self._is_closing:
            self._stop_reading()
            if not protocol.eof_received():
                self.close()

    def pause_reading(self) -> None:
        if self._is_reading and not self._is_closing:
            self._is_reading = False
            self._stop_reading()

    def resume_reading(self) -> None:
        if not self._is_reading and not self._is_closing:
            self._is_reading = True
            if self._listening is None:
                self._loop.add_reader(self._sock, self._on_readable)
            else:
                self._loop.add_reader(self._listening, self._on_shared)

    # --- writing ----------------------------------------------------------------------------------

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 << 10 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        return self._waiting_bytes

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send as much as the socket takes; the rest waits, and `data` must not change until it has
        left."""
        if self._is_closing:
            return
        size = len(data)
        if not self._waiting:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._fail(error)
                return
            if sent == size:
                return
            data = memoryview(data)[sent:]
            size -= sent
            self._loop.add_writer(self._sock, self._on_writable)
        self._wait_to_leave(data, size)

    def write_here(self, data: bytes) -> None:
        """`write`, from another thread than the loop's. Whoever calls sees to it that nobody writes
        at the same time, and that nothing waits to leave."""
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._loop.call_soon_threadsafe(self._fail, error)
            return
        if sent < len(data):
            self._wait_to_leave(memoryview(data)[sent:], len(data) - sent)
            self._loop.call_soon_threadsafe(self._watch_writable)

    def _watch_writable(self) -> None:
        if self._waiting:
            self._loop.add_writer(self._sock, self._on_writable)

    def _wait_to_leave(self, data: bytes | bytearray | memoryview[Any], size: int) -> None:
        self._waiting.append(memoryview(data))
        self._waiting_bytes += size
        if self._waiting_bytes > self._high and not self._is_full:
            self._is_full = True
            self._protocol.pause_writing()

    def _on_writable(self) -> None:
        waiting = self._waiting
        while waiting:
            try:
                sent = self._sock.send(waiting[0])
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._fail(error)
                return
            self._waiting_bytes -= sent
            if sent < len(waiting[0]):
                waiting[0] = waiting[0][sent:]
                break
            waiting.popleft()
        if not waiting:
            self._loop.remove_writer(self._sock)
        if self._is_full and self._waiting_bytes <= self._low:
            self._is_full = False
            self._protocol.resume_writing()
        if self._is_closing and not waiting:
            self._end_soon(None)

    # --- the end ----------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        """End the connection once everything written has left."""
        if self._is_closing:
            return
        self._is_closing = True
        self._stop_reading()
        if not self._waiting:
            self._end_soon(None)

    def abort(self) -> None:
        """End the connection now."""
        self._fail(None)

    def _fail(self, error: Exception | None) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0
        if self._sock.fileno() >= 0:
            self._stop_reading()
            self._loop.remove_writer(self._sock)
        self._is_closing = True
        self._end_soon(error)

    def _end_soon(self, error: Exception | None) -> None:
        self._loop.call_soon(self._end, error)

    def _end(self, error: Exception | None) -> None:
        if self._sock.fileno() < 0:
            return
        self._stop_reading()
        self._unshare()
        self._sock.close()
        self._protocol.connection_lost(error)

    def _stop_reading(self) -> None:
        self._loop.remove_reader(self._sock if self._listening is None else self._listening)


async def connect_unix(path: str, make: Callable[[], Protocol]) -> Any:
    """Connect to a unix socket and return the protocol.

    Raises:
        OSError: nobody listens there.
    """
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await loop.sock_connect(sock, path)
    except BaseException:
        sock.close()
        raise
    protocol = make()
    UnixTransport(loop, sock, protocol)
    return protocol


class UnixServer:
    """Takes connections on a bound socket, a protocol for each."""

    def __init__(self, sock: socket.socket, make: Callable[[], Protocol]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._make = make
        self._again: asyncio.TimerHandle | None = None
        self._listen()

    def _listen(self) -> None:
        self._again = None
        self._loop.add_reader(self._sock, self._on_readable)

    def _on_readable(self) -> None:
        for _ in range(BACKLOG):
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                logger.exception("nobody can be let in for now")
                self._loop.remove_reader(self._sock)
                self._again = self._loop.call_later(ACCEPT_AGAIN_S, self._listen)
                return
            UnixTransport(self._loop, sock, self._make())

    def close(self) -> None:
        """Accept nothing any more."""
        if self._again is not None:
            self._again.cancel()
        with contextlib.suppress(OSError, ValueError):
            self._loop.remove_reader(self._sock)
        self._sock.close()
