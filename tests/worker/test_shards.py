"""Shards on a worker and in its executors: cut out, put together, kept and dropped."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspan.engine.executor import files, values
from cellspan.engine.executor.inputs import InputGone, Thing
from cellspan.engine.executor.results import Packer
from cellspan.engine.executor.shards import (
    MergeRows,
    Shards,
    call_split,
    cut_shards,
    dump_shards,
)
from cellspan.engine.ids import digest_of
from cellspan.engine.messages import (
    ForgetGroup,
    FreeResults,
    Message,
    PlanExchange,
    SpanReturned,
    TakeBack,
)
from cellspan.engine.worker.effects import FetchShards, PushShards
from cellspan.engine.worker.fetch import BlockWriter
from cellspan.engine.worker.shards import Parcel
from cellspan.engine.worker.slots import _describe
from cellspan.engine.worker.store import StoredBlock

from .shell import FUNCTION, WORKER, Shell, define, outcomes, span

SOURCE, GROUP = 5, 9
SPLIT = b"a function that splits"

some_values = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=40),
    st.binary(min_size=2000, max_size=5000),
    st.integers(1, 2000).map(lambda n: np.arange(n, dtype=np.float64)),
)


def pack(split: list[Any]) -> list[Any]:
    table, pieces = dump_shards(Shards(split))
    return [table, b"".join(pieces)]


def as_thing(parcel: StoredBlock, number: int = 1) -> Thing:
    parcel.number = number
    return Thing(_describe(parcel), list(parcel.parts))


def same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a, b))


# --- the bytes --------------------------------------------------------------------------------


@given(st.lists(st.lists(some_values, min_size=5, max_size=5), min_size=1, max_size=4), st.data())
def test_merges_get_their_shards_of_all_splits_however_they_were_cut(
    splits: list[list[Any]], data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, 4))
    stop = data.draw(st.integers(start + 1, 5))
    parcels: list[StoredBlock] = []
    for number, split in enumerate(splits):
        parts = pack(split)
        how = data.draw(st.sampled_from(["whole", "cut", "cut twice"]))
        if how == "whole":
            parcels.append(StoredBlock(GROUP, number, number + 1, values.SHARDS, parts))
            continue
        first = data.draw(st.integers(0, start))
        last = data.draw(st.integers(stop, 5))
        parts = cut_shards(parts, first, last)
        if how == "cut twice":
            parts, first, last = cut_shards(parts, start - first, stop - first), start, stop
        parcels.append(Parcel(GROUP, [number], first, last, parts))
    things = [as_thing(parcel, number) for number, parcel in enumerate(parcels)]
    rows = list(MergeRows(things, GROUP, len(splits), start, stop))
    assert len(rows) == stop - start
    for output, row in enumerate(rows, start):
        for split, shard in zip(splits, row, strict=True):
            assert same(shard, split[output])


def test_buffers_stay_aligned_in_files(tmp_path: Path) -> None:
    split = ["a", np.arange(1000.0), "bc", np.arange(500.0), 3]
    table, pieces = dump_shards(Shards(split))
    path = str(tmp_path / "split")
    places = files.write_pieces(path, [[table], pieces])
    whole = StoredBlock(GROUP, 0, 1, values.SHARDS, [], path, places)
    cut = cut_shards(files.map_parts(path, places), 2, 4)
    parcel = Parcel(GROUP, [0], 2, 4, [], str(tmp_path / "cut"),
                    files.write_parts(str(tmp_path / "cut"), cut))  # fmt: skip
    for block in (whole, parcel):
        (row,) = MergeRows([as_thing(block)], GROUP, 1, 3, 4)
        assert np.array_equal(row[0], split[3]) and row[0].ctypes.data % 64 == 0
        assert not row[0].flags.writeable  # it is the file itself


def test_a_split_can_be_read_as_a_whole() -> None:
    split = [1, np.arange(1000), "x"]
    (found,) = values.load_block([0, 1, values.SHARDS, pack(split)])
    assert all(map(same, found, split))
    block = StoredBlock(GROUP, 0, 1, values.SHARDS, pack(split))
    assert all(map(same, as_thing(block).get_value(), split))


def test_a_split_that_is_not_there() -> None:
    thing = as_thing(Parcel(GROUP, [0, 2], 0, 1, pack([1]) + pack([2])))
    with pytest.raises(InputGone) as caught:
        MergeRows([thing], GROUP, 3, 0, 1)
    assert (caught.value.group, caught.value.index) == (GROUP, 1)


@pytest.mark.parametrize("wrong", [None, "abc", b"abc", {1: 1, 2: 2, 3: 3}, {1, 2, 3}, iter("abc")])
def test_a_split_returns_a_sequence(wrong: Any) -> None:
    with pytest.raises(TypeError, match="exactly 3 shards"):
        call_split(lambda value, n: wrong, 3, 0)
    assert call_split(lambda value, n: np.zeros((n, 2)), 3, 0).values[0].shape == (2,)
    assert call_split(lambda value, n: (value,) * n, 3, 7).values == [7, 7, 7]


def test_executors_write_to_disk_when_shared_memory_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "store", tmp_path / "disk"]
    for folder in folders:
        folder.mkdir()
    write = files.write_pieces

    def full(path: str, parts: Any) -> list[int]:
        if path.startswith(str(folders[0])):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, parts)

    monkeypatch.setattr("cellspan.engine.executor.results.write_pieces", full)
    packer = Packer(str(folders[0]), "x1", str(folders[1]))
    (block,), _, failures = packer.pack(1, "f", 0, [np.arange(100_000)], True)
    assert not failures and block[3].startswith(str(folders[1]))
    assert same(values.load_value(files.map_parts(block[3], block[4])), np.arange(100_000))
    packer.spills = True
    (block,), _, _ = packer.pack(1, "f", 1, [np.arange(100_000)], True)
    assert block[3] == str(folders[1] / "x1-2")
    _, _, (failure,) = Packer(str(folders[0]), "x1").pack(1, "f", 0, [np.arange(100_000)], True)
    assert failure["kind"] == "store"


def test_links_to_what_was_moved_to_disk_are_links_to_the_file(tmp_path: Path) -> None:
    theirs, disk, ours = (tmp_path / name for name in ("theirs", "disk", "ours"))
    for folder in (theirs, disk, ours):
        folder.mkdir()
    places = files.write_parts(str(disk / "s-1"), pack([1, 2]))
    (theirs / "x1-1").symlink_to(disk / "s-1")
    writer = BlockWriter(str(ours))
    file = [4, 5, values.SHARDS, str(theirs / "x1-1"), places]
    (parcel,) = asyncio.run(writer.take_shards(GROUP, 0, 1, [], [file]))
    (disk / "s-1").unlink()
    (theirs / "x1-1").unlink()
    assert parcel.path and os.stat(parcel.path).st_nlink == 1
    assert (parcel.output, parcel.end, parcel.splits, parcel.nbytes) == (0, 2, [4], 0)
    assert as_thing(parcel).get_shard(0, 1) == values.dump_blob(2)[0]


def test_a_file_that_is_moved_while_it_is_linked_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link to the link would lead nowhere as soon as its owner drops the result."""
    (tmp_path / "s-1").write_bytes(b"result")
    (tmp_path / "x1-1").symlink_to(tmp_path / "s-1")
    (tmp_path / "ours").mkdir()
    monkeypatch.setattr("os.path.realpath", lambda path: path)  # as it was a moment before
    writer = BlockWriter(str(tmp_path / "ours"))
    with pytest.raises(FileNotFoundError):
        asyncio.run(writer.take_file(GROUP, [0, 1, True, str(tmp_path / "x1-1"), [0, 6]]))
    assert not list((tmp_path / "ours").iterdir())


