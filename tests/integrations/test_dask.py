"""`client.get` on a real cluster: Dask's collections, and what it expects of a scheduler."""

from __future__ import annotations

import asyncio
import operator
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import cloudpickle
import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dask._task_spec import Alias, DataNode, Task, TaskRef
from dask.highlevelgraph import HighLevelGraph
from dask.utils_test import GetFunctionTestMixin

from cellspan.engine.client import Client
from cellspan.engine.deploy import LocalCluster
from cellspan.engine.errors import ArgumentNotSerializable, ConnectionClosed, InvalidArgument
from cellspan.engine.integrations.dask_plan import CyclicGraph, MissingKey

Door = Any  # of conftest.py

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file


def add(x: Any, y: Any) -> Any:
    return x + y


def fail(x: Any) -> Any:
    raise ZeroDivisionError(f"cannot do {x}")


def note(folder: str, name: str, *_: Any) -> str:
    with open(f"{folder}/at-{name}", "a") as file:
        file.write("x")
    return name


def pass_door(folder: str, name: int) -> int:
    import os
    import time

    open(f"{folder}/at-{name}", "w").close()
    while not os.path.exists(f"{folder}/open"):
        time.sleep(0.002)
    return name


class TestDasksOwnExpectations(GetFunctionTestMixin):  # type: ignore[misc]
    """The tests that Dask ships for foreign scheduler functions."""

    client: ClassVar[Client]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def connect(cls, cluster: LocalCluster) -> Iterator[None]:
        with Client(cluster) as cls.client:
            yield

    def get(self, *args: Any, **kwargs: Any) -> Any:
        return self.client.get(*args, **kwargs)

    def test_get_stack_limit(self) -> None:
        # As Dask's own, with a tenth of its 10,000 tasks: each waits for the one before it, so this
        # measures how fast a cluster answers, not whether a stack overflows here.
        graph = {f"x{i + 1}": (add, f"x{i}", 1) for i in range(1000)}
        graph["x0"] = 0  # type: ignore[assignment]
        assert self.get(graph, "x1000") == 1000


@pytest.fixture
def on_cluster(client: Client) -> Iterator[Client]:
    with dask.config.set(scheduler=client.get):
        yield client


def names_of(client: Client) -> dict[str, int]:
    """Return the groups that the cluster has seen of this client, with their sizes."""
    began, deadline = time.time(), time.monotonic() + 20
    while (snapshot := client.snapshot()).time < began:  # one is kept for half a second
        assert time.monotonic() < deadline
        time.sleep(0.02)
    found: dict[str, int] = {}
    for row in snapshot.groups:
        if row.client == client.name:
            found[row.name] = found.get(row.name, 0) + row.total
    return found


@pytest.fixture
def fresh(cluster: LocalCluster) -> Iterator[Client]:
    """A client of a name that no group was submitted under."""
    with Client(cluster, name=f"fresh-{time.monotonic_ns()}") as client:
        yield client


# --- collections ----------------------------------------------------------------------------------


def test_arrays(on_cluster: Client) -> None:
    numbers = np.arange(90_000.0).reshape(300, 300)
    x = da.from_array(numbers, chunks=100)
    y = (x + x.T) @ x - x.mean(axis=0)
    expected = (numbers + numbers.T) @ numbers - numbers.mean(axis=0)
    np.testing.assert_allclose(y.compute(), expected)
    random = da.random.default_rng(5).random((200, 200), chunks=50)
    assert random.std().compute() == random.std().compute(scheduler="sync")
    s = da.linalg.svd(x[:, :100].rechunk((100, 100)))[1]
    np.testing.assert_allclose(s.compute(), np.linalg.svd(numbers[:, :100])[1], atol=1e-6)


def test_tables(on_cluster: Client) -> None:
    table = pd.DataFrame({"a": range(1000), "b": [i % 7 for i in range(1000)]})
    frame = dd.from_pandas(table, npartitions=4)
    pd.testing.assert_series_equal(
        frame.groupby("b").a.mean().compute().sort_index(), table.groupby("b").a.mean()
    )
    merged = frame.merge(frame[frame.a < 50], on="a").compute()
    assert sorted(merged.a) == list(range(50))
    pd.testing.assert_frame_equal(frame.set_index("b").compute().sort_values(["b", "a"]),
                                  table.set_index("b").sort_values(["b", "a"]))  # fmt: skip


