"""The worker's end of the line to one executor: frames over a socketpair, tokens over a pipe, a
shared page.

Law: never blocks. Frames leave in order; what the socket does not take waits here. The kernel
decides who gets a token, worker or executor: that is how a queued piece is taken back for
certain.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from ..executor.calls import CUT_WORD, INDEX_WORD, PAGE_BYTES, PIECE_WORD
from ..executor.frames import MAX_VECTORS, Decoder, encode
from ..executor.loop import TOKEN
from ..executor.values import Part, nbytes_of

READ_BYTES = 1 << 18


class Channel:
    """One executor's line. `on_read` is called after all frames of one arrival. `child_fds`: what
    the child inherits (socket, page, tokens, lifeline); close it with `forget_child` once the child
    is there."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        folder: str,
        on_frame: Callable[[dict[str, Any], list[Part]], None],
        on_read: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._sock, child = socket.socketpair()
        self._sock.setblocking(False)
        self._tokens_out, self._tokens_in = _pipe()
        lifeline_out, self._lifeline = os.pipe()
        page = _make_page(folder)
        self._map = mmap.mmap(page, PAGE_BYTES)
        self._page: memoryview[int] = memoryview(self._map).cast("Q")
        self.child_fds = (child.detach(), page, self._tokens_out, lifeline_out)
        self._decoder = Decoder(on_frame)
        self._on_read = on_read
        self._waiting: deque[memoryview] = deque()
        self._is_open = True
        loop.add_reader(self._sock, self._on_readable)

    def forget_child(self) -> None:
        """Close our copies of what only the child needs now."""
        sock, page, _, lifeline = self.child_fds
        for fd in (sock, page, lifeline):
            os.close(fd)

    # --- pieces ----------------------------------------------------------------------------------

    def send(self, header: dict[str, Any], buffers: list[Part], token: int) -> None:
        """Send a frame, and before it the token of the piece that it carries, if it carries one."""
        if not self._is_open:
            return  # it is dead; its end is on its way to the core
        if token:
            os.write(self._tokens_in, TOKEN.pack(token))
        was_empty = not self._waiting
        self._waiting += (memoryview(p) for p in encode(header, buffers) if nbytes_of(p))
        if was_empty and not self._write():
            self._loop.add_writer(self._sock, self._on_writable)

    def take_tokens(self) -> list[int]:
        """Take back the tokens of all pieces that the executor has not claimed: it will never run
        those."""
        taken: list[int] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                taken.append(TOKEN.unpack(os.read(self._tokens_out, TOKEN.size))[0])
        return taken

    def write_cut(self, piece: int) -> None:
        """Have the executor begin no more tasks of this piece."""
        self._page[CUT_WORD] = piece

    def read_page(self) -> tuple[int, int]:
        """Return the piece and the task that the executor last said to run; piece 0: none."""
        return self._page[PIECE_WORD], self._page[INDEX_WORD]

    # --- the socket ------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take all that has arrived: the last that is heard of a dead executor."""
        while self._is_open and self._read():
            pass

    def _on_readable(self) -> None:
        self._read()

    def _read(self) -> bool:
        try:
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(
                self._sock
            )  # its process is ending: that will be told by its exit
            return False
        self._decoder.feed(data)
        self._on_read()
        return True

    def _on_writable(self) -> None:
        if self._write():
            self._loop.remove_writer(self._sock)

    def _write(self) -> bool:
        """Write what waits; False if the socket takes no more for now."""
        waiting = self._waiting
        while waiting:
            try:
                if len(waiting) == 1:
                    sent = self._sock.send(waiting[0])
                else:
                    some = [waiting[i] for i in range(min(len(waiting), MAX_VECTORS))]
                    sent = self._sock.sendmsg(some)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                waiting.clear()
                return True
            while waiting and sent >= waiting[0].nbytes:
                sent -= waiting.popleft().nbytes
            if sent:
                waiting[0] = waiting[0][sent:]
        return True

    def close(self) -> None:
        """Close everything; an executor that still lives ends by that."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        for fd in (self._tokens_out, self._tokens_in, self._lifeline):
            os.close(fd)
        self._page.release()
        self._map.close()


def _pipe() -> tuple[int, int]:
    out, into = os.pipe()
    os.set_blocking(out, False)  # for the child too, which shares it: it polls before it reads
    os.set_blocking(into, False)
    return out, into


def _make_page(folder: str) -> int:
    path = f"{folder}/page"
    page = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    os.ftruncate(page, PAGE_BYTES)
    return page
