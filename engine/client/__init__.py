"""The client: submits work to a cluster and holds the futures of it.

Rooms: runs, state, holds, session (what is known, without input or output); link, fetching (its
connections); waiting, collecting, iterating (how users wait); functions, packing, folding, blame
(what users send); futures, progress, reprs, failures (what users get); client, cluster, holdings,
datasets, scattering, target, default (the face).

Law: knows messages and transport, nothing of scheduler and worker.
"""

from __future__ import annotations

from .client import Client
from .cluster import LogEntry
from .collecting import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    DoneAndNotDone,
    as_completed,
    wait,
)
from .default import find_default
from .functions import LargePayload
from .futures import Future, Futures
from .progress import GroupProgress

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "Client",
    "DoneAndNotDone",
    "Future",
    "Futures",
    "GroupProgress",
    "LargePayload",
    "LogEntry",
    "as_completed",
    "find_default",
    "wait",
]
