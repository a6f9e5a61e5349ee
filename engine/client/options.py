"""The options that `submit`, `map` and `reduce` have in common, in one place.

Law: an option of this list is taken out of the keyword arguments of a call; all others are the
function's own. What cannot mean anything is refused here, before anything is packed or sent
(engine/options.py has the rules, for the scheduler too). An `Options` is immutable and hashable.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import msgpack

from .. import options as rules
from ..errors import InvalidArgument
from ..resources import check_ask

F = TypeVar("F", bound=Callable[..., Any])


class Options(NamedTuple):
    """How tasks are to run.

    name: of the group in diagnostics; None: the function's. priority: larger first. retries: how
    often a task runs again that raises, or takes longer than its timeout. allowed_failures: how
    often its executor may die. resources: what a task needs of a worker, such as ``{"GPU": 1,
    "memory": 2e9}``; tasks that run at one time on a worker never need more than it has, and
    `cellspan.get_resources` tells a task what it was given. workers: names or hosts (one, or a
    list) of the workers that may run it. timeout: seconds that a task may run; then it is ended,
    and raises `TimeoutError`. pure: the function returns the same for the same arguments and does
    nothing else: equal work of all clients is computed once. key: a name for the work, instead of
    `name`; pure work is shared under it only. metadata: a small dict of plain data, kept with the
    group. span: how many tasks are handed to an executor together, a number or (at least, at most).
    """

    name: str | None = None
    priority: int = 0
    retries: int = 0
    allowed_failures: int = 2
    resources: tuple[tuple[str, int | float], ...] = ()
    workers: tuple[str, ...] = ()
    timeout: float | None = None
    pure: bool = False
    key: str | None = None
    metadata: bytes = b""
    span: tuple[int, int] | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return what of it travels; what is as usual is left out."""
        return dict(_to_wire(self))

    def as_arguments(self) -> dict[str, Any]:
        """Return it as keyword arguments of `submit`."""
        return {"name": self.name, "pure": self.pure, **self.to_wire()}


@functools.lru_cache(1024)
def _to_wire(options: Options) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "priority": options.priority,
        "retries": options.retries,
        "allowed_failures": options.allowed_failures,
    }
    if options.resources:
        wire["resources"] = dict(options.resources)
    if options.workers:
        wire["workers"] = list(options.workers)
    if options.timeout is not None:
        wire["timeout"] = options.timeout
    if options.key is not None:
        wire["key"] = options.key
    if options.metadata:
        wire["metadata"] = msgpack.unpackb(options.metadata)
    if options.span is not None:
        wire["span"] = list(options.span)
    return wire


DEFAULT = Options()
NAMES = frozenset(Options._fields)


def take_options(kwargs: dict[str, Any]) -> Options:
    """Take the options out of the keyword arguments of a call, and return them checked.

    Raises: InvalidArgument: one of them cannot be.
    """
    if not kwargs or NAMES.isdisjoint(kwargs):
        return DEFAULT
    given = {name: kwargs.pop(name) for name in Options._fields if name in kwargs}
    name, key = given.get("name"), given.get("key")
    if name is not None and (not isinstance(name, str) or not name):
        raise InvalidArgument(f"name is a text that is not empty, not {name!r}")
    if key is not None:
        rules.check_options({"key": key})
        given["name"] = name or key
    if not isinstance(given.get("pure", False), bool):
        raise InvalidArgument(f"pure is True or False, not {given['pure']!r}")
    for field in ("priority", "retries", "allowed_failures"):
        rules.check_options({field: given.get(field, 0)})
    for field, make in _MAKERS.items():
        if given.get(field) is not None:
            given[field] = make(given[field])
        else:
            given.pop(field, None)
    options = Options(**given)
    rules.check_options(_to_wire(options))
    return options


def _make_resources(value: Any) -> tuple[tuple[str, int | float], ...]:
    return tuple(sorted(check_ask(value).items()))


def make_workers(value: Any) -> tuple[str, ...]:
    """Return names of workers from one name or several. Raises: InvalidArgument: there is none."""
    names = [value] if isinstance(value, str) else value
    is_list = isinstance(names, Iterable) and not isinstance(names, bytes | dict)
    found = list(names) if is_list else names
    rules.check_options({"workers": found})
    return tuple(sorted(set(found)))


def _make_timeout(value: Any) -> float:
    rules.check_options({"timeout": value})
    return float(value)


def _make_metadata(value: Any) -> bytes:
    rules.check_options({"metadata": value})
    packed: bytes = msgpack.packb(value)
    return packed


def _make_span(value: Any) -> tuple[int, int]:
    pair = [value, value] if type(value) is int else value
    rules.check_options({"span": list(pair) if isinstance(pair, tuple) else pair})
    return (pair[0], pair[1])


_MAKERS: dict[str, Callable[[Any], Any]] = {
    "resources": _make_resources,
    "workers": make_workers,
    "timeout": _make_timeout,
    "metadata": _make_metadata,
    "span": _make_span,
}


def check_options(
    name: str | None, priority: int, retries: int, allowed_failures: int
) -> dict[str, Any]:
    """Return these options as they travel. Raises: InvalidArgument: one cannot be."""
    given = {"name": name, "priority": priority, "retries": retries}
    return take_options({**given, "allowed_failures": allowed_failures}).to_wire()


def with_options(method: F) -> F:
    """Show the options in the signature of a method that takes them out of its keyword arguments,
    for whoever asks for help. Costs a call nothing.
    """
    signature = inspect.signature(method)
    parameters = list(signature.parameters.values())
    shown = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_SHOWN.get(name, default))
        for name, default in Options._field_defaults.items()
        if name not in signature.parameters
    ]
    rest = [parameters.pop()] if parameters[-1].kind is inspect.Parameter.VAR_KEYWORD else []
    shown_signature = signature.replace(parameters=[*parameters, *shown, *rest])
    method.__signature__ = shown_signature  # type: ignore[attr-defined]
    return method


_SHOWN: dict[str, None] = {"resources": None, "workers": None, "metadata": None}