def test_bags_and_delayed(on_cluster: Client) -> None:
    bag = db.from_sequence(range(100), npartitions=5).map(lambda x: x + 1)
    assert bag.filter(lambda x: x % 2).sum().compute() == 2500
    assert dict(bag.groupby(lambda x: x % 3).map(lambda kv: (kv[0], len(kv[1]))).compute()) == {
        0: 33, 1: 34, 2: 33,
    }  # fmt: skip
    double = dask.delayed(lambda x: 2 * x)
    nested = dask.delayed(lambda x: x)({"a": [double(1), (double(2), 3)], "b": double(double(3))})
    assert nested.compute() == {"a": [2, (4, 3)], "b": 12}
    assert dask.compute(double(1), [double(2)], 5, num_workers=3) == (2, [4], 5)
    (kept,) = dask.persist(double(4))
    assert kept.compute() == 8


def test_xarray(on_cluster: Client) -> None:
    values = np.random.default_rng(1).random((24, 10, 10))
    times = pd.date_range("2024-01-01", periods=24, freq="h")
    plain = xr.DataArray(values, dims=("time", "x", "y"), coords={"time": times}, name="t")
    lazy = plain.chunk(time=6, x=5)
    found = (lazy - lazy.mean("time")).groupby("time.hour").max().mean(("x", "y"))
    expected = (plain - plain.mean("time")).groupby("time.hour").max().mean(("x", "y"))
    xr.testing.assert_allclose(found.compute(), expected)


# --- groups and what is kept ----------------------------------------------------------------------


def test_a_layer_is_a_group_and_speaks_the_user_s_words(fresh: Client) -> None:
    x = da.ones((40, 40), chunks=10)
    y = x.map_blocks(np.sqrt, name="running", dtype=float).sum()
    y.compute(scheduler=fresh.get, optimize_graph=False)
    names = names_of(fresh)
    assert names["running"] == 16
    assert any(name.startswith("ones") and size == 16 for name, size in names.items())
    load = dask.delayed(lambda i: i, name="load")
    total = dask.delayed(sum, name="total-of-all")(
        [dask.delayed(operator.neg)(i, dask_key_name=f"negate-{i}") for i in range(5)]
    )
    assert (load(3) + total).compute(scheduler=fresh.get) == -7


def test_keys_with_one_prefix_are_one_group(fresh: Client) -> None:
    graph: dict[Any, Any] = {f"load-{i:032x}": (abs, -i) for i in range(20)}
    graph |= {("rows-0123", i): (add, f"load-{i:032x}", 1) for i in range(20)}
    graph["end"] = (sum, [("rows-0123", i) for i in range(20)])
    assert fresh.get(graph, "end") == sum(range(20)) + 20
    assert names_of(fresh) == {"load": 20, "rows": 20, "end": 1}


def test_only_what_is_wanted_runs_and_nothing_is_held(fresh: Client, door: Door) -> None:
    folder = door.folder
    graph = {
        "a": (note, folder, "A"),
        "b": (note, folder, "B", "a"),
        "c": (note, folder, "C", "a"),
        "d": (note, folder, "D", "b"),
    }
    assert fresh.get(graph, ["d"]) == ("D",)
    assert door.waiting() == 3  # a, b and d, once each
    assert sum(group.total for group in fresh.groups()) == 0
    rows = [row for row in fresh.snapshot().groups if row.client == fresh.name]
    deadline = time.monotonic() + 20
    while any(row.released < row.total or row.bytes_held for row in rows):
        assert time.monotonic() < deadline, rows
        rows = [row for row in fresh.snapshot().groups if row.client == fresh.name]


def test_large_literals_go_to_workers_once(fresh: Client) -> None:
    large = np.arange(200_000.0)
    graph: dict[Any, Any] = {"large": large}
    graph |= {("part", i): (operator.getitem, "large", i) for i in range(50)}
    graph["sum"] = (sum, [("part", i) for i in range(50)])
    assert fresh.get(graph, ["sum", "large"])[0] == sum(range(50))
    assert names_of(fresh)["dask-data"] == 1


