"""Counters against a recount: what they say of a group is what a list of its tasks would say."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspan.engine.diagnostics.counters import (
    BIN_COUNT,
    MAX_ERROR_CHARS,
    RATE_BIN_S,
    RATE_BINS,
    STATES,
    GroupCounters,
    bin_edges,
    bin_of,
    quantile_of,
    times_of,
)

durations = st.floats(min_value=1e-6, max_value=1e5, allow_nan=False)


def make_group(total: int = 0, now: float = 0.0) -> GroupCounters:
    counters = GroupCounters(7, "inc", client="notebook", layer="each", created=now)
    counters.on_move(None, "ready", total, now)
    return counters


@given(durations)
def test_a_duration_lies_between_the_edges_of_its_bin(seconds: float) -> None:
    found = bin_of(seconds)
    assert bin_edges()[found] <= seconds * (1 + 1e-9)
    assert seconds <= bin_edges()[found + 1] * (1 + 1e-9)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 1e-6])
def test_what_is_too_short_is_in_the_first_bin(seconds: float) -> None:
    assert bin_of(seconds) == 0


@pytest.mark.parametrize("seconds", [2e6, 1e12])
def test_what_is_too_long_is_in_the_last_bin(seconds: float) -> None:
    assert bin_of(seconds) == BIN_COUNT - 1


def test_four_bins_are_an_octave() -> None:
    edges = bin_edges()
    assert len(edges) == BIN_COUNT + 1
    assert edges[0] == 1e-6
    assert math.isclose(edges[4], 2e-6)
    assert bin_of(8.1e-3) - bin_of(4.05e-3) == 4


@given(st.lists(durations, min_size=1, max_size=200), st.floats(min_value=0.0, max_value=1.0))
def test_a_quantile_is_right_within_a_bin(values: list[float], q: float) -> None:
    flat = times_of(values)
    histogram = dict(zip(flat[::2], flat[1::2], strict=True))
    values.sort()
    # The smallest value below which (itself included) a share q lies.
    exact = values[max(math.ceil(q * len(values)) - 1, 0)]
    found = quantile_of(histogram, q)
    assert found is not None
    assert abs(math.log2(found / exact)) <= 0.25 + 1e-6


def test_there_is_no_quantile_of_nothing() -> None:
    assert quantile_of({}, 0.5) is None
    assert quantile_of(make_group(3).histogram, 0.5) is None


moves = st.lists(
    st.tuples(
        st.sampled_from(STATES), st.sampled_from(STATES), st.integers(min_value=1, max_value=5)
    ),
    max_size=60,
)


@given(moves)
def test_counts_are_those_of_a_list_of_tasks(wanted: list[tuple[str, str, int]]) -> None:
    counters = make_group(20)
    tasks = ["ready"] * 20
    for old, new, most in wanted:
        chosen = [index for index, state in enumerate(tasks) if state == old][:most]
        for index in chosen:
            tasks[index] = new
        counters.on_move(old, new, len(chosen))
    recount = Counter(tasks)
    assert counters.counts == {state: recount[state] for state in STATES}
    assert counters.total == 20
    assert counters.unfinished == sum(recount[s] for s in ("waiting", "ready", "assigned"))


def test_done_tasks_stay_done_when_their_results_are_let_go() -> None:
    counters = make_group(10)
    counters.on_move("ready", "assigned", 8, 1.0)
    counters.on_move("assigned", "done", 8, 2.0)
    counters.on_move("done", "released", 5, 3.0)
    counters.on_move("ready", "released", 2, 3.0)  # dropped: never computed
    assert counters.done == 8
    counters.on_move("released", "ready", 3, 4.0)  # a worker was lost: computed again
    assert counters.done == 5
    assert counters.total == 10


@given(st.lists(st.lists(durations, min_size=1, max_size=20), min_size=1, max_size=20))
def test_reports_add_up(spans: list[list[float]]) -> None:
    counters = make_group(sum(map(len, spans)))
    for place, span in enumerate(spans):
        counters.on_done(len(span), sum(span), times_of(span), 8 * len(span), float(place))
    everything = [seconds for span in spans for seconds in span]
    assert counters.histogram == Counter(map(bin_of, everything))
    assert math.isclose(counters.seconds, sum(everything), rel_tol=1e-9)
    assert counters.bytes_held == 8 * len(everything)


def test_bins_that_do_not_exist_are_passed_over() -> None:
    counters = make_group(1)
    counters.on_done(1, 0.1, [-3, 1, BIN_COUNT, 1, 5, 2, 9], 0, 1.0)
    assert counters.histogram == {5: 2}


def test_start_and_end_of_a_group() -> None:
    counters = make_group(4, now=10.0)
    assert counters.started is None and counters.finished is None
    counters.on_move("ready", "assigned", 4, 11.0)
    counters.on_move("assigned", "done", 3, 12.0)
    assert counters.started == 11.0 and counters.finished is None
    counters.on_move("assigned", "failed", 1, 13.0)
    counters.on_move("done", "released", 3, 20.0)
    assert counters.finished == 13.0
    counters.on_move("failed", "ready", 1, 21.0)
    assert counters.finished is None


def test_the_rate_is_that_of_late() -> None:
    counters = make_group(10_000)
    counters.on_move("ready", "assigned", 10_000, 0.0)
    for step in range(200):  # a slow start: 10 per second for 20 s
        counters.on_done(1, 0.001, [], 0, step / 10)
    for step in range(1000):  # then 100 per second for 10 s
        counters.on_done(1, 0.001, [], 0, 20 + step / 100)
    assert counters.rate(30.0) == pytest.approx(100, rel=0.1)


def test_the_rate_falls_when_nothing_comes_any_more() -> None:
    counters = make_group(1000)
    counters.on_move("ready", "assigned", 1000, 0.0)
    for step in range(100):
        counters.on_done(1, 0.01, [], 0, step / 100)
    soon, late = counters.rate(1.0), counters.rate(100.0)
    assert soon == pytest.approx(100, rel=0.1)
    assert late == pytest.approx(1.0)  # 100 tasks in 100 s


def test_what_took_no_time_has_no_rate() -> None:
    counters = make_group(5)
    counters.on_move("ready", "done", 5, 1.0)
    counters.on_done(5, 0.0, [], 40, 1.0)
    assert counters.rate(2.0) == 0.0


def test_few_reports_give_the_mean() -> None:
    counters = make_group(10)
    counters.on_move("ready", "assigned", 10, 0.0)
    counters.on_done(1, 30.0, [], 0, 30.0)
    counters.on_done(1, 30.0, [], 0, 60.0)
    assert counters.rate(60.0) == pytest.approx(2 / 60)


def test_the_rate_of_a_finished_group_stays() -> None:
    counters = make_group(50)
    counters.on_move("ready", "assigned", 50, 0.0)
    counters.on_move("assigned", "done", 50, 2.0)
    counters.on_done(50, 1.0, [], 0, 2.0)
    assert counters.rate(2.0) == counters.rate(1e6) == 25.0


def test_a_pause_longer_than_the_ring_leaves_nothing_old_in_it() -> None:
    counters = make_group(10_000)
    counters.on_move("ready", "assigned", 10_000, 0.0)
    for step in range(1000):
        counters.on_done(5, 0.001, [], 0, step / 1000)
    later = 100 + RATE_BIN_S * RATE_BINS * 3
    for step in range(10):
        counters.on_done(1, 0.001, [], 0, later + step / 10)
    assert counters.rate(later + 1.0) <= 10 / RATE_BIN_S


def test_the_first_failure_is_kept_on_one_short_line() -> None:
    counters = make_group(2)
    counters.on_failed("ValueError:\n  " + "x" * 500, 1.0, 0.5)
    counters.on_failed("KeyError", 2.0)
    assert counters.error is not None
    assert counters.error.startswith("ValueError: xx") and "\n" not in counters.error
    assert len(counters.error) == MAX_ERROR_CHARS
    assert counters.seconds == 0.5
    counters.on_retried()
    assert counters.error is None


def test_bytes_held_never_fall_below_nothing() -> None:
    counters = make_group(1)
    counters.on_done(1, 0.1, [], 100, 1.0)
    counters.on_freed(60)
    assert counters.bytes_held == 40
    counters.on_freed(60)
    assert counters.bytes_held == 0
