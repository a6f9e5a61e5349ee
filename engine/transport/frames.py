"""Bytes that arrive in any pieces, cut into frames.

Law: no sockets, no loop, no messages: what the wire brings is written into the memory that
`get_buffer` hands out, and `advance` returns the frames that are complete by now, in codec.py's
terms. Small pieces pass through one scratch buffer; a large piece is received straight into the
memory where it stays, so it is never copied. Lengths are checked before memory is taken for them.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Generator
from typing import TypeAlias

from ..codec import LENGTH, MAX_BUFFERS, MAX_HEADER_BYTES, PREFIX
from ..errors import PeerError
from ..messages import Blob

Frame: TypeAlias = tuple[Blob, list[Blob]]
"""A frame's header and its buffers: the arguments of `codec.decode`."""

SCRATCH_BYTES = 64 << 10
DIRECT_BYTES = 32 << 10
"""A piece from this size on that has not arrived as a whole is received straight into memory of its
own."""
PAGES_BYTES = 1 << 20
"""From this size on that memory is fresh pages of the system's, which need not be cleared first."""
MAX_BUFFER_BYTES = 1 << 40


class FrameReader:
    """Reassembles frames. `header_limit_bytes` and `max_buffers` may be raised between frames."""

    def __init__(
        self, header_limit_bytes: int = MAX_HEADER_BYTES, max_buffers: int = MAX_BUFFERS
    ) -> None:
        self.header_limit_bytes = header_limit_bytes
        self.max_buffers = max_buffers
        self._scratch = memoryview(bytearray(SCRATCH_BYTES))
        self._start = 0
        self._end = 0
        self._target: memoryview | None = None
        self._filled = 0
        self._complete: list[Frame] = []
        self._inside = False
        self._parser = self._parse()
        self._need = next(self._parser)

    @property
    def is_between_frames(self) -> bool:
        """True when no part of an unfinished frame is here."""
        return not self._inside and self._start == self._end

    def get_buffer(self) -> memoryview:
        """Return the memory, never empty, that the next bytes are to be written to."""
        if self._target is not None:
            return self._target[self._filled :]
        return self._scratch[self._end :]

    def advance(self, count: int) -> list[Frame]:
        """Take note that `count` bytes were written; return the frames that are complete now.

        Raises:
            PeerError: a length is beyond the limits.
        """
        if self._target is None:
            self._end += count
        else:
            self._filled += count
            if self._filled < len(self._target):
                return []
            piece, self._target = self._target, None
            self._need = self._parser.send(piece)
        if not self._inside:
            self._take_small()
        while self._need <= self._end - self._start:
            stop = self._start + self._need
            piece_here = bytes(self._scratch[self._start : stop])
            self._start = stop
            self._need = self._parser.send(piece_here)
        if self._start == self._end and self._need < DIRECT_BYTES:
            self._start = self._end = 0
        else:
            self._make_room()
        complete, self._complete = self._complete, []
        return complete

    def _take_small(self) -> None:
        """Take the frames without buffers that are here as a whole: most are."""
        scratch, start, end = self._scratch, self._start, self._end
        while end - start >= PREFIX.size:
            header_bytes, count = PREFIX.unpack_from(scratch, start)
            stop = start + PREFIX.size + header_bytes
            if count or stop > end or header_bytes > self.header_limit_bytes:
                break
            self._complete.append((bytes(scratch[start + PREFIX.size : stop]), []))
            start = stop
        self._start = start

    def feed(self, data: Blob) -> list[Frame]:
        """Copy `data` in as if it had been received; return the frames that are complete now."""
        frames: list[Frame] = []
        rest = memoryview(data).cast("B")
        while len(rest):
            room = self.get_buffer()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            frames += self.advance(count)
            rest = rest[count:]
        return frames

    def _make_room(self) -> None:
        """Get ready for the rest of a piece that has not arrived as a whole."""
        left = self._end - self._start
        if self._need >= DIRECT_BYTES:
            target = _allocate(self._need)
            target[:left] = self._scratch[self._start : self._end]
            self._target, self._filled = target, left
            left = 0
        elif left and self._start:
            self._scratch[:left] = bytes(self._scratch[self._start : self._end])
        self._start, self._end = 0, left

    def _parse(self) -> Generator[int, Blob, None]:
        """Yield the size of the next piece, be sent the piece."""
        while True:
            self._inside = False
            prefix = yield PREFIX.size
            self._inside = True
            header_bytes, count = PREFIX.unpack(prefix)
            if header_bytes > self.header_limit_bytes or count > self.max_buffers:
                raise PeerError(f"a frame with a header of {header_bytes} bytes, {count} buffers")
            lengths: tuple[int, ...] = ()
            if count:
                lengths = struct.unpack(f"<{count}Q", (yield LENGTH.size * count))
                if max(lengths) > MAX_BUFFER_BYTES:
                    raise PeerError(f"a frame with a buffer of {max(lengths)} bytes")
            header = yield header_bytes
            buffers: list[Blob] = []
            for length in lengths:
                buffers.append((yield length))
            self._complete.append((header, buffers))


def _allocate(size_bytes: int) -> memoryview:
    try:
        if size_bytes >= PAGES_BYTES:
            return memoryview(mmap.mmap(-1, size_bytes))
        return memoryview(bytearray(size_bytes))
    except (MemoryError, OSError, OverflowError, ValueError) as error:
        raise PeerError(f"no memory for a piece of {size_bytes} bytes: {error}") from error
