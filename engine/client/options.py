"""The options that `submit`, `map`, `reduce` and `shuffle` have in common.

Law: what cannot mean anything is refused here, before anything is packed or sent.
"""

from __future__ import annotations

from typing import Any

from ..errors import InvalidArgument


def check_options(
    name: str | None, priority: int, retries: int, allowed_failures: int
) -> dict[str, Any]:
    """Return the options of a submission as they travel. Raises: InvalidArgument: one cannot be."""
    if name is not None and (not isinstance(name, str) or not name):
        raise InvalidArgument(f"name is a text that is not empty, not {name!r}")
    for label, value in (
        ("priority", priority), ("retries", retries), ("allowed_failures", allowed_failures),
    ):  # fmt: skip
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidArgument(f"{label} is a whole number, not {value!r}")
        if abs(value) >= 1 << 31:
            raise InvalidArgument(f"{label} is a number below 2 ** 31, but {value} was given")
        if value < 0 and label != "priority":
            raise InvalidArgument(f"{label} is not negative, but {value} was given")
    return {"priority": priority, "retries": retries, "allowed_failures": allowed_failures}
