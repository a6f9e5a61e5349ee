"""The options of a group as they travel with `SubmitGroup`, checked alike where they leave and
where they come in.

Law: plain data; what is not among NAMES is refused, and what cannot mean anything is refused with a
text that names the option, what came and what would do. Nothing is filled in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgpack

from .errors import InvalidArgument
from .resources import check_ask

MAX_NUMBER = 1 << 31
MAX_WORKERS = 100_000
MAX_TIMEOUT_S = 1e9
MAX_SPAN = 1 << 24
MAX_METADATA_BYTES = 4096
MAX_KEY_CHARS = 1000

FOR_WORKERS = ("resources", "timeout", "span", "once")
"""Those that a worker goes by."""


def check_options(options: dict[str, Any]) -> None:
    """Raises: InvalidArgument: one of them cannot be."""
    for name, value in options.items():
        check = _CHECKS.get(name)
        if check is None:
            raise InvalidArgument(f"there is no option {name!r}; there are: {', '.join(_CHECKS)}")
        check(name, value)
    if options.get("once") and len(options.get("workers") or ()) != 1:
        raise InvalidArgument("what runs once on each executor is for one worker by name")


def _check_number(name: str, value: Any) -> None:
    if type(value) is not int:
        raise InvalidArgument(f"{name} is a whole number, not {value!r}")
    if abs(value) >= MAX_NUMBER:
        raise InvalidArgument(f"{name} is a number below 2 ** 31, but {value} was given")


def _check_count(name: str, value: Any) -> None:
    _check_number(name, value)
    if value < 0:
        raise InvalidArgument(f"{name} is not negative, but {value} was given")


def _check_resources(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise InvalidArgument(f'resources is a dict like {{"GPU": 1}}, not {value!r}')
    check_ask(value)


def _check_workers(name: str, value: Any) -> None:
    is_list = isinstance(value, list) and 0 < len(value) <= MAX_WORKERS
    if not is_list or not all(isinstance(worker, str) and worker for worker in value):
        raise InvalidArgument(
            f"workers is the name of a worker or a host, or a list of such that is not empty, not "
            f"{str(value)[:100]!r}"
        )


def _check_timeout(name: str, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 < value <= MAX_TIMEOUT_S:
        raise InvalidArgument(
            f"timeout is the seconds that one task may run, more than 0, not {value!r}"
        )


def _check_span(name: str, value: Any) -> None:
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(type(bound) is int for bound in value)
        or not 1 <= value[0] <= value[1] <= MAX_SPAN
    ):
        raise InvalidArgument(
            f"span is how many tasks are handed out together, from 1 on, or a pair (at least, at "
            f"most), not {value!r}"
        )


def _check_metadata(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise InvalidArgument(f"metadata is a dict of plain data, not {value!r}")
    _check_plain(value, "metadata")
    size = len(msgpack.packb(value))
    if size > MAX_METADATA_BYTES:
        raise InvalidArgument(
            f"metadata takes {size} bytes; the limit is {MAX_METADATA_BYTES}: put large things "
            "into a data set, and its name into the metadata"
        )


def _check_plain(value: Any, where: str, depth: int = 0) -> None:
    if depth > 20:
        raise InvalidArgument(f"{where}: it is nested too deeply")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise InvalidArgument(f"{where}: keys are texts, not {key!r}")
            _check_plain(inner, f"{where}[{key!r}]", depth + 1)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            _check_plain(inner, f"{where}[{at}]", depth + 1)
    elif type(value) not in (type(None), bool, int, float, str):
        raise InvalidArgument(
            f"{where} is a {type(value).__name__}: metadata is made of numbers, texts, lists, "
            "dicts, True, False and None"
        )
    elif type(value) is int and not -(1 << 63) <= value < 1 << 64:
        raise InvalidArgument(f"{where}: the number {value} has more than 64 bits")


def _check_key(name: str, value: Any) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_KEY_CHARS:
        raise InvalidArgument(
            f"{name} is a text of 1 to {MAX_KEY_CHARS} letters, not {str(value)[:80]!r}"
        )


def _check_once(name: str, value: Any) -> None:
    if value is not True:
        raise InvalidArgument(f"once is True or left out, not {value!r}")


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "priority": _check_number,
    "retries": _check_count,
    "allowed_failures": _check_count,
    "resources": _check_resources,
    "workers": _check_workers,
    "timeout": _check_timeout,
    "span": _check_span,
    "metadata": _check_metadata,
    "key": _check_key,
    "once": _check_once,
}
