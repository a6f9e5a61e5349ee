"""The clients of this process: which one is meant when none is named, and what becomes of them at a
fork or exit.

Law: keeps no client alive by itself except through its own registration until it is closed.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import Client

_clients: list[weakref.ref[Client]] = []


def register(client: Client) -> None:
    """Make this the default client of the process."""
    _clients.append(weakref.ref(client))


def unregister(client: Client) -> None:
    """The client is closed."""
    _clients[:] = [ref for ref in _clients if ref() not in (None, client)]


def find_default(cluster_id: str | None = None) -> Client | None:
    """Return the client of that cluster (of any, with None) that was opened last, None if there is
    none.
    """
    for ref in reversed(_clients):
        client = ref()
        if client is not None and client.closed is None and cluster_id in (None, client.cluster_id):
            return client
    return None


def _after_fork() -> None:
    for ref in _clients:
        client = ref()
        if client is not None:
            client._disown()
    _clients.clear()


def _at_exit() -> None:
    for ref in reversed(_clients.copy()):
        client = ref()
        if client is not None:
            client._end()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
