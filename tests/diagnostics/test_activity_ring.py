"""The ring of activity: busy time is neither lost nor invented, however the bins coarsen."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellspan.engine.diagnostics.activity import (
    BINS,
    FINEST_BIN_S,
    LEVELS,
    MAX_ROWS,
    OTHER,
    ActivityBins,
    ActivityRing,
)


def busy_seconds(bins: ActivityBins, now: float, origin: float = 0.0) -> float:
    """The busy time that a reading stands for: mean times the length of each bin that there was."""
    total = 0.0
    for row in bins.busy.values():
        for place, mean in enumerate(row):
            begin = max(bins.start + place * bins.bin_s, origin)
            total += mean * (min(bins.start + (place + 1) * bins.bin_s, now) - begin)
    return total


reports = st.lists(
    st.tuples(
        st.integers(min_value=1, max_value=200),  # group
        st.floats(min_value=0.001, max_value=300.0),  # seconds of work
        st.floats(min_value=0.0, max_value=40.0),  # since the report before
        st.one_of(st.none(), st.floats(min_value=0.0, max_value=60.0)),  # handed out so long ago
    ),
    min_size=1,
    max_size=80,
)


@settings(max_examples=60, deadline=None)
@given(reports)
def test_nothing_is_lost_when_bins_coarsen(
    given_reports: list[tuple[int, float, float, float | None]],
) -> None:
    ring, now, total = ActivityRing(0.0), 0.0, 0.0
    for group, seconds, gap, ago in given_reports:
        now += gap
        begun = None if ago is None else max(now - ago, 0.0)
        ring.add(group, seconds, now, begun)
        total += seconds
    end = now + 4096.0 * 3  # every bin of every level is over
    bins = ring.read(end)
    assert len(bins.slots) <= BINS
    assert busy_seconds(bins, end) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("level", range(LEVELS))
def test_each_level_holds_all_that_its_window_covers(level: int) -> None:
    bin_s = FINEST_BIN_S * 2**level
    length = bin_s * (BINS - 1)
    ring = ActivityRing(0.0)
    for step in range(50):
        ring.add(step % 3, length / 100, length * (step + 1) / 50)
    now = length
    bins = ring.read(now + bin_s / 2)
    assert bins.bin_s == bin_s
    assert busy_seconds(bins, now + bin_s / 2) == pytest.approx(length / 2, rel=1e-6)


def test_a_long_task_kept_one_slot_busy_all_along() -> None:
    ring = ActivityRing(0.0)
    ring.add(1, 20.0, 30.0)
    bins = ring.read(30.0)
    assert bins.start == 0.0 and bins.bin_s == FINEST_BIN_S
    assert bins.busy[1] == pytest.approx([0.0] * 20 + [1.0] * 40)


def test_a_span_is_not_spread_back_beyond_when_it_was_handed_out() -> None:
    ring = ActivityRing(0.0)
    ring.add(1, 20.0, 30.0, begun=25.0)  # four slots for five seconds
    bins = ring.read(30.0)
    assert bins.busy[1] == pytest.approx([0.0] * 50 + [4.0] * 10)


def test_slots_are_what_there_was() -> None:
    ring = ActivityRing(100.0)
    ring.set_slots(2, 101.0)
    ring.set_slots(6, 103.0)
    bins = ring.read(105.0)
    assert bins.slots == pytest.approx([0.0] * 2 + [2.0] * 4 + [6.0] * 4)
    assert bins.busy == {}


def test_reading_from_a_moment_gives_the_finest_bins_that_reach_it() -> None:
    ring = ActivityRing(0.0)
    ring.set_slots(4, 0.0)
    for step in range(1000):
        ring.add(1, 1.0, float(step + 1))
    late, all_of_it = ring.read(1000.0, since=980.0), ring.read(1000.0)
    assert late.bin_s == FINEST_BIN_S and len(late.slots) == 40
    assert all_of_it.bin_s == 16.0 and len(all_of_it.slots) <= BINS
    assert late.busy[1] == pytest.approx([1.0] * 40)


def test_reading_twice_gives_the_same() -> None:
    ring = ActivityRing(0.0)
    ring.set_slots(3, 0.0)
    ring.add(1, 0.2, 7.3)
    first = ring.read(9.9)
    assert ring.read(9.9) == first


def test_rows_are_bounded_and_the_rest_is_other() -> None:
    ring = ActivityRing(0.0)
    groups = 10 * MAX_ROWS
    for group in range(groups):
        ring.add(group, 0.1, 0.1 * (group + 1))
    now = 0.1 * groups
    bins = ring.read(now + 0.5)
    assert len(bins.busy) <= MAX_ROWS + 1
    assert busy_seconds(bins, now + 0.5) == pytest.approx(0.1 * groups)
    assert bins.busy[OTHER] != [0.0] * len(bins.slots)
    assert groups - 1 in bins.busy  # who works now has a row


def test_nothing_and_less_than_nothing_is_not_work() -> None:
    ring = ActivityRing(0.0)
    ring.add(1, 0.0, 1.0)
    ring.add(1, -5.0, 1.0)
    assert ring.read(2.0).busy == {}


def test_a_report_that_comes_late_is_not_lost() -> None:
    ring = ActivityRing(0.0)
    ring.add(1, 0.1, 50.0)
    ring.add(2, 0.1, 49.0)
    bins = ring.read(52.0)
    assert busy_seconds(bins, 52.0) == pytest.approx(0.2)
