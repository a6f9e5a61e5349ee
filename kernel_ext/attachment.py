"""Which cluster this kernel is attached to, and the variable in the user's namespace that says so.

Law: a variable of the user's own is never overwritten: only a name that is free, or that holds a
cellspan client, is assigned. Clients that were made here are closed when their cluster is stopped
or the extension is unloaded, and only those.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellspan.engine.errors import CellspanError

if TYPE_CHECKING:
    from cellspan.engine.client import Client
    from cellspan.engine.deploy.connection_file import ClusterInfo

DEFAULT_VARIABLE = "client"


class NameTaken(CellspanError):
    """The variable for the client holds something of the user's own; the text says what to do."""


class Attachment:
    """The clients that this kernel's `%cluster` made, and the name of the cluster it works with
    now."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        """`namespace`: the variables of the notebook."""
        self._namespace = namespace
        self._made: dict[str, Client] = {}  # cluster id -> client
        self.cluster_name: str | None = None

    def check_variable(self, variable: str | None) -> str:
        """Return the variable to use; raises `NameTaken` before anything was done if it may not be
        assigned."""
        from cellspan.engine.client import Client

        name = variable or DEFAULT_VARIABLE
        if not name.isidentifier():
            raise NameTaken(f"{name!r} cannot be the name of a variable.")
        there = self._namespace.get(name)
        if there is None or isinstance(there, Client):
            return name
        raise NameTaken(
            f"`{name}` is a variable of your own ({type(there).__name__}) and was left as it is. "
            f"Choose another name with `--as NAME`, or `del {name}` first."
        )

    def attach(self, info: ClusterInfo, variable: str) -> Client:
        """Put a client of this cluster under the variable, one that is there already if it still
        works."""
        from cellspan.engine.client import Client

        client = self._made.get(info.id)
        if client is None or is_closed(client):
            client = Client(info)
            self._made[info.id] = client
        self._namespace[variable] = client
        self.cluster_name = info.name
        return client

    def detach(self, info: ClusterInfo) -> None:
        """Close the client of a cluster that is about to stop; its variable stays, closed, for a
        clear error."""
        client = self._made.pop(info.id, None)
        if client is not None and not is_closed(client):
            client.close()
        if self.cluster_name == info.name:
            self.cluster_name = None

    def close(self) -> None:
        """Close every client that was made here."""
        for client in self._made.values():
            if not is_closed(client):
                client.close()
        self._made.clear()
        self.cluster_name = None


def is_closed(client: Client) -> bool:
    """Whether a client can do nothing more."""
    return client.closed is not None


def default_lifetime() -> str:
    """Return 'server' in a kernel that a Jupyter server (or another Jupyter program) started, else
    'kernel'."""
    return "server" if os.environ.get("JPY_PARENT_PID") else "kernel"


def find_kernel_id() -> str | None:
    """Return the id of this kernel, as its connection file has it, or None outside a kernel."""
    try:
        from ipykernel.connect import get_connection_file

        stem = Path(get_connection_file()).stem
    except Exception:  # no ipykernel, or this process is no kernel: several types by version
        return None
    return stem.removeprefix("kernel-") or None
