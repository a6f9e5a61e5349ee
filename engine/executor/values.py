"""User values to bytes and back: functions, arguments, results.

Law: this is the only file that pickles or unpickles user values. Small plain values take a short
way through the C pickler; everything else goes through cloudpickle with protocol 5, large buffers
out of band. A future nested anywhere in an argument becomes a persistent id ``("cellspan.future",
group, index)``, never a pickled object.

*Parts* are a list: a pickle and then its out-of-band buffers. A *blob* is parts packed into one
byte string. A *block* is ``[start, stop, single, parts]`` (messages.Block). A *shard* is what a
split of an exchange makes for one output; the block of a split has a table of offsets ('Q', one
more than shards) and the shards as its parts, each of which can be read without the others.
"""

from __future__ import annotations

import io
import itertools
import pickle
import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import cloudpickle

Part: TypeAlias = bytes | bytearray | memoryview
FutureKey: TypeAlias = Callable[[Any], "tuple[int, int] | None"]
"""Gives the (group, index) of a future, None for any other object. Asked only for objects that
are not of the built-in types, so it may be as simple as an `isinstance` check."""
Resolve: TypeAlias = Callable[[int, int], Any]
"""Gives the result of the task (group, index) that a nested future stood for."""

FUTURE_TAG = "cellspan.future"
PROTOCOL = 5
MIN_BUFFER_BYTES = 2048
"""Smaller buffers stay in the pickle: out of band they would cost more than the copy."""
ALIGNMENT = 64
SHARDS = 2
"""In place of a block's `single`: it holds the shards of a split."""

_SIMPLE = frozenset({type(None), bool, int, float, str, bytes})
_PACKED_MARK = b"\x00csb"  # a pickle of protocol 2 and later begins with 0x80
_PACKED = struct.Struct("<4sI")


class DumpFailed(TypeError):
    """A value cannot be pickled; the text says what and why. The cause is chained."""


class _FutureFound(Exception):
    """There is a future in the value: it must be pickled by the slower way that knows persistent
    ids."""


# --- dumping -------------------------------------------------------------------------------------


def dump_function(function: Callable[..., Any]) -> bytes:
    """Return the cloudpickle of a function: by value if it lives in ``__main__`` or in another
    function.

    Raises:
        DumpFailed: it, or something that it closes over, cannot be pickled.
    """
    try:
        return bytes(cloudpickle.dumps(function, protocol=PROTOCOL))
    except Exception as error:
        raise DumpFailed(_explain(function, error)) from error


def dump_value(
    value: Any, future_key: FutureKey | None = None, has_futures: bool = False
) -> tuple[list[Part], list[tuple[int, int]]]:
    """Return the parts of a value and the distinct futures nested in it, as (group, index), in
    order of appearance.

    The buffers among the parts are views of the value's own memory, not copies. `has_futures`:
    there are some for certain, so the quick way that stops at the first is not tried.

    Raises:
        DumpFailed: something in the value cannot be pickled.
    """
    if is_simple(value):
        return [pickle.dumps(value, PROTOCOL)], []
    try:
        try:
            if not has_futures:
                return _dump(_Pickler, value, future_key), []
        except _FutureFound:
            pass
        deps: dict[tuple[int, int], None] = {}
        return _dump(_FuturePickler, value, future_key, deps), list(deps)
    except Exception as error:
        raise DumpFailed(_explain(value, error)) from error


def dump_blob(
    value: Any, future_key: FutureKey | None = None, has_futures: bool = False
) -> tuple[bytes, list[tuple[int, int]]]:
    """`dump_value`, packed into one byte string: for arguments, and for chunks of items (a list
    of them)."""
    parts, deps = dump_value(value, future_key, has_futures)
    return pack(parts), deps


def dump_call(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    future_key: FutureKey | None = None,
    has_futures: bool = False,
) -> tuple[bytes, list[tuple[int, int]]]:
    """Return the blob of one call's ``(args, kwargs)`` and the futures nested in it: a payload of
    a `Graph` task."""
    if _SIMPLE.issuperset(map(type, args)) and (
        not kwargs or _SIMPLE.issuperset(map(type, kwargs.values()))
    ):
        return pickle.dumps((args, kwargs), PROTOCOL), []
    return dump_blob((args, kwargs), future_key, has_futures)


def is_simple(value: Any) -> bool:
    """Tell whether a value is of an exact plain type, or a flat tuple or list of such."""
    kind = type(value)
    if kind in _SIMPLE:
        return True
    return (kind is list or kind is tuple) and _SIMPLE.issuperset(map(type, value))


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles values without futures; gives up with _FutureFound at the first future that it meets.

    `reducer_override` is not called for objects of built-in types, so plain data costs nothing
    extra here.
    """

    def __init__(
        self,
        file: io.BytesIO,
        buffer_callback: Callable[[pickle.PickleBuffer], Any],
        future_key: FutureKey | None,
    ) -> None:
        super().__init__(file, protocol=PROTOCOL, buffer_callback=buffer_callback)
        self.future_key = future_key

    def reducer_override(self, obj: Any) -> Any:
        if self.future_key is not None and self.future_key(obj) is not None:
            raise _FutureFound
        return super().reducer_override(obj)


class _FuturePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles futures as persistent ids and notes them in `deps`."""

    def __init__(
        self,
        file: io.BytesIO,
        buffer_callback: Callable[[pickle.PickleBuffer], Any],
        future_key: FutureKey,
        deps: dict[tuple[int, int], None],
    ) -> None:
        super().__init__(file, protocol=PROTOCOL, buffer_callback=buffer_callback)
        self.future_key = future_key
        self.deps = deps

    def persistent_id(self, obj: Any) -> Any:
        if type(obj) in _SIMPLE:
            return None
        key = self.future_key(obj)
        if key is None:
            return None
        group, index = key
        self.deps[group, index] = None
        return FUTURE_TAG, group, index


