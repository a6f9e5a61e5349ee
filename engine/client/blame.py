"""Which variable is to blame when something cannot be pickled, or is large.

Law: only called when something went wrong or is large, so it may be slow, but bounded; it never
raises.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from functools import partial
from typing import Any

from ..executor import values

_MAX_DEPTH = 4
_MAX_ITEMS = 1000


def find_culprit(value: Any, name: str) -> str:
    """Return a phrase that names the innermost thing in `value` that cannot be pickled, '' if none
    is found.
    """
    try:
        found = _search(value, name, 0)
    except Exception:  # a strange object: no blame is better than another error
        return ""
    if found is None:
        return ""
    path, culprit, reason = found
    return f"{path} is a {_type_name(culprit)}, which cannot be pickled ({reason})"


def heaviest_variable(function: Any) -> tuple[str, int] | None:
    """Return the variable of a function (closure, default, global, or argument of a partial) that
    has the largest pickle, and its size in bytes.
    """
    sizes = []
    try:
        for name, value in _variables(function):
            size = size_of(value)
            if size is not None:
                sizes.append((size, name))
    except Exception:  # as above
        return None
    return (max(sizes)[1], max(sizes)[0]) if sizes else None


def size_of(value: Any) -> int | None:
    """Return the size of a value's pickle in bytes, None if it has none."""
    try:
        return sum(map(values.nbytes_of, values.dump_value(value)[0]))
    except values.DumpFailed:
        return None


def quick_size_of(value: Any) -> int:
    """Return the bytes that a value surely has, as far as that can be seen without pickling; 0 if
    unknown.
    """
    if isinstance(value, bytes | bytearray | str):
        return len(value)
    nbytes = getattr(value, "nbytes", 0)  # arrays, memoryviews
    return nbytes if isinstance(nbytes, int) else 0


def _search(value: Any, path: str, depth: int) -> tuple[str, Any, str] | None:
    try:
        values.dump_value(value)
        return None
    except values.DumpFailed as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
    except Exception as error:
        reason = str(error)
    if depth < _MAX_DEPTH:
        for name, child in _children(value, path):
            found = _search(child, name, depth + 1)
            if found is not None:
                return found
    return path, value, reason


def _children(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in list(value.items())[:_MAX_ITEMS]:
            yield f"{path}[{key!r}]", item
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value[:_MAX_ITEMS]):
            yield f"{path}[{at}]", item
    elif isinstance(value, types.FunctionType | types.MethodType | partial):
        for name, item in _variables(value):
            yield f"variable {name!r} of {getattr(value, '__name__', path)}", item
    elif hasattr(value, "__dict__") and not isinstance(value, type | types.ModuleType):
        for name, item in list(vars(value).items())[:_MAX_ITEMS]:
            yield f"{path}.{name}", item


def _variables(function: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(function, partial):
        yield from _variables(function.func)
        yield from ((f"argument {at}", item) for at, item in enumerate(function.args))
        yield from function.keywords.items()
        return
    if isinstance(function, types.MethodType):
        yield "self", function.__self__
        function = function.__func__
    if not isinstance(function, types.FunctionType):
        return
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # empty as yet
            continue
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    yield from zip(names[len(names) - len(defaults) :], defaults, strict=True)
    yield from (function.__kwdefaults__ or {}).items()
    module = sys.modules.get(function.__module__ or "")
    if (
        module is None
        or function.__module__ == "__main__"
        or vars(module) is not function.__globals__
    ):
        for name in function.__code__.co_names:
            item = function.__globals__.get(name)
            if item is not None and not isinstance(item, types.ModuleType):
                yield name, item


def _type_name(value: Any) -> str:
    kind = type(value)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"
