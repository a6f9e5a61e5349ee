"""Blocks in files of the store folder: written once, then mapped read-only by whoever needs them.

Law: a file's parts begin at multiples of 64 bytes, so that arrays in it are aligned; a file is
never changed after it was written, only unlinked (who has mapped it keeps its memory until the
last view of it is gone).
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence

from .values import ALIGNMENT, Part, nbytes_of

MIN_FILE_BYTES = 64 << 10
"""Blocks of at least this size go into a file; smaller ones travel through the socket."""
SMALL_RESULT_BYTES = 1024
"""Blocks of results up to this mean size never do: they travel inline with the news of their
completion."""
_MAX_VECTORS = 512


def write_parts(path: str, parts: Sequence[Part]) -> list[int]:
    """Write parts to a new file of mode 0600 and return their places as a flat list ``[offset,
    length, ...]``.

    Raises:
        OSError: no room, or no folder (any more); nothing is left behind.
    """
    return write_pieces(path, [[part] for part in parts])


def write_pieces(path: str, parts: Sequence[Sequence[Part]]) -> list[int]:
    """As `write_parts`, of parts that are in pieces: the pieces of one are written end to end.

    Raises: as `write_parts`.
    """
    places: list[int] = []
    pieces: list[memoryview] = []
    position = 0
    for part in parts:
        padding = -position % ALIGNMENT
        if padding:
            pieces.append(memoryview(bytes(padding)))
            position += padding
        length = sum(map(nbytes_of, part))
        places += position, length
        pieces += [memoryview(piece) for piece in part if nbytes_of(piece)]
        position += length
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _write_all(fd, pieces)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)
    return places


def _write_all(fd: int, pieces: list[memoryview]) -> None:
    first = 0
    while first < len(pieces):
        written = os.writev(fd, pieces[first : first + _MAX_VECTORS])
        while first < len(pieces) and written >= pieces[first].nbytes:
            written -= pieces[first].nbytes
            first += 1
        if written:
            pieces[first] = pieces[first][written:]


def map_parts(path: str, places: Sequence[int]) -> list[Part]:
    """Return the parts of a file as read-only views of its memory map.

    Raises:
        OSError: the file is not there (any more).
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    finally:
        os.close(fd)
    view = memoryview(mapped)
    return [view[start : start + n] for start, n in zip(places[::2], places[1::2], strict=True)]
