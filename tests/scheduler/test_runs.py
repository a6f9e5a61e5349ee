"""Runs and maps over runs, against plain sets and dicts."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from cellspan.engine.errors import PeerError
from cellspan.engine.scheduler.runs import RunMap, first_run, run_at, runs_of, set_of, set_of_runs

indices = st.sets(st.integers(0, 40) | st.integers(65530, 65545))
steps = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12), st.integers(0, 3)), max_size=25)


@given(indices)
def test_runs_of_a_set_give_the_set_back(tasks: set[int]) -> None:
    runs = runs_of(BitMap(tasks))
    assert runs == sorted(set(runs)), "ascending, not touching"
    assert set(set_of_runs(runs)) == tasks


@given(indices.filter(bool), st.integers(1, 50))
def test_first_run(tasks: set[int], limit: int) -> None:
    start = stop = min(tasks)
    while stop in tasks and stop - start < limit:
        stop += 1
    assert first_run(BitMap(tasks), limit) == (start, stop)
    assert run_at(BitMap(tasks), start, limit) == (start, stop)


@pytest.mark.parametrize("runs", [[1], [2, 1], [0, 0], [0, 5, 4, 6], [-1, 2], [0, 2**33], ["a", 1]])
def test_runs_from_the_wire_are_checked(runs: list[int]) -> None:
    with pytest.raises(PeerError):
        set_of_runs(runs)


def test_a_large_run_is_small() -> None:
    assert runs_of(set_of(5, 2**32)) == [5, 2**32]


@given(steps)
def test_run_map_is_a_dict_by_runs(plan: list[tuple[int, int, int]]) -> None:
    values = ["a", "b", "c"]
    found: RunMap[str] = RunMap()
    oracle: dict[int, str] = {}
    for start, length, choice in plan:
        if choice == 3:
            found.clear(start, start + length)
            for index in range(start, start + length):
                oracle.pop(index, None)
        else:
            found.set(start, start + length, values[choice])
            oracle.update(dict.fromkeys(range(start, start + length), values[choice]))
        sections = list(found.sections(0, 100))
        assert {i: v for a, b, v in sections for i in range(a, b)} == oracle
        assert all(a[1] < b[0] or a[2] != b[2] for a, b in pairwise(sections))
    assert [found.find(index) for index in range(50)] == [oracle.get(index) for index in range(50)]
    part = {i: v for a, b, v in found.sections(7, 19) for i in range(a, b)}
    assert part == {i: v for i, v in oracle.items() if 7 <= i < 19}
