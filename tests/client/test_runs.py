"""Sets and maps of runs do what plain sets and dicts do."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cellspan.engine.client.runs import RunMap, RunSet

SIZE = 40
span = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(sorted).map(tuple)


def runs_of(indices: set[int]) -> list[tuple[int, int]]:
    starts = [i for i in sorted(indices) if i - 1 not in indices]
    stops = [i + 1 for i in sorted(indices) if i + 1 not in indices]
    return list(zip(starts, stops, strict=True))


@given(st.lists(st.tuples(st.booleans(), span), max_size=30), span)
def test_a_run_set_is_a_set(steps: list[tuple[bool, tuple[int, int]]], asked: tuple[int, int]):
    runs, plain = RunSet(), set[int]()
    for adds, (start, stop) in steps:
        indices = set(range(start, stop))
        if adds:
            assert runs.add(start, stop) == len(indices - plain)
            plain |= indices
        else:
            assert runs.discard(start, stop) == len(indices & plain)
            plain -= indices
        assert list(runs) == runs_of(plain)
        assert runs.count == len(plain) and bool(runs) == bool(plain)
    window = set(range(*asked))
    assert [i for i in range(SIZE + 1) if i in runs] == sorted(plain)
    assert runs.runs_in(*asked) == runs_of(plain & window)
    assert runs.gaps_in(*asked) == runs_of(window - plain)
    assert runs.count_in(*asked) == len(plain & window)
    copy = runs.copy()
    assert RunSet(copy.take()).bounds == runs.bounds and not copy


@given(
    st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), span), max_size=30),
    span,
)
def test_a_run_map_is_a_dict(steps: list[tuple[str, tuple[int, int]]], asked: tuple[int, int]):
    runs: RunMap[str] = RunMap()
    plain: dict[int, str] = {}
    for value, (start, stop) in steps:
        if value:
            runs.set(start, stop, value)
            plain.update(dict.fromkeys(range(start, stop), value))
        else:
            gone = [plain.pop(i) for i in range(start, stop) if i in plain]
            assert runs.clear(start, stop) == len(gone)
        found = list(runs)
        assert {i: v for a, b, v in found for i in range(a, b)} == plain
        assert all(b[0] > a[1] or b[2] != a[2] for a, b in itertools.pairwise(found)), (
            "neighbours with one value are one run"
        )
        assert runs.count == len(plain)
    window = range(*asked)
    assert {i: v for a, b, v in runs.items_in(*asked) for i in range(a, b)} == {
        i: plain[i] for i in window if i in plain
    }
    assert runs.gaps_in(*asked) == runs_of(set(window) - set(plain))
    for index in range(SIZE + 1):
        assert runs.find(index) == plain.get(index) and (index in runs) == (index in plain)
        run = runs.find_run(index)
        assert (run is None) == (index not in plain)
        assert run is None or (run[0] <= index < run[1] and run[2] == plain[index])
