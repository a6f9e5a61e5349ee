"""What a worker and its executors make of the levels of a tree."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cellspan.engine.executor import values
from cellspan.engine.executor.inputs import Blobs, Blocks, Thing, fold_rows
from cellspan.engine.ids import digest_of
from cellspan.engine.messages import RunSpan
from cellspan.engine.worker.assignments import Assignment, WorkGroup
from cellspan.engine.worker.store import StoredBlock

from .shell import FUNCTION, Shell, define, outcomes, span

SOURCE, TREE = 5, 9
INITIAL = values.dump_blob("initial")[0]

Rows = list[tuple[int, list[int]]]


@st.composite
def trees(draw: st.DrawFn) -> tuple[dict[str, Any], Rows]:
    """A layer as workers get it, and by slicing what each of its tasks takes: group, indices."""
    fanin = draw(st.integers(2, 5))
    offset, left = draw(st.integers(0, 3)), draw(st.integers(1, 60))
    rows: Rows = []
    levels = []
    group, low = SOURCE, offset
    while left > 1 or not rows:
        inputs = list(range(low, low + left))
        taken = [inputs[at : at + fanin] for at in range(0, left, fanin)]
        levels.append([len(rows), len(rows) + len(taken), group, low, low + left])
        group, low, left = (TREE, len(rows), len(taken))
        rows += [(levels[-1][2], some) for some in taken]
    layer = {
        "kind": "fold", "function": digest_of(FUNCTION), "fanin": fanin, "levels": levels,
        "initial": draw(st.sampled_from([None, digest_of(INITIAL)])),
    }  # fmt: skip
    return layer, rows


def as_things(tasks: list[tuple[int, int]], cut: int) -> list[Thing]:
    """Return blocks of up to `cut` results each; a result is its own (group, index)."""
    things: list[Thing] = []
    for group in (SOURCE, TREE):
        indices = sorted(index for g, index in tasks if g == group)
        while indices:
            run = [i for k, i in enumerate(indices[:cut]) if i == indices[0] + k]
            indices = indices[len(run) :]
            start, stop, single, parts = values.make_block(run[0], [(group, i) for i in run])
            header = [len(things) + 1, group, start, stop, single, len(parts), None, []]
            things.append(Thing(header, list(parts)))
    return things


@given(trees(), st.data())
def test_a_piece_takes_just_what_its_tasks_fold(
    tree: tuple[dict[str, Any], Rows], data: st.DataObject
) -> None:
    layer, rows = tree
    start = data.draw(st.integers(0, len(rows) - 1))
    stop = data.draw(st.integers(start + 1, len(rows)))
    expected = [[(group, index) for index in taken] for group, taken in rows[start:stop]]
    tasks = [task for row in expected for task in row]

    group = WorkGroup(TREE, "tree", layer)
    assignment = Assignment(RunSpan(1, TREE, 0, len(rows), False), group)
    needs = assignment.needs(start, stop)
    flat = [(g, i) for g, r in needs.items() for a, b in zip(r[::2], r[1::2], strict=True)
            for i in range(a, b)]  # fmt: skip
    assert sorted(flat) == sorted(tasks)
    assert assignment.chunks(start, stop) == []

    blobs = Blobs()
    blobs.add(TREE, [digest.hex() for digest in group.digests], {digest_of(INITIAL).hex(): INITIAL})
    blocks = Blocks(as_things(tasks, data.draw(st.integers(1, 9))))
    found = list(fold_rows(group.wire_layer(), start, stop, blobs, blocks))
    if start == 0 and layer["initial"] is not None:
        assert found[0].pop(0) == "initial"
    assert found == expected


def test_a_tree_runs_from_its_inputs_to_its_root() -> None:
    shell = Shell(2)
    for executor in list(shell.executors):
        shell.ready(executor)
    levels = [[0, 3, SOURCE, 0, 5], [3, 5, TREE, 0, 3], [5, 6, TREE, 3, 5]]
    layer = {"kind": "fold", "function": digest_of(FUNCTION), "fanin": 2, "levels": levels}
    shell.handle(
        define(TREE, {**layer, "initial": digest_of(INITIAL)}, {digest_of(INITIAL): INITIAL})
    )
    shell.handle(span(1, TREE, 0, 1))
    shell.run_to_end()
    assert outcomes(shell.sent)[1] == {0: ["returned"]}  # its inputs are not here
    shell.core.put([StoredBlock(SOURCE, i, i + 1, True, [b"v"]) for i in range(5)])
    for number, (start, stop) in enumerate([(0, 3), (3, 5), (5, 6)], 2):
        shell.handle(span(number, TREE, start, stop))
        shell.run_to_end()
        assert outcomes(shell.sent)[number] == {i: ["done"] for i in range(start, stop)}
