"""A Dask graph, read and put in order: which tasks there are, of which group, and after which.

Understands what current Dask hands to a scheduler function: expressions, high-level graphs and
plain dicts, with `Task` nodes or with tuples. Only what the wanted keys need is looked at.

Law: pure reading; nothing here knows a client or pickles anything. A graph that cannot be run (a
cycle, a key that is not there) is refused here, at once, with the keys in the text.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple, TypeAlias

from dask._task_spec import Alias, DataNode, GraphNode, Task, convert_legacy_graph
from dask.utils import key_split

from ..errors import InvalidArgument

Key: TypeAlias = Hashable

MAX_GROUPS = 256
"""Graphs whose keys have more prefixes than this have their small groups put together."""
SHOWN_KEYS = 8


class MissingKey(InvalidArgument, KeyError):
    """A key is asked for, or needed by a task, that the graph does not have."""

    def __str__(self) -> str:  # KeyError would show the text with quotes around it
        return str(self.args[0])


class CyclicGraph(InvalidArgument):
    """A task needs its own result."""


class Plan(NamedTuple):
    """What is to be run. `runs`: groups with the next of their tasks, in an order in which every
    task comes after those that it needs. `data`: literal values that tasks need or that are wanted.
    `names`: the groups' names. `targets`: what aliases stand for in the end.
    """

    tasks: dict[Key, Task]
    data: dict[Key, Any]
    targets: dict[Key, Key]
    names: list[str]
    runs: list[tuple[int, list[Key]]]


def read_graph(dsk: Any) -> dict[Key, GraphNode]:
    """Return a graph of any kind as a dict of nodes.

    Raises:
        InvalidArgument: it is no graph. CyclicGraph: a key is its own alias.
    """
    if not isinstance(dsk, Mapping):
        if not hasattr(dsk, "__dask_graph__"):
            raise InvalidArgument(
                "get takes a Dask graph (a dict, a high-level graph or an expression), not a "
                f"{type(dsk).__name__}"
            )
        dsk = dsk.__dask_graph__()
    nodes: dict[Key, GraphNode] = convert_legacy_graph(dsk)
    if len(nodes) < len(dsk):  # Dask leaves out what is its own alias
        lost = next(key for key in dsk if key not in nodes)
        raise CyclicGraph(f"the graph has a cycle: {lost!r} stands for itself")
    return nodes


def flat_keys(keys: Any) -> Iterator[Key]:
    """Yield the keys in nested lists of keys.

    Raises:
        InvalidArgument: there is something that cannot be a key.
    """
    if isinstance(keys, list):
        for item in keys:
            yield from flat_keys(item)
        return
    try:
        hash(keys)
    except TypeError:
        raise InvalidArgument(
            f"{_short(keys)} is not hashable, so it is no key of a Dask graph: keys are texts, "
            "numbers, or tuples of them; several keys come as a list"
        ) from None
    yield keys


def make_plan(nodes: Mapping[Key, GraphNode], wanted: Iterable[Key]) -> Plan:
    """Return what the wanted keys need, in an order in which it can be submitted.

    Raises:
        MissingKey: a key is not in the graph. CyclicGraph: a task needs its own result.
    """
    order = _walk(nodes, wanted)
    tasks: dict[Key, Task] = {}
    data: dict[Key, Any] = {}
    targets: dict[Key, Key] = {}
    for key in order:
        node = nodes[key]
        if isinstance(node, Alias):
            targets[key] = targets.get(node.target, node.target)
        elif isinstance(node, DataNode):
            data[key] = node.value
        elif isinstance(node, Task):
            tasks[key] = node
        else:
            raise InvalidArgument(f"{key!r} is a {type(node).__name__}, which is unknown here")
    names, numbers = _group(tasks)
    needs = {
        key: {target for dep in node.dependencies if (target := targets.get(dep, dep)) in tasks}
        for key, node in tasks.items()
    }
    return Plan(tasks, data, targets, names, _arrange(needs, numbers, len(names)))


def _walk(nodes: Mapping[Key, GraphNode], wanted: Iterable[Key]) -> list[Key]:
    """Return the keys that the wanted ones need, depth first, each after those that it needs."""
    place = {key: at for at, key in enumerate(nodes)}
    done: dict[Key, None] = {}
    for root in wanted:
        if root not in nodes:
            raise MissingKey(f"the graph has no key {root!r}; {_some(nodes)}")
        if root in done:
            continue
        path: dict[Key, Iterator[Key]] = {root: _deps(nodes[root], place)}
        while path:
            key, deps = next(reversed(path.items()))
            dep = next((dep for dep in deps if dep not in done), None)
            if dep is None:
                done[key] = None
                del path[key]
            elif dep in path:
                raise CyclicGraph(f"the graph has a cycle: {_show_cycle(list(path), dep)}")
            elif dep not in nodes:
                raise MissingKey(f"{key!r} needs {dep!r}, which the graph does not have")
            else:
                path[dep] = _deps(nodes[dep], place)
    return list(done)


def _deps(node: GraphNode, place: Mapping[Key, int]) -> Iterator[Key]:
    """The keys that a node needs, in the order of the graph: Dask keeps them as a set."""
    deps = node.dependencies
    return iter(deps if len(deps) < 2 else sorted(deps, key=lambda dep: place.get(dep, -1)))


# --- groups ---------------------------------------------------------------------------------------


def _group(tasks: Mapping[Key, Task]) -> tuple[list[str], dict[Key, int]]:
    """Return the names of the groups and the number of each task's group: a Dask layer is a group,
    and single keys with the same prefix are one.
    """
    families: dict[Key, int] = {}
    layers = {key: _layer_of(key) for key in tasks}
    for layer in layers.values():
        families[layer] = families.get(layer, 0) + 1
    if len(families) > MAX_GROUPS:
        layers = _merge(layers, families)
    numbers: dict[Key, int] = {}
    names: list[str] = []
    for layer in layers.values():
        if layer not in numbers:
            numbers[layer] = len(names)
            names.append(key_split(layer) or "task")
    return names, {key: numbers[layer] for key, layer in layers.items()}


def _layer_of(key: Key) -> Key:
    if isinstance(key, tuple) and key:
        return str(key[0])
    return key_split(key) if isinstance(key, str) else type(key).__name__


def _merge(layers: dict[Key, Key], families: Mapping[Key, int]) -> dict[Key, Key]:
    """Put small groups together: by their names without numbers, or all in one."""
    least = sorted(families.values(), reverse=True)[MAX_GROUPS // 2]
    plain = {
        layer: re.sub(r"[\W_]*\d+$", "", key_split(layer)) or "task"
        for layer, count in families.items()
        if count <= least
    }
    if len(set(plain.values())) > MAX_GROUPS // 2:
        plain = dict.fromkeys(plain, "task")
    return {key: plain.get(layer, layer) for key, layer in layers.items()}


# --- order ----------------------------------------------------------------------------------------


def _arrange(
    needs: Mapping[Key, set[Key]], group_of: Mapping[Key, int], count: int
) -> list[tuple[int, list[Key]]]:
    """Return runs of tasks of one group each, as long as can be: a change of groups costs a
    message. Among the tasks of a group the depth-first order is kept.
    """
    rank = {key: at for at, key in enumerate(needs)}
    keys = list(needs)
    missing = {key: len(deps) for key, deps in needs.items()}
    users: dict[Key, list[Key]] = {key: [] for key in needs}
    left = [0] * count
    level = [0] * count
    depth: dict[Key, int] = {}
    for key, deps in needs.items():  # depth first: what it needs came before
        group = group_of[key]
        left[group] += 1
        depth[key] = 1 + max((depth[dep] for dep in deps), default=-1)
        level[group] = max(level[group], depth[key])
        for dep in deps:
            users[dep].append(key)
    ready: list[list[int]] = [[] for _ in range(count)]
    for key, number in missing.items():
        if not number:
            ready[group_of[key]].append(rank[key])
    for heap in ready:
        heapify(heap)
    open_groups = {group for group in range(count) if ready[group]}
    runs = []
    while open_groups:
        group = min(open_groups, key=lambda g: (len(ready[g]) < left[g], level[g], ready[g][0]))
        heap, run = ready[group], []
        while heap:
            key = keys[heappop(heap)]
            run.append(key)
            for user in users[key]:
                missing[user] -= 1
                if not missing[user]:
                    heappush(ready[group_of[user]], rank[user])
                    open_groups.add(group_of[user])
        left[group] -= len(run)
        open_groups.discard(group)
        runs.append((group, run))
    return runs


# --- words ----------------------------------------------------------------------------------------


def _show_cycle(path: list[Key], again: Key) -> str:
    cycle = [*path[path.index(again) :], again]
    if len(cycle) > SHOWN_KEYS:
        cycle[SHOWN_KEYS // 2 : -SHOWN_KEYS // 2] = ["..."]
    return " needs ".join("..." if key == "..." else repr(key) for key in cycle)


def _some(nodes: Mapping[Key, GraphNode]) -> str:
    shown = ", ".join(map(repr, list(nodes)[:SHOWN_KEYS]))
    return f"it has {len(nodes):,}: {shown}{', ...' if len(nodes) > SHOWN_KEYS else ''}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
