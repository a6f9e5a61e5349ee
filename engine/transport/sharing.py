"""A connection that other threads than its loop's may listen on and speak on.

Whoever waits in a thread for what a connection brings need not be woken by the loop's thread: it
listens itself, and the loop sleeps on. That saves two switches of threads per answer.

Law: one listener at a time, thread or loop, whoever has the lock; the loop keeps its hands off as
long as a thread listens, and has the connection back when it does not. What ends a connection
is done by the loop: a thread that meets an end or a fault leaves it to it. Linux only, unix sockets
only.
"""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING

from ..codec import decode
from ..errors import PeerError
from ..messages import Message

if TYPE_CHECKING:
    from .stream import StreamConnection
    from .unix import UnixTransport

CAN_SHARE = hasattr(select, "epoll") and hasattr(os, "eventfd")


class Listening:
    """Who listens on a connection. Made on its loop; `begin`, then `wait` and `read`, then `end` in
    any thread; `ring` ends somebody's `wait`."""

    def __init__(self, connection: StreamConnection, transport: UnixTransport) -> None:
        self._connection = connection
        self._transport = transport
        self._sock = transport.sock
        self._lock = threading.Lock()
        self._listener = 0
        # The loop watches this set instead of the socket: any thread may change what is in it.
        self._watched = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)
        self._poll.register(self._bell, select.POLLIN)
        self._watched.register(self._sock, select.EPOLLIN)
        self._is_closed = False
        self._is_lent = False
        """The loop is not told of what comes."""

    def fileno(self) -> int:
        """What the loop watches."""
        return self._watched.fileno()

    # --- the loop ---------------------------------------------------------------------------------

    def begin_on_loop(self) -> bool:
        """Take the turn to read; False while a thread listens, who reads what there is."""
        return self._lock.acquire(False)

    def end_on_loop(self) -> None:
        """The loop has read."""
        self._lock.release()

    def give_back(self) -> None:
        """Have the loop listen again, unless a thread does. In any thread."""
        if self._is_lent and self._lock.acquire(False):
            try:
                self._restore()
            finally:
                self._lock.release()

    def _restore(self) -> None:
        if self._is_lent and not self._is_closed:
            self._is_lent = False
            self._watched.modify(self._sock, select.EPOLLIN)

    def close(self) -> None:
        """The socket is about to be closed, on the loop: whoever listens is sent away first."""
        self.ring()
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._watched.close()
                os.close(self._bell)

    # --- a thread ---------------------------------------------------------------------------------

    def begin(self) -> bool:
        """Listen in this thread from now on; False if somebody else does, or it is over."""
        if not self._lock.acquire(False):
            return False
        if self._is_closed or self._transport.is_closing():
            self._lock.release()
            return False
        self._listener = threading.get_ident()
        if not self._is_lent:
            self._is_lent = True
            self._watched.modify(self._sock, 0)
        return True

    def end(self, *, keep: bool) -> None:
        """Listen no more. With `keep` the loop is left out still, until somebody calls `give_back`:
        for one who will soon listen again."""
        self._listener = 0
        try:
            if not keep:
                self._restore()
        finally:
            self._lock.release()

    def wait(self, timeout_ms: int | None) -> tuple[bool, bool]:
        """Wait; return whether there is something to be read, and whether the bell rang."""
        readable = rung = False
        for fd, _ in self._poll.poll(timeout_ms):
            if fd == self._bell:
                rung = True
                os.eventfd_read(fd)
            else:
                readable = True
        return readable, rung

    def read(self) -> list[Message] | None:
        """Return the messages that are here as a whole; None: the loop has to look at it."""
        connection, reader = self._connection, self._connection.reader
        try:
            count = self._sock.recv_into(reader.get_buffer())
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            return None  # the loop meets the same
        if not count:
            return None
        try:
            return [message for frame in reader.advance(count) for message in decode(*frame)]
        except PeerError as error:
            connection.drop_soon(error)
            return None

    def ring(self) -> None:
        """End the `wait` of another thread, if there is one."""
        listener = self._listener
        if listener and listener != threading.get_ident():
            os.eventfd_write(self._bell, 1)
