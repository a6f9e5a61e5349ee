"""What all views share: colours, and the empty plot to draw on.

Law: no view sets a colour of text, line or background by itself; it asks for a role of `INKS`, so
that one place knows how a picture looks on light and on dark ground. Colours that carry meaning
(states, groups) can be told apart by colour-blind readers and stand out on both grounds; those of
the states are Okabe and Ito's.

How colours reach a picture without a theme: BokehJS reads --bk-* variables of the page for axes,
grids and titles, but not for what glyphs draw. A model that draws with a glyph therefore carries a
tag ``role:property`` for each such colour; the page that embeds it sets those properties to its own
colours (embed.py has the few lines that do so). Until it does, the mid grey of INKS[None] is seen,
which has a contrast of 4.3 on white and on JupyterLab's dark ground alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from bokeh.core.properties import value
from bokeh.models import ColumnDataSource, Range1d
from bokeh.plotting import figure as bokeh_figure

from ...errors import InvalidArgument
from ..snapshot import OTHER, Snapshot

Theme: TypeAlias = Literal["light", "dark"]
Columns: TypeAlias = dict[str, dict[str, list[Any]]]


@dataclass(frozen=True, slots=True)
class View:
    """One diagnostic picture. `figure` builds it with empty sources, `columns` fills them. `fit`
    makes a figure as large as one snapshot needs, for a picture that will not change."""

    name: str
    title: str
    order: int
    figure: Callable[[Theme | None], Any]
    columns: Callable[[Snapshot], Columns]
    fit: Callable[[Any, Snapshot], None] | None = None


# --- colours -----------------------------------------------------------------------------------

INKS: dict[Theme | None, dict[str, str | None]] = {
    None: {"ink": "#797979", "muted": "#797979", "rule": "#7979794d", "paper": None},
    "light": {"ink": "#212121", "muted": "#616161", "rule": "#e0e0e0", "paper": "#ffffff"},
    "dark": {"ink": "#e0e0e0", "muted": "#9e9e9e", "rule": "#424242", "paper": "#111111"},
}
"""Role to colour: `ink` for text, `muted` for what is secondary, `rule` for fine lines, `paper`."""

STATE_COLORS = {
    "done": "#009e73",
    "running": "#56b4e9",
    "failed": "#d55e00",
    "waiting": "#7f7f7f",
    "dropped": "#b0a090",
}
STATE_ALPHAS = {"done": 1.0, "running": 1.0, "failed": 1.0, "waiting": 0.28, "dropped": 0.55}

GROUP_COLORS = (
    "#4c7fd0", "#e2a01c", "#b277c9", "#2ba6a6", "#cf5f86", "#9c9129",
    "#8b7be6", "#b0774d", "#6aa63c", "#d994b8", "#7c93ba", "#cdb356",
    "#3a5fa3", "#f0c674", "#7d4f96", "#7fcfc9", "#9c3f5f", "#c4bb62",
    "#b9aef5", "#7f5233", "#9fcb7c", "#a8688b", "#a9bddb", "#96803a",
)  # fmt: skip
"""None of them is the colour of a state; neighbours differ in lightness as well as in hue."""
OTHER_COLOR = "#8c8c8c"

MONO = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
SANS = "system-ui, 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif"
FONT_PX = 12
MONO_PX = 7.3
"""Width of one character of MONO at FONT_PX: names are clipped by it."""


def check_theme(theme: str | None) -> Theme | None:
    """Return the theme if it is one.

    Raises:
        InvalidArgument: it is neither 'light' nor 'dark' nor None.
    """
    if theme is None:
        return None
    if theme == "light":
        return "light"
    if theme == "dark":
        return "dark"
    raise InvalidArgument(f"theme {theme!r}: it is 'light', 'dark' or None")


def color_of_group(group: int) -> str:
    """Return the colour of a group: the same in all views, as long as it lives."""
    if group == OTHER:
        return OTHER_COLOR
    serial, session = group & 0xFFFFFFFF, group >> 32
    half = len(GROUP_COLORS) // 2  # the first half stands out best: each session begins there
    return GROUP_COLORS[(serial + 5 * session) % half + half * (serial // half % 2)]


# --- plots -------------------------------------------------------------------------------------


def make_plot(theme: Theme | None, **options: Any) -> Any:
    """Return an empty plot without tools, its colours those of the theme or of the page."""
    inks = INKS[theme]
    plot = bokeh_figure(
        tools="",
        toolbar_location=None,
        outline_line_color=None,
        background_fill_color=inks["paper"],
        border_fill_color=inks["paper"],
        min_border=0,
        **options,
    )
    for axis in plot.axis:
        axis.axis_line_color = inks["rule"]
        axis.major_tick_line_color = inks["rule"]
        axis.minor_tick_line_color = None
        axis.major_label_text_color = inks["muted"]
        axis.axis_label_text_color = inks["muted"]
        axis.major_label_text_font = axis.axis_label_text_font = SANS
        axis.major_label_text_font_size = axis.axis_label_text_font_size = f"{FONT_PX - 1}px"
        axis.axis_label_text_font_style = "normal"
    for grid in plot.grid:
        grid.grid_line_color = inks["rule"]
    return plot


def make_source(name: str, *columns: str) -> ColumnDataSource:
    """Return an empty source with a name and the columns that the view's `columns` gives it."""
    return ColumnDataSource({column: [] for column in columns}, name=name)


def add_text(
    plot: Any, theme: Theme | None, source: ColumnDataSource, role: str = "ink", **options: Any
) -> None:
    """Draw text at columns or values `x`, `y`, also outside the frame, in the colour of a role.

    A `color` (column or value) overrules the role; `at` names the ranges that x and y are in.
    """
    color, at = options.pop("color", None), options.pop("at", "default")
    style = {
        "text_font": value(SANS),
        "text_font_size": f"{FONT_PX}px",
        "text_baseline": "middle",
        "text_color": color or INKS[theme][role],
        "x_range_name": at,
        "y_range_name": at,
    }
    drawn = plot.text(source=source, level="annotation", **{**style, **options})
    if not color:
        tag_inks(drawn, theme, role, "text_color")


def tag_inks(drawn: Any, theme: Theme | None, role: str, *properties: str) -> None:
    """Mark what the embedding page is to colour; with a theme the colours are settled."""
    if theme is None:
        drawn.glyph.tags = [f"{role}:{name}" for name in properties]


def fixed_range(start: float, end: float) -> Range1d:
    """Return a range that nothing moves."""
    return Range1d(start=start, end=end)