# --- the worker's decisions -------------------------------------------------------------------


def exchange(count: int, outputs: int) -> Message:
    layer = {
        "kind": "exchange", "n": count + outputs, "split": digest_of(SPLIT),
        "function": digest_of(FUNCTION), "group": SOURCE, "offset": 0, "count": count,
        "outputs": outputs,
    }  # fmt: skip
    return define(GROUP, layer, {digest_of(SPLIT): SPLIT})


def make_shell(count: int = 4, outputs: int = 4, mine: tuple[int, int] = (0, 2)) -> Shell:
    shell = Shell(1)
    for executor in list(shell.executors):
        shell.ready(executor)
    shell.handle(exchange(count, outputs))
    rows = [[*mine, WORKER, "here"], [mine[1], outputs, 8, "there"]]
    shell.handle(PlanExchange(GROUP, rows))
    return shell


def split_block(split: int, outputs: int = 4) -> StoredBlock:
    parts = pack([(split, output) for output in range(outputs)])
    return StoredBlock(GROUP, split, split + 1, values.SHARDS, parts)


def parcel_of(splits: list[int], first: int, last: int) -> Parcel:
    rows = [cut_shards(split_block(split).parts, first, last) for split in splits]
    return Parcel(GROUP, splits, first, last, [part for row in rows for part in row])


