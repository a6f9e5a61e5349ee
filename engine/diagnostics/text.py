"""A snapshot as plain text: for terminals, logs, and notebooks that show no pictures.

Law: a pure function from a snapshot to text; its length is bounded by `rows`, not by the cluster.
"""

from __future__ import annotations

from collections.abc import Sequence

from .snapshot import GroupRow, Snapshot
from .words import (
    about_text,
    bytes_text,
    clip_text,
    count_text,
    duration_text,
    rate_text,
)

NAME_CHARS = 32
BAR_CHARS = 12
HEAD = ("group", "", "done / tasks", "rate", "median", "p90", "state")
RIGHT = frozenset(("done / tasks", "rate", "median", "p90"))


def snapshot_text(snapshot: Snapshot, rows: int = 20) -> str:
    """Return a compact table: the cluster in two lines, then at most `rows` groups."""
    lines = [_cluster_line(snapshot), _tasks_line(snapshot)]
    shown = snapshot.groups[:rows]
    if not shown:
        return "\n".join([*lines, "no groups yet"])
    cells = [HEAD, *(_cells_of(row) for row in shown)]
    lines += ["", *_table_of(cells)]
    lines += [f"{clip_text(row.name, NAME_CHARS)}: {row.warning}" for row in shown if row.warning]
    hidden = snapshot.group_count - len(shown)
    if hidden > 0 and shown[-1].group >= 0:
        lines.append(f"... and {hidden:,} more groups")
    return "\n".join(lines)


def _cluster_line(snapshot: Snapshot) -> str:
    workers = snapshot.workers
    parts = [
        f"cluster {snapshot.cluster}",
        f"up {about_text(snapshot.uptime_s)}",
        f"{workers.count:,} worker{'' if workers.count == 1 else 's'}",
        f"{min(workers.busy, workers.slots):,} of {workers.slots:,} slots busy",
    ]
    if workers.memory_limit_bytes:
        used, limit = bytes_text(workers.memory_bytes), bytes_text(workers.memory_limit_bytes)
        parts.append(f"memory {used} of {limit}")
    return ", ".join(parts)


def _tasks_line(snapshot: Snapshot) -> str:
    totals = snapshot.totals
    counts = {
        "done": totals["done"],
        "running": totals["running"],
        "failed": totals["failed"],
        "waiting": totals["waiting"] + totals["ready"],
    }
    parts = [f"{count:,} {state}" for state, count in counts.items() if count]
    return f"tasks: {', '.join(parts) or 'none'}"


def _cells_of(row: GroupRow) -> tuple[str, ...]:
    median, p90 = (row.quantiles[1], row.quantiles[2]) if row.quantiles else (None, None)
    return (
        clip_text(row.name, NAME_CHARS),
        _bar_of(row),
        f"{count_text(row.done)} / {count_text(row.total)}",
        rate_text(row.rate),
        duration_text(median),
        duration_text(p90),
        state_text(row),
    )


def _bar_of(row: GroupRow) -> str:
    """Return the share done as a bar; it is full only when everything is done."""
    filled = BAR_CHARS * row.done // row.total if row.total else 0
    return f"[{'#' * filled}{'.' * (BAR_CHARS - filled)}]"


def state_text(row: GroupRow) -> str:
    """Return in a few words how it stands with a group: "40 s left", "3 failed, done in 2 s"."""
    parts = []
    if row.failed:
        parts.append(f"{count_text(row.failed)} failed")
    if row.unfinished:
        parts.append(_left_text(row))
    elif row.failed:
        pass
    elif row.done and _took_s(row) > 0:
        parts.append(f"done in {duration_text(_took_s(row))}")
    elif row.dropped:
        parts.append(f"{count_text(row.dropped)} dropped")
    else:
        parts.append("done" if row.done else "empty")
    return ", ".join(parts)


def _took_s(row: GroupRow) -> float:
    if row.started is None or row.finished is None:
        return 0.0
    return row.finished - row.started


def _left_text(row: GroupRow) -> str:
    if row.eta_s is not None:
        return f"{about_text(row.eta_s)} left"
    return "running" if row.running else "blocked" if row.warning else "waiting"


def _table_of(cells: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(width) if title in RIGHT else cell.ljust(width)
            for cell, width, title in zip(row, widths, HEAD, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return lines
