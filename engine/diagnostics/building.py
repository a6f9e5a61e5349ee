"""Building a snapshot from plain inputs: counters of groups, rows of workers, a ring of activity.

Law: reads, never changes what it reads (the ring alone brings itself up to now). The work done is
one pass over groups and workers, whatever the number of tasks. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from heapq import nlargest
from math import ceil, isfinite

from .activity import ActivityRing
from .counters import GroupCounters, quantile_of
from .snapshot import (
    CPU_QUANTILES,
    MAX_ACTIVE_GROUPS,
    MAX_GROUPS,
    MAX_WORKERS,
    OTHER,
    QUANTILES,
    Activity,
    GroupRow,
    Snapshot,
    WorkerRow,
    Workers,
)
from .words import other_text

NAME_CHARS, NAME_BYTES = 80, 160
CLIENT_CHARS, CLIENT_BYTES = 40, 80
ERROR_CHARS, ERROR_BYTES = 200, 240
WARNING_CHARS, WARNING_BYTES = 160, 180
METADATA_CHARS, METADATA_BYTES = 60, 80
"""Texts are clipped to so many characters and so many bytes of JSON, whichever is shorter."""
NOTED_ROWS = 32
"""Warnings and metadata stand in the first rows only: those of active groups."""

WINDOW_GAP_S = 30.0
WINDOW_BACK_S = 600.0
HALF_LIFE_BINS = 30


def build_snapshot(
    *,
    cluster: str,
    version: str,
    now: float,
    uptime_s: float,
    groups: Iterable[GroupCounters],
    workers: Iterable[WorkerRow] = (),
    activity: ActivityRing | None = None,
    epoch: float = 0.0,
) -> Snapshot:
    """Return the summary of a cluster at `now`.

    `now` is on the clock of counters and ring, in seconds; `epoch` is what to add to a time of
    that clock to get unix seconds. `workers` holds one row per worker, however many there are.
    """
    everyone, staff = list(groups), _build_workers(list(workers))
    share = _share_at_work(everyone, staff)
    totals = _sum_counts(everyone, share)
    chosen, rest = _choose_groups(everyone)
    rows = [_row_of(counters, share, now, epoch) for counters in chosen]
    for row, counters in zip(rows[:NOTED_ROWS], chosen, strict=False):
        row.warning, row.metadata = _warning_of(counters), _metadata_of(counters)
    if rest:
        rows.append(_sum_rest(rest, share, now, epoch))
    found = Activity()
    if activity is not None:
        found = _build_activity(activity, everyone, now, epoch)
    return Snapshot(
        cluster=clip(cluster, NAME_CHARS, NAME_BYTES),
        time=round(now + epoch, 3),
        uptime_s=round(uptime_s, 3),
        version=clip(version, CLIENT_CHARS, CLIENT_BYTES),
        totals=totals,
        group_count=len(everyone),
        groups=rows,
        workers=staff,
        activity=found,
    )


def clip(text: str, chars: int, json_bytes: int) -> str:
    """Return a text that is no longer than so many characters and so many bytes as JSON string.

    What cannot be printed becomes a space; a text that is cut ends in an ellipsis.
    """
    head = text[: chars + 1]
    if not head.isprintable():
        head = "".join(c if c.isprintable() else " " for c in head)
    if len(head) <= chars and 4 * len(head) <= json_bytes:  # no character takes more
        return head
    sizes = [2 if c in '"\\' else len(c.encode()) for c in head]
    if len(head) <= chars and sum(sizes) <= json_bytes:
        return head
    room, kept = json_bytes - len("…".encode()), 0
    for size in sizes[: chars - 1]:
        room -= size
        if room < 0:
            break
        kept += 1
    return head[:kept].rstrip() + "…"


# --- groups ------------------------------------------------------------------------------------


def _choose_groups(groups: list[GroupCounters]) -> tuple[list[GroupCounters], list[GroupCounters]]:
    """Return the groups that get a row, active ones first and then newest first, and the rest."""
    chosen, rest = groups, []
    if len(groups) > MAX_GROUPS:
        chosen = nlargest(MAX_GROUPS, groups, key=_importance)
        kept = {id(counters) for counters in chosen}
        rest = [counters for counters in groups if id(counters) not in kept]
    order = sorted(chosen, key=lambda c: (c.unfinished > 0, c.created, c.group), reverse=True)
    return order, rest


def _importance(counters: GroupCounters) -> tuple[bool, bool, float]:
    recent = counters.created if counters.last_end is None else counters.last_end
    return counters.counts["assigned"] > 0, counters.unfinished > 0, recent


def _share_at_work(groups: Sequence[GroupCounters], workers: Workers) -> float:
    """Return which part of the tasks that are with workers can be at work, by the workers' slots.

    The rest waits there for a slot. Which tasks these are only the workers know, so the busy slots
    are shared out among groups by what they have with workers: an estimate, but one that adds up.
    """
    assigned = sum(counters.counts["assigned"] for counters in groups)
    return min(1.0, workers.busy / assigned) if assigned and workers.count else 1.0


def _sum_counts(groups: Sequence[GroupCounters], share: float) -> dict[str, int]:
    waiting = ready = assigned = done = failed = released = total = 0
    for counters in groups:
        counts = counters.counts
        waiting += counts["waiting"]
        ready += counts["ready"]
        assigned += counts["assigned"]
        done += counters.done
        failed += counts["failed"]
        released += counts["released"]
        total += counters.total
    running = min(assigned, ceil(assigned * share - 1e-9))
    return {
        "total": total,
        "waiting": waiting,
        "ready": ready + assigned - running,
        "running": running,
        "done": done,
        "failed": failed,
        "released": released,
    }


def _row_of(counters: GroupCounters, share: float, now: float, epoch: float) -> GroupRow:
    rate, left = counters.rate(now), counters.unfinished
    return GroupRow(
        group=counters.group,
        name=clip(counters.name, NAME_CHARS, NAME_BYTES),
        client=clip(counters.client, CLIENT_CHARS, CLIENT_BYTES),
        layer=clip(counters.layer, CLIENT_CHARS, CLIENT_BYTES),
        **_sum_counts((counters,), share),
        depth=counters.depth,
        created=round(counters.created + epoch, 3),
        started=_moment(counters.started, epoch),
        finished=_moment(counters.finished, epoch),
        seconds=short(counters.seconds),
        bytes_held=counters.bytes_held,
        rate=short(rate),
        eta_s=short(left / rate) if left and rate > 0 else None,
        quantiles=_quantiles(counters.histogram),
        error=None if counters.error is None else clip(counters.error, ERROR_CHARS, ERROR_BYTES),
        warning=None,
        metadata="",
    )


def _sum_rest(rest: list[GroupCounters], share: float, now: float, epoch: float) -> GroupRow:
    """Return the one row for all groups without a row of their own."""
    histogram: dict[int, int] = {}
    for counters in rest:
        for found, count in counters.histogram.items():
            histogram[found] = histogram.get(found, 0) + count
    active = [counters for counters in rest if counters.unfinished]
    rate = sum(counters.rate(now) for counters in active)
    left = sum(counters.unfinished for counters in active)
    starts = [c.started for c in rest if c.started is not None]
    ends = [c.last_end for c in rest if c.last_end is not None]
    return GroupRow(
        group=OTHER,
        name=other_text(len(rest)),
        client="",
        layer="",
        **_sum_counts(rest, share),
        depth=max(counters.depth for counters in rest),
        created=round(min(counters.created for counters in rest) + epoch, 3),
        started=_moment(min(starts), epoch) if starts else None,
        finished=_moment(max(ends), epoch) if ends and not active else None,
        seconds=short(sum(counters.seconds for counters in rest)),
        bytes_held=sum(counters.bytes_held for counters in rest),
        rate=short(rate),
        eta_s=short(left / rate) if left and rate > 0 else None,
        quantiles=_quantiles(histogram),
        error=next((clip(c.error, ERROR_CHARS, ERROR_BYTES) for c in rest if c.error), None),
        warning=next((text for c in rest if (text := _warning_of(c))), None),
        metadata="",
    )


def _warning_of(counters: GroupCounters) -> str | None:
    if not counters.warning:
        return None
    return clip(counters.warning, WARNING_CHARS, WARNING_BYTES)


def _metadata_of(counters: GroupCounters) -> str:
    if not counters.metadata:
        return ""
    text = json.dumps(counters.metadata, ensure_ascii=False, default=str)
    return clip(text, METADATA_CHARS, METADATA_BYTES)


def _quantiles(histogram: dict[int, int]) -> list[float] | None:
    found = [quantile_of(histogram, q) for q in QUANTILES]
    known = [short(value) for value in found if value is not None]
    return known or None


def _moment(moment: float | None, epoch: float) -> float | None:
    return None if moment is None else round(moment + epoch, 3)


def short(value: float) -> float:
    """Return a number with four significant digits; 0.0 for what is not finite."""
    return float(f"{value:.4g}") if isfinite(value) else 0.0


# --- workers -----------------------------------------------------------------------------------


def _build_workers(rows: list[WorkerRow]) -> Workers:
    shown = rows
    if len(rows) > MAX_WORKERS:
        shown = nlargest(MAX_WORKERS, rows, key=_memory_share)
    return Workers(
        count=len(rows),
        slots=sum(row.slots for row in rows),
        busy=sum(min(row.running, row.slots) for row in rows),
        memory_bytes=sum(row.memory_bytes for row in rows),
        memory_limit_bytes=sum(row.memory_limit_bytes for row in rows),
        store_bytes=sum(row.store_bytes for row in rows),
        cpu=_cpu_quantiles([row.cpu for row in rows if isfinite(row.cpu)]),
        rows=[
            WorkerRow(
                clip(row.name, NAME_CHARS, NAME_BYTES), row.slots, row.running, row.queued,
                short(row.cpu), row.memory_bytes, row.memory_limit_bytes, row.store_bytes,
            )
            for row in sorted(shown, key=lambda row: row.name)
        ],
    )  # fmt: skip


def _memory_share(row: WorkerRow) -> float:
    return row.memory_bytes / row.memory_limit_bytes if row.memory_limit_bytes else 0.0


def _cpu_quantiles(values: list[float]) -> list[float]:
    values.sort()
    last = len(values) - 1
    return [short(values[round(q * last)]) for q in CPU_QUANTILES] if values else []


# --- activity ----------------------------------------------------------------------------------


def _build_activity(
    ring: ActivityRing, groups: list[GroupCounters], now: float, epoch: float
) -> Activity:
    bins = ring.read(now, _window_start(groups, now))
    names = {counters.group: counters.name for counters in groups}
    own = [group for group in bins.busy if group in names]
    if len(own) > MAX_ACTIVE_GROUPS:
        own = nlargest(MAX_ACTIVE_GROUPS, own, key=lambda group: _recent_weight(bins.busy[group]))
    own.sort()  # by age: the order of the stack stays the same while groups come and go
    rest = [values for group, values in bins.busy.items() if group not in set(own)]
    labels = [clip(names[group], NAME_CHARS, NAME_BYTES) for group in own]
    busy = [[short(value) for value in bins.busy[group]] for group in own]
    if rest:
        own, labels = [*own, OTHER], [*labels, "other"]
        busy.append([short(sum(values)) for values in zip(*rest, strict=True)])
    return Activity(
        start=round(bins.start + epoch, 3),
        bin_s=bins.bin_s,
        ids=own,
        groups=labels,
        busy=busy,
        slots=[short(value) for value in bins.slots],
    )


def _window_start(groups: list[GroupCounters], now: float) -> float | None:
    """Return since when there has been what users would call the present work.

    That is from the start of the oldest running group, or of the last one that ran; and before
    that the groups that ended shortly before, up to WINDOW_BACK_S. None: from the beginning.
    """
    spans = [
        (c.started, c.last_end if not c.unfinished else now, bool(c.unfinished))
        for c in groups
        if c.started is not None
    ]
    known = sorted(
        ((end, start, open_) for start, end, open_ in spans if end is not None), reverse=True
    )
    if not known:
        return None
    since = min((start for _, start, open_ in known if open_), default=known[0][1])
    limit = since - WINDOW_BACK_S
    for end, start, _ in known:
        if end >= since - WINDOW_GAP_S and start >= limit:
            since = min(since, start)
    return since


def _recent_weight(values: Sequence[float]) -> float:
    """Return the sum of a row of bins, oldest first, in which each counts twice what one counts
    that is HALF_LIFE_BINS older: who has done most, and above all of late."""
    total, factor = 0.0, 0.5 ** (1 / HALF_LIFE_BINS)
    for value in values:
        total = total * factor + value
    return total