def holders(*rows: tuple[int, int, int]) -> list[list[Any]]:
    return [[GROUP, first, last, worker, f"at {worker}"] for first, last, worker in rows]


def answer(shell: Shell, number: int, parcels: list[Parcel]) -> None:
    shell.core.on_shards(number, parcels, shell.now)
    shell.perform()


def test_merges_wait_for_what_was_not_pushed_and_ask_each_worker_once() -> None:
    shell = make_shell()
    shell.core.put([split_block(0)])
    assert shell.core.put_shards([parcel_of([2], 0, 2)]) is None
    shell.handle(span(1, GROUP, 4, 5, holders=holders((0, 4, 8), (1, 3, 6))))
    asked = {fetch.worker: fetch for fetch in shell.pulls}
    assert {w: f.runs for w, f in asked.items()} == {8: [1, 2, 3, 4], 6: [1, 2]}
    assert {(f.start, f.stop) for f in asked.values()} == {(0, 2)}  # all that are ours
    shell.handle(span(2, GROUP, 5, 6, holders=holders((0, 4, 8), (1, 3, 6))))
    assert len(shell.pulls) == 2  # asked already
    answer(shell, asked[6].number, [parcel_of([1], 0, 2)])
    shell.run_to_end()
    assert outcomes(shell.sent) == {}
    answer(shell, asked[8].number, [parcel_of([3], 0, 2)])
    shell.run_to_end()
    assert outcomes(shell.sent) == {1: {4: ["done"]}, 2: {5: ["done"]}}


def test_all_pushed_nothing_is_asked() -> None:
    shell = make_shell()
    shell.core.put_shards([parcel_of([0, 3], 0, 2), parcel_of([1, 2], 0, 2)])
    shell.handle(span(1, GROUP, 4, 6, holders=holders((0, 4, 8))))
    shell.run_to_end()
    assert not shell.pulls and outcomes(shell.sent) == {1: {4: ["done"], 5: ["done"]}}
    shell.handle(span(2, GROUP, 6, 7, holders=holders((0, 4, 8))))  # another's, by the plan
    (fetch,) = shell.pulls
    assert (fetch.runs, fetch.start, fetch.stop) == ([0, 4], 2, 3)


def test_what_nobody_has_is_told_with_all_who_might() -> None:
    shell = make_shell()
    shell.core.put_shards([parcel_of([0, 1, 3], 0, 2)])
    shell.handle(span(1, GROUP, 4, 6, holders=holders((0, 4, 8), (0, 2, 6))))
    (fetch,) = shell.pulls
    assert (fetch.worker, fetch.runs) == (8, [2, 3])
    answer(shell, fetch.number, [])
    shell.run_to_end()
    (returned,) = [m for m in shell.sent if isinstance(m, SpanReturned)]
    assert returned.runs == [4, 6]
    assert sorted(returned.missing) == [[GROUP, 2, WORKER], [GROUP, 2, 8]]


def test_shards_go_when_the_splits_are_over_and_late_ones_are_not_taken() -> None:
    shell = make_shell()
    first = parcel_of([0, 1], 0, 2)
    second = Parcel(GROUP, [2], 0, 4, [], "linked", [0, 40, 64, 100])
    shell.core.put_shards([first, second])
    assert shell.core.store.nbytes == first.nbytes + second.nbytes
    shell.handle(FreeResults(GROUP, [0, 4]))
    assert shell.core.store.nbytes == 0 and shell.unlinked == ["linked"]
    late = Parcel(GROUP, [3], 0, 2, [], "late", [0, 24, 64, 100])
    shell.core.put_shards([late])
    shell.perform()
    assert shell.core.store.nbytes == 0 and shell.unlinked == ["linked", "late"]
    shell.handle(span(1, GROUP, 4, 5, holders=holders((0, 4, 8))))  # they were made once more
    answer(shell, shell.pulls[0].number, [parcel_of([0, 1, 2, 3], 0, 2)])
    shell.run_to_end()
    assert outcomes(shell.sent) == {1: {4: ["done"]}}
    shell.handle(ForgetGroup(GROUP))
    shell.core.put_shards([parcel_of([0], 0, 2)])
    shell.handle(FreeResults(GROUP, [4, 5]))
    assert shell.core.store.nbytes == 0


