"""What clusters that were killed have left behind.

Law: only what says which process it belongs to, and whose process is dead, is removed.
"""

from __future__ import annotations

import time

from ..worker import storefolder
from . import connection_file, folders, processes
from .connection_file import ClusterInfo

SWEEP_S = 5.0

_last_sweep = -SWEEP_S


def remove(info: ClusterInfo) -> None:
    """Remove what is left of a cluster whose scheduler is dead."""
    if not processes.is_alive(info.pid, info.start_time):
        connection_file.remove(info)
        folders.remove_folder(info.folder)
        storefolder.sweep()


def sweep() -> None:
    """Remove the folders and stores of all dead processes of this user."""
    global _last_sweep
    _last_sweep = time.monotonic()
    folders.sweep()
    storefolder.sweep()


def sweep_sometimes() -> None:
    """Do it if it was not done of late: for those who look several times a second."""
    if time.monotonic() - _last_sweep >= SWEEP_S:
        sweep()
