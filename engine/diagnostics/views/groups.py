"""The view Groups: a table with one row per group, its states as a bar, its figures as text.

Law: rows have a fixed height, so that one group and a hundred are equally readable; at most
MAX_ROWS are drawn, the rest is summed in one more. Shares are exact, but for one thing: a state
that some task is in is at least MIN_SHARE wide, so that one failure among a million is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bokeh.core.properties import value
from bokeh.models import ColumnDataSource, HoverTool

from ..snapshot import OTHER, GroupRow, Snapshot
from ..text import state_text
from ..words import clip_text, count_text, duration_text, other_text, rate_text
from .base import (
    MONO,
    MONO_PX,
    STATE_ALPHAS,
    STATE_COLORS,
    Columns,
    Theme,
    add_text,
    color_of_group,
    fixed_range,
    make_plot,
    make_source,
)

NAME = "groups"
TITLE = "Groups"
ORDER = 10

MAX_ROWS = 20
ROW_PX = 26
HEAD_PX = 52
MIN_SHARE = 0.012
NAME_CHARS = 22

STATES = ("done", "running", "failed", "waiting", "dropped")
EDGES = tuple(f"{state}_{edge}" for state in STATES for edge in ("left", "right"))
TEXTS = ("mark", "name", "tasks", "rate", "median", "p90", "state", "failure")
DETAILS = ("full_name", "counts", "durations", "origin", "error", "notes")

LEFT_PX = round(34 + NAME_CHARS * MONO_PX)
RIGHT_PX = 452
"""Room for text on both sides of the bars."""
RIGHT_EDGES_PX = {"tasks": 98, "rate": 162, "median": 224, "p90": 286}
STATE_PX = 300
"""Where the columns of text stand, from the right end of the bars."""


def figure(theme: Theme | None) -> Any:
    """Return the picture. Sources: `groups`, a row per group; `groups_note`, shown if there is
    none, which also has how much of the figure's height is in use, for a page that has to be
    brief."""
    rows = MAX_ROWS + 1
    plot = make_plot(
        theme,
        height=HEAD_PX + rows * ROW_PX,
        sizing_mode="stretch_width",
        min_width=LEFT_PX + RIGHT_PX + 60,
        x_range=fixed_range(0, 1),
        y_range=fixed_range(-rows, 0),
        x_axis_location=None,
        y_axis_location=None,
        min_border_left=LEFT_PX,
        min_border_right=RIGHT_PX,
        min_border_top=HEAD_PX,
    )
    plot.grid.visible = False
    source = make_source("groups", "y", "color", *EDGES, *TEXTS, *DETAILS)
    for state in STATES:
        plot.hbar(
            source=source,
            y="y",
            left=f"{state}_left",
            right=f"{state}_right",
            height=0.5,
            fill_color=STATE_COLORS[state],
            fill_alpha=STATE_ALPHAS[state],
            line_color=None,
        )
    _add_texts(plot, theme, source)
    _add_head(plot, theme)
    _add_hover(plot, source)
    note = make_source("groups_note", "text", "height_px")
    add_text(plot, theme, note, "muted", x=0.5, y=-2, text="text", text_align="center")
    return plot


def columns(snapshot: Snapshot) -> Columns:
    """Return the rows to draw, in the order of the snapshot."""
    rows = _choose_rows(snapshot)
    values = [_values_of(row, -(place + 0.5), snapshot.time) for place, row in enumerate(rows)]
    names = ("y", "color", *EDGES, *TEXTS, *DETAILS)
    return {
        "groups": {name: [value[name] for value in values] for name in names},
        "groups_note": {
            "text": ["" if rows else "no groups yet"],
            "height_px": [_height_of(len(rows))],
        },
    }


def fit(plot: Any, snapshot: Snapshot) -> None:
    """Make the figure as high as the rows of this snapshot are."""
    rows = max(len(_choose_rows(snapshot)), 3)
    plot.height = _height_of(rows)
    plot.y_range.start = -rows


def _height_of(rows: int) -> int:
    """Return the height of so many rows, and of the note where there are none."""
    return HEAD_PX + max(rows, 3) * ROW_PX


# --- drawing -----------------------------------------------------------------------------------


def _add_texts(plot: Any, theme: Theme | None, source: ColumnDataSource) -> None:
    def add(column: str, role: str, x: float, x_offset: int, align: str, **options: Any) -> None:
        add_text(
            plot, theme, source, role,
            x=x, y="y", text=column, x_offset=x_offset, text_align=align, **options,
        )  # fmt: skip

    add("mark", "ink", 0, 10 - LEFT_PX, "left", color="color")
    add("name", "ink", 0, 26 - LEFT_PX, "left", text_font=value(MONO))
    add("tasks", "ink", 1, RIGHT_EDGES_PX["tasks"], "right")
    for column in ("rate", "median", "p90"):
        add(column, "muted", 1, RIGHT_EDGES_PX[column], "right")
    add("state", "muted", 1, STATE_PX, "left")
    add("failure", "ink", 1, STATE_PX, "left", color=STATE_COLORS["failed"])


def _add_head(plot: Any, theme: Theme | None) -> None:
    """Draw what the bars' colours mean, and the titles of the columns."""
    width = 76
    for place, state in enumerate(STATES):
        left = 10 - LEFT_PX + place * width
        mark = ColumnDataSource({"text": ["■"]})
        add_text(
            plot, theme, mark, color=STATE_COLORS[state], text_alpha=STATE_ALPHAS[state],
            x=0, y=0, text="text", x_offset=left, y_offset=12 - HEAD_PX,
        )  # fmt: skip
    legend = ColumnDataSource(
        {
            "text": list(STATES),
            "left": [26 - LEFT_PX + place * width for place in range(len(STATES))],
        }
    )
    add_text(
        plot, theme, legend, "muted",
        x=0, y=0, text="text", x_offset={"field": "left"}, y_offset=12 - HEAD_PX,
    )  # fmt: skip
    titles = {"tasks": "done / tasks", "rate": "rate", "median": "median", "p90": "p90"}
    right = ColumnDataSource(
        {
            "text": [*titles.values(), "task duration"],
            "left": [*(RIGHT_EDGES_PX[name] for name in titles), RIGHT_EDGES_PX["p90"]],
            "down": [-14] * len(titles) + [12 - HEAD_PX],
        }
    )
    add_text(
        plot, theme, right, "muted", text_align="right",
        x=1, y=0, text="text", x_offset={"field": "left"}, y_offset={"field": "down"},
    )  # fmt: skip
    first = ColumnDataSource({"text": ["group"]})
    add_text(
        plot, theme, first, "muted", x=0, y=0, text="text", x_offset=26 - LEFT_PX, y_offset=-14
    )
    last = ColumnDataSource({"text": ["state"]})
    add_text(plot, theme, last, "muted", x=1, y=0, text="text", x_offset=STATE_PX, y_offset=-14)


