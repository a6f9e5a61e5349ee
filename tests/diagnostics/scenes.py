"""Clusters to take snapshots of, made by events on real counters and a real ring."""

from __future__ import annotations

from cellspan.engine.diagnostics.activity import ActivityRing
from cellspan.engine.diagnostics.building import build_snapshot
from cellspan.engine.diagnostics.counters import GroupCounters, bin_of
from cellspan.engine.diagnostics.snapshot import Snapshot, WorkerRow

EPOCH = 1_790_000_000.0


def make_group(
    serial: int,
    *,
    name: str = "inc",
    total: int = 100,
    done: int = 0,
    running: int = 0,
    failed: int = 0,
    at: float = 0.0,
    seconds: float = 0.01,
) -> GroupCounters:
    """Return the counters of a group submitted at `at` that came so far one second later."""
    counters = GroupCounters(3 << 32 | serial, name, "flights.ipynb", "each", at)
    counters.on_move(None, "ready", total, at)
    counters.on_move("ready", "assigned", done + running + failed, at)
    if done:
        counters.on_move("assigned", "done", done, at + 1)
        counters.on_done(done, done * seconds, [bin_of(seconds), done], 8 * done, at + 1)
    if failed:
        counters.on_move("assigned", "failed", failed, at + 1)
        counters.on_failed("ZeroDivisionError: division by zero", at + 1)
    return counters


def make_workers(count: int, slots: int = 4) -> list[WorkerRow]:
    return [
        WorkerRow(f"worker-{i}", slots, slots, 2 * slots, (i % 5) / 4, i << 20, 8 << 30, 1 << 20)
        for i in range(count)
    ]


def take_snapshot(
    groups: list[GroupCounters], workers: int = 1, now: float = 60.0, slots: int = 4
) -> Snapshot:
    """Return a snapshot in which every group that began has been busy for its tasks' time."""
    ring = ActivityRing(0.0)
    ring.set_slots(slots * workers, 0.0)
    for counters in groups:
        if counters.last_end is not None:
            ring.add(counters.group, counters.seconds, counters.last_end, counters.started)
    return build_snapshot(
        cluster="local",
        version="0.1.0",
        now=now,
        uptime_s=now,
        groups=groups,
        workers=make_workers(workers, slots),
        activity=ring,
        epoch=EPOCH,
    )
