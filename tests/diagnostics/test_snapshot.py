"""Snapshots: what they say is what the counters say, they travel unharmed, and they stay small."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellspan.engine.diagnostics.activity import ActivityRing
from cellspan.engine.diagnostics.building import NAME_BYTES, NAME_CHARS, build_snapshot, clip
from cellspan.engine.diagnostics.counters import BIN_COUNT, GroupCounters
from cellspan.engine.diagnostics.snapshot import (
    MAX_ACTIVE_GROUPS,
    MAX_GROUPS,
    MAX_JSON_BYTES,
    MAX_WORKERS,
    OTHER,
    Snapshot,
    WorkerRow,
)
from cellspan.engine.diagnostics.words import other_text
from cellspan.engine.errors import PeerError

from .scenes import EPOCH, make_group, make_workers, take_snapshot

COUNTED = ("total", "waiting", "ready", "running", "done", "failed", "released")


def test_a_row_says_what_the_counters_say() -> None:
    group = make_group(1, name="load", total=100, done=60, running=8, failed=2, at=10.0)
    row = take_snapshot([group], now=12.0).groups[0]
    assert (row.group, row.name, row.client, row.layer) == (
        3 << 32 | 1,
        "load",
        "flights.ipynb",
        "each",
    )
    # 8 are with the worker, which has 4 slots
    assert (row.total, row.ready, row.running, row.done, row.failed) == (100, 34, 4, 60, 2)
    assert (row.dropped, row.unfinished) == (0, 38)
    assert (row.created, row.started, row.finished) == (EPOCH + 10, EPOCH + 10, None)
    assert row.bytes_held == 480 and row.seconds == pytest.approx(0.6)
    assert row.rate == pytest.approx(30.0)  # 60 in 2 s
    assert row.eta_s == pytest.approx(38 / 30, rel=1e-3)
    assert row.quantiles is not None and row.quantiles[1] == pytest.approx(0.01, rel=0.1)
    assert row.error == "ZeroDivisionError: division by zero"


def test_a_finished_group_has_no_time_left() -> None:
    row = take_snapshot([make_group(1, total=50, done=50, at=2.0)]).groups[0]
    assert row.finished == EPOCH + 3 and row.eta_s is None and row.unfinished == 0


def test_tasks_that_were_never_computed_are_dropped() -> None:
    group = make_group(1, total=10, done=4)
    group.on_move("ready", "released", 6)
    group.on_move("done", "released", 4)
    row = take_snapshot([group]).groups[0]
    assert (row.done, row.released, row.dropped) == (4, 10, 6)


def test_active_groups_come_first_then_the_newest() -> None:
    groups = [
        make_group(1, name="old, active", total=10, done=1, running=2, at=1.0),
        make_group(2, name="done", total=10, done=10, at=2.0),
        make_group(3, name="new, done", total=10, done=10, at=3.0),
        make_group(4, name="new, active", total=10, running=1, at=4.0),
    ]
    names = [row.name for row in take_snapshot(groups).groups]
    assert names == ["new, active", "old, active", "new, done", "done"]


@pytest.mark.parametrize("count", [MAX_GROUPS, MAX_GROUPS + 1, 3 * MAX_GROUPS])
def test_many_groups_are_summed_without_losing_a_task(count: int) -> None:
    groups = [
        make_group(i, total=10 + i, done=i + 1, failed=i % 3, at=float(i)) for i in range(count)
    ]
    snapshot = take_snapshot(groups, now=1000.0)
    assert snapshot.group_count == count
    assert len(snapshot.groups) == min(count, MAX_GROUPS + 1)
    for name in COUNTED:
        assert sum(getattr(row, name) for row in snapshot.groups) == snapshot.totals[name]
    assert snapshot.totals["done"] == sum(range(count + 1))
    last = snapshot.groups[-1]
    assert (last.group == OTHER) == (count > MAX_GROUPS)
    if count > MAX_GROUPS:
        assert last.name == other_text(count - MAX_GROUPS)
        assert last.quantiles is not None


def test_running_groups_have_a_row_however_old_they_are() -> None:
    old = make_group(0, name="old", total=10, running=3, at=0.0)
    done = [make_group(i, total=1, done=1, at=float(i)) for i in range(1, 400)]
    snapshot = take_snapshot([old, *done], now=1000.0)
    assert snapshot.groups[0].name == "old"


def test_workers_are_summed_and_shown_up_to_a_number() -> None:
    few, many = take_snapshot([], workers=5), take_snapshot([], workers=500)
    assert [row.name for row in few.workers.rows] == [f"worker-{i}" for i in range(5)]
    assert (many.workers.count, many.workers.slots, many.workers.busy) == (500, 2000, 2000)
    assert many.workers.cpu == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert many.workers.memory_bytes == sum(i << 20 for i in range(500))
    assert len(many.workers.rows) == MAX_WORKERS
    # Those that have the least memory left.
    assert min(row.memory_bytes for row in many.workers.rows) == (500 - MAX_WORKERS) << 20


def test_no_worker_is_no_failure() -> None:
    workers = take_snapshot([], workers=0).workers
    assert (workers.count, workers.slots, workers.cpu, workers.rows) == (0, 0, [], [])


def test_activity_names_the_busiest_and_sums_the_rest() -> None:
    groups = [
        make_group(i, name=f"g{i}", total=5, done=5, at=1.0, seconds=0.1 * (i + 1))
        for i in range(MAX_ACTIVE_GROUPS + 5)
    ]
    activity = take_snapshot(groups, now=4.0).activity
    names = [f"g{i}" for i in range(5, MAX_ACTIVE_GROUPS + 5)]
    assert activity.groups == [*names, "other"]
    assert activity.ids[-1] == OTHER and activity.ids[:-1] == sorted(activity.ids[:-1])
    seconds = sum(map(sum, activity.busy)) * activity.bin_s
    assert seconds == pytest.approx(sum(group.seconds for group in groups), rel=1e-3)
    assert activity.start == EPOCH + 1.0


def test_activity_shows_the_present_work_and_not_last_week() -> None:
    ring = ActivityRing(0.0)
    week = 7 * 86400.0
    old, new = make_group(1, done=100, at=5.0), make_group(2, done=50, running=4, at=week)
    ring.add(old.group, 1.0, 6.0)
    ring.add(new.group, 1.0, week + 1)
    snapshot = build_snapshot(
        cluster="local",
        version="0.1.0",
        now=week + 10,
        uptime_s=week,
        groups=[old, new],
        activity=ring,
    )
    assert snapshot.activity.groups == ["inc"] and snapshot.activity.ids == [new.group]
    assert snapshot.activity.start == week and snapshot.activity.bin_s == 0.5


# --- travelling --------------------------------------------------------------------------------


def make_busy_snapshot() -> Snapshot:
    groups = [
        make_group(i, total=100, done=i, failed=i % 2, running=1, at=float(i)) for i in range(30)
    ]
    return take_snapshot(groups, workers=3)


@pytest.mark.parametrize("snapshot", [take_snapshot([], workers=0), make_busy_snapshot()])
def test_it_travels_unharmed(snapshot: Snapshot) -> None:
    assert Snapshot.from_wire(snapshot.to_wire()) == snapshot
    assert Snapshot.from_json(snapshot.to_json()) == snapshot


def test_what_it_does_not_know_is_passed_over() -> None:
    wire = make_busy_snapshot().to_wire()
    wire["weather"] = "fair"
    wire["groups"]["mood"] = ["good"]
    assert Snapshot.from_wire(wire) == make_busy_snapshot()


GONE = object()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("cluster", GONE), ("totals", 7), ("groups", GONE), ("groups", []), ("groups.name", GONE),
        ("groups.name", 7), ("groups.name", ["only one"]), ("workers", None),
        ("workers.rows", GONE), ("workers.rows", {}), ("workers.rows.name", []), ("activity", 7),
        ("activity.busy", [[1.0]]), ("activity.slots", [1.0]), ("activity.ids", GONE),
    ],
)  # fmt: skip
def test_what_is_not_a_snapshot_is_refused(path: str, value: object) -> None:
    wire: dict[str, Any] = json.loads(make_busy_snapshot().to_json())
    *way, last = path.split(".")
    place = wire
    for step in way:
        place = place[step]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    with pytest.raises(PeerError):
        Snapshot.from_wire(wire)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}"])
def test_json_that_is_not_a_snapshot_is_refused(text: str) -> None:
    with pytest.raises(PeerError):
        Snapshot.from_json(text)


# --- size --------------------------------------------------------------------------------------

WORST_TEXTS = ['"\\' * 300, "\U0001f600" * 300, "\x00\x1b\n\t" * 300, "漢字" * 300, "x" * 5000]


@pytest.mark.parametrize("text", WORST_TEXTS)
def test_it_is_small_with_the_worst_of_everything(text: str) -> None:
    """10^7 tasks, 10^4 groups, 10^4 workers, all with long names, all active."""
    ring, groups, now = ActivityRing(0.0), [], 123_456.789
    ring.set_slots(640_000, 0.0)
    for serial in range(10_000):
        group = GroupCounters((2**31 - 1) << 32 | serial, text, text, text, serial / 7, 10**6)
        group.on_move(None, "waiting", 1000, serial / 7)
        group.on_move("waiting", "assigned", 1000, serial / 7 + 0.123)
        group.on_move("assigned", "done", 777, serial / 3)
        group.on_done(777, 12345.6789, [serial % BIN_COUNT, 777], 123456789012345, now - 1 / 3)
        group.on_failed(text, now)
        group.warning, group.metadata = text, {"run": text, "number": serial}
        groups.append(group)
        ring.add(group.group, 30.0, now - 10 + serial / 1000)
    workers = [
        WorkerRow(f"{text}{i}", 64, 64, 10**6, i / 9999, 10**13 + i, 10**14, 10**13)
        for i in range(10_000)
    ]
    snapshot = build_snapshot(
        cluster=text,
        version=text,
        now=now,
        uptime_s=now,
        groups=groups,
        workers=workers,
        activity=ring,
        epoch=EPOCH + 0.123456,
    )
    assert snapshot.totals["total"] == 10**7
    assert len(snapshot.to_json().encode()) <= MAX_JSON_BYTES
    assert Snapshot.from_json(snapshot.to_json()) == snapshot


@settings(max_examples=200)
@given(st.text(max_size=300))
def test_clipped_texts_fit(text: str) -> None:
    clipped = clip(text, NAME_CHARS, NAME_BYTES)
    assert len(clipped) <= NAME_CHARS
    assert len(json.dumps(clipped, ensure_ascii=False).encode()) - 2 <= NAME_BYTES
    assert clipped.isprintable()
    if text.isprintable() and len(text) <= NAME_CHARS and 4 * len(text) <= NAME_BYTES:
        assert clipped == text


def test_statistics_that_are_no_numbers_do_not_break_it() -> None:
    workers = make_workers(2)
    workers[0].cpu = float("nan")
    workers[1].cpu = float("inf")
    group = make_group(1, done=1)
    group.seconds = float("nan")
    snapshot = build_snapshot(
        cluster="c", version="1", now=1.0, uptime_s=1.0, groups=[group], workers=workers
    )
    assert json.loads(snapshot.to_json())["workers"]["cpu"] == []
    assert snapshot.groups[0].seconds == 0.0


def test_the_scheduler_can_load_it_without_bokeh() -> None:
    code = "import sys, cellspan.engine.diagnostics; print({'bokeh', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_column_of_a_row_travels() -> None:
    wire = make_busy_snapshot().to_wire()
    row = make_busy_snapshot().groups[0]
    assert list(wire["groups"]) == [field.name for field in dataclasses.fields(row)]


def test_no_more_tasks_run_than_there_are_slots() -> None:
    """Workers are given more than they can run at once; that is not shown as running."""
    groups = [
        make_group(1, name="a", total=100, running=30, at=1.0),
        make_group(2, name="b", total=100, running=10, at=2.0),
    ]
    workers = [WorkerRow(f"w{i}", slots=2, running=2, queued=18) for i in range(2)]
    snapshot = build_snapshot(
        cluster="c", version="1", now=10.0, uptime_s=10.0, groups=groups, workers=workers
    )
    assert snapshot.totals["running"] == snapshot.workers.busy == 4
    running = {row.name: (row.running, row.ready) for row in snapshot.groups}
    assert running == {"a": (3, 97), "b": (1, 99)}
