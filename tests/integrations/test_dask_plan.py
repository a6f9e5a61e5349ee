"""Dask graphs, read and put in order, without a cluster."""

from __future__ import annotations

from operator import add
from typing import Any

import pytest
from dask._task_spec import Task, TaskRef
from hypothesis import given
from hypothesis import strategies as st

from cellspan.engine.errors import InvalidArgument
from cellspan.engine.integrations.dask_plan import (
    MAX_GROUPS,
    CyclicGraph,
    flat_keys,
    make_plan,
    read_graph,
)


@st.composite
def graphs(draw: st.DrawFn) -> dict[Any, Task]:
    """Any acyclic graph: each task needs some of those before it and belongs to any group."""
    count = draw(st.integers(1, 30))
    keys = [(draw(st.sampled_from("abc")), i) for i in range(count)]
    graph = {}
    for at, key in enumerate(keys):
        deps = draw(st.lists(st.sampled_from(keys[:at]), max_size=3)) if at else []
        graph[key] = Task(key, max, *map(TaskRef, deps))
    return graph


@given(graphs(), st.data())
def test_every_task_comes_once_and_after_what_it_needs(
    graph: dict[Any, Task], data: st.DataObject
) -> None:
    wanted = data.draw(st.lists(st.sampled_from(list(graph)), min_size=1, unique=True))
    plan = make_plan(read_graph(graph), wanted)
    needed = set(wanted)
    for key in reversed(list(graph)):
        if key in needed:
            needed |= set(graph[key].dependencies)
    seen: set[Any] = set()
    for number, run in plan.runs:
        for key in run:
            assert plan.names[number] == key[0]
            assert graph[key].dependencies <= seen
            assert key not in seen
            seen.add(key)
    assert seen == needed


def test_layers_are_runs() -> None:
    n = 50
    graph: dict[Any, Any] = {("load", i): (abs, i) for i in range(n)}
    graph |= {("other", i): (abs, i) for i in range(n)}
    graph |= {("pair", i): (add, ("load", i), ("other", -1 - i + n)) for i in range(n)}
    graph |= {("next", i): (add, ("pair", i), ("load", i)) for i in range(n)}
    plan = make_plan(read_graph(graph), [("next", i) for i in range(n)])
    found = [(plan.names[number], len(run)) for number, run in plan.runs]
    assert sorted(found[:2]) == [("load", n), ("other", n)]
    assert found[2:] == [("pair", n), ("next", n)]


def test_there_is_a_limit_to_the_number_of_groups() -> None:
    words = [f"{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}{chr(97 + i // 676)}q" for i in range(900)]
    graph: dict[Any, Any] = {word: (abs, 1) for word in words}
    graph |= {("rows", i): (abs, 1) for i in range(100)}
    plan = make_plan(read_graph(graph), graph)
    assert len(plan.names) <= MAX_GROUPS
    assert sum(len(run) for _, run in plan.runs) == len(graph)
    sizes = {plan.names[number]: len(run) for number, run in plan.runs}
    assert sizes["rows"] == 100


def test_a_long_cycle_is_told_in_short() -> None:
    graph = {f"k{i}": (abs, f"k{(i + 1) % 5000}") for i in range(5000)}
    with pytest.raises(CyclicGraph) as caught:
        make_plan(read_graph(graph), ["k0"])
    text = str(caught.value)
    assert text.startswith("the graph has a cycle: 'k0' needs 'k1'")
    assert text.endswith("needs 'k0'")
    assert len(text) < 200


def test_keys_are_found_in_lists_and_nowhere_else() -> None:
    assert list(flat_keys([["a"], [[("b", 1)], 2], "c"])) == ["a", ("b", 1), 2, "c"]
    with pytest.raises(InvalidArgument, match="not hashable"):
        list(flat_keys(["a", ("b", [1])]))
