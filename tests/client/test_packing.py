"""What a map becomes: whatever its iterables are, tasks get what the built-in `map` would give."""

from __future__ import annotations

import itertools
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellspan.engine.client.functions import FunctionTable, LargePayload, PickledFunction
from cellspan.engine.client.futures import Future, Futures
from cellspan.engine.client.packing import EachPlan, GraphPlan, Packer
from cellspan.engine.client.session import Session
from cellspan.engine.errors import ArgumentNotSerializable, InvalidArgument, PayloadTooLarge
from cellspan.engine.executor.values import load_blob

MIB = 1 << 20


def work(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def train(config: Any, rate: float = 0.1) -> Any:
    return config, rate


class World:
    """A client's packer, and groups of 100 tasks whose results are ``("result", group, index)``."""

    def __init__(self) -> None:
        self.session = Session(3, "id-1", "here", "me")
        self.packer = Packer(self.session)
        self.table = FunctionTable()

    def function(self, function: Callable[..., Any] = work) -> PickledFunction:
        return self.table.pickle(function)

    def futures(self, n: int = 100) -> Futures:
        layer = {"kind": "each", "n": n, "function": b"", "args": [], "names": []}
        return Futures(self.session.add_group("g", n, layer, {}, {}, False), range(n))

    def pack_map(self, *iterables: Any, **kwargs: Any) -> EachPlan | GraphPlan:
        return self.packer.pack_map(self.function(), iterables, kwargs)


@pytest.fixture
def world() -> World:
    return World()


def result(group: int, index: int) -> Any:
    return ("result", group, index)


def resolved(value: Any) -> Any:
    """A value with its futures replaced by their results: what a task must get."""
    if isinstance(value, Future):
        return result(value.key.group, value.key.index)
    if isinstance(value, Futures):
        return [resolved(future) for future in value]
    if isinstance(value, list | tuple):
        return type(value)(map(resolved, value))
    if isinstance(value, dict):
        return {key: resolved(item) for key, item in value.items()}
    return value


def expand(plan: EachPlan | GraphPlan) -> list[Any]:
    """The ``(args, kwargs)`` of each task, as a worker makes them."""
    if isinstance(plan, GraphPlan):
        calls = []
        for payload, deps in plan.calls:
            asked: list[tuple[int, int]] = []

            def resolve(group: int, index: int, asked: list[tuple[int, int]] = asked) -> Any:
                asked.append((group, index))
                return result(group, index)

            calls.append(load_blob(payload, resolve))
            assert set(asked) == set(deps), "all that is resolved was waited for"
        return calls
    columns = []
    for spec in plan.args:
        match spec:
            case ["range", start, step]:
                columns.append([start + step * i for i in range(plan.n)])
            case ["blob", digest, _]:
                columns.append([load_blob(plan.blobs[digest], result)] * plan.n)
            case ["items", chunk, digests]:
                items = [list(load_blob(plan.blobs[digest])) for digest in digests]
                assert all(len(some) == chunk for some in items[:-1])
                columns.append(list(itertools.chain(*items)))
            case ["same", group, offset]:
                columns.append([result(group, offset + i) for i in range(plan.n)])
    rows = list(zip(*columns, strict=True)) if plan.n else []
    cut = len(columns) - len(plan.names)
    return [(row[:cut], dict(zip(plan.names, row[cut:], strict=True))) for row in rows]


def make_iterable(kind: str, n: int, futures: Futures) -> Any:
    return {
        "range": lambda: range(5, 5 + 3 * n, 3),
        "back": lambda: range(n, 0, -1),
        "huge range": lambda: range(10**30, 10**30 + n),
        "list": lambda: [str(i) for i in range(n)],
        "tuple": lambda: tuple(range(n)),
        "text": lambda: "abcdefghijklmnopqrstuvwxyz"[:n],
        "bytes": lambda: bytes(range(n)),
        "iterator": lambda: iter([{"i": i} for i in range(n)]),
        "dict": lambda: {f"key {i}": i for i in range(n)},
        "array": lambda: np.arange(n) * 2,
        "futures": lambda: futures[2 : 2 + n],
        "every other": lambda: futures[: 2 * n : 2],
        "list of futures": lambda: list(futures[7 : 7 + n]),
        "nested futures": lambda: [[futures[i], i] for i in range(n)],
        "mixed": lambda: [futures[i] if i % 2 else i for i in range(n)],
        "endless": lambda: itertools.count(),
        "constant": lambda: itertools.repeat("same"),
        "constant future": lambda: itertools.repeat(futures[4]),
    }[kind]()


KINDS = [
    "range", "back", "huge range", "list", "tuple", "text", "bytes", "iterator", "dict", "array",
    "futures", "every other", "list of futures", "nested futures", "mixed", "endless", "constant",
    "constant future",
]  # fmt: skip
ENDLESS = {"endless", "constant", "constant future"}
SYMBOLIC = {"range", "back", "futures", "list of futures", "constant", "constant future"}


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 20).flatmap(
        lambda n: st.lists(
            st.tuples(st.sampled_from(KINDS), st.sampled_from([n, n, n, 7])), min_size=1, max_size=3
        )
    ),
    st.sampled_from([{}, {"a": 1}, {"a": "future", "b": [1]}]),
)
def test_a_map_is_what_the_built_in_map_would_be_of_one_length(
    parts: list[tuple[str, int]], constants: dict[str, Any]
) -> None:
    world = World()
    futures = world.futures()
    kwargs = {k: futures[9] if v == "future" else v for k, v in constants.items()}
    iterables = [make_iterable(kind, n, futures) for kind, n in parts]
    if {kind for kind, _ in parts} <= ENDLESS:
        with pytest.raises(InvalidArgument, match="needs at least one iterable that ends"):
            world.pack_map(*iterables, **kwargs)
        return
    sized = {n for kind, n in parts if kind not in ENDLESS | {"iterator"}}
    if len(sized) > 1 or (sized and any(k == "iterator" and n < min(sized) for k, n in parts)):
        with pytest.raises(InvalidArgument, match="must be equally long"):
            world.pack_map(*iterables, **kwargs)
        return
    expected = [
        (resolved(row), resolved(kwargs))
        for row in zip(*(make_iterable(kind, n, futures) for kind, n in parts), strict=False)
    ]
    plan = world.pack_map(*iterables, **kwargs)
    assert expand(plan) == expected
    if {kind for kind, _ in parts} <= SYMBOLIC:
        assert isinstance(plan, EachPlan)
        assert sum(len(blob) for blob in plan.blobs.values()) < 400, "it stays symbolic"