def test_a_second_copy_is_not_kept() -> None:
    shell = make_shell()
    shell.core.put_shards([parcel_of([0, 1], 0, 2)])
    before = shell.core.store.nbytes
    shell.core.put_shards([Parcel(GROUP, [1], 0, 2, [], "second", [0, 24, 64, 100])])
    shell.perform()
    assert shell.core.store.nbytes == before and shell.unlinked == ["second"]


def test_shards_whose_file_is_gone_are_asked_for_again() -> None:
    """Else the merge would come back here, and back again, for ever."""
    shell = make_shell()
    file = Parcel(GROUP, [0, 1, 2, 3], 0, 2, [], "file", [0, 24, 64, 100])
    shell.core.put_shards([file])
    shell.handle(span(1, GROUP, 4, 5, holders=holders((0, 4, 8))))
    (number,) = shell.executors
    shell.claim(number)
    shell.report(number, over=True, gone=[GROUP, 0])
    (returned,) = [m for m in shell.sent if isinstance(m, SpanReturned)]
    assert returned.missing == [[GROUP, 0, WORKER]] and shell.core.store.nbytes == 0
    shell.handle(span(2, GROUP, 4, 5, holders=holders((0, 4, 8))))
    assert [fetch.runs for fetch in shell.pulls] == [[0, 4]]


def test_a_split_is_pushed_to_the_others_when_it_is_done() -> None:
    shell = make_shell(count=2)
    shell.core.put([StoredBlock(SOURCE, i, i + 1, True, [b"v"]) for i in range(2)])
    shell.handle(span(1, GROUP, 1, 2))
    (number,) = shell.executors
    shell.claim(number)
    block = split_block(1)
    shell.core.on_report(number, {
        "piece": 1, "start": 1, "stop": 2, "over": True, "seconds": 1e-3, "elapsed": 1e-3,
        "times": [40, 1], "blocks": [[1, 2, values.SHARDS, 2]], "failed": [], "gone": None,
    }, block.parts, shell.now)  # fmt: skip
    shell.perform()
    assert outcomes(shell.sent) == {1: {1: ["done"]}}
    assert shell.pushes == [PushShards("there", GROUP, 1, 2, 4)]


def test_shards_beyond_memory_can_be_moved() -> None:
    shell = Shell(1)
    shell.core.store.limit_bytes, shell.core.store.disk_bytes = 500, 1 << 20
    shell.handle(exchange(40, 4))
    parcel = parcel_of(list(range(40)), 0, 4)
    shell.core.put_shards([parcel])
    shell.perform()
    (spill,) = shell.spills
    assert (spill.number, spill.path, spill.parts) == (parcel.number, None, parcel.parts)
    shell.core.on_spilled(spill.number, "/disk/s", [0, 1])
    assert parcel.path == "/disk/s" and shell.core.store.nbytes == 0


def test_taking_back_merges_that_wait() -> None:
    shell = make_shell()
    shell.handle(span(1, GROUP, 4, 6, holders=holders((0, 4, 8))))
    (fetch,) = shell.pulls
    assert isinstance(fetch, FetchShards)
    shell.handle(TakeBack(1, [4, 6], False))
    assert outcomes(shell.sent) == {1: {4: ["returned"], 5: ["returned"]}}
    answer(shell, fetch.number, [parcel_of([0, 1, 2, 3], 0, 2)])
    shell.handle(span(2, GROUP, 4, 6, holders=holders((0, 4, 8))))  # kept: nothing is asked
    shell.run_to_end()
    assert len(shell.pulls) == 1 and outcomes(shell.sent)[2] == {4: ["done"], 5: ["done"]}
