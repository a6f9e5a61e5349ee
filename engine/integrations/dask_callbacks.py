"""Dask's callbacks (`dask.diagnostics`) for a graph that runs on a cluster.

A local scheduler of Dask calls `start`, `start_state`, then for each task `pretask` and `posttask`,
and `finish`, with a state that says which tasks wait, run and are finished. The same is kept here
while news of the tasks come in: a task *runs* from the moment that all it needs is done.

Law: everything is called on the thread that called `get`, as Dask does; nothing of it costs
anything if no callback is active. Results that nobody asked for stay on the workers: `posttask`
gets None for them.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from dask._task_spec import GraphNode
from dask.cache import Cache

from ..client.futures import Future
from ..client.session import Session
from ..client.state import GroupState
from .dask_plan import Key, Plan

Callbacks: TypeAlias = tuple[Any, Any, Any, Any, Any]
"""start, start_state, pretask, posttask, finish; any of them may be None."""


def usable(active: Iterable[Callbacks]) -> list[Callbacks]:
    """Return the callbacks that can be served: `dask.cache` keeps results in this process, and they
    are not here.
    """
    return [
        callbacks
        for callbacks in active
        if not any(isinstance(getattr(call, "__self__", None), Cache) for call in callbacks)
    ]


class Watch:
    """Calls the callbacks of one graph."""

    def __init__(self, callbacks: list[Callbacks], nodes: dict[Key, GraphNode]) -> None:
        self._callbacks = callbacks
        self._nodes = nodes
        self._started: list[Callbacks] = []
        self._plan: Plan
        self._wanted: set[Key] = set()
        self.state: dict[str, Any] = {}

    # --- the moments of a graph -------------------------------------------------------------------

    def start(self) -> None:
        """The graph was read."""
        for callbacks in self._callbacks:
            if callbacks[0] is not None:
                callbacks[0](self._nodes)
            self._started.append(callbacks)

    def submitted(self, plan: Plan, wanted: Iterable[Key]) -> None:
        """All tasks are on their way to the cluster."""
        self._plan = plan
        self._wanted = set(wanted)
        self.state = _make_state(plan)
        for callbacks in self._callbacks:
            if callbacks[1] is not None:
                callbacks[1](self._nodes, self.state)
        ready, self.state["ready"] = self.state["ready"], []
        for key in ready:
            self._run(key)

    def done(self, key: Key, value: Any, worker: Any) -> None:
        """A task is done. News that come twice (its result was lost) count once."""
        state = self.state
        if key in state["finished"]:
            return
        state["running"].discard(key)
        state["finished"].add(key)
        if key in self._wanted:
            state["cache"][key] = value
        for dep in state["dependencies"][key]:
            users = state["waiting_data"].get(dep)
            if users is not None:
                users.discard(key)
                if not users and dep not in self._wanted:
                    state["released"].add(dep)
                    del state["waiting_data"][dep]
        for callbacks in self._callbacks:
            if callbacks[3] is not None:
                callbacks[3](key, value, self._nodes, state, worker)
        for user in state["dependents"].get(key, ()):
            needs = state["waiting"][user]
            needs.discard(key)
            if not needs:
                del state["waiting"][user]
                self._run(user, value, worker)

    def finish(self, failed: bool) -> None:
        """It is over."""
        for callbacks in self._started:
            if callbacks[4] is not None:
                callbacks[4](self._nodes, self.state, failed)

    def _run(self, key: Key, value: Any = None, worker: Any = None) -> None:
        self.state["running"].add(key)
        for callbacks in self._callbacks:
            if callbacks[2] is not None:
                callbacks[2](key, self._nodes, self.state)
        target = self._plan.targets.get(key)
        if target is not None:  # another name for what is done, and done with it
            self.done(key, self.state["cache"].get(target, value), worker)


def _make_state(plan: Plan) -> dict[str, Any]:
    """Return the state of a graph as Dask's local schedulers keep it, before any task has run."""
    dependencies: dict[Key, set[Key]] = {key: set() for key in plan.data}
    dependencies |= {key: set(node.dependencies) for key, node in plan.tasks.items()}
    dependencies |= {key: {target} for key, target in plan.targets.items()}
    dependents: dict[Key, set[Key]] = {key: set() for key in dependencies}
    for key, deps in dependencies.items():
        for dep in deps:
            dependents[dep].add(key)
    waiting = {}
    ready = []
    for key, deps in dependencies.items():
        if key not in plan.data:
            needs = {dep for dep in deps if dep not in plan.data}
            if needs:
                waiting[key] = needs
            else:
                ready.append(key)
    return {
        "dependencies": dependencies,
        "dependents": dependents,
        "waiting": waiting,
        "waiting_data": {key: set(users) for key, users in dependents.items()},
        "cache": dict(plan.data),
        "ready": ready,
        "running": set(),
        "finished": set(),
        "released": set(),
    }


class Follower:
    """Hears what becomes of the tasks of some groups, and hands it to the thread that waits."""

    def __init__(
        self,
        session: Session,
        groups: Iterable[GroupState],
        keys: Mapping[tuple[int, int], Key],
        futures: Mapping[Key, Future],
    ) -> None:
        self._session = session
        self._groups = list(groups)
        self._keys = keys
        self._futures = futures
        self._news: queue.SimpleQueue[tuple[GroupState, int, int, bool] | None]
        self._news = queue.SimpleQueue()

    # --- a Waiter of groups: called under the session's lock --------------------------------------

    def on_finished(self, group: GroupState, start: int, stop: int, failed: bool) -> None:
        """Tasks are done or have failed."""
        self._news.put((group, start, stop, failed))

    def on_here(self, group: GroupState, start: int, stop: int) -> None:
        """Results have come: they are read where they are needed."""

    def on_closed(self) -> None:
        """The connection is gone."""
        self._news.put(None)

    # --- the thread that waits --------------------------------------------------------------------

    def follow(self, on_done: Callable[[Key, Any, Any], None]) -> None:
        """Call `on_done` with key, value and worker of each task that is done, until all are, or
        one has failed. Held tasks are let go of as they are done, but for those that have futures.
        """
        session = self._session
        with session.lock:
            for group in self._groups:
                for run in list(group.done):
                    self._news.put((group, *run, False))
                for first, last, _ in group.failed.items_in(0, group.n):
                    self._news.put((group, first, last, True))
                group.waiters.append(self)
            for future in self._futures.values():
                session.want(future._group, future.index, future.index + 1)
            if session.closed is not None:
                self._news.put(None)
        session.urge()
        left = set(self._keys)
        try:
            while left:
                news = self._news.get()
                if news is None or news[3]:
                    return  # whoever gathers the results learns why
                group, start, stop, _ = news
                workers = {at: group.places.find(at) or 0 for at in range(start, stop)}
                self._let_go(group, start, stop)
                for index, worker in workers.items():
                    place = group.id, index
                    if place in left:
                        left.discard(place)
                        key = self._keys[place]
                        wanted = self._futures.get(key)
                        on_done(key, None if wanted is None else wanted.result(), worker)
        finally:
            with session.lock:
                for group in self._groups:
                    group.waiters.remove(self)

    def _let_go(self, group: GroupState, start: int, stop: int) -> None:
        with self._session.lock:
            for first, last in group.held.runs_in(start, stop):
                free = first
                for index in sorted(i for i in group.counts if first <= i < last):
                    if free < index:
                        self._session.release(group, free, index)
                    free = index + 1
                if free < last:
                    self._session.release(group, free, last)
        self._session.wake()