def test_a_range_costs_nothing_whatever_its_length(world: World) -> None:
    plan = world.pack_map(range(10**8))
    assert isinstance(plan, EachPlan)
    assert (plan.n, plan.args, plan.blobs) == (10**8, [["range", 0, 1]], {})


def test_equal_chunks_travel_once(world: World) -> None:
    plan = world.pack_map(["x" * 1000] * 10_000)
    assert isinstance(plan, EachPlan) and len(plan.blobs) <= 2
    assert len(plan.args[0][2]) > 10


def test_arrays_travel_as_arrays(world: World) -> None:
    plan = world.pack_map(np.zeros((10_000, 100)))
    assert isinstance(plan, EachPlan)
    nbytes = sum(len(blob) for blob in plan.blobs.values())
    rows = expand(EachPlan(plan.n, plan.args, plan.names, plan.blobs))
    assert nbytes < 2 * 64 << 10, "all its chunks are equal"
    assert rows[9_999][0][0].shape == (100,)


def test_futures_are_found_anywhere_in_arguments(world: World) -> None:
    futures = world.futures(4)
    value = {"a": [futures[0], (futures[1], {"b": futures[2:4]})]}
    payload, deps = world.packer.pack_call(world.function(), (value, 1), {"k": futures[1]})
    group = futures.group_id
    assert sorted(deps) == [(group, i) for i in range(4)]
    assert load_blob(payload, result) == resolved(((value, 1), {"k": futures[1]}))


def test_futures_of_another_cluster_are_refused(world: World) -> None:
    other = World()
    other.session.cluster_id, other.session.cluster = "id-2", "there"
    future = other.futures()[0]
    with pytest.raises(InvalidArgument, match="belongs to cluster 'there', not to 'here'"):
        world.packer.pack_call(world.function(), ([future],), {})
    with pytest.raises(InvalidArgument, match="belongs to cluster"):
        world.pack_map(other.futures())
    same_cluster = World().futures()
    world.packer.pack_call(world.function(), (same_cluster[0],), {})


def test_a_released_future_is_refused(world: World) -> None:
    future = world.futures()[1]
    future.release()
    with pytest.raises(InvalidArgument, match=r"g\[1\] was released"):
        world.packer.pack_call(world.function(), ([future],), {})


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (threading.Lock(), r"'config' is a _thread.lock"),
        ({"a": [1, threading.Lock()]}, r"'config'\['a'\]\[1\] is a _thread.lock"),
        ((i for i in range(3)), r"'config' is a generator"),
    ],
)
def test_what_cannot_be_pickled_is_named(world: World, value: Any, named: str) -> None:
    with pytest.raises(ArgumentNotSerializable, match=named):
        world.packer.pack_call(world.function(train), (value,), {})
    with pytest.raises(ArgumentNotSerializable, match="an argument of 'train' cannot be sent"):
        world.packer.pack_map(world.function(train), [range(3)], {"rate": threading.Lock()})
    with pytest.raises(ArgumentNotSerializable, match=r"'config'\[0:3\]"):
        world.packer.pack_map(world.function(train), [[1, value, 3]], {})


@pytest.mark.parametrize("kind", ["array", "bytes", "nested"])
def test_too_large_arguments_are_refused_at_once(world: World, kind: str) -> None:
    big = np.zeros(300 * MIB, dtype="u1")  # never touched: it takes no memory
    value = {"array": big, "bytes": bytes(65 * MIB), "nested": {"deep": [big]}}[kind]
    with pytest.raises(PayloadTooLarge, match=r"argument 'config'.*scatter"):
        world.packer.pack_call(world.function(train), (value,), {})
    with pytest.raises(PayloadTooLarge, match=r"argument 'rate'.*scatter"):
        world.packer.pack_map(world.function(train), [range(3)], {"rate": value})
    with pytest.raises(PayloadTooLarge, match=r"'config'.*scatter"):
        world.packer.pack_map(world.function(train), [[value, value]], {})


def test_large_arguments_are_warned_of_by_name(world: World) -> None:
    value = np.zeros(2 * MIB, dtype="u1")
    for call in (
        lambda: world.packer.pack_call(world.function(train), ([value],), {}),
        lambda: world.packer.pack_map(world.function(train), [[value, value.copy()]], {}),
    ):
        with pytest.warns(LargePayload, match=r"argument 'config' of 'train' takes 2\.0 MiB"):
            call()
    with pytest.warns(LargePayload, match=r"argument 'rate' of 'train' takes 2\.0 MiB"):
        world.packer.pack_map(world.function(train), [range(3)], {"rate": value})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        world.packer.pack_call(world.function(train), (value[: MIB // 2],), {})


def test_a_value_in_place_of_an_iterable_is_explained(world: World) -> None:
    with pytest.raises(InvalidArgument, match="argument 2 after the function is a int"):
        world.pack_map(range(3), 5)
