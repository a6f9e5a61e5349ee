"""Messages to bytes and back.

A frame carries the messages of one turn of a sender's loop:

    u32 header length | u32 number of buffers n | n x u64 buffer length | header | buffer 0 | buffer
    1 | ...

The header is msgpack: a list of ``[message number, field, field, ...]``. Blobs from LIFT_BYTES up
stand outside the header as buffers and in the header as an extension value that holds the buffer's
number: they are never copied.

Law: what `decode` returns has the right classes and field types, or it raises PeerError. Nothing is
ever unpickled.
"""

from __future__ import annotations

import struct
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

import msgpack

from .errors import PeerError
from .ids import Digest, digest_of
from .messages import MESSAGES, Blob, Message

LIFT_BYTES = 4096
MAX_HEADER_BYTES = 256 << 20
MAX_BUFFERS = 1 << 20
PREFIX = struct.Struct("<II")
LENGTH = struct.Struct("<Q")

_BUFFER_EXT = 1
_pack = msgpack.Packer().pack
"""Made once. Its buffer grows to the longest header and stays so: `encode` begins anew then."""
PACKER_BYTES = 1 << 20
_BLOB_TYPES = (bytes, memoryview, bytearray)

Lift = Callable[[Any], Any]


def encode(messages: Sequence[Message]) -> list[Blob]:
    """Return one frame as a list of byte strings to be written in order."""
    buffers: list[Blob] = []

    def lift(blob: Blob) -> Any:
        if len(blob) < LIFT_BYTES:
            return blob
        buffers.append(blob)
        return msgpack.ExtType(_BUFFER_EXT, LENGTH.pack(len(buffers) - 1))

    rows = []
    for message in messages:
        number, read, lifters = _ENCODERS[type(message)]
        row = [number, *read(message)]
        for at, lifter in lifters:
            row[at] = lifter(row[at], lift)
        rows.append(row)
    header: bytes = _pack(rows)
    if len(header) > PACKER_BYTES:
        _renew_packer()
    if len(header) > MAX_HEADER_BYTES:
        raise ValueError(f"a frame header of {len(header)} bytes; the limit is {MAX_HEADER_BYTES}")
    if not buffers:
        return [PREFIX.pack(len(header), 0) + header]
    lengths = struct.pack(f"<{len(buffers)}Q", *map(_nbytes, buffers))
    return [PREFIX.pack(len(header), len(buffers)) + lengths + header, *buffers]


def _renew_packer() -> None:
    global _pack
    _pack = msgpack.Packer().pack


def decode(header: Blob, buffers: Sequence[Blob]) -> list[Message]:
    """Return the messages of one frame.

    Raises:
        PeerError: the header is not what `encode` makes.
    """

    def ext_hook(code: int, data: bytes) -> Blob:
        if code != _BUFFER_EXT or len(data) != LENGTH.size:
            raise PeerError(f"unknown extension {code} in a frame")
        number: int = LENGTH.unpack(data)[0]
        return buffers[number]

    try:
        rows = msgpack.unpackb(header, ext_hook=ext_hook, strict_map_key=False, use_list=True)
        return [_make(row) for row in rows]
    except PeerError:
        raise
    except Exception as error:  # msgpack raises many kinds; all of them mean the same here
        raise PeerError(f"a frame that cannot be read: {error!r}") from error


def content_digest(layer: dict[str, Any], options: dict[str, Any]) -> Digest:
    """Return the hash of what a group computes: its layer, which names functions and arguments by
    their own digests, and the options that say where and how long it may run.
    """
    chosen = {name: options.get(name) for name in ("key", "resources", "timeout", "workers")}
    return digest_of(msgpack.packb([dict(sorted(layer.items())), chosen]))


def _make(row: list[Any]) -> Message:
    number = row[0]
    if type(number) is not int or not 0 <= number < len(MESSAGES):
        raise PeerError(f"unknown message number {number!r}")
    cls = MESSAGES[number]
    shape = tuple(map(type, row))
    if shape not in _SEEN_SHAPES[number]:
        _check_shape(cls, number, row)
        _SEEN_SHAPES[number].add(shape)
    return cls(*row[1:])


def _check_shape(cls: type[Message], number: int, row: list[Any]) -> None:
    allowed = _FIELD_TYPES[number]
    if len(row) != len(allowed) + 1:
        raise PeerError(f"{cls.__name__} has {len(allowed)} fields, {len(row) - 1} came")
    for value, kinds in zip(row[1:], allowed, strict=True):
        if type(value) not in kinds:
            raise PeerError(f"{cls.__name__}: a field of type {type(value).__name__}")


def _nbytes(blob: Blob) -> int:
    return blob.nbytes if isinstance(blob, memoryview) else len(blob)


# --- what a field may hold, and where its blobs are: read once from the annotations ---------------


def _lift_blob(value: Blob, lift: Lift) -> Any:
    return lift(value)


def _lift_values(value: dict[Any, Blob], lift: Lift) -> Any:
    return {key: lift(blob) for key, blob in value.items()}


def _lift_list(value: list[Blob], lift: Lift) -> Any:
    return [lift(blob) for blob in value]


def _lift_blocks(value: list[list[Any]] | None, lift: Lift) -> Any:
    if value is None:
        return None
    return [[start, stop, single, [lift(p) for p in parts]] for start, stop, single, parts in value]


def _lift_chunks(value: list[list[Any]], lift: Lift) -> Any:
    return [[position, number, lift(blob)] for position, number, blob in value]


_LIFTERS: dict[str, Callable[[Any, Lift], Any]] = {
    "Blob": _lift_blob,
    "dict[Digest, Blob]": _lift_values,
    "list[Blob]": _lift_list,
    "list[Block] | None": _lift_blocks,
    "list[Block]": _lift_blocks,
}


Read = Callable[[Message], "tuple[Any, ...]"]
Lifter = Callable[[Any, Lift], Any]


def _encoder(number: int, cls: type[Message]) -> tuple[int, Read, list[tuple[int, Lifter]]]:
    """Return a class's number, what reads all its fields, and who lifts the blobs out of which
    places of a row."""
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    lifters = []
    for at, f in enumerate(fields(cls), 1):  # type: ignore[arg-type]
        lifter = _lift_chunks if f.name == "chunks" else _LIFTERS.get(str(f.type))
        if lifter is not None:
            lifters.append((at, lifter))
    read: Read = attrgetter(*names) if len(names) > 1 else lambda m: (getattr(m, names[0]),)
    return number, read, lifters


def _field_types(cls: type[Message]) -> list[tuple[type, ...]]:
    hints = typing.get_type_hints(cls)
    return [_plain_types(hints[f.name]) for f in fields(cls)]  # type: ignore[arg-type]


def _plain_types(hint: Any) -> tuple[type, ...]:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return tuple(kind for part in typing.get_args(hint) for kind in _plain_types(part))
    kind = typing.get_origin(hint) or hint
    if kind is float:
        return (float, int)
    return _BLOB_TYPES if kind in _BLOB_TYPES else (kind,)


_ENCODERS = {cls: _encoder(number, cls) for number, cls in enumerate(MESSAGES)}
_FIELD_TYPES = [_field_types(cls) for cls in MESSAGES]
_SEEN_SHAPES: list[set[tuple[type, ...]]] = [set() for _ in MESSAGES]
"""Types of fields that were found to be right, by message number: a bounded number of them."""
