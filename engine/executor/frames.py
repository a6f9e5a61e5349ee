"""Frames between a worker and its executors: a JSON header and raw buffers.

    u32 header length | u32 number of buffers n | n x u64 buffer length | header | buffer 0 |
    buffer 1 | ...

Law: the same shape as the wire between machines, with JSON for the header because an executor may
have nothing but the standard library. Both ends trust each other: they are one user's processes
on a socketpair.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from .values import Part, nbytes_of

PREFIX = struct.Struct("<II")
MAX_VECTORS = 512
"""Buffers handed to one `sendmsg`; systems take at most 1024."""

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, check_circular=False).encode


def encode(header: dict[str, Any], buffers: Sequence[Part] = ()) -> list[Part]:
    """Return one frame as a list of byte strings to be written in order."""
    text = _dumps(header).encode()
    head = PREFIX.pack(len(text), len(buffers))
    if buffers:
        head += struct.pack(f"<{len(buffers)}Q", *map(nbytes_of, buffers))
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
    return json.loads(rest[8 * count :]), buffers


class Decoder:
    """Takes bytes as they come and gives whole frames: the worker's end."""

    def __init__(self, on_frame: Callable[[dict[str, Any], list[Part]], None]) -> None:
        self._on_frame = on_frame
        self._data = bytearray()
        self._needed = PREFIX.size

    def feed(self, data: Part) -> None:
        """Take bytes; `on_frame` is called for each frame that they complete."""
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
        header = json.loads(data[head : head + header_length])
        buffers: list[Part] = []
        position = head + header_length
        for length in lengths:
            # own copies: a view would keep the whole frame alive as long as one small block lives
            buffers.append(bytes(data[position : position + length]))
            position += length
        return header, buffers
