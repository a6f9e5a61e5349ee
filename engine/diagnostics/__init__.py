"""Diagnostics: counters that the scheduler keeps while spans change state, snapshots, and views.

Law: nothing here asks a scheduler for anything; it reads counters and makes plain data. all of it
imports the standard library only, because the scheduler process loads it, but for `views`: Bokeh is
imported there alone.
"""

from .activity import ActivityRing
from .building import build_snapshot
from .counters import GroupCounters, bin_edges, bin_of, times_of
from .snapshot import Activity, GroupRow, Snapshot, WorkerRow, Workers
from .text import snapshot_text

__all__ = [
    "Activity",
    "ActivityRing",
    "GroupCounters",
    "GroupRow",
    "Snapshot",
    "WorkerRow",
    "Workers",
    "bin_edges",
    "bin_of",
    "build_snapshot",
    "snapshot_text",
    "times_of",
]
