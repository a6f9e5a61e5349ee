"""Dask layers whose tasks differ by their place alone travel as a whole, and mean the same."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import cloudpickle
import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask._task_spec import List, Task, TaskRef
from hypothesis import given
from hypothesis import strategies as st

from cellspan.engine.client import Client
from cellspan.engine.deploy import LocalCluster
from cellspan.engine.executor import values
from cellspan.engine.integrations.dask_each import EachPlan, find_each

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file

OTHER, SECOND = 70, 71
"""Groups whose results tasks take."""


class At(tuple[int, int]):
    """Stands for the result of a task."""


def task_of(value: Any) -> tuple[int, int] | None:
    return (value[0], value[1]) if type(value) is At else None


def find(columns: dict[str, list[Any]], places: dict[Any, At]) -> EachPlan | None:
    """Look at tasks that take, by position, these values (TaskRefs: of `places`)."""
    rows = list(zip(*columns.values(), strict=True))
    nodes = [Task(("x", at), print, *row) for at, row in enumerate(rows)]
    keys = [node.key for node in nodes]

    def value_of(arg: Any) -> Any:
        return places[arg.key] if isinstance(arg, TaskRef) else arg

    return find_each(keys, nodes, value_of, task_of)


def expand(plan: EachPlan) -> dict[Any, list[Any]]:
    """Return the arguments of each task, as executors make them of the layer."""
    found: dict[Any, list[Any]] = {}
    for index, key in enumerate(plan.keys):
        row: list[Any] = []
        for spec in plan.args:
            if spec[0] == "range":
                row.append(spec[1] + index * spec[2])
            elif spec[0] == "same":
                row.append(At((spec[1], spec[2] + index)))
            elif spec[0] == "items":
                chunk = values.load_blob(plan.blobs[spec[2][index // spec[1]]])
                row.append(chunk[index % spec[1]])
            else:
                row.append(values.load_blob(plan.blobs[spec[1]], lambda *at: At(at)))
        found[key] = row
    return found


LITERALS = st.sampled_from(
    [
        0,
        1,
        -1,
        7,
        True,
        False,
        0.0,
        -0.0,
        1.0,
        None,
        "",
        "a",
        (0, True),
        (0, 1),
        (),
        [],
        [1],
        slice(1),
    ]
)


@given(st.data())
def test_it_says_the_same_as_the_tasks_one_by_one(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12))
    places: dict[Any, At] = {}
    columns: dict[str, list[Any]] = {}
    order = data.draw(st.permutations(range(n)))
    kinds = data.draw(st.lists(st.sampled_from("sopcvr"), max_size=4))
    for at, kind in enumerate(kinds):
        start = data.draw(st.integers(0, 5))
        if kind == "v":
            column: list[Any] = data.draw(st.lists(LITERALS, min_size=n, max_size=n))
        elif kind == "c":
            column = [data.draw(LITERALS)] * n
        elif kind == "r":
            column = list(range(start, start + n))
        else:
            column = [TaskRef((f"k{at}", i)) for i in range(n)]
            for i in range(n):  # the same place, all the same one, or some place
                place = order[i] if kind == "s" else 0 if kind == "o" else data.draw(
                    st.integers(0, n))  # fmt: skip
                places[f"k{at}", i] = At((OTHER if at % 2 else SECOND, start + place))
        columns[str(at)] = column
    plan = find(columns, places) if columns else None
    if plan is None:
        assert not columns or set(kinds) & set("sp")
        return
    rows = list(zip(*columns.values(), strict=True))
    expected = {
        ("x", at): [places[v.key] if isinstance(v, TaskRef) else v for v in row]
        for at, row in enumerate(rows)
    }
    found = expand(plan)
    assert set(found) == set(expected)
    for key, row in expected.items():
        assert repr(found[key]) == repr(row)  # so that True is not 1, and 0.0 not -0.0


def test_what_layers_are_made_of_is_recognised() -> None:
    n = 20
    places: dict[Any, At] = {("a", i): At((OTHER, 3 + i)) for i in range(n)}
    places |= {("b", i): At((SECOND, i)) for i in range(n)}
    places["mean"] = At((9, 0))
    a, b = ([TaskRef((name, i)) for i in range(n)] for name in "ab")
    shared = {"axis": 1}
    plan = find(
        {
            "0": a, "1": b, "2": [TaskRef("mean")] * n, "3": [shared] * n,
            "4": [(i, 0) for i in range(n)], "5": [(500, 500) for _ in range(n)],
        },
        places,
    )  # fmt: skip
    assert plan is not None
    kinds = [spec[0] for spec in plan.args]
    assert kinds == ["same", "same", "blob", "blob", "items", "blob"]
    assert plan.args[0][1:] == [OTHER, 3]
    assert plan.args[2][2] == [9, 0]
    assert len(plan.blobs) == 4


def test_tasks_take_the_order_of_the_results_that_they_use() -> None:
    n = 10
    places = {("a", i): At((OTHER, (3 * i) % n)) for i in range(n)}
    plan = find(
        {"0": [TaskRef(("a", i)) for i in range(n)], "1": [i * i for i in range(n)]}, places
    )
    assert plan is not None
    assert plan.args[0] == ["same", OTHER, 0]
    assert [key[1] for key in plan.keys] == [(7 * i) % n for i in range(n)]  # 7 * 3 = 21
    assert expand(plan)["x", 4] == [At((OTHER, 2)), 16]


def test_what_is_no_layer_is_left_alone() -> None:
    n = 10
    places: dict[Any, At] = {("a", i): At((OTHER, i)) for i in range(n)}
    places |= {("b", i): At((SECOND, n - 1 - i)) for i in range(n)}
    a, b = ([TaskRef((name, i)) for i in range(n)] for name in "ab")
    assert find({"0": a, "1": b}, places) is None  # a block and the one across
    assert find({"0": a[:5] + b[5:]}, places) is None
    assert find({"0": [*a[:9], a[0]]}, places) is None
    assert find({"0": [*a[:9], 1]}, places) is None
    assert find({"0": [List(ref, ref) for ref in a]}, places) is None
    assert find({"0": [b"x" * 5000 + bytes([i]) for i in range(n)]}, {}) is None
    nodes = [Task(("x", i), print, *range(1 + i % 2)) for i in range(n)]
    assert find_each([t.key for t in nodes], nodes, lambda v: v, task_of) is None
    with pytest.raises(KeyError):
        find({"0": a}, {})


def test_what_a_task_may_change_is_not_shared_unless_it_was() -> None:
    n = 8
    plan = find({"0": [[] for _ in range(n)]}, {})
    assert plan is not None and plan.args[0][0] == "items"
    one: list[int] = []
    plan = find({"0": [one] * n}, {})
    assert plan is not None and plan.args[0][0] == "blob"


# --- on a cluster ---------------------------------------------------------------------------------


@pytest.fixture
def fresh(cluster: LocalCluster) -> Iterator[Client]:
    """A client of a name that no group was submitted under."""
    with Client(cluster, name=f"fresh-{time.monotonic_ns()}") as client:
        yield client


def kinds_of(client: Client) -> dict[str, int]:
    """Return how many tasks the cluster has seen of this client, by the kind of their layer."""
    began, deadline = time.time(), time.monotonic() + 20
    while (snapshot := client.snapshot()).time < began:  # one is kept for half a second
        assert time.monotonic() < deadline
        time.sleep(0.02)
    found: dict[str, int] = {}
    for row in snapshot.groups:
        if row.client == client.name:
            found[row.layer] = found.get(row.layer, 0) + row.total
    return found


def test_arrays_in_blocks(fresh: Client) -> None:
    numbers = np.arange(160_000.0).reshape(400, 400)
    x = da.arange(160_000.0, chunks=1600).reshape((400, 400)).rechunk(40)
    y = ((x + 1) * 2).map_blocks(np.sqrt) - x.mean()
    expected = np.sqrt((numbers + 1) * 2) - numbers.mean()
    np.testing.assert_allclose(y.compute(scheduler=fresh.get), expected)
    assert kinds_of(fresh)["each"] >= 100


def test_layers_that_dask_has_not_fused(fresh: Client) -> None:
    x = da.ones((100, 100), chunks=10)
    y = x.map_blocks(lambda b, block_id: b + block_id[0], dtype=float) + x
    found = y.compute(scheduler=fresh.get, optimize_graph=False)
    expected = 2 + np.repeat(np.arange(10.0), 10)[:, None] * np.ones(100)
    np.testing.assert_array_equal(found, expected)
    assert kinds_of(fresh) == {"each": 300, "graph": 1}


def test_blocks_across_are_listed(fresh: Client) -> None:
    x = da.random.default_rng(3).random((60, 60), chunks=10)
    y = x - x.T
    plain = x.compute(scheduler="sync")
    np.testing.assert_array_equal(y.compute(scheduler=fresh.get), plain - plain.T)
    # Dask makes one task of each block on the diagonal and what takes it.
    assert kinds_of(fresh) == {"each": 30, "graph": 37}


def test_tables_in_parts(fresh: Client) -> None:
    table = pd.DataFrame({"a": range(1000), "b": [i % 7 for i in range(1000)]})
    frame = dd.from_pandas(table, npartitions=20)
    made = frame.assign(c=frame.a * 2)
    with dask.config.set(scheduler=fresh.get):
        pd.testing.assert_series_equal(
            made[made.b > 3].c.compute(), table.assign(c=table.a * 2)[table.b > 3].c
        )
    assert kinds_of(fresh)["each"] >= 40


def test_an_error_of_one_task_is_its_own(fresh: Client) -> None:
    def check(block: Any, block_id: Any) -> Any:
        if block_id == (3,):
            raise LookupError("the third")
        return block

    x = da.ones(100, chunks=10).map_blocks(check, dtype=float)
    with pytest.raises(LookupError, match="the third"):
        x.compute(scheduler=fresh.get)
    assert sum(group.total for group in fresh.groups()) == 0
    assert float(x[:20].sum().compute(scheduler=fresh.get)) == 20.0


def test_single_tasks_of_a_layer_can_be_wanted(fresh: Client) -> None:
    graph: dict[Any, Any] = {("a", i): Task(("a", i), pow, i, 2) for i in range(50)}
    graph |= {("b", i): Task(("b", i), sum, List(TaskRef(("a", i)), 1)) for i in range(50)}
    wanted = [("a", 7), ("b", 7), ("a", 49)]
    assert fresh.get(graph, [*wanted, *[("a", i) for i in range(50)]])[:3] == (49, 50, 49**2)
    assert sum(group.total for group in fresh.groups()) == 0
