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


def spilling(nbytes: int, disk: int = 10_000) -> Store:
    return Store(nbytes, disk, "/disk")


def test_the_oldest_go_to_disk_when_memory_is_full() -> None:
    store = spilling(3000)
    for i in range(3):
        store.add(block(i, i + 1, 1000, path=f"/{i}" if i else None), i, i + 1)
    assert (store.take_spills() == [] and not store.is_over) or store.nbytes == 3000
    store.add(block(3, 4, 1500), 3, 4)
    first, second = store.take_spills()
    assert (first.start, second.start) == (0, 1) and store.take_spills() == []
    assert first.parts and second.path == "/1"  # until they are moved
    store.on_spilled(first.number, "/disk/a", [0, 1000])
    store.on_spilled(second.number, "/disk/b", [])
    assert (first.path, first.places, first.parts) == ("/disk/a", [0, 1000], [])
    assert second.path == "/1"  # which leads there
    assert (store.nbytes, store.disk_nbytes) == (2500, 2000)
    store.free(1, [0, 4])
    assert (store.nbytes, store.disk_nbytes) == (0, 0)
    assert store.take_doomed()[0] == ["/disk/a", "/1", "/2"]


def test_a_block_that_goes_while_it_is_moved_is_not_counted() -> None:
    store = spilling(1000)
    for i in range(2):
        store.add(block(i, i + 1, 1000, path=f"/{i}"), i, i + 1)
    (moved,) = store.take_spills()
    assert store.is_moving(moved.number)
    store.free(1, [0, 1])
    assert not store.is_moving(moved.number) and store.nbytes == 1000


def test_what_could_not_be_moved_is_tried_again() -> None:
    """Simulation, seed 1011: it counted as unmovable, and small results were refused for it."""
    store = spilling(1000)
    for i in range(2):
        store.add(block(i, i + 1, 1000), i, i + 1)
    (moved,) = store.take_spills()
    store.on_spilled(moved.number, None, [])
    assert store.nbytes == 2000
    store.add(block(2, 3, 8), 2, 3)
    assert {b.start for b in store.take_spills()} == {0, 1}


def test_it_is_full_when_the_disk_is() -> None:
    store = spilling(1000, 1500)
    store.add(block(0, 1, 1000), 0, 1)
    store.add(block(1, 2, 1000), 1, 2)
    with pytest.raises(StoreFull, match="on disk"):
        store.add(block(2, 3, 1000), 2, 3)
    with pytest.raises(StoreFull):
        store.add(block(2, 3, 1600, path="/disk/x"), 2, 3)
    (moved,) = store.take_spills()
    store.on_spilled(moved.number, None, [])
    store.on_disk_full()
    with pytest.raises(StoreFull):
        store.add(block(2, 3, 100), 2, 3)
    assert store.take_spills() == []


def test_a_full_store_changes_nothing_and_says_why() -> None:
    store = Store(100)
    store.add(block(0, 1, 80), 0, 1)
    with pytest.raises(StoreFull, match=r"no room for 0\.0 MB more"):
        store.add(block(1, 2, 21, path="/c"), 1, 2)
    assert store.nbytes == 80 and store.missing(1, 0, 2) == [1, 2]
    assert store.take_doomed() == (["/c"], [])