def test_large_parts_of_arguments_do_not_pass_through_the_scheduler(fresh: Client) -> None:
    numbers = np.arange(10_000_000.0)  # 80 MB in two chunks: more than may travel with a task
    x = da.from_array(numbers, chunks=5_000_000, name=False)
    with dask.config.set(scheduler=fresh.get):
        assert (x + 1).sum().compute() == numbers.sum() + numbers.size
    assert names_of(fresh)["dask-data"] == 2
    text = np.array(["cell" * 200] * 3000, dtype=object)
    assert fresh.get({"n": Task("n", len, text)}, "n") == 3000


def test_consumers_run_before_more_is_produced(fresh: Client, door: Door) -> None:
    def load(folder: str, i: int) -> int:
        import os
        import time

        time.sleep(0.002)  # stands for work: by it the engine finds how much to hand out at once
        open(f"{folder}/at-{i}", "w").close()
        return len(os.listdir(folder))

    def reduce(folder: str, i: int, seen: int) -> int:
        import os

        os.remove(f"{folder}/at-{i}")
        return seen

    n = 600
    graph: dict[Any, Any] = {("load", i): (load, door.folder, i) for i in range(n)}
    graph |= {("use", i): (reduce, door.folder, i, ("load", i)) for i in range(n)}
    graph["most"] = (max, [("use", i) for i in range(n)])
    assert fresh.get(graph, "most") < n / 2
    depths = {row.name: row.depth for row in fresh.snapshot().groups if row.client == fresh.name}
    assert depths == {"load": 0, "use": 1, "most": 2}


# --- shapes ---------------------------------------------------------------------------------------


def test_keys_in_nested_lists(client: Client) -> None:
    graph = {"x": 1, "y": (add, "x", 1), ("z", 0): (add, "y", "x")}
    assert client.get(graph, ["x", ["y", [("z", 0)]], []]) == (1, (2, (3,)), ())
    assert client.get(graph, []) == ()


def test_all_kinds_of_nodes(client: Client) -> None:
    graph = {
        "data": DataNode("data", [1, 2]),
        "alias": Alias("alias", "data"),
        "task": Task("task", add, TaskRef("alias"), [3]),
        "last": Task("last", dict, a=TaskRef("task"), b=Task(None, len, TaskRef("data"))),
        "again": Alias("again", "last"),
    }
    assert client.get(graph, ["again", "alias"]) == ({"a": [1, 2, 3], "b": 2}, [1, 2])
    layers = HighLevelGraph.from_collections("top", {"top": (add, 1, 2)}, [])
    assert client.get(layers, "top") == 3


def test_different_functions_under_one_prefix(client: Client) -> None:
    graph = {("x", i): ((abs, operator.neg, lambda v: v + 1)[i % 3], i) for i in range(9)}
    assert client.get(graph, [("x", i) for i in range(9)]) == (0, -1, 3, 3, -4, 6, 6, -7, 9)


def test_prefixes_without_end_are_put_together(fresh: Client) -> None:
    graph: dict[Any, Any] = {"x0": 0}
    graph |= {f"x{i}": (add, f"x{i - 1}", 1) for i in range(1, 401)}
    assert fresh.get(graph, "x400") == 400
    assert names_of(fresh) == {"x": 400}


# --- errors ---------------------------------------------------------------------------------------


def test_an_error_keeps_its_type_and_what_depends_on_it_does_not_run(
    fresh: Client, door: Door
) -> None:
    graph = {"a": (fail, 3), "b": (note, door.folder, "B", "a"), "c": (abs, -1)}
    with pytest.raises(ZeroDivisionError, match="cannot do 3") as caught:
        fresh.get(graph, ["c", "b"])
    assert "in fail" in str(caught.value.__cause__)
    assert door.waiting() == 0
    assert sum(group.total for group in fresh.groups()) == 0