def _add_hover(plot: Any, source: ColumnDataSource) -> None:
    """Tell all figures of a row when the pointer is on its bar, on whichever part of it."""
    area = plot.hbar(source=source, y="y", left=0, right=1, height=1, fill_alpha=0, line_alpha=0)
    tooltips = [
        ("group", "@full_name"),
        ("tasks", "@counts"),
        ("duration", "@durations"),
        ("from", "@origin"),
        ("first failure", "@error"),
        ("notes", "@notes"),
    ]
    plot.add_tools(HoverTool(renderers=[area], tooltips=tooltips, point_policy="follow_mouse"))


# --- columns -----------------------------------------------------------------------------------


def _choose_rows(snapshot: Snapshot) -> list[GroupRow]:
    """Return at most MAX_ROWS rows and one that sums the rest."""
    named = [row for row in snapshot.groups if row.group != OTHER]
    summed = [row for row in snapshot.groups if row.group == OTHER]
    if len(named) + len(summed) <= MAX_ROWS + 1:
        return named + summed
    count = snapshot.group_count - MAX_ROWS
    return [*named[:MAX_ROWS], _sum_rows(named[MAX_ROWS:] + summed, other_text(count))]


def _sum_rows(rows: Sequence[GroupRow], name: str) -> GroupRow:
    """Return one row for several; how their durations are distributed is not known any more."""

    def total(field: str) -> int:
        return sum(getattr(row, field) for row in rows)

    active = [row for row in rows if row.unfinished]
    starts = [row.started for row in rows if row.started is not None]
    ends = [row.finished for row in rows if row.finished is not None]
    rate = sum(row.rate for row in active)
    return GroupRow(
        group=OTHER,
        name=name,
        client="",
        layer="",
        total=total("total"),
        waiting=total("waiting"),
        ready=total("ready"),
        running=total("running"),
        done=total("done"),
        failed=total("failed"),
        released=total("released"),
        depth=max(row.depth for row in rows),
        created=min(row.created for row in rows),
        started=min(starts, default=None),
        finished=None if active else max(ends, default=None),
        seconds=sum(row.seconds for row in rows),
        bytes_held=total("bytes_held"),
        rate=rate,
        eta_s=sum(row.unfinished for row in active) / rate if rate else None,
        quantiles=None,
        error=next((row.error for row in rows if row.error), None),
        warning=next((row.warning for row in rows if row.warning), None),
    )


