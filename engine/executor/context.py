"""What a running task may know of its surroundings: the resources that it was given.

Law: the standard library only. The worker deals out, the loop sets it for the time of a piece; here
it can only be read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

DEVICES = "CUDA_VISIBLE_DEVICES"
_OWN_NAME = "cellspan_executor.context"
"""What this module is called in an executor, which loads it apart from the package."""

_given: dict[str, Any] = {}
_devices_before: str | None = None


def begin(resources: dict[str, Any]) -> None:
    """A piece begins that was given these; of GPUs it sees these alone."""
    global _given, _devices_before
    _given = resources
    gpus = resources.get("GPU")
    if isinstance(gpus, list):
        _devices_before = os.environ.get(DEVICES)
        os.environ[DEVICES] = ",".join(map(str, gpus))


def end() -> None:
    """The piece is over."""
    global _given
    if isinstance(_given.get("GPU"), list):
        if _devices_before is None:
            os.environ.pop(DEVICES, None)
        else:
            os.environ[DEVICES] = _devices_before
    _given = {}


def call(resources: dict[str, Any] | None, function: Callable[..., None], *args: Any) -> None:
    """Call a function that runs a piece, with the resources that the worker has dealt out to it."""
    if resources is None:
        function(*args)
        return
    begin(resources)
    try:
        function(*args)
    finally:
        end()


def get_resources() -> dict[str, Any]:
    """Return what this task was given of the resources that it asked for: of counted things their
    names, as in ``{"GPU": [1]}``, of others the amount. Outside of tasks it is empty.
    """
    context = sys.modules.get(_OWN_NAME)
    given: dict[str, Any] = _given if context is None else vars(context)["_given"]
    return dict(given)