def test_after_an_error_the_rest_is_dropped(fresh: Client, door: Door) -> None:
    graph: dict[Any, Any] = {("held", i): (pass_door, door.folder, i) for i in range(30)}
    graph["bad"] = (fail, ("held", 0))
    graph["first"] = (fail, 1)
    with pytest.raises(ZeroDivisionError):
        fresh.get(graph, ["first", *[("held", i) for i in range(30)]])
    door.open()
    assert fresh.submit(abs, -2).result(20) == 2
    assert door.waiting() < 10  # those that ran already, or were about to


def test_bad_graphs_are_refused_at_once(fresh: Client) -> None:
    cycle = {"a": (abs, "c"), "b": (abs, "a"), "c": (abs, "b"), "d": 1}
    with pytest.raises(CyclicGraph, match="'a' needs 'c' needs 'b' needs 'a'"):
        fresh.get(cycle, "a")
    assert fresh.get(cycle, "d") == 1
    with pytest.raises(CyclicGraph, match="itself"):
        fresh.get({"a": "a"}, "a")
    with pytest.raises(MissingKey, match="no key 'z'; it has 1: 'a'"):
        fresh.get({"a": 1}, ["a", ["z"]])
    with pytest.raises(KeyError, match="'a' needs 'gone', which the graph does not have"):
        fresh.get({"a": Task("a", abs, TaskRef("gone"))}, "a")
    with pytest.raises(InvalidArgument, match="not hashable"):
        fresh.get({"a": 1}, [{"a": 1}])
    with pytest.raises(InvalidArgument, match="Dask graph"):
        fresh.get(5, "a")
    with pytest.raises(InvalidArgument, match="retries"):
        fresh.get({"a": (abs, 1)}, "a", retries=-1)
    assert names_of(fresh) == {}


def test_what_cannot_be_pickled_is_named_and_nothing_is_left_behind(fresh: Client) -> None:
    graph = {("x", i): Task(("x", i), add, i, threading.Lock() if i == 5 else 1) for i in range(9)}
    with pytest.raises(ArgumentNotSerializable, match=r"task \('x', 5\).*lock"):
        fresh.get(graph, [("x", i) for i in range(9)])
    assert sum(group.total for group in fresh.groups()) == 0
    assert fresh.get({"a": (add, 1, 2)}, "a") == 3


def test_tasks_can_be_tried_again(client: Client, door: Door) -> None:
    def fail_once(folder: str) -> int:
        import os

        if not os.path.exists(f"{folder}/tried"):
            open(f"{folder}/tried", "w").close()
            raise OSError("not yet")
        return 5

    assert client.get({"a": (fail_once, door.folder)}, "a", retries=1) == 5


def test_it_needs_an_open_client_that_waits(cluster: LocalCluster) -> None:
    closed = Client(cluster)
    closed.close()
    with pytest.raises(ConnectionClosed):
        closed.get({"a": (abs, 1)}, "a")

    async def run() -> None:
        async with Client(cluster, asynchronous=True) as client:
            with pytest.raises(InvalidArgument, match="not asynchronous"):
                client.get({"a": (abs, 1)}, "a")

    asyncio.run(run())


# --- used as a context, and speed -----------------------------------------------------------------


def test_inside_with_client_dask_computes_there(cluster: LocalCluster) -> None:
    import os

    getpid = dask.delayed(os.getpid)
    with Client(cluster):
        assert getpid().compute() != os.getpid()
        with dask.config.set(scheduler="sync"):
            assert getpid().compute() == os.getpid()
    assert dask.config.get("scheduler", None) is None
    with Client(cluster) as client:
        assert dask.compute(getpid(), scheduler=client)[0] != os.getpid()


def test_ten_thousand_tasks_take_seconds_and_few_messages(fresh: Client) -> None:
    n = 5000
    graph: dict[Any, Any] = {("a", i): (add, i, 1) for i in range(n)}
    graph |= {("b", i): (add, ("a", i), ("a", (i + 1) % n)) for i in range(n)}
    graph["sum"] = (sum, [("b", i) for i in range(n)])
    began = time.monotonic()
    assert fresh.get(graph, "sum") == n * (n + 1)
    assert time.monotonic() - began < 10  # 0.4 s where nothing else runs