def _values_of(row: GroupRow, y: float, now: float) -> dict[str, Any]:
    state = state_text(row)
    median, p90 = (row.quantiles[1], row.quantiles[2]) if row.quantiles else (None, None)
    return {
        "y": y,
        "mark": "●",
        "color": color_of_group(row.group),
        **_edges_of(row),
        "name": clip_text(row.name, NAME_CHARS),
        "tasks": f"{count_text(row.done)} / {count_text(row.total)}",
        "rate": rate_text(row.rate),
        "median": duration_text(median),
        "p90": duration_text(p90),
        "state": "" if row.failed else state,
        "failure": state if row.failed else "",
        "full_name": row.name,
        "counts": _counts_text(row),
        "durations": _durations_text(row),
        "origin": _origin_text(row, now),
        "error": row.error or "none",
        "notes": ", ".join(filter(None, (row.warning, row.metadata))) or "none",
    }


def _edges_of(row: GroupRow) -> dict[str, float]:
    """Return where each state's part of the bar begins and ends, between 0 and 1."""
    counts = {
        "done": row.done,
        "running": row.running,
        "failed": row.failed,
        "waiting": row.waiting + row.ready,
        "dropped": row.dropped,
    }
    total = sum(counts.values())
    shares = {state: max(count / total, MIN_SHARE) for state, count in counts.items() if count}
    scale = sum(shares.values())
    edges, end = {}, 0.0
    for state in STATES:
        start, end = end, end + shares.get(state, 0.0) / (scale or 1.0)
        edges[f"{state}_left"], edges[f"{state}_right"] = round(start, 4), round(end, 4)
    return edges


def _counts_text(row: GroupRow) -> str:
    counts = {
        "done": row.done,
        "running": row.running,
        "failed": row.failed,
        "ready": row.ready,
        "waiting": row.waiting,
        "dropped": row.dropped,
    }
    parts = [f"{count:,} {state}" for state, count in counts.items() if count]
    return f"{row.total:,}: {', '.join(parts)}" if parts else "none"


def _durations_text(row: GroupRow) -> str:
    if not row.quantiles:
        return "not known"
    p10, p50, p90, longest = (duration_text(value) for value in row.quantiles)
    return f"p10 {p10}, median {p50}, p90 {p90}, longest {longest}"


def _origin_text(row: GroupRow, now: float) -> str:
    if row.group == OTHER:
        return "several"
    age = duration_text(max(now - row.created, 0.0))
    return f"{row.client or 'a client'}, {age} ago"
