"""Numbers and snapshots as text."""

from __future__ import annotations

import pytest

from cellspan.engine.diagnostics.text import snapshot_text
from cellspan.engine.diagnostics.words import (
    about_text,
    bytes_text,
    clip_text,
    count_text,
    duration_text,
    rate_text,
)

from .scenes import make_group, take_snapshot


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"), (7, "7"), (999, "999"), (1000, "1k"), (12_345, "12.3k"), (999_499, "999k"),
        (999_600, "1M"), (1_050_000, "1.05M"), (10**7, "10M"), (4 * 10**9, "4G"),
    ],
)  # fmt: skip
def test_counts(count: int, text: str) -> None:
    assert count_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "—"), (float("nan"), "—"), (1e-6, "1 µs"), (123.4e-6, "123 µs"), (1.5e-3, "1.5 ms"),
        (0.9996, "1 s"), (59.94, "59.9 s"), (99.96, "1 m 40 s"), (3599.6, "1 h 00 m"),
        (7500, "2 h 05 m"), (86400 * 3 + 4 * 3600, "3 d 4 h"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.0, "—"), (12.34, "12.3/s"), (1234.5, "1.23k/s"), (0.5, "30/min"), (0.001, "3.6/h")],
)
def test_rates(rate: float, text: str) -> None:
    assert rate_text(rate) == text


def test_what_is_left_is_told_roughly() -> None:
    assert [about_text(s) for s in (0.2, 39.8, 150.0, None)] == ["<1 s", "40 s", "2 m 30 s", "—"]


def test_sizes() -> None:
    assert [bytes_text(n) for n in (0, 1023, 1536, 1 << 20, 3 << 30)] == [
        "0 B", "1023 B", "1.5 KiB", "1 MiB", "3 GiB",
    ]  # fmt: skip


def test_texts_are_cut_with_an_ellipsis() -> None:
    assert clip_text("abcdef", 6) == "abcdef"
    assert clip_text("abcdefg", 6) == "abcde…"


def test_an_idle_cluster() -> None:
    lines = snapshot_text(take_snapshot([], workers=2, now=5.0)).splitlines()
    assert lines[0].startswith("cluster local, up 5 s, 2 workers, 8 of 8 slots busy, memory 1 MiB")
    assert lines[1:] == ["tasks: none", "no groups yet"]


def test_a_table_of_groups() -> None:
    groups = [
        make_group(1, name="load", total=4, done=4, at=1.0),
        make_group(2, name="clean", total=200, done=90, failed=10, running=4, at=3.0),
    ]
    lines = snapshot_text(take_snapshot(groups, now=5.0)).splitlines()
    assert lines[1] == "tasks: 94 done, 4 running, 10 failed, 96 waiting"
    head, clean, load = lines[3:]
    assert head.split("  ")[0] == "group" and head.rstrip().endswith("state")
    assert clean.startswith("clean  [#####.......]") and "90 / 200" in clean
    assert clean.endswith("10 failed, 2 s left")
    assert load.startswith("load   [############]") and load.endswith("done in 1 s")
    column = head.index("done / tasks") + len("done / tasks")
    assert clean[:column].endswith("90 / 200") and load[:column].endswith("4 / 4")


def test_a_table_is_bounded() -> None:
    groups = [make_group(i, done=1, at=float(i)) for i in range(50)]
    lines = snapshot_text(take_snapshot(groups), rows=5).splitlines()
    assert len(lines) == 2 + 1 + 1 + 5 + 1
    assert lines[-1] == "... and 45 more groups"
