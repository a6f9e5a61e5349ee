"""Listeners and connections: who can be reached how, over which carrier.

Law: this room carries messages and lets peers in or not; it knows nothing of what messages mean.
Names are fetched on first use: a scheduler binds its address and starts workers before it imports
asyncio, because users wait for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .addresses import bind
    from .base import Admit, Connection, Listener, calm_garbage_collector, is_turn_over
    from .credentials import Credentials
    from .opening import connect, listen

__all__ = [
    "Admit", "Connection", "Credentials", "Listener", "bind", "calm_garbage_collector", "connect",
    "is_turn_over", "listen",
]  # fmt: skip

_HOMES = {
    "Admit": "base",
    "Connection": "base",
    "Credentials": "credentials",
    "Listener": "base",
    "bind": "addresses",
    "calm_garbage_collector": "base",
    "connect": "opening",
    "is_turn_over": "base",
    "listen": "opening",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value
