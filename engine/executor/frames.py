"""Frames between a worker and its executors: a marshalled header and raw buffers.

    u32 header length | u32 number of buffers n | n x u64 buffer length | header | buffer 0 |
    buffer 1 | ...

Law: the same shape as the wire between machines, with `marshal` for the header (plain data only)
because an executor may have nothing but the standard library, and no other way of it is as short.
FORMAT is one that all versions of Python write and read alike. Both ends trust each other: they are
one user's processes on a socketpair.
"""

from __future__ import annotations

import marshal
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from .values import Part, nbytes_of

PREFIX = struct.Struct("<II")
MAX_VECTORS = 512
"""Buffers handed to one `sendmsg`; systems take at most 1024."""

FORMAT = 2
JOIN_BYTES = 16 << 10
"""Up to this size a frame is written in one piece: a copy is cheaper than a list of pieces."""


def encode(header: dict[str, Any], buffers: Sequence[Part] = ()) -> list[Part]:
    """Return one frame as a list of byte strings to be written in order."""
    text = marshal.dumps(header, FORMAT)
    head = PREFIX.pack(len(text), len(buffers))
    if buffers:
        lengths = [nbytes_of(buffer) for buffer in buffers]
        head += struct.pack(f"<{len(buffers)}Q", *lengths)
        if sum(lengths) <= JOIN_BYTES:
            return [b"".join((head, text, *buffers))]
    return [head + text, *buffers]


def send(sock: socket.socket, header: dict[str, Any], buffers: Sequence[Part] = ()) -> None:
    """Write one frame to a blocking socket; large buffers are not copied.

    Raises:
        OSError: the other end is gone.
    """
    pieces = encode(header, buffers)
    if len(pieces) == 1:
        sock.sendall(pieces[0])
        return
    views = [memoryview(piece) for piece in pieces if nbytes_of(piece)]
    while views:
        sent = sock.sendmsg(views[:MAX_VECTORS])
        while views and sent >= views[0].nbytes:
            sent -= views.pop(0).nbytes
        if sent:
            views[0] = views[0][sent:]


def receive(file: BinaryIO) -> tuple[dict[str, Any], list[Part]] | None:
    """Read one frame from a blocking buffered file; None at its end, also in the middle of a
    frame."""
    prefix = file.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    header_length, count = PREFIX.unpack(prefix)
    rest = file.read(8 * count + header_length)
    if len(rest) < 8 * count + header_length:
        return None
    buffers: list[Part] = []
    for length in struct.unpack_from(f"<{count}Q", rest):
        buffer = file.read(length)
        if len(buffer) < length:
            return None
        buffers.append(buffer)
    return marshal.loads(rest[8 * count :]), buffers


def _read_whole(data: Part) -> tuple[dict[str, Any], list[Part]] | None:
    """Return the frame that these bytes are, None if they are less or more than one."""
    header_length, count = PREFIX.unpack_from(data)
    position = PREFIX.size + 8 * count
    if len(data) < position + header_length:
        return None
    lengths = struct.unpack_from(f"<{count}Q", data, PREFIX.size) if count else ()
    if position + header_length + sum(lengths) != len(data):
        return None
    view = memoryview(data)
    header = marshal.loads(view[position : position + header_length])
    position += header_length
    buffers: list[Part] = []
    for length in lengths:
        # own copies: a view would keep the whole frame alive as long as one small block lives
        buffers.append(bytes(view[position : position + length]))
        position += length
    return header, buffers


class Decoder:
    """Takes bytes as they come and gives whole frames: the worker's end."""

    def __init__(self, on_frame: Callable[[dict[str, Any], list[Part]], None]) -> None:
        self._on_frame = on_frame
        self._data = bytearray()
        self._needed = PREFIX.size

    def feed(self, data: Part) -> None:
        """Take bytes; `on_frame` is called for each frame that they complete."""
        if not self._data and len(data) >= PREFIX.size:
            frame = _read_whole(data)
            if frame is not None:
                self._on_frame(*frame)
                return
        self._data += data
        while len(self._data) >= self._needed:
            frame = self._take()
            if frame is None:
                return
            self._on_frame(*frame)

    def _take(self) -> tuple[dict[str, Any], list[Part]] | None:
        data = self._data
        header_length, count = PREFIX.unpack_from(data)
        head = PREFIX.size + 8 * count
        if len(data) < head + header_length:
            self._needed = head + header_length
            return None
        lengths = struct.unpack_from(f"<{count}Q", data, PREFIX.size)
        total = head + header_length + sum(lengths)
        if len(data) < total:
            self._needed = total
            return None
        self._needed = PREFIX.size
        if len(data) == total:
            self._data = bytearray()
        else:
            self._data = data[total:]
            del data[total:]
        return _read_whole(data)
