"""A graph as the dict of nodes that Dask's collections make, for Dask and for all who take such."""

from __future__ import annotations

import itertools
from typing import Any, TypeAlias

from benchmarks import work
from benchmarks.patterns import Graph

Key: TypeAlias = tuple[str, int]

_numbers = itertools.count()


def make_dask_graph(graph: Graph, spins: int) -> tuple[dict[Key, Any], list[Key]]:
    """Return nodes by key, and the keys of the sinks. Keys are never used twice, so nothing is
    remembered from run to run."""
    from dask._task_spec import Task, TaskRef

    name = f"point-{next(_numbers)}"
    keys: list[Key] = [(name, index) for index in range(len(graph.tasks))]
    nodes: dict[Key, Any] = {
        key: Task(key, work.point, spins, label, *[TaskRef(keys[dep]) for dep in deps])
        for key, (label, deps) in zip(keys, graph.tasks, strict=True)
    }
    return nodes, [keys[index] for index in graph.sinks]
