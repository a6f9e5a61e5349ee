"""Every view: its figure builds in each theme, and its columns fit its sources on any snapshot."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
from bokeh.models import ColumnDataSource

import cellspan.engine.diagnostics.views as views
from cellspan.engine.diagnostics.snapshot import OTHER, Snapshot
from cellspan.engine.diagnostics.views import activity, base, groups
from cellspan.engine.errors import InvalidArgument

from .scenes import make_group, take_snapshot

NAMES = [view.name for view in views.list_views()]
THEMES: list[views.Theme | None] = [None, "light", "dark"]
SNAPSHOTS = {
    "no workers": take_snapshot([], workers=0),
    "no groups": take_snapshot([]),
    "one waiting": take_snapshot([make_group(1)]),
    "one of no tasks": take_snapshot([make_group(1, total=0)]),
    "one done": take_snapshot([make_group(1, total=10, done=10)]),
    "one failed": take_snapshot([make_group(1, total=3, done=1, failed=2)]),
    "many": take_snapshot(
        [make_group(i, done=i % 90, running=i % 3, failed=i % 2, at=i / 9) for i in range(500)], 40
    ),
    "ten million": take_snapshot([make_group(1, total=10**7, done=10**6, seconds=1e-5)]),
}
snapshots = pytest.mark.parametrize("snapshot", SNAPSHOTS.values(), ids=SNAPSHOTS.keys())
names = pytest.mark.parametrize("name", NAMES)
themes = pytest.mark.parametrize("theme", THEMES)


def sources_of(figure: Any) -> dict[str, ColumnDataSource]:
    return {
        source.name: source
        for source in figure.select({"type": ColumnDataSource})
        if source.name is not None
    }


def test_both_views_are_there_in_order() -> None:
    assert NAMES == ["groups", "activity"]
    assert [view.title for view in views.list_views()] == ["Groups", "Activity"]


def test_adding_a_view_is_adding_a_file() -> None:
    folder = Path(views.__file__).parent
    files = {path.stem for path in folder.glob("*.py") if "\nNAME = " in path.read_text()}
    assert files == set(NAMES)


@pytest.mark.parametrize("name", ["", "nothing", "base", "../groups"])
def test_a_view_that_is_not_there_is_named_with_those_that_are(name: str) -> None:
    with pytest.raises(InvalidArgument, match="groups, activity"):
        views.get_view(name)


def test_a_theme_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="sepia"):
        views.view_item("groups", cast(views.Theme, "sepia"))


@names
@snapshots
def test_columns_fit_the_sources(name: str, snapshot: Snapshot) -> None:
    sources = sources_of(views.get_view(name).figure(None))
    columns = views.view_columns(name, snapshot)
    assert columns.keys() == sources.keys()
    for source, values in columns.items():
        assert values.keys() == sources[source].data.keys()
        assert len({len(column) for column in values.values()}) == 1
    json.dumps(columns, allow_nan=False)


@names
@themes
def test_a_figure_is_sound(name: str, theme: views.Theme | None, caplog: Any) -> None:
    item = views.view_item(name, theme, SNAPSHOTS["many"])
    assert {"doc", "root_id", "target_id", "version"} <= item.keys()
    json.dumps(item, allow_nan=False)
    assert not caplog.records  # Bokeh's own checks complain by logging


@names
def test_sources_of_the_figure_hold_the_snapshot_if_one_is_given(name: str) -> None:
    text = json.dumps(views.view_item(name, None, SNAPSHOTS["one done"]))
    assert '"inc"' in text
    assert '"inc"' not in json.dumps(views.view_item(name))


@names
def test_without_a_theme_what_glyphs_draw_is_tagged_for_the_page(name: str) -> None:
    figure = views.get_view(name).figure(None)
    tags = {tag for renderer in figure.renderers for tag in renderer.glyph.tags}
    assert "muted:text_color" in tags and "ink:text_color" in tags
    for tag in tags:
        role, _, _ = str(tag).partition(":")
        assert role in base.INKS["light"]
    settled = views.get_view(name).figure("dark")
    assert not [renderer for renderer in settled.renderers if renderer.glyph.tags]


@names
def test_without_a_theme_the_ground_is_the_page(name: str) -> None:
    figure = views.get_view(name).figure(None)
    assert figure.background_fill_color is None and figure.border_fill_color is None


def contrast(one: str, other: str) -> float:
    def light(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        line = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * line[0] + 0.7152 * line[1] + 0.0722 * line[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("role", ["ink", "muted"])
@pytest.mark.parametrize("paper", ["#ffffff", "#111111"])
def test_text_without_a_theme_is_readable_on_both_grounds(role: str, paper: str) -> None:
    assert contrast(cast(str, base.INKS[None][role]), paper) >= 4.2


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_with_a_theme_is_readable(theme: views.Theme) -> None:
    inks = base.INKS[theme]
    assert contrast(cast(str, inks["ink"]), cast(str, inks["paper"])) >= 7
    assert contrast(cast(str, inks["muted"]), cast(str, inks["paper"])) >= 4.5


def test_a_group_keeps_its_colour() -> None:
    ids = [session << 32 | serial for session in (3, 4) for serial in range(40)]
    colors = {group: base.color_of_group(group) for group in ids}
    assert colors == {group: base.color_of_group(group) for group in reversed(ids)}
    assert len(set(colors.values())) == len(base.GROUP_COLORS)
    assert len({colors[3 << 32 | serial] for serial in range(12)}) == 12
    assert base.color_of_group(OTHER) not in base.GROUP_COLORS


# --- groups ------------------------------------------------------------------------------------


@snapshots
def test_bars_are_whole(snapshot: Snapshot) -> None:
    columns = views.view_columns("groups", snapshot)["groups"]
    for place, y in enumerate(columns["y"]):
        edges = [columns[edge][place] for edge in groups.EDGES]
        assert edges == sorted(edges) and edges[0] == 0.0
        assert edges[-1] == pytest.approx(1.0 if snapshot.groups[place].total else 0.0, abs=1e-3)
        assert y == -(place + 0.5)


def test_one_failure_among_a_million_is_seen() -> None:
    snapshot = take_snapshot([make_group(1, total=10**6, done=10**6 - 1, failed=1)])
    columns = views.view_columns("groups", snapshot)["groups"]
    assert columns["failed_right"][0] - columns["failed_left"][0] >= groups.MIN_SHARE / 1.1
    assert columns["failure"] == ["1 failed"] and columns["state"] == [""]
    assert columns["counts"] == ["1,000,000: 999,999 done, 1 failed"]


def test_many_groups_are_some_rows_and_one_more() -> None:
    snapshot = SNAPSHOTS["many"]
    columns = views.view_columns("groups", snapshot)["groups"]
    assert len(columns["y"]) == groups.MAX_ROWS + 1
    assert columns["name"][-1] == f"other ({500 - groups.MAX_ROWS} groups)"
    assert columns["full_name"][:-1] == [row.name for row in snapshot.groups[: groups.MAX_ROWS]]
    done = sum(int(re.sub(r"\D", "", text.split(":")[0])) for text in columns["counts"])
    assert done == snapshot.totals["total"]


def test_long_names_are_cut_to_their_column_and_told_in_full() -> None:
    name = "a_function_with_a_name_that_goes_on_and_on"
    columns = views.view_columns("groups", take_snapshot([make_group(1, name=name)]))["groups"]
    assert len(columns["name"][0]) == groups.NAME_CHARS and columns["name"][0].endswith("…")
    assert columns["full_name"] == [name]


@pytest.mark.parametrize("count", [0, 2, 7, 60])
def test_the_height_in_use_is_that_of_a_figure_made_to_fit(count: int) -> None:
    snapshot = take_snapshot([make_group(i) for i in range(1, count + 1)])
    plot = groups.figure(None)
    highest = plot.height
    groups.fit(plot, snapshot)
    note = views.view_columns("groups", snapshot)["groups_note"]
    assert note["height_px"] == [plot.height] and plot.height <= highest


# --- activity ----------------------------------------------------------------------------------


def area(xs: list[float], ys: list[float]) -> float:
    """The area of a polygon, whichever way round it goes."""
    corners = zip(xs, ys, xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True)
    return abs(sum(x0 * y1 - x1 * y0 for x0, y0, x1, y1 in corners)) / 2


def test_areas_are_the_busy_time() -> None:
    snapshot = take_snapshot(
        [make_group(i, total=50, done=50, at=5.0 * i, seconds=0.1) for i in range(5)], now=40.0
    )
    shown = views.view_columns("activity", snapshot)["activity"]
    for xs, ys, row in zip(shown["xs"], shown["ys"], snapshot.activity.busy, strict=True):
        assert area(xs, ys) == pytest.approx(sum(row) * snapshot.activity.bin_s, rel=1e-2)
        assert max(xs) <= 0.0


@snapshots
def test_the_line_of_slots_covers_the_time(snapshot: Snapshot) -> None:
    columns = views.view_columns("activity", snapshot)
    line = columns["activity_slots"]
    assert bool(line["x"]) == any(snapshot.activity.slots)
    if line["x"]:
        assert line["x"][0] == pytest.approx(snapshot.activity.start - snapshot.time)
        assert line["x"] == sorted(line["x"]) and line["x"][-1] == 0.0


@pytest.mark.parametrize("length", [0.5, 3, 59, 61, 600, 3599, 5 * 3600, 90 * 3600, 900 * 3600])
def test_ticks_are_few_round_and_told_apart(length: float) -> None:
    ticks = activity._ticks_of([-length, 0.0])
    assert 1 <= len(ticks["x"]) <= 2 * activity.TICK_COUNT
    assert ticks["text"][0] == "now" and len(set(ticks["text"])) == len(ticks["text"])
    assert all(-length <= x <= 0 for x in ticks["x"])


def test_the_legend_is_in_the_order_of_the_stack() -> None:
    snapshot = SNAPSHOTS["many"]
    columns = views.view_columns("activity", snapshot)
    assert columns["activity_legend"]["color"] == columns["activity"]["color"][::-1]


# --- pages -------------------------------------------------------------------------------------


@names
@themes
def test_a_page_needs_nothing_else(name: str, theme: views.Theme | None) -> None:
    page = views.view_html(name, SNAPSHOTS["one done"], theme)
    assert not re.search(r"<script[^>]+src=|<link[^>]+href=", page)
    assert "Bokeh.embed.embed_item" in page


def test_a_page_is_not_broken_by_names() -> None:
    name = "</script><script>alert(1)</script><!--"
    snapshot = take_snapshot([make_group(1, name=name, total=1, done=1)])
    snapshot.cluster = name
    page = views.view_html("groups", snapshot, "light", inline=False)
    assert "alert(1)" in page
    assert "<script>alert(1)" not in page and page.count("</script>") == page.count("<script")


def test_a_page_is_as_high_as_its_rows() -> None:
    small = groups.figure("light")
    groups.fit(small, SNAPSHOTS["one done"])
    whole = groups.figure("light")
    assert small.height < whole.height
    frames = [(plot.height - groups.HEAD_PX) / -plot.y_range.start for plot in (small, whole)]
    assert frames == [groups.ROW_PX, groups.ROW_PX]
