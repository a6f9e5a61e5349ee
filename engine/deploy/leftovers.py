"""What clusters that were killed have left behind.

Law: only what says which process it belongs to, and whose process is dead, is removed.
"""

from __future__ import annotations

from . import connection_file, folders, processes
from .connection_file import ClusterInfo


def remove(info: ClusterInfo) -> None:
    """Remove what is left of a cluster whose scheduler is dead."""
    if not processes.is_alive(info.pid, info.start_time):
        connection_file.remove(info)
        folders.remove_folder(info.folder)


def sweep() -> None:
    """Remove the folders and stores of all dead processes of this user."""
    from ..worker import storefolder

    folders.sweep()
    storefolder.sweep()
