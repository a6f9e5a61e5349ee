"""`client.get`: the scheduler function that runs Dask graphs on a cluster.

Every layer of a graph (or prefix of its keys) becomes a group, every task a task of it, every edge
a dependency: results stay on the workers, only wanted keys come back, and what nobody needs any
more is freed while the graph still runs. Layers whose tasks differ by their place alone are sent as
a whole (dask_each.py); other tasks in batches while the rest is still being pickled. Nothing is
asked and answered per task.

Law: results, errors and the shape of what is returned are those of Dask's own schedulers.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping
from types import MethodType
from typing import TYPE_CHECKING, Any

import numpy as np
from dask._task_spec import (
    Alias,
    DataNode,
    Dict,
    GraphNode,
    List,
    Set,
    Task,
    TaskRef,
    Tuple,
    _identity_cast,
)
from dask.callbacks import local_callbacks
from dask.sizeof import sizeof

from ..client.blame import find_culprit
from ..client.functions import LIMIT_BYTES, FunctionTable, PickledFunction, size_text
from ..client.futures import Future, packing, place_of
from ..client.options import check_options
from ..client.packing import check_session
from ..client.state import GroupState, OpenGraph
from ..errors import ArgumentNotSerializable, InvalidArgument, PayloadTooLarge
from ..executor import values
from ..messages import Blob
from .dask_callbacks import Follower, Watch, usable
from .dask_each import MIN_TASKS, EachPlan, find_each
from .dask_plan import Key, Plan, flat_keys, make_plan, read_graph

if TYPE_CHECKING:
    from ..client import Client

INLINE_BYTES = 4096
"""A literal of a graph up to this size travels inside the tasks that take it."""
INLINE_ONCE_BYTES = 1 << 20
"""The same, if only one task takes it."""
DATA_GROUP = "dask-data"
BATCH_TASKS = 512
"""So many tasks are pickled between two times that the session's lock is taken."""

_CONTAINERS: dict[type, Any] = {List: list, Tuple: tuple, Set: set}


def get(
    client: Client,
    dsk: Any,
    keys: Any,
    *,
    priority: int = 0,
    retries: int = 0,
    allowed_failures: int = 2,
) -> Any:
    """Return the results of `keys`, computed on the client's cluster: of one key its result, of a
    list of keys (nested as it may be) tuples of the same form.

    Raises:
        MissingKey, CyclicGraph, InvalidArgument: the graph cannot be run; nothing was submitted.
        ArgumentNotSerializable, PayloadTooLarge: something in the graph cannot travel.
        Exception: what a task raised, its own type, with its remote traceback as the cause.
    """
    if client.asynchronous:
        raise InvalidArgument(
            "Dask calls its scheduler function and waits: get needs a client that is not "
            "asynchronous. Make a second one, Client(cluster), and run compute() in a thread"
        )
    options = check_options(None, priority, retries, allowed_failures)
    wanted = list(dict.fromkeys(flat_keys(keys)))
    with local_callbacks() as active:  # a `get` inside of a callback calls none
        nodes = read_graph(dsk)
        watch = Watch(callbacks, nodes) if (callbacks := usable(active)) else None
        succeeded = False
        try:
            if watch is not None:
                watch.start()
            plan = make_plan(nodes, wanted)
            results = _compute(client, plan, wanted, options, watch)
            succeeded = True
        finally:
            if watch is not None:
                watch.finish(not succeeded)
    return _pack(keys, {key: results[plan.targets.get(key, key)] for key in wanted})


def _compute(
    client: Client, plan: Plan, wanted: list[Key], options: dict[str, Any], watch: Watch | None
) -> dict[Key, Any]:
    """Return the results of tasks, and the literals, that the wanted keys stand for."""
    results = dict(plan.data)
    submission = _Submission(client, plan, options)
    futures = submission.run(wanted, watch)
    try:
        if watch is not None:
            submission.follow(futures, watch)
        results.update(client.gather(futures))
    finally:  # also where a traceback keeps this frame: what still runs for nobody is dropped
        client.release(futures.values())
    return results


def _pack(keys: Any, results: Mapping[Key, Any]) -> Any:
    if isinstance(keys, list):
        return tuple(_pack(item, results) for item in keys)
    return results[keys]


class _Ref:
    """Stands in arguments for the result of a task of this cluster."""

    __slots__ = ("group", "index")

    def __init__(self, group: int, index: int) -> None:
        self.group = group
        self.index = index


