"""Functions on their way to a cluster: their names, their pickles, their content hashes.

Law: a function is pickled again whenever anything that its pickle holds may have changed: its code,
defaults, closure, or the globals that it uses. So a re-run notebook cell never runs old code, and
50,000 submits of one function pickle it once. What cannot be watched (mutable globals) makes the
function be pickled at every use.
"""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import cloudpickle

from ..errors import ArgumentNotSerializable, InvalidArgument, PayloadTooLarge
from ..executor import values
from ..ids import Digest, digest_of
from .blame import find_culprit, heaviest_variable

LARGE_BYTES = 1 << 20
LIMIT_BYTES = 64 << 20
_MAX_CACHED = 256
_MAX_WATCHED_BYTES = 1 << 16
_MISSING = object()
_CONSTANTS = frozenset({type(None), bool, int, float, complex, type(Ellipsis), types.ModuleType})

Check = tuple[Callable[[], Any], Any]
"""Where to look, and what must still be there."""


class LargePayload(UserWarning):
    """Something large travels with a submission; `Client.scatter` would send it once."""


class PickledFunction:
    """A function as it travels."""

    __slots__ = ("blob", "digest", "function", "key", "name")

    def __init__(self, function: Callable[..., Any], name: str, blob: bytes) -> None:
        self.function = function
        self.name = name
        self.blob = blob
        self.digest: Digest = digest_of(blob)
        self.key = (self.digest, name)


class FunctionTable:
    """Pickled functions, kept while they are good. For one client; calls from several threads do no
    harm.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[PickledFunction, list[Check]]] = {}

    def pickle(self, function: Callable[..., Any]) -> PickledFunction:
        """Return the function as it travels.

        Raises:
            InvalidArgument: it cannot be called. ArgumentNotSerializable: it, or something that it
            uses, cannot be pickled; the text names it. PayloadTooLarge: its pickle has more than
            LIMIT_BYTES.
        """
        known = self._known.get(id(function))
        if known is not None and known[0].function is function:
            for look, expected in known[1]:
                if look() is not expected:
                    break
            else:
                return known[0]
        return self._pickle_anew(function)

    def _pickle_anew(self, function: Callable[..., Any]) -> PickledFunction:
        if not callable(function):
            raise InvalidArgument(
                f"the first argument is the function to call, not {_short(function)} of type "
                f"{type(function).__name__}"
            )
        checks: list[Check] = []
        is_watched = _watch(
            function, checks, set()
        )  # before pickling: a change meanwhile is seen next time
        pickled = PickledFunction(function, name_of(function), _dump(function))
        self._known.pop(id(function), None)
        if is_watched:
            if len(self._known) >= _MAX_CACHED:
                self._known.pop(next(iter(self._known)), None)
            self._known[id(function)] = pickled, checks
        return pickled


def name_of(function: Any) -> str:
    """Return what a group of calls of this function is called."""
    while isinstance(function, partial):
        function = function.func
    name = getattr(function, "__name__", None) or type(function).__name__
    return "lambda" if name == "<lambda>" else str(name)


def _dump(function: Callable[..., Any]) -> bytes:
    name = name_of(function)
    try:
        blob = values.dump_function(function)
    except values.DumpFailed as error:
        culprit = find_culprit(function, name)
        why = culprit or str(error)
        raise ArgumentNotSerializable(
            f"function {name!r} cannot be sent to the cluster: {why}. Create it inside the "
            "function instead, "
            "or pass in what it is made from"
        ) from error
    if len(blob) > LARGE_BYTES:
        heaviest = heaviest_variable(function)
        carried = (
            f" (mostly variable {heaviest[0]!r}: {size_text(heaviest[1])})" if heaviest else ""
        )
        if len(blob) > LIMIT_BYTES:
            raise PayloadTooLarge(
                f"function {name!r} is {size_text(len(blob))} as a pickle{carried}; the limit is "
                f"{size_text(LIMIT_BYTES)}. Send the data once with client.scatter(...) and pass "
                "the future as an argument"
            )
        warn_large(f"function {name!r} carries {size_text(len(blob))} along{carried}")
    return blob


def warn_large(text: str) -> None:
    """Warn, at the user's line, that something large travels."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("cellspan."):
        frame = frame.f_back
        level += 1
    advice = "; send it once with client.scatter(...) and pass the future as an argument"
    warnings.warn(text + advice, LargePayload, stacklevel=level)


def size_text(nbytes: float) -> str:
    """Return a size in words, like ``1.5 MiB``."""
    units = ["bytes", "KiB", "MiB", "GiB"]
    while nbytes >= 1024 and len(units) > 1:
        nbytes /= 1024
        del units[0]
    is_round = nbytes >= 10 or units[0] == "bytes"
    return f"{nbytes:.0f} {units[0]}" if is_round else f"{nbytes:.1f} {units[0]}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# --- has a function changed? ----------------------------------------------------------------------


def _watch(value: Any, checks: list[Check], seen: set[int]) -> bool:
    """Add the checks that show whether the pickle of a value is still good; False if that cannot be
    seen.
    """
    kind = type(value)
    if kind in _CONSTANTS or id(value) in seen:
        return True
    if kind is str or kind is bytes:
        return len(value) <= _MAX_WATCHED_BYTES
    if kind is tuple or kind is frozenset:
        return len(value) <= 100 and all(_watch(item, checks, seen) for item in value)
    if _is_importable(value):
        return True
    if kind is types.FunctionType:
        seen.add(id(value))
        return _watch_function(value, checks, seen)
    return False


def _watch_function(function: types.FunctionType, checks: list[Check], seen: set[int]) -> bool:
    checks.append((partial(getattr, function, "__code__"), function.__code__))
    checks.append((partial(getattr, function, "__defaults__"), function.__defaults__))
    held: list[Any] = [*(function.__defaults__ or ())]
    if function.__kwdefaults__ or function.__dict__:
        return False  # dictionaries that anyone can change
    for cell in function.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # it is empty as yet
            return False
        checks.append((partial(getattr, cell, "cell_contents", _MISSING), cell.cell_contents))
    for name in _names_in(function.__code__):
        found = function.__globals__.get(name, _MISSING)
        checks.append((partial(function.__globals__.get, name, _MISSING), found))
        if found is not _MISSING:
            held.append(found)
    return all(_watch(value, checks, seen) for value in held)


def _names_in(code: types.CodeType) -> set[str]:
    """Names that code may look up as globals: attributes are among them, which does no harm."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names_in(constant)
    return names


def _is_importable(value: Any) -> bool:
    """Tell whether it is pickled as a name to import."""
    module, path = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(path, str):  # an instance: its pickle holds its state
        return False
    if not isinstance(module, str) or module == "__main__" or module not in sys.modules:
        return False
    if {module, module.partition(".")[0]} & cloudpickle.list_registry_pickle_by_value():
        return False
    found: Any = sys.modules[module]
    for part in path.split("."):
        found = getattr(found, part, None)
    return found is value
