"""Progress rows as HTML and as text."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from cellspan.kernel_ext.formats import UNKNOWN, format_bytes, format_rate, format_seconds
from cellspan.kernel_ext.progress_draw import draw_html, draw_lines
from cellspan.kernel_ext.progress_rows import MAX_ROWS, Row, bound_rows

RUNNING = Row("boot", 1000, 400, 100, 2, rate=50.0, eta_s=9.96)
FINISHED = Row("load", 8, 8, 0, 0, took_s=1.3)


def body_of(html: str) -> ElementTree.Element:
    """Return the HTML behind the style element, which must be well-formed."""
    return ElementTree.fromstring(html.partition("</style>")[2])


def test_a_row_says_everything_in_text() -> None:
    (line,) = draw_lines([RUNNING])
    assert line == (
        "boot  [#########xxx............]  400 / 1,000 done (50 %)  2 running  498 waiting"
        "  100 failed  50/s  10 s left"
    )


def test_a_finished_row_says_how_long_it_took_and_nothing_of_the_rest() -> None:
    assert draw_lines([FINISHED], bar=False) == ["load  8 / 8 done (100 %)  done in 1.3 s"]


def test_it_is_100_percent_only_at_the_end() -> None:
    (line,) = draw_lines([Row("big", 1_000_000, 999_999, 0, 1)])
    assert "(99 %)" in line


def test_names_are_cut_and_columns_stay_in_line() -> None:
    long, short = draw_lines([Row("x" * 60, 2, 1, 0, 0), Row("y", 2, 1, 0, 0)])
    assert long.index("[") == short.index("[") == 30
    assert "…" in long


def test_one_failure_among_a_million_is_seen_in_the_bar() -> None:
    (line,) = draw_lines([Row("big", 1_000_000, 10, 1, 0)])
    assert "[x...." in line


def test_html_has_the_numbers_and_bars_with_roles() -> None:
    body = body_of(draw_html([RUNNING, FINISHED]))
    rows = body.findall(".//tbody/tr")
    texts = [[cell.text for cell in row.findall("td")[1:]] for row in rows]
    assert texts == [
        ["400 / 1,000", "2", "498", "100", "50/s", "10 s"],
        ["8 / 8", "0", "0", "0", UNKNOWN, "done in 1.3 s"],
    ]
    bars = body.findall(".//*[@role='progressbar']")
    assert [bar.get("aria-valuenow") for bar in bars] == ["500", "8"]
    assert bars[0].get("aria-valuetext") == "400 of 1,000 done, 100 failed"
    widths = [part.get("style") for part in bars[0]]
    assert widths == ["width: 40.00%", "width: 10.00%", "width: 0.20%"]


def test_html_takes_names_as_text() -> None:
    html = draw_html([Row('<script>alert("x")</script>', 1, 0, 0, 0)], note="<b>")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "&lt;b&gt;" in html


def test_no_tasks_is_said() -> None:
    assert "No tasks yet." in draw_html([])
    assert draw_lines([]) == ["No tasks yet."]


def test_many_groups_become_twenty_rows_and_a_sum() -> None:
    rows = [Row(f"g{i}", 10, 10, 0, 0) for i in range(500)]
    rows[321] = Row("g321", 10, 4, 0, 1, rate=2.0, eta_s=3.0)
    shown = bound_rows(rows)
    assert len(shown) == MAX_ROWS + 1
    assert rows[321] in shown  # what is unfinished is shown
    assert shown[-1].name == "other (480 groups)"
    assert sum(row.total for row in shown) == 5000
    assert sum(row.done for row in shown) == 4994
    assert bound_rows(rows[:20]) == rows[:20]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (12_000, "3 h 20 min"),
        (None, UNKNOWN),
    ],
)
def test_time_is_written_for_people(seconds: float | None, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (1234.5, "1,234/s"),
        (2.5, "2.5/s"),
        (0.5, "30/min"),
        (0.01, "36/h"),
        (0, UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_rates_are_written_for_people(rate: float | None, text: str) -> None:
    assert format_rate(rate) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (8_440_000_000, "8.4 GB"), (15e12, "15 TB")],
)
def test_sizes_are_written_for_people(size: float, text: str) -> None:
    assert format_bytes(size) == text
