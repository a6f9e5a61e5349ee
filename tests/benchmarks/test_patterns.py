"""The graphs of Task Bench are those of the paper (Slaughter et al., SC20, table of patterns)."""

from __future__ import annotations

import struct

import pytest

from benchmarks.patterns import PATTERNS, Graph, inputs_of, make_graph, width_at

WIDTH, STEPS = 8, 50


def rows_of(graph: Graph) -> list[list[list[int]]]:
    """For each row and column the columns of the row before that it takes."""
    places = [struct.unpack("<2q", label) for label, _ in graph.tasks]
    rows: list[list[list[int]]] = []
    for (row, column), (_, deps) in zip(places, graph.tasks, strict=True):
        if column == 0:
            rows.append([])
        assert (row, column) == (len(rows) - 1, len(rows[-1]))
        assert all(places[dep][0] == row - 1 for dep in deps)
        rows[-1].append([places[dep][1] for dep in deps])
    return rows


@pytest.mark.parametrize("pattern", PATTERNS)
def test_first_row_takes_nothing_and_others_the_row_before_only(pattern: str) -> None:
    rows = rows_of(make_graph(pattern, WIDTH, STEPS))
    assert len(rows) == STEPS
    assert not any(rows[0])
    for row in rows[1:]:
        assert all(deps == sorted(set(deps)) for deps in row)


def test_trivial_tasks_are_independent_and_all_are_sinks() -> None:
    graph = make_graph("trivial", WIDTH, STEPS)
    assert not any(deps for _, deps in graph.tasks)
    assert graph.sinks == list(range(WIDTH * STEPS))


def test_stencil_takes_itself_and_its_neighbours() -> None:
    rows = rows_of(make_graph("stencil_1d", 4, 3))
    assert rows[1] == rows[2] == [[0, 1], [0, 1, 2], [1, 2, 3], [2, 3]]


def test_fft_reaches_twice_as_far_from_row_to_row_and_then_begins_again() -> None:
    rows = rows_of(make_graph("fft", 8, 5))
    assert rows[1][3] == [2, 3, 4] and rows[1][0] == [0, 1] and rows[1][7] == [6, 7]
    assert rows[2][3] == [1, 3, 5] and rows[2][0] == [0, 2] and rows[2][7] == [5, 7]
    assert rows[3][3] == [3, 7] and rows[3][0] == [0, 4] and rows[3][7] == [3, 7]
    assert rows[4] == rows[1]


def test_fft_of_any_width_has_as_many_reaches_as_its_width_needs() -> None:
    assert inputs_of("fft", 6, 3, 0) == [0, 4]  # reaches 1, 2 and 4
    assert inputs_of("fft", 6, 4, 0) == [0, 1]
    assert inputs_of("fft", 1, 2, 0) == [0]


def test_tree_doubles_until_it_is_wide_and_each_takes_its_parent() -> None:
    rows = rows_of(make_graph("tree", 8, 6))
    assert [len(row) for row in rows] == [1, 2, 4, 8, 8, 8]
    assert rows[2] == [[0], [0], [1], [1]]
    assert rows[3] == rows[4] == [[0], [0], [1], [1], [2], [2], [3], [3]]
    assert width_at("tree", 6, 3) == 6


def test_random_nearest_takes_itself_and_some_of_the_five_nearest() -> None:
    width = 64
    rows = rows_of(make_graph("random_nearest", width, STEPS))
    extra = candidates = 0
    for row in rows[1:4]:
        for column, deps in enumerate(row):
            assert column in deps
            assert all(abs(near - column) <= 2 for near in deps)
            extra += len(deps) - 1
            candidates += min(column + 2, width - 1) - max(column - 2, 0)
    assert 0.15 < extra / candidates < 0.35  # a quarter is drawn
    assert rows[1:4] != [rows[1]] * 3
    assert rows[4:7] == rows[1:4]  # with a period of three rows


@pytest.mark.parametrize("pattern", PATTERNS)
def test_sinks_are_what_nobody_takes(pattern: str) -> None:
    graph = make_graph(pattern, WIDTH, STEPS)
    taken = {dep for _, deps in graph.tasks for dep in deps}
    assert graph.sinks == sorted(set(range(len(graph.tasks))) - taken)
    assert set(range(len(graph.tasks) - WIDTH, len(graph.tasks))) <= set(graph.sinks)
