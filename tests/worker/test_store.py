"""The store: who holds what, checked against a table of single tasks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspan.engine.errors import StoreFull
from cellspan.engine.worker.runs import normalize
from cellspan.engine.worker.store import Store, StoredBlock

SIZE = 30
spans = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(sorted).filter(
    lambda s: s[0] < s[1]
)  # fmt: skip


def block(start: int, stop: int, nbytes: int = 10, path: str | None = None) -> StoredBlock:
    if path is None:
        return StoredBlock(1, start, stop, False, [b"x" * nbytes])
    return StoredBlock(1, start, stop, False, [], path, [0, nbytes])


@given(st.lists(st.tuples(st.sampled_from(["add", "free"]), spans), max_size=20))
def test_lookups_agree_with_a_table(steps: list[tuple[str, list[int]]]) -> None:
    store = Store(1 << 30)
    table: dict[int, StoredBlock] = {}
    for what, (start, stop) in steps:
        if what == "add":
            new = block(start, stop)
            added = [i for i in range(start, stop) if i not in table]
            assert store.add(new, start, stop) == len(added)
            table.update(dict.fromkeys(added, new))
        else:
            store.free(1, [start, stop])
            for i in range(start, stop):
                table.pop(i, None)
        for a in range(0, SIZE, 3):
            found = {id(b) for b in store.find(1, a, a + 5)}
            assert found == {id(table[i]) for i in range(a, a + 5) if i in table}
        gaps = normalize((i, i + 1) for i in range(SIZE) if i not in table)
        assert normalize(zip(*[iter(store.missing(1, 0, SIZE))] * 2, strict=True)) == gaps
        assert store.nbytes == sum(b.nbytes for b in {id(b): b for b in table.values()}.values())
    store.clear()
    assert store.nbytes == 0 and store.held() == {}


def test_a_block_lives_as_long_as_one_of_its_tasks() -> None:
    store = Store(1000)
    store.add(block(0, 10, path="/a"), 0, 10)
    store.free(1, [0, 4, 5, 10])
    assert store.take_doomed() == ([], [])
    store.free(1, [4, 5])
    assert store.take_doomed() == (["/a"], [1])
    assert store.take_doomed() == ([], [])


def test_a_second_copy_is_not_kept() -> None:
    store = Store(1000)
    assert store.add(block(0, 10), 0, 10) == 10
    assert store.add(block(2, 5, path="/b"), 2, 5) == 0
    assert store.take_doomed() == (["/b"], [])
    assert store.nbytes == 10


def test_a_full_store_changes_nothing_and_says_why() -> None:
    store = Store(100)
    store.add(block(0, 1, 80), 0, 1)
    with pytest.raises(StoreFull, match=r"no room for 0\.0 MB more"):
        store.add(block(1, 2, 21, path="/c"), 1, 2)
    assert store.nbytes == 80 and store.missing(1, 0, 2) == [1, 2]
    assert store.take_doomed() == (["/c"], [])
