"""The dependency algebra of the layers, against brute force; checks at the wire."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from cellspan.engine.errors import PeerError
from cellspan.engine.scheduler.exchange import Exchange
from cellspan.engine.scheduler.fold import Fold
from cellspan.engine.scheduler.graph import Graph
from cellspan.engine.scheduler.layers import Each, LayerRefused, make_layer
from cellspan.engine.scheduler.runs import set_of

from .driver import FUNCTION, make_exchange, make_extension, make_fold

SELF = 9
SIZES = {1: 8, 2: 12}
"""Two producers, with their numbers of tasks."""

Inputs = list[list[tuple[int, int]]]


@st.composite
def each_layers(draw: st.DrawFn) -> tuple[Each, Inputs]:
    n = draw(st.integers(1, 6))
    args: list[list[Any]] = []
    inputs: Inputs = [[] for _ in range(n)]
    for _ in range(draw(st.integers(0, 2))):
        group = draw(st.sampled_from(sorted(SIZES)))
        offset = draw(st.integers(0, SIZES[group] - n))
        args.append(["same", group, offset])
        for index in range(n):
            inputs[index].append((group, index + offset))
    for _ in range(draw(st.integers(0, 2))):
        group = draw(st.sampled_from(sorted(SIZES)))
        index = draw(st.integers(0, SIZES[group] - 1))
        args.append(["blob", FUNCTION, [group, index]])
        for tasks in inputs:
            tasks.append((group, index))
    wire = {"kind": "each", "n": n, "function": FUNCTION, "args": args, "names": []}
    layer = make_layer(wire, SIZES.get, lambda digest: True)
    assert isinstance(layer, Each)
    return layer, inputs


@st.composite
def graph_layers(draw: st.DrawFn) -> tuple[Graph, Inputs]:
    layer = Graph({"kind": "graph", "function": FUNCTION})
    inputs: Inputs = []
    for _ in range(draw(st.integers(1, 3))):
        new: Inputs = []
        for _ in range(draw(st.integers(1, 5))):
            known = [(group, i) for group, size in SIZES.items() for i in range(size)]
            known += [(SELF, i) for i in range(len(inputs) + len(new))]
            new.append(draw(st.lists(st.sampled_from(known), max_size=4)))
        layer.extend(make_extension(SELF, len(inputs), new))
        inputs += new
    return layer, inputs


@st.composite
def fold_layers(draw: st.DrawFn) -> tuple[Fold, Inputs]:
    group = draw(st.sampled_from(sorted(SIZES)))
    count = draw(st.integers(1, SIZES[group]))
    offset = draw(st.integers(0, SIZES[group] - count))
    fanin = draw(st.integers(2, 5))
    wire = make_fold(group, offset, count, fanin)
    layer = make_layer(wire, SIZES.get, lambda digest: True, SELF)
    assert isinstance(layer, Fold)
    return layer, expand_fold(group, offset, count, fanin)


def expand_fold(group: int, offset: int, count: int, fanin: int) -> Inputs:
    """Return what each task takes, by plain slicing: level after level until one is left."""
    inputs: Inputs = []
    row = [(group, index) for index in range(offset, offset + count)]
    while len(row) > 1 or not inputs:
        taken = [row[at : at + fanin] for at in range(0, len(row), fanin)]
        row = [(SELF, index) for index in range(len(inputs), len(inputs) + len(taken))]
        inputs += taken
    return inputs


@st.composite
def exchange_layers(draw: st.DrawFn) -> tuple[Exchange, Inputs]:
    group = draw(st.sampled_from(sorted(SIZES)))
    count = draw(st.integers(1, SIZES[group]))
    offset = draw(st.integers(0, SIZES[group] - count))
    outputs = draw(st.integers(1, 6))
    wire = make_exchange(group, offset, count, outputs)
    layer = make_layer(wire, SIZES.get, lambda digest: True, SELF)
    assert isinstance(layer, Exchange)
    splits: Inputs = [[(group, offset + task)] for task in range(count)]
    return layer, splits + [[(SELF, task) for task in range(count)] for _ in range(outputs)]


layers = st.one_of(each_layers(), graph_layers(), fold_layers(), exchange_layers())


@given(layers, st.data())
def test_algebra_is_right(
    made: tuple[Each | Exchange | Fold | Graph, Inputs], data: st.DataObject
) -> None:
    layer, inputs = made
    n = len(inputs)
    assert layer.n == n
    every = {**SIZES, SELF: 0 if isinstance(layer, Each) else n}
    tasks = data.draw(st.sets(st.integers(0, n - 1)))
    group = data.draw(st.sampled_from([g for g, size in every.items() if size]))
    results = data.draw(st.sets(st.integers(0, every[group] - 1)))
    done = {
        g: data.draw(st.sets(st.integers(0, size))) if size else set() for g, size in every.items()
    }

    expected: dict[int, set[int]] = {}
    for task in tasks:
        for producer, index in inputs[task]:
            expected.setdefault(producer, set()).add(index)
    assert {g: set(found) for g, found in layer.inputs_of(BitMap(tasks)).items()} == expected

    taking = {t for t in range(n) if any(g == group and i in results for g, i in inputs[t])}
    assert set(layer.consumers_of(group, BitMap(results))) == taking

    needed = {i for t in tasks for g, i in inputs[t] if g == group and i in results}
    assert set(layer.needed(group, BitMap(results), BitMap(tasks))) == needed

    complete = {t for t in tasks if all(i in done[g] for g, i in inputs[t])}
    found = layer.count_again(BitMap(tasks), lambda g: BitMap(done[g]))
    assert set(found) == complete

    local = {t for t in tasks if all(i in done[g] for g, i in inputs[t])}
    if not isinstance(layer, Each):
        assert set(layer.find_local(BitMap(tasks), lambda g: BitMap(done[g]))) == local
    assert layer.producers() == {g for tasks_ in inputs for g, _ in tasks_}


@given(layers, st.data())
def test_completion_step_by_step(
    made: tuple[Each | Exchange | Fold | Graph, Inputs], data: st.DataObject
) -> None:
    """Results come and go one by one: at every step exactly the complete tasks are told."""
    layer, inputs = made
    waiting = {t for t, tasks in enumerate(inputs) if tasks}
    done: dict[int, set[int]] = {1: set(), 2: set(), SELF: set()}

    def done_of(group: int) -> BitMap:
        return BitMap(done[group])

    assert not layer.count_again(BitMap(waiting), done_of)
    order = data.draw(st.permutations([(g, i) for g, size in SIZES.items() for i in range(size)]))
    order += [(SELF, i) for i in range(len(inputs))]
    for group, index in order:
        if data.draw(st.booleans()):  # it comes, goes, and comes again
            done[group].add(index)
            early = layer.on_done(group, BitMap((index,)), BitMap(waiting), done_of)
            done[group].discard(index)
            layer.on_lost(group, BitMap((index,)), BitMap(waiting))
            assert set(early) == {
                t for t in waiting if is_complete(inputs[t], done, (group, index))
            }
        done[group].add(index)
        told = set(layer.on_done(group, BitMap((index,)), BitMap(waiting), done_of))
        assert told == {t for t in waiting if is_complete(inputs[t], done, None)}
        waiting -= told
    assert not waiting


def is_complete(
    inputs: list[tuple[int, int]], done: dict[int, set[int]], also: tuple[int, int] | None
) -> bool:
    return all(index in done[group] or (group, index) == also for group, index in inputs)


@given(graph_layers(), st.data())
def test_payloads_and_inputs_are_cut_out_right(
    made: tuple[Graph, Inputs], data: st.DataObject
) -> None:
    layer, inputs = made
    start = data.draw(st.integers(0, len(inputs) - 1))
    stop = data.draw(st.integers(start + 1, len(inputs)))
    payload, lengths = layer.cut(start, stop)
    wanted = make_extension(SELF, start, inputs[start:stop])
    assert bytes(payload) == wanted.payload and bytes(lengths) == wanted.lengths
    columns = [wanted.dep_counts, wanted.dep_groups, wanted.dep_indices]
    assert layer.cut_inputs(start, stop) == (columns if wanted.dep_counts else [])


EACH = {"kind": "each", "n": 4, "function": FUNCTION, "args": [], "names": []}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"kind": "sort"}, "no layer of kind 'sort'; it knows each, fold, exchange, graph, data"),
        ({"n": -1}, "-1"),
        ({"n": 2**32 + 1}, "the limit is 4294967296"),
        ({"n": True}, "True"),
        ({"function": b"short"}, "digest"),
        ({"function": b"x" * 16}, "did not come"),
        ({"args": None}, "args must be a list"),
        ({"names": ["a"]}, "names"),
        ({"args": [["blob", FUNCTION, []]], "names": [1]}, "strings"),
        ({"args": [["blob", b"y" * 16, []]]}, "argument 0"),
        ({"args": [["blob", FUNCTION, [1]]]}, "pairs"),
        ({"args": [["blob", FUNCTION, [1, 8]]]}, "no task 8"),
        ({"args": [["blob", FUNCTION, [7, 0]]]}, "no group 7"),
        ({"args": [["items", 2, [FUNCTION]]]}, "1 chunks of 2 items for 4 tasks"),
        ({"args": [["items", 0, []]]}, "chunks of 0"),
        ({"args": [["same", 7, 0]]}, "no group 7"),
        ({"args": [["same", 1, 5]]}, "[5, 9) of a group of 8"),
        ({"args": [["same", 1, -1]]}, "[-1, 3)"),
        ({"args": [["what"]]}, "no specification"),
        ({"args": [3]}, "no specification"),
    ],
)
def test_bad_layers_are_refused_in_words(change: dict[str, Any], text: str) -> None:
    with pytest.raises(LayerRefused) as caught:
        make_layer({**EACH, **change}, SIZES.get, lambda digest: digest == FUNCTION)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"n": 5}, "5 tasks; 8 results by 3 take 4"),
        ({"n": None}, "None"),
        ({"function": b"x" * 16}, "did not come"),
        ({"initial": b"x" * 16}, "initial value"),
        ({"initial": "0"}, "initial value"),
        ({"fanin": 1}, "from 2 to 65536"),
        ({"fanin": 1 << 17}, "from 2 to 65536"),
        ({"fanin": True}, "True"),
        ({"count": 0}, "0 results from 0 on"),
        ({"count": 1.0}, "1.0 results"),
        ({"offset": -1}, "from -1 on"),
        ({"offset": 1}, "[1, 9) of a group of 8"),
        ({"group": 7}, "no group 7"),
        ({"group": SELF}, "no group 9"),
        ({"group": None}, "no group None"),
    ],
)
def test_bad_trees_are_refused_in_words(change: dict[str, Any], text: str) -> None:
    wire = {**make_fold(1, 0, 8, 3), **change}
    with pytest.raises(LayerRefused) as caught:
        make_layer(wire, SIZES.get, lambda digest: digest == FUNCTION, SELF)
    assert text in str(caught.value)
    del wire["initial"]
    with pytest.raises(LayerRefused):
        make_layer(wire, SIZES.get, lambda digest: digest == FUNCTION, SELF)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"n": 12}, "12 tasks, for 8 splits and 3 merges"),
        ({"n": None}, "None"),
        ({"n": 1 << 40}, "the limit is"),
        ({"function": b"x" * 16}, "did not come"),
        ({"split": b"x" * 16}, "function that splits"),
        ({"split": None}, "function that splits"),
        ({"outputs": 0}, "outputs is 0"),
        ({"outputs": True}, "True"),
        ({"outputs": 2.0}, "2.0"),
        ({"count": 0}, "no way to exchange 0 results from 0 on"),
        ({"offset": -1}, "from -1 on"),
        ({"offset": 1}, "[1, 9) of a group of 8"),
        ({"group": 7}, "no group 7 to exchange"),
        ({"group": SELF}, "no group 9"),
        ({"group": None}, "no group None"),
    ],
)
def test_bad_exchanges_are_refused_in_words(change: dict[str, Any], text: str) -> None:
    wire = {**make_exchange(1, 0, 8, 3), **change}
    with pytest.raises(LayerRefused) as caught:
        make_layer(wire, SIZES.get, lambda digest: digest == FUNCTION, SELF)
    assert text in str(caught.value)
    for key in wire.keys() - {"kind"}:
        with pytest.raises(LayerRefused):
            less = {name: value for name, value in wire.items() if name != key}
            make_layer(less, SIZES.get, lambda digest: digest == FUNCTION, SELF)


def test_an_exchange_of_any_size_is_some_numbers() -> None:
    """A question about 10^18 shards costs what one about a few does."""
    half = 1 << 31
    layer = make_layer(make_exchange(1, 0, half, half), {1: half}.get, lambda digest: True, SELF)
    assert isinstance(layer, Exchange) and layer.n == 1 << 32
    last = BitMap((layer.n - 1,))
    assert layer.inputs_of(last) == {SELF: set_of(0, half)}
    assert layer.consumers_of(SELF, BitMap((5,))) == set_of(half, 1 << 32)
    assert layer.complete(last, lambda group: set_of(0, half)) == last
    assert not layer.complete(last, lambda group: set_of(1, half))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(1, 20), st.integers(1, 9))
def test_every_output_has_one_owner(slots: list[int], outputs: int, count: int) -> None:
    wire = make_exchange(2, 0, count, outputs)
    layer = make_layer(wire, SIZES.get, lambda digest: True, SELF)
    assert isinstance(layer, Exchange)
    assert layer.owner_of(count) is None and not layer.owned_by(1)
    layer.plan([(peer, number) for peer, number in enumerate(slots, 1)])
    owned = {peer: set(layer.owned_by(peer)) for peer in range(1, len(slots) + 1)}
    assert sorted(task for tasks in owned.values() for task in tasks) == [
        *range(count, count + outputs)
    ]
    for peer, tasks in owned.items():
        assert all(layer.owner_of(task) == peer for task in tasks)
        share = outputs * slots[peer - 1] / sum(slots)
        assert outputs < len(slots) or abs(len(tasks) - share) < 1 + 1e-9


def test_a_tree_of_any_size_is_some_rows_of_numbers() -> None:
    layer = make_layer(make_fold(1, 0, 1 << 31, 2), {1: 1 << 31}.get, lambda digest: True, SELF)
    assert isinstance(layer, Fold)
    assert layer.n == 2**31 - 1 and len(layer.levels) == 31
    root = BitMap((layer.n - 1,))
    assert layer.inputs_of(root) == {SELF: BitMap((layer.n - 3, layer.n - 2))}
    with pytest.raises(LayerRefused, match="the limit is"):
        make_layer(
            make_fold(1, 0, 1 << 32, 2, n=(1 << 32) + 1), {1: 1 << 32}.get, lambda digest: True
        )


@pytest.mark.parametrize(
    "change",
    [
        {"start": 1},
        {"count": 0},
        {"lengths": b""},
        {"payload": b"x"},
        {"dep_counts": b"\0" * 4},
        {"dep_groups": b""},
        {"dep_indices": (9).to_bytes(4, "little") * 1},
    ],
)
def test_bad_extensions_are_refused_and_change_nothing(change: dict[str, Any]) -> None:
    message = make_extension(SELF, 0, [[], [(SELF, 0)]])
    for name, value in change.items():
        setattr(message, name, value)
    layer = Graph({"kind": "graph", "function": FUNCTION})
    with pytest.raises(PeerError):
        layer.extend(message)
    assert layer.n == 0 and not layer.has_inputs and not layer.producers()