def _dump(pickler: Any, value: Any, *extra: Any) -> list[Part]:
    buffers: list[Part] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < MIN_BUFFER_BYTES:
            return True
        buffers.append(raw)
        return False

    file = io.BytesIO()
    pickler(file, keep, *extra).dump(value)
    return [file.getbuffer(), *buffers]


def _explain(value: Any, error: BaseException) -> str:
    name = getattr(value, "__qualname__", None)
    what = f"{name} ({type(value).__qualname__})" if name else f"a {type(value).__qualname__}"
    reason = str(error) or type(error).__name__
    return f"{what} cannot be pickled: {reason}"


# --- one byte string out of parts ----------------------------------------------------------------


def pack(parts: Sequence[Part]) -> bytes:
    """Return parts as one byte string; buffers lie at multiples of ALIGNMENT in it."""
    return b"".join(pack_pieces(parts))


def pack_pieces(parts: Sequence[Part]) -> list[Part]:
    """Return what `pack` joins: the buffers are not copied."""
    if len(parts) == 1:
        return [parts[0]]
    head = _PACKED.pack(_PACKED_MARK, len(parts)) + struct.pack(
        f"<{len(parts)}Q", *map(nbytes_of, parts)
    )
    pieces: list[Part] = [head]
    position = len(head)
    for part in parts:
        padding = -position % ALIGNMENT
        pieces += [bytes(padding), part]
        position += padding + nbytes_of(part)
    return pieces


def unpack(blob: Part) -> list[Part]:
    """Return the parts of a packed byte string: views into it, not copies."""
    if bytes(blob[:4]) != _PACKED_MARK:
        return [blob]
    view = memoryview(blob)
    _, count = _PACKED.unpack_from(view)
    lengths = struct.unpack_from(f"<{count}Q", view, _PACKED.size)
    position = _PACKED.size + 8 * count
    parts: list[Part] = []
    for length in lengths:
        position += -position % ALIGNMENT
        parts.append(view[position : position + length])
        position += length
    return parts


def nbytes_of(part: Part) -> int:
    """Return the length of a part in bytes."""
    return part.nbytes if isinstance(part, memoryview) else len(part)


# --- loading -------------------------------------------------------------------------------------


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, buffers: Sequence[Part], resolve: Resolve) -> None:
        super().__init__(file, buffers=buffers)
        self.resolve = resolve

    def persistent_load(self, pid: Any) -> Any:
        tag, group, index = pid
        if tag != FUTURE_TAG:
            raise pickle.UnpicklingError(f"unknown persistent id {pid!r}")
        return self.resolve(group, index)


def load_value(parts: Sequence[Part], resolve: Resolve | None = None) -> Any:
    """Return the value of parts. Its large buffers are views of the parts: read-only where those
    are.

    `resolve` gives the values that nested futures stand for; without it there must be none in it.
    """
    if resolve is None:
        return pickle.loads(parts[0], buffers=parts[1:])
    return _Unpickler(io.BytesIO(parts[0]), parts[1:], resolve).load()


def load_blob(blob: Part, resolve: Resolve | None = None) -> Any:
    """Return the value of a packed byte string (`dump_blob`, `dump_call`, `dump_function`)."""
    return load_value(unpack(blob), resolve)


# --- blocks --------------------------------------------------------------------------------------


def make_block(start: int, results: list[Any]) -> list[Any]:
    """Return the results of tasks `[start, start + len(results))` as one list block.

    Raises:
        DumpFailed: one of them cannot be pickled.
    """
    return [start, start + len(results), False, dump_value(results)[0]]


def make_single_block(index: int, result: Any) -> list[Any]:
    """Return the result of one task as a single block.

    Raises:
        DumpFailed: it cannot be pickled.
    """
    return [index, index + 1, True, dump_value(result)[0]]


def load_block(block: Sequence[Any]) -> list[Any]:
    """Return the results of a block, in order of their indices."""
    if block[2] == SHARDS:
        return [load_shards(block[3])]
    value = load_value(block[3])
    return [value] if block[2] else value


def load_shards(parts: Sequence[Part]) -> list[Any]:
    """Return all shards of a split."""
    table, data = memoryview(parts[0]).cast("Q"), memoryview(parts[1])
    return [load_blob(data[a:b]) for a, b in itertools.pairwise(table)]


def block_nbytes(block: Sequence[Any]) -> int:
    """Return the bytes that a block's parts take."""
    return sum(map(nbytes_of, block[3]))