class _Submission:
    """One graph on its way to the cluster."""

    def __init__(self, client: Client, plan: Plan, options: dict[str, Any]) -> None:
        self._client = client
        self._session = client.session
        self._plan = plan
        self._options = options
        self._values: dict[Key, Any] = {}
        """What stands in arguments for a key: a _Ref, a Future of scattered data, or a literal."""
        self._functions: list[PickledFunction] = []
        """Of each group the function that its tasks call."""
        self._generic: list[bool] = []
        """Of each group: do its tasks bring along what they call?"""
        self._groups: dict[int, GroupState] = {}
        self._scattered: dict[int, tuple[Any, Future]] = {}
        """Large parts of arguments, by id, and where they are: each is put there once."""

    def run(self, wanted: list[Key], watch: Watch | None) -> dict[Key, Future]:
        """Submit everything; return the futures of the wanted tasks, and hold nothing else (but
        with a `watch` what is to be followed).
        """
        plan = self._plan
        self._place_data()
        self._functions = self._choose_functions()
        parts = Counter(number for number, _ in plan.runs)
        try:
            for number, run in plan.runs:
                each = self._find_each(number, run) if parts[number] == 1 else None
                if each is not None:
                    self._send_each(number, each)
                    continue
                for start in range(0, len(run), BATCH_TASKS):
                    self._send(number, run[start : start + BATCH_TASKS])
        except BaseException:
            self._finish(set())
            raise
        targets = dict.fromkeys(plan.targets.get(key, key) for key in wanted)
        places = {key: value for key in targets if type(value := self._values.get(key)) is _Ref}
        self._finish({(ref.group, ref.index) for ref in places.values()}, watch is not None)
        if watch is not None:
            watch.submitted(plan, wanted)
        found = {group.id: group for group in self._groups.values()}
        return {key: Future(found[ref.group], ref.index) for key, ref in places.items()}

    def follow(self, futures: dict[Key, Future], watch: Watch) -> None:
        """Tell a watch of each task that is done, until all are or one has failed."""
        keys = {
            (ref.group, ref.index): key for key, ref in self._values.items() if type(ref) is _Ref
        }
        try:
            Follower(self._session, self._groups.values(), keys, futures).follow(watch.done)
        finally:
            self._finish({(f.key.group, f.key.index) for f in futures.values()})

    def _finish(self, kept: set[tuple[int, int]], is_followed: bool = False) -> None:
        """Nothing is added any more; let go of all tasks that are not in `kept`: those that others
        need run all the same, and their results are freed as soon as these have them. Those that
        are followed are let go of when they are done.
        """
        session = self._session
        kept_in: dict[int, list[tuple[int, int]]] = {}
        for place in kept:
            kept_in.setdefault(place[0], []).append(place)
        with session.lock:
            if session.closed is not None:
                return
            for group in self._groups.values():
                if group.graph is not None:
                    session.close_graph(group)
            for group in self._groups.values():
                group.pushed.discard(0, group.n)  # they were submitted unwanted
                free = group.held.copy()
                group.counts.clear()
                for _, index in kept_in.get(group.id, ()):
                    free.discard(index, index + 1)
                    group.counts[index] = 1
                for start, stop in () if is_followed else free:
                    session.release(group, start, stop)
        session.wake()

    # --- literals and functions -------------------------------------------------------------------

    def _place_data(self) -> None:
        """Decide which literals travel inside of tasks, and put the others on workers."""
        plan = self._plan
        uses = dict.fromkeys(plan.data, 0)
        for node in plan.tasks.values():
            for dep in node.dependencies:
                target = plan.targets.get(dep, dep)
                if target in uses:
                    uses[target] += 1
        large: dict[Key, Any] = {}
        for key, count in uses.items():
            value = plan.data[key]
            limit = INLINE_ONCE_BYTES if count == 1 else INLINE_BYTES
            if count and sizeof(value) > limit:
                large[key] = value
            elif count:
                self._values[key] = value
        if large:
            scattered = self._client.scatter(list(large.values()), name=DATA_GROUP)
            self._values.update(zip(large, scattered, strict=True))

    def _choose_functions(self) -> list[PickledFunction]:
        """Return each group's function: the one that all its tasks call, otherwise one that calls
        what each of them brings along.
        """
        plan, table = self._plan, FunctionTable()
        chosen: list[Any] = [None] * len(plan.names)
        self._generic = [False] * len(plan.names)
        for number, run in plan.runs:
            for key in run:
                function = plan.tasks[key].func
                if chosen[number] is None:
                    chosen[number] = function
                if not _is_same(chosen[number], function) or _has_nested(plan.tasks[key]):
                    self._generic[number] = True
                    break
        return [
            table.pickle(operator.call if generic else function)
            for function, generic in zip(chosen, self._generic, strict=True)
        ]

    # --- tasks ------------------------------------------------------------------------------------

    def _find_each(self, number: int, run: list[Key]) -> EachPlan | None:
        """Return a whole group as an `Each`, if its tasks differ by their place alone."""
        if len(run) < MIN_TASKS or self._generic[number]:
            return None
        nodes = [self._plan.tasks[key] for key in run]
        try:
            return find_each(run, nodes, self._plain, self._key_of)
        except KeyError:  # they need each other
            return None

    def _send_each(self, number: int, each: EachPlan) -> None:
        function, count = self._functions[number], len(each.keys)
        layer = {
            "kind": "each", "n": count, "function": function.digest,
            "args": each.args, "names": each.names,
        }  # fmt: skip
        group = self._add_group(number, count, layer, each.blobs)
        for index, key in enumerate(each.keys):
            self._values[key] = _Ref(group.id, index)
        self._session.wake()

    def _add_group(
        self, number: int, count: int, layer: dict[str, Any], blobs: dict[bytes, Blob]
    ) -> GroupState:
        session, function = self._session, self._functions[number]
        blobs = {function.digest: function.blob, **blobs}
        name = self._plan.names[number]
        with session.lock:
            group = session.add_group(name, count, layer, blobs, self._options, False)
            self._groups[number] = group
        return group

    def _send(self, number: int, keys: list[Key]) -> None:
        session, found = self._session, self._values
        group = self._groups.get(number)
        if group is None:
            layer = {"kind": "graph", "function": self._functions[number].digest}
            group = self._add_group(number, 0, layer, {})
            group.graph = OpenGraph(None)
        start = group.n
        for index, key in enumerate(keys, start):
            found[key] = _Ref(group.id, index)
        calls = [self._pack_task(key, self._generic[number]) for key in keys]
        with session.lock:
            session.check_open()
            for payload, deps in calls:
                session.add_call(group, payload, deps)
        session.wake()

    def _pack_task(self, key: Key, generic: bool) -> tuple[Blob, list[tuple[int, int]]]:
        node = self._plan.tasks[key]
        args: tuple[Any, ...]
        kwargs: dict[str, Any] = {}
        if _has_nested(node):  # Dask's own node then runs it, given the results by their keys
            args = (node, {dep: self._value_of(dep) for dep in node.dependencies})
        else:
            args = tuple(map(self._plain, node.args))
            kwargs = {name: self._plain(value) for name, value in node.kwargs.items()}
            if generic:
                args = (node.func, *args)
        packing.is_on = True  # futures of a whole map among the arguments are a list of futures
        try:
            payload, deps = values.dump_call(args, kwargs, self._key_of, bool(node.dependencies))
        except values.DumpFailed as error:
            if isinstance(error.__cause__, InvalidArgument):  # of `_key_of`
                raise error.__cause__ from None
            culprit = find_culprit((args, kwargs), f"the arguments of {key!r}") or str(error)
            raise ArgumentNotSerializable(
                f"task {key!r} cannot be sent to the cluster: {culprit}"
            ) from error
        finally:
            packing.is_on = False
        if len(payload) > LIMIT_BYTES:
            raise PayloadTooLarge(
                f"the arguments of task {key!r} take {size_text(len(payload))}; with a task "
                f"travel at most {size_text(LIMIT_BYTES)}. Split the data into smaller chunks, or "
                "let tasks load their own"
            )
        return payload, deps

    def _key_of(self, value: Any) -> tuple[int, int] | None:
        """Return the task whose result an object stands for, or is from now on: what is large is
        put on a worker, so that it does not pass through the scheduler.
        """
        if type(value) is _Ref:
            return value.group, value.index
        if type(value) is Future:
            group, index = place_of(value)
            check_session(self._session, group.session, value.name)
            return group.id, index
        if isinstance(value, np.ndarray):
            is_large = value.nbytes > INLINE_ONCE_BYTES and not value.dtype.hasobject
        else:
            is_large = type(value) is DataNode and sizeof(value.value) > INLINE_ONCE_BYTES
        if not is_large:
            return None
        known = self._scattered.get(id(value))
        if known is None:
            known = value, self._client.scatter([value], name=DATA_GROUP)[0]
            self._scattered[id(value)] = known
        return known[1].key.group, known[1].key.index

    def _value_of(self, key: Key) -> Any:
        return self._values[self._plan.targets.get(key, key)]

    def _plain(self, arg: Any) -> Any:
        """Return an argument with what stands for the results in it, in place of Dask's nodes."""
        if isinstance(arg, TaskRef):
            return self._value_of(arg.key)
        if not isinstance(arg, GraphNode):
            return arg
        if isinstance(arg, Alias):
            return self._value_of(arg.target)
        if isinstance(arg, DataNode):
            return arg.value
        if type(arg) is Dict:
            flat = [self._plain(item) for item in arg.args]
            return dict(zip(flat[::2], flat[1::2], strict=True))
        assert isinstance(arg, Task)  # and none of its own: see `_has_nested`
        return _container_of(arg)(map(self._plain, arg.args))


def _is_same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is MethodType and one == other)


def _has_nested(node: Task) -> bool:
    """Tell whether there are tasks among a task's arguments, to be run along with it."""
    return any(map(_is_run, node.args)) or any(map(_is_run, node.kwargs.values()))


def _is_run(arg: Any) -> bool:
    if not isinstance(arg, Task):
        return False
    if type(arg) is Dict or _container_of(arg) is not None:
        return any(map(_is_run, arg.args))
    return True


def _container_of(node: Task) -> Any:
    """Return the type of container that a node makes of its arguments, None if it is another."""
    found = _CONTAINERS.get(type(node))
    if found is None and node.func is _identity_cast:
        found = node.kwargs["typ"]
    return found
