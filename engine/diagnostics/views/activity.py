"""The view Activity: which groups kept the slots busy over time, stacked, and the slots there were.

Law: a bin is drawn as the step that it is, its height the mean number of slots busy in it; time is
told as time ago, which is right in every time zone. What a task did is known when it is reported:
a group's newest bins fill up as its running tasks end.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from bokeh.core.properties import value
from bokeh.models import BasicTicker, ColumnDataSource, DataRange1d

from ..snapshot import Activity, Snapshot
from ..words import clip_text
from .base import (
    FONT_PX,
    INKS,
    MONO,
    Columns,
    Theme,
    add_text,
    color_of_group,
    fixed_range,
    make_plot,
    make_source,
    tag_inks,
)

NAME = "activity"
TITLE = "Activity"
ORDER = 20

HEIGHT_PX = 340
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 52, 176, 14, 44
LEGEND_PX = 18
AREA_ALPHA = 0.88
LEGEND_CHARS = 19
TICK_COUNT = 6
TICK_STEPS_S = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400,
    172800,
)  # fmt: skip
"""Distances between ticks that read well in seconds, minutes, hours and days."""


def figure(theme: Theme | None) -> Any:
    """Return the picture. Sources: `activity` (an area per group), `activity_slots` (the line),
    `activity_ticks`, `activity_title`, `activity_legend`, and `activity_note` (what to say if
    nothing ran yet)."""
    plot = make_plot(
        theme,
        height=HEIGHT_PX,
        sizing_mode="stretch_width",
        min_width=LEFT_PX + RIGHT_PX + 160,
        x_range=DataRange1d(range_padding=0.0),
        y_range=DataRange1d(start=0, range_padding=0.06),
        x_axis_location=None,
        y_axis_label="slots busy",
        min_border_left=LEFT_PX,
        min_border_right=RIGHT_PX,
        min_border_top=TOP_PX,
        min_border_bottom=BOTTOM_PX,
    )
    plot.extra_x_ranges = {"page": fixed_range(0, 1)}
    plot.extra_y_ranges = {"page": fixed_range(0, 1)}
    plot.xgrid.visible = False
    plot.yaxis.ticker = BasicTicker(desired_num_ticks=5, min_interval=1, num_minor_ticks=0)
    areas = plot.patches(
        source=make_source("activity", "xs", "ys", "color", "name"),
        xs="xs",
        ys="ys",
        fill_color="color",
        fill_alpha=AREA_ALPHA,
        line_color=None,
    )
    # Something unseen that keeps the ranges sound without data, and now at the right end.
    corners = plot.scatter(x=[-1, 0], y=[0, 1], alpha=0, level="underlay")
    plot.x_range.renderers = plot.y_range.renderers = [areas, _add_slots(plot, theme), corners]
    _add_ticks(plot, theme)
    _add_legend(plot, theme)
    note = make_source("activity_note", "text")
    add_text(
        plot, theme, note, "muted",
        at="page", x=0.5, y=0.62, text="text", text_align="center",
    )  # fmt: skip
    return plot


def columns(snapshot: Snapshot) -> Columns:
    """Return areas, line, ticks and legend; times are seconds from now, so below zero."""
    activity = snapshot.activity
    edges = [
        round(min(activity.start + i * activity.bin_s - snapshot.time, 0.0), 3)
        for i in range(len(activity.slots) + 1)
    ]
    has_slots, has_work = any(activity.slots), bool(activity.busy)
    # A bin that has just begun is left out (see ActivityRing), but slots are there until now.
    to_now = [*edges[:-1], 0.0]
    order = range(len(activity.ids) - 1, -1, -1)
    return {
        "activity": _areas_of(activity, edges),
        "activity_slots": _steps_of(to_now, activity.slots) if has_slots else {"x": [], "y": []},
        "activity_ticks": _ticks_of(edges) if has_work else {"x": [], "text": []},
        "activity_title": {"text": ["time ago"] if has_work else []},
        "activity_legend": {
            "down": [(place + 1) * LEGEND_PX for place in range(len(order))],
            "mark": ["●"] * len(order),
            "color": [color_of_group(activity.ids[i]) for i in order],
            "name": [clip_text(activity.groups[i], LEGEND_CHARS) for i in order],
        },
        "activity_note": {"text": [] if has_work else ["no group has run yet"]},
    }


# --- drawing -----------------------------------------------------------------------------------


def _add_slots(plot: Any, theme: Theme | None) -> Any:
    line = plot.step(
        source=make_source("activity_slots", "x", "y"),
        x="x",
        y="y",
        mode="after",
        line_color=INKS[theme]["ink"],
        line_dash=[5, 3],
        line_width=1.5,
    )
    tag_inks(line, theme, "ink", "line_color")
    return line


def _add_ticks(plot: Any, theme: Theme | None) -> None:
    """Draw the time axis from columns: an axis of its own cannot say "2 min ago"."""
    source = make_source("activity_ticks", "x", "text")
    rule = plot.segment(
        source=source,
        x0="x",
        x1="x",
        y0=0,
        y1=1,
        line_color=INKS[theme]["rule"],
        y_range_name="page",
        level="underlay",
    )
    tag_inks(rule, theme, "rule", "line_color")
    add_text(
        plot, theme, source, "muted",
        y_range_name="page", x="x", y=0, text="text", y_offset=13,
        text_align="center", text_font_size=f"{FONT_PX - 1}px",
    )  # fmt: skip
    title = make_source("activity_title", "text")
    add_text(
        plot, theme, title, "muted",
        at="page", x=0.5, y=0, text="text", y_offset=32,
        text_align="center", text_font_size=f"{FONT_PX - 1}px",
    )  # fmt: skip


def _add_legend(plot: Any, theme: Theme | None) -> None:
    """Draw the names beside the plot, in the order of the stack, below them the slots."""
    place: dict[str, Any] = {"at": "page", "x": 1, "y": 1}
    source = make_source("activity_legend", "down", "mark", "color", "name")
    down = {"field": "down"}
    add_text(plot, theme, source, color="color", text="mark", x_offset=14, y_offset=down, **place)
    add_text(
        plot, theme, source, text="name", x_offset=30, y_offset=down,
        text_font=value(MONO), text_font_size=f"{FONT_PX - 1}px", **place,
    )  # fmt: skip
    slots = ColumnDataSource({"text": ["╌╌", "slots"], "right": [10, 30]})
    right = {"field": "right"}
    add_text(
        plot, theme, slots, text="text", x_offset=right, text_font_size=f"{FONT_PX - 1}px", **place
    )


# --- columns -----------------------------------------------------------------------------------


def _areas_of(activity: Activity, edges: Sequence[float]) -> dict[str, list[Any]]:
    """Return one polygon per group: its steps on top of those of the groups below."""
    xs, ys = [], []
    below = [0.0] * len(activity.slots)
    for row in activity.busy:
        top = [round(under + slots, 4) for under, slots in zip(below, row, strict=True)]
        upper, lower = _steps_of(edges, top), _steps_of(edges, below)
        xs.append(_corners_x(upper["x"]) + _corners_x(lower["x"])[::-1])
        ys.append(_corners_y(upper["y"]) + _corners_y(lower["y"])[::-1])
        below = top
    return {
        "xs": xs,
        "ys": ys,
        "color": [color_of_group(group) for group in activity.ids],
        "name": list(activity.groups),
    }


def _steps_of(edges: Sequence[float], values: Sequence[float]) -> dict[str, list[float]]:
    """Return where the steps of a line begin and their heights, and its end; equal neighbours are
    one step."""
    x, y = [edges[0]], [values[0]]
    for edge, height in zip(edges[1:], values[1:], strict=False):
        if height != y[-1]:
            x.append(edge)
            y.append(height)
    return {"x": [*x, edges[-1]], "y": [*y, y[-1]]}


def _corners_x(x: Sequence[float]) -> list[float]:
    return [edge for pair in pairwise(x) for edge in pair]


def _corners_y(y: Sequence[float]) -> list[float]:
    return [height for height in y[:-1] for _ in range(2)]


def _ticks_of(edges: Sequence[float]) -> dict[str, list[Any]]:
    """Return round times between the edges, the present included."""
    first = edges[0]
    length = max(edges[-1] - first, 1e-3)
    fitting = (step for step in TICK_STEPS_S if length / step <= TICK_COUNT)
    step = next(fitting, TICK_STEPS_S[-1])
    times = [place * step for place in range(int(-first / step) + 1)][: 2 * TICK_COUNT]
    return {"x": [-time for time in times], "text": [_ago_text(time) for time in times]}


def _ago_text(seconds: int) -> str:
    if seconds == 0:
        return "now"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and (seconds % size == 0 or seconds >= 10 * size):
            return f"{seconds / size:g} {unit}"
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 60} min {seconds % 60} s" if seconds > 90 else f"{seconds} s"
