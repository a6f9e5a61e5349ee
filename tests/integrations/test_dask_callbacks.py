"""Dask's callbacks are called for graphs on a cluster as a local scheduler would."""

from __future__ import annotations

import io
import operator
import re
import sys
import time
from typing import Any

import cloudpickle
import dask.array as da
import pytest
from dask._task_spec import Alias, DataNode, Task, TaskRef
from dask.cache import Cache
from dask.callbacks import Callback
from dask.diagnostics import CacheProfiler, Profiler, ProgressBar

from cellspan.engine.client import Client
from cellspan.engine.deploy import LocalCluster
from cellspan.engine.errors import ConnectionClosed

Door = Any  # of conftest.py

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file

GRAPH: dict[Any, Any] = {
    "one": DataNode("one", 1),
    "two": Task("two", operator.add, TaskRef("one"), TaskRef("one")),
    "name": Alias("name", "two"),
    "four": Task("four", operator.mul, TaskRef("name"), TaskRef("two")),
    **{("x", i): Task(("x", i), operator.add, TaskRef("four"), i) for i in range(20)},
}
GRAPH["all"] = Task("all", max, *[TaskRef(("x", i)) for i in range(20)])
TASKS = {key for key in GRAPH if key != "one"}


class Recorder(Callback):  # type: ignore[misc]
    """Notes what is called, and checks the state each time."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.values: dict[Any, Any] = {}

    def _start(self, dsk: Any) -> None:
        assert set(dsk) >= {"one"}
        self.calls.append("start")

    def _start_state(self, dsk: Any, state: Any) -> None:
        self.calls.append("start_state")
        self.count = self.unfinished(state)

    def _pretask(self, key: Any, dsk: Any, state: Any) -> None:
        assert key in state["running"] and key in dsk
        assert state["dependencies"][key] <= state["finished"] | set(state["cache"])
        self.calls.append(("pre", key))

    def _posttask(self, key: Any, value: Any, dsk: Any, state: Any, worker: Any) -> None:
        assert ("pre", key) in self.calls
        assert key in state["finished"] and key not in state["running"]
        assert self.unfinished(state) + len(state["finished"]) <= self.count
        self.values[key] = value
        self.calls.append(("post", key))

    def _finish(self, dsk: Any, state: Any, failed: bool) -> None:
        self.calls.append(("finish", failed))

    @staticmethod
    def unfinished(state: Any) -> int:
        return sum(len(state[name]) for name in ("ready", "waiting", "running"))

    def of(self, kind: str) -> list[Any]:
        return [call[1] for call in self.calls if call[0] == kind]


def test_each_moment_is_told_once_and_in_order(client: Client) -> None:
    with Recorder() as seen:
        assert client.get(GRAPH, ["all", "four", "name"]) == (23, 4, 2)
    assert seen.calls[:2] == ["start", "start_state"]
    assert seen.calls[-1] == ("finish", False)
    assert seen.calls.count(("finish", False)) == 1
    assert seen.count == len(TASKS)
    assert sorted(map(str, seen.of("pre"))) == sorted(map(str, TASKS))
    assert sorted(map(str, seen.of("post"))) == sorted(map(str, TASKS))
    assert seen.values["all"] == 23 and seen.values["four"] == 4
    assert seen.values["x", 3] is None  # nobody asked for it: it stays on its worker
    assert sum(group.total for group in client.groups()) == 0


def test_what_runs_inside_of_a_callback_calls_none(client: Client) -> None:
    found = []

    def ask(key: Any, value: Any, *_: Any) -> None:
        found.append((key, client.get({"y": (operator.neg, 5)}, "y")))

    with Callback(posttask=ask):
        assert client.get({"x": (operator.neg, 1)}, "x") == -1
    assert found == [("x", -5)]
    assert client.get({"x": (operator.neg, 1)}, "x") == -1
    assert len(found) == 1


def test_a_failure_is_told_and_nothing_is_left(client: Client) -> None:
    graph = {**GRAPH, ("x", 3): Task(("x", 3), operator.truediv, TaskRef("four"), 0)}
    with Recorder() as seen, pytest.raises(ZeroDivisionError):
        client.get(graph, "all")
    assert seen.calls[-1] == ("finish", True)
    assert "all" not in seen.of("post")
    assert sum(group.total for group in client.groups()) == 0
    with Recorder() as seen, pytest.raises(KeyError):
        client.get(graph, "nothing")
    assert seen.calls == ["start", ("finish", True)]


def test_an_error_in_a_callback_ends_the_computation(client: Client, door: Door) -> None:
    def fail(key: Any, *_: Any) -> None:
        raise LookupError(str(key))

    with Callback(posttask=fail), pytest.raises(LookupError):
        client.get(GRAPH, "all")
    assert sum(group.total for group in client.groups()) == 0


def test_the_end_of_a_client_ends_the_waiting(cluster: LocalCluster, door: Door) -> None:
    client = Client(cluster)

    def wait(folder: str) -> None:
        import os
        import time

        while not os.path.exists(f"{folder}/open"):
            time.sleep(0.002)

    def close(*_: Any) -> None:
        client.close()

    graph = {"a": (operator.neg, 1), "b": (wait, door.folder), "c": (max, "a", "b")}
    with Callback(posttask=close), pytest.raises(ConnectionClosed):
        client.get(graph, "c")


def percent_of(shown: io.StringIO) -> int:
    """Return what a bar says, as last drawn."""
    found = re.findall(r"(\d+)% Completed", shown.getvalue())
    return int(found[-1]) if found else 0


def test_progress_is_shown_while_tasks_run(client: Client, door: Door) -> None:
    def pass_door(block: Any, folder: str, block_id: Any) -> Any:
        import os
        import time

        while block_id[0] >= 6 and not os.path.exists(f"{folder}/open"):
            time.sleep(0.002)
        return block

    shown = io.StringIO()
    x = da.ones(120, chunks=10).map_blocks(pass_door, folder=door.folder, dtype=float)
    half = []

    def open_door(key: Any, value: Any, dsk: Any, state: Any, worker: Any) -> None:
        if len(state["finished"]) == 6:
            deadline = time.monotonic() + 20
            while percent_of(shown) < 20:  # it is drawn a moment later
                assert time.monotonic() < deadline
                time.sleep(0.01)
            half.append(percent_of(shown))
            door.open()

    with ProgressBar(out=shown, dt=0.02), Callback(posttask=open_door):
        assert x.sum().compute(scheduler=client.get) == 120
    assert len(half) == 1
    assert 20 <= half[0] < 60
    assert "100% Completed" in shown.getvalue().rsplit("\r", 1)[1]


def test_profilers_get_what_they_need(client: Client) -> None:
    with Profiler() as tasks, CacheProfiler() as kept:
        client.get(GRAPH, "all")
    assert {row.key for row in tasks.results} == TASKS
    assert all(row.start_time <= row.end_time for row in tasks.results)
    assert {row.key for row in kept.results} == TASKS


class Kept(Cache):  # type: ignore[misc]
    """Dask's own, without the library that it keeps values with."""

    def __init__(self) -> None:
        self.keys: list[Any] = []

    def _start(self, dsk: Any) -> None:
        self.keys.append("start")

    def _pretask(self, key: Any, dsk: Any, state: Any) -> None:
        self.keys.append(key)

    def _posttask(self, key: Any, value: Any, dsk: Any, state: Any, worker: Any) -> None:
        self.keys.append(key)

    def _finish(self, dsk: Any, state: Any, failed: bool) -> None:
        self.keys.append("finish")


def test_a_cache_of_results_is_left_alone(client: Client) -> None:
    with Kept() as cache, Recorder() as seen:
        assert client.get(GRAPH, "all") == 23
    assert cache.keys == []  # it would keep None for results that stay on workers
    assert set(seen.of("post")) == TASKS
