"""Clusters as processes: starting, finding, scaling and stopping them.

Law: this room knows all others of the engine; none of them knows it, but for the client's one
look-up of names. Names are fetched on first use, because the scheduler's process begins here and
users wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .connection_file import ClusterInfo
    from .local import LocalCluster

__all__ = ["ClusterInfo", "LocalCluster"]


def __getattr__(name: str) -> Any:
    if name == "LocalCluster":
        from .local import LocalCluster

        return LocalCluster
    if name == "ClusterInfo":
        from .connection_file import ClusterInfo

        return ClusterInfo
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
