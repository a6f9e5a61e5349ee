"""What a request's body may say, checked before anything is done.

Law: this is the border where JSON from a browser becomes typed values. It knows nothing of
tornado, does no I/O and never guesses: a field that is wrong, unknown or of another type is
refused with a sentence that names it, all fields at once, so that a form can show each sentence
beside its field.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ..engine.deploy.arguments import LIFETIMES, MAX_CORES, MAX_WORKERS, MIN_MEMORY_BYTES
from ..engine.deploy.connection_file import NAME_PATTERN

MAX_LOG_LINES = 5_000

Value = TypeVar("Value")


class BadBody(ValueError):
    """A request that is not carried out. `fields` maps the names of wrong fields to sentences."""

    def __init__(self, text: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.fields = fields or {}


@dataclass(frozen=True)
class StartRequest:
    """A cluster to start. `name` None: a free one is chosen; `cores` and `memory_bytes` are per
    worker, None: all there are; `kernel_name` a kernelspec whose interpreter runs the
    cluster; `kernel_id` the kernel that a cluster of lifetime 'kernel' ends with."""

    name: str | None
    workers: int
    cores: int | None
    memory_bytes: int | None
    lifetime: str
    idle_timeout_s: float | None
    kernel_name: str | None
    kernel_id: str | None


def is_name(text: str) -> bool:
    """Return whether a cluster could have this name (and so whether it may be looked up)."""
    return NAME_PATTERN.fullmatch(text) is not None


def parse_json_object(body: bytes, known: frozenset[str]) -> dict[str, Any]:
    """Return the body as a dict. Raises BadBody when it is no JSON object or has fields that
    are not `known`."""
    try:
        value = json.loads(body or b"null")
    except (ValueError, RecursionError):
        raise BadBody("The body is not JSON.") from None
    if not isinstance(value, dict):
        raise BadBody("The body must be a JSON object.")
    unknown = sorted(set(value) - known)
    if unknown:
        names = ", ".join(sorted(known))
        raise BadBody(
            f"Unknown field '{unknown[0]}': there are {names}.",
            {name: "There is no such field." for name in unknown},
        )
    return value


class _Fields:
    """Takes fields out of a body and collects what is wrong with them."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.errors: dict[str, str] = {}

    def take(self, name: str, default: Value, check: Callable[[Any], Value]) -> Value:
        value = self.body.get(name)
        if value is None:
            return default
        try:
            return check(value)
        except BadBody as error:
            self.errors[name] = str(error)
            return default


def _check_name(value: Any) -> str:
    if not isinstance(value, str) or not is_name(value):
        raise BadBody(
            "A name has 1 to 63 letters, digits, '-', '_' or '.' and begins with a letter or digit."
        )
    return value


def _whole(what: str, least: int, most: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadBody(f"{what} must be a whole number.")
        if not least <= value <= most:
            raise BadBody(f"{what} must be from {least:,} to {most:,}, not {value:,}.")
        return value

    return check


def _check_seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise BadBody("The idle time must be a number of seconds above 0.")
    return float(value)


def _check_text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise BadBody("This must be a short text.")
    return value


def _check_lifetime(value: Any) -> str:
    if value not in LIFETIMES:
        raise BadBody("The lifetime must be 'kernel', 'server' or 'detached'.")
    return str(value)


START_FIELDS = frozenset(
    {
        "name", "workers", "cores", "memory_bytes", "lifetime", "idle_timeout_s", "kernel_name",
        "kernel_id",
    }
)  # fmt: skip


def parse_start(body: bytes) -> StartRequest:
    """Return the cluster that a POST asks for. Raises BadBody."""
    fields = _Fields(parse_json_object(body, START_FIELDS))
    memory = _whole("The memory (bytes)", MIN_MEMORY_BYTES, 1 << 60)
    request = StartRequest(
        name=fields.take("name", None, _check_name),
        workers=fields.take("workers", 1, _whole("The number of workers", 1, MAX_WORKERS)),
        cores=fields.take("cores", None, _whole("The number of cores", 1, MAX_CORES)),
        memory_bytes=fields.take("memory_bytes", None, memory),
        lifetime=fields.take("lifetime", "server", _check_lifetime),
        idle_timeout_s=fields.take("idle_timeout_s", None, _check_seconds),
        kernel_name=fields.take("kernel_name", None, _check_text),
        kernel_id=fields.take("kernel_id", None, _check_text),
    )
    if request.lifetime == "kernel" and not (request.kernel_id or "kernel_id" in fields.errors):
        fields.errors["lifetime"] = "Lifetime 'kernel' needs a kernel to end with: open a notebook."
    if fields.errors:
        raise BadBody(next(iter(fields.errors.values())), fields.errors)
    return request


def parse_scale(body: bytes) -> int:
    """Return the number of workers that a PATCH asks for. Raises BadBody."""
    fields = _Fields(parse_json_object(body, frozenset({"workers"})))
    workers = fields.take("workers", 0, _whole("The number of workers", 1, MAX_WORKERS))
    if fields.errors:
        raise BadBody(next(iter(fields.errors.values())), fields.errors)
    if workers == 0:
        raise BadBody("'workers' is missing.", {"workers": "Say how many workers there shall be."})
    return workers


def parse_lines(text: str) -> int:
    """Return how many log lines a query asks for. Raises BadBody."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_LOG_LINES:
        raise BadBody(f"'lines' must be a whole number from 1 to {MAX_LOG_LINES:,}.")
    return int(text)


def parse_subscription(text: str | bytes, known: frozenset[str]) -> tuple[str, ...]:
    """Return the views that a socket wants from now on. Raises BadBody."""
    raw = text.encode() if isinstance(text, str) else text
    views = parse_json_object(raw, frozenset({"views"})).get("views")
    if not isinstance(views, list) or not all(isinstance(view, str) for view in views):
        raise BadBody("'views' must be a list of names of views.")
    for view in views:
        if view not in known:
            raise BadBody(f"There is no view '{view}': there are {', '.join(sorted(known))}.")
    return tuple(dict.fromkeys(views))
