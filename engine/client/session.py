"""The protocol of one client, without sockets, threads or clock.

Law: every change of what the client knows happens here. Actions of user threads and messages of the
scheduler come in as method calls, under `lock` (except where a method takes it itself); what is to
be sent and fetched piles up and is taken by the shell (link.py) once per turn: so thousands of
submits become one message. Nothing here blocks.
"""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ..errors import ConnectionClosed
from ..ids import MAX_TASKS, GroupId, PeerId, make_group_id
from ..messages import (
    Blob,
    CancelTasks,
    CloseGroup,
    ExtendGroup,
    Failure,
    GroupRefused,
    HoldTasks,
    KeepTasks,
    Message,
    ReleaseTasks,
    RetryTasks,
    SubmitGroup,
    TasksDone,
    TasksFailed,
    TasksReopened,
    WantResults,
)
from .holds import Holds
from .runs import RunSet
from .state import Block, FailedTasks, GroupState, OpenGraph

MAX_OPEN_TASKS = 1 << 20
"""A group of single submits that has grown to this size is left alone, and a new one begun."""
AHEAD_TASKS = 65_536
"""How many small results are asked for at once by one who reads them in order."""
MAX_MISSES = 8
"""Fetches of one group that may fail in a row before its results count as lost."""


class Fetch(NamedTuple):
    """Get the results of `[start, stop)` from a worker."""

    worker: PeerId
    group: GroupState
    start: int
    stop: int


class Session(Holds):
    """All groups of one client, and what is to be sent about them."""

    def __init__(self, peer: PeerId, cluster_id: str, cluster: str, client: str) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.peer = peer
        self.cluster_id = cluster_id
        self.cluster = cluster
        self.client = client
        self.is_async = False
        self.groups: dict[GroupId, GroupState] = {}
        self.open: dict[Any, GroupState] = {}
        self.closed: Exception | None = None
        """Why there is no connection any more."""
        self.out: list[Message] = []
        self.growing: dict[GroupId, GroupState] = {}
        """Open groups with tasks that are not sent yet."""
        self.fetches: deque[Fetch] = deque()
        self._serial = 0

    # --- submitting -------------------------------------------------------------------------------

    def add_group(
        self,
        name: str,
        n: int,
        layer: dict[str, Any],
        blobs: dict[bytes, Blob],
        options: dict[str, Any],
        wanted: bool,
        held_from: int = 0,
    ) -> GroupState:
        """Make a group and submit it. Whoever gets it must hold its tasks before the lock is let
        go; those before `held_from` are of a tree, and held by nobody.
        """
        self.check_open()
        self._serial += 1
        group = GroupState(self, make_group_id(self.peer, self._serial), name, n)
        group.held.add(held_from, n)
        if wanted:
            group.pushed.add(0, n)
        self.groups[group.id] = group
        for growing in list(self.growing.values()):  # it may depend on any of them
            self._send_growth(growing)
        self.out.append(SubmitGroup(group.id, name, layer, blobs, options, wanted))
        return group

    def open_graph(
        self, key: Any, name: str, function: bytes, blob: Blob, options: dict[str, Any]
    ) -> GroupState:
        """Return the open group that single submits with this key join."""
        self.check_open()
        found = self.open.get(key)
        if found is not None and found.n < MAX_OPEN_TASKS:
            return found
        if found is not None:
            self.close_graph(found)
        layer = {"kind": "graph", "function": function}
        group = self.add_group(name, 0, layer, {function: blob}, options, True)
        group.graph = OpenGraph(key)
        self.open[key] = group
        return group

    def add_call(
        self, group: GroupState, payload: Blob, deps: Sequence[tuple[int, int]] = ()
    ) -> int:
        """Append one task to a growing group; return its index. It counts as held by one Future."""
        graph = group.graph
        if graph is None or group.n >= MAX_TASKS:
            raise AssertionError(f"{group} cannot grow")
        if deps:
            self._send_growth_before(group, deps)
        index = graph.first + len(graph.calls)
        graph.calls.append((payload, deps))
        group.n = index + 1
        group.held.add(index, index + 1)
        group.counts[index] = 1
        self.growing[group.id] = group
        self.empty.pop(group.id, None)
        return index

    def close_idle(self) -> bool:
        """End open groups that nobody holds and that have not grown since the last call; tell
        whether some are left to be looked at again.
        """
        for group in list(self.empty.values()):
            graph = group.graph
            if graph is not None and graph.last_size != group.n:
                graph.last_size = group.n
            else:
                self.close_graph(group)
        return bool(self.empty)

    def close_graph(self, group: GroupState) -> None:
        """No task will be added to a growing group any more."""
        graph = group.graph
        assert graph is not None
        self._send_growth(group)
        self.out.append(CloseGroup(group.id))
        self.open.pop(graph.key, None)
        self.empty.pop(group.id, None)
        group.graph = None
        if not group.held:
            self.groups.pop(group.id, None)

    # --- asking -----------------------------------------------------------------------------------

    def want(self, group: GroupState, start: int, stop: int) -> None:
        """Somebody waits for the results of `[start, stop)`: have them pushed, or fetch them."""
        if self.closed is not None:
            return
        for a, b in group.awaited_in(start, stop):
            group.needed.add(a, b)
            self.push(group, a, b)
            self._plan_fetch(group, a, b)

    def push(self, group: GroupState, start: int, stop: int) -> None:
        """Have the scheduler push small results of the unfinished tasks of `[start, stop)`."""
        if self.closed is not None:
            return
        if group.graph is not None:  # what is not sent yet will be pushed unasked
            stop = min(stop, group.graph.first)
        runs = RunSet()
        for a, b in group.unfinished_in(start, stop):
            for c, d in group.pushed.gaps_in(a, b):
                runs.add(c, d)
                group.pushed.add(c, d)
        if runs:
            self.out.append(WantResults(group.id, runs.bounds))

    def want_next(self, group: GroupState, index: int) -> None:
        """Somebody reads results one by one and has come to `index`: want it, and be ready for the
        next ones.
        """
        if not group.is_map:
            self.want(group, index, index + 1)
            return
        self.push(group, index, min(group.n, index + AHEAD_TASKS))
        stop = index + 1
        run = group.places.find_run(index)
        if run is not None:
            stop = min(run[1], index + group.ahead)
        for a, b in group.held.runs_in(index, stop)[:1]:
            self.want(group, a, b)

    def cancel(self, group: GroupState, start: int, stop: int, by: str, force: bool) -> int:
        """Cancel the unfinished tasks of `[start, stop)`; return how many there were. Here they
        fail at once.
        """
        runs = RunSet(bound for run in group.unfinished_in(start, stop) for bound in run)
        if not runs or self.closed is not None:
            return 0
        self._send_growth(group)
        self.out.append(CancelTasks(group.id, runs.bounds, by, force))
        text = f"{group.name}: cancelled by {by}"
        record = FailedTasks({"kind": "cancelled", "text": text}, runs.bounds[0])
        for a, b in runs:
            group.unconfirmed.add(a, b)
            self._set_failed(group, a, b, record)
        return runs.count

    def retry(self, group: GroupState, start: int, stop: int) -> int:
        """Run the failed tasks of `[start, stop)` again; return how many there were. Here they are
        open at once.
        """
        runs = RunSet()
        for a, b, _ in group.failed.items_in(start, stop):
            runs.add(a, b)
        if not runs or self.closed is not None:
            return 0
        self.out.append(RetryTasks(group.id, runs.bounds))
        for a, b in runs:
            for c, d in group.unconfirmed.runs_in(a, b):
                group.stale_cancels.add(c, d)
            group.unconfirmed.discard(a, b)
            group.failed.clear(a, b)
            group.pushed.discard(a, b)
        for a, b in runs:  # asks for what was done before the cancelling came, too
            self.push(group, a, b)
        return runs.count

    def keep(self, group: GroupState, start: int, stop: int) -> None:
        """Have the unfinished tasks of `[start, stop)` computed whoever may hold them."""
        runs = RunSet(bound for run in group.unfinished_in(start, stop) for bound in run)
        if runs:
            self.check_open()
            self._send_growth(group)
            self.out.append(KeepTasks(group.id, runs.bounds))

    def attach(self, group_id: GroupId, name: str, runs: Iterable[int]) -> GroupState:
        """Hold tasks of a group that another client made, or that this one knows already."""
        self.check_open()
        dropped = self.releasing.pop(group_id, None)
        if dropped is not None and dropped.released:
            self.out.append(ReleaseTasks(group_id, dropped.released.take()))
        group = self.groups.get(group_id)
        if group is None:
            group = self.groups[group_id] = GroupState(self, group_id, name, 0)
        fresh = RunSet()
        for a, b in RunSet(runs):
            group.n = max(group.n, b)
            for c, d in group.held.gaps_in(a, b):
                fresh.add(c, d)
                group.held.add(c, d)
        if fresh:
            self.out.append(HoldTasks(group_id, fresh.bounds))
        return group

    # --- what the shell takes ---------------------------------------------------------------------

    def has_sends(self) -> bool:
        """Tell whether there is anything to send or fetch that somebody may wait for."""
        return bool(self.out or self.growing or self.fetches)

    def take_sends(self, *, releases: bool = True) -> list[Message]:
        """Return what is to be sent, in order, and forget it. Without `releases` only what somebody
        may wait for: what was let go of is told later, many tasks at once.
        """
        for group in list(self.growing.values()):
            self._send_growth(group)
        if releases:
            self._send_releases()
        out, self.out = self.out, []
        return out

    def _send_releases(self) -> None:
        self.take_drops()
        for group in self.releasing.values():
            runs = group.released.take()
            if runs:
                self.out.append(ReleaseTasks(group.id, runs))
        self.releasing.clear()

    def take_fetches(self) -> list[Fetch]:
        """Return what is to be fetched, and forget it."""
        fetches = list(self.fetches)
        self.fetches.clear()
        return fetches

    def _send_growth(self, group: GroupState) -> None:
        graph = group.graph
        self.growing.pop(group.id, None)
        if graph is None or not graph.calls:
            return
        payloads, deps = zip(*graph.calls, strict=True)
        edges = [edge for row in deps for edge in row]
        group.pushed.add(graph.first, graph.size)
        self.out.append(
            ExtendGroup(
                group.id,
                graph.first,
                len(payloads),
                b"".join(payloads),
                array("I", map(len, payloads)).tobytes(),
                array("I", map(len, deps)).tobytes() if edges else b"",
                array("q", [edge[0] for edge in edges]).tobytes() if edges else b"",
                array("I", [edge[1] for edge in edges]).tobytes() if edges else b"",
            )
        )
        graph.first = graph.size
        graph.calls = []

    def _send_growth_before(self, group: GroupState, deps: Iterable[tuple[int, int]]) -> None:
        """Unsent tasks may depend on unsent ones of their own group only: the scheduler must know
        the others.
        """
        for key in {dep[0] for dep in deps} - {group.id}:
            other = self.growing.get(key)
            if other is not None:
                self._send_growth(group)
                self._send_growth(other)

    # --- what the scheduler says ------------------------------------------------------------------

    def handle(self, message: Message) -> bool:
        """Take in one message; False if it is not about groups and tasks."""
        handler = _HANDLERS.get(type(message))
        if handler is None:
            return False
        group = self.groups.get(message.group)  # type: ignore[attr-defined]
        if group is not None:  # else: late news of tasks that nobody here holds any more
            handler(self, group, message)
        return True

    def _on_done(self, group: GroupState, message: TasksDone) -> None:
        start, stop = message.start, message.stop
        group.stale_cancels.discard(start, stop)
        for a, b in group.held.runs_in(start, stop):
            group.places.set(a, b, message.worker)
            for c, d in group.unconfirmed.gaps_in(a, b):  # what was cancelled here stays so
                group.failed.clear(c, d)
                for e, f in group.done.gaps_in(c, d):
                    group.done.add(e, f)
                    group.tell_finished(e, f, False)
        if message.blocks:
            self.keep_blocks(group, message.blocks)
        for a, b in group.needed.runs_in(start, stop):
            self._plan_fetch(group, a, b)

    def _on_failed(self, group: GroupState, message: TasksFailed) -> None:
        runs = RunSet(message.runs)
        record = FailedTasks(message.failure, message.runs[0] if message.runs else 0)
        for start, stop in runs:
            if record.is_cancelled:
                group.unconfirmed.discard(start, stop)
                late = group.stale_cancels.runs_in(start, stop)
                group.stale_cancels.discard(start, stop)
                fresh = RunSet([start, stop])
                for a, b in late:
                    fresh.discard(a, b)
                parts = list(fresh)
            else:
                parts = group.unconfirmed.gaps_in(start, stop)
            for a, b in parts:
                for c, d in group.held.runs_in(a, b):
                    self._set_failed(group, c, d, record)

    def _on_reopened(self, group: GroupState, message: TasksReopened) -> None:
        for start, stop in RunSet(message.runs):
            group.stale_cancels.discard(start, stop)
            group.places.clear(start, stop)
            for a, b in group.unconfirmed.gaps_in(start, stop):
                group.failed.clear(a, b)
            for a, b in group.blocks.gaps_in(start, stop):  # a result that is here stays good
                group.done.discard(a, b)

    def _on_refused(self, group: GroupState, message: GroupRefused) -> None:
        text = f"the scheduler did not take the group {group.name!r}: {message.text}"
        record = FailedTasks({"kind": "refused", "text": text}, 0)
        self._drop_graph(group)
        self._set_failed(group, 0, group.n, record)

    def _drop_graph(self, group: GroupState) -> None:
        """The scheduler does not know a growing group (any more): nothing can join it."""
        if group.graph is not None:
            self.open.pop(group.graph.key, None)
            self.growing.pop(group.id, None)
            self.empty.pop(group.id, None)
            group.graph = None

    def _set_failed(self, group: GroupState, start: int, stop: int, record: FailedTasks) -> None:
        group.done.discard(start, stop)
        group.failed.set(start, stop, record)
        group.needed.discard(start, stop)
        group.tell_finished(start, stop, True)

    # --- results ----------------------------------------------------------------------------------

    def keep_blocks(self, group: GroupState, blocks: Iterable[Sequence[Any]]) -> None:
        """Take in blocks of results, pushed or fetched."""
        for start, stop, single, parts in blocks:
            block = Block(start, stop, single, parts)
            for a, b in group.held.runs_in(start, stop):
                for c, d in group.unconfirmed.gaps_in(a, b):
                    for e, f in group.blocks.gaps_in(c, d):
                        group.blocks.set(e, f, block)
                        group.failed.clear(e, f)
                        group.needed.discard(e, f)
                        if group.done.add(e, f):
                            group.tell_finished(e, f, False)
                        group.tell_here(e, f)

    def _plan_fetch(self, group: GroupState, start: int, stop: int) -> None:
        for a, b in group.blocks.gaps_in(start, stop):
            for c, d in group.fetching.gaps_in(a, b):
                for e, f, worker in group.places.items_in(c, d):
                    group.fetching.add(e, f)
                    self.fetches.append(Fetch(worker, group, e, f))

    def fetched(self, fetch: Fetch, blocks: Iterable[Sequence[Any]]) -> list[tuple[int, int]]:
        """Take in the answer to a fetch; return the runs that did not come with it."""
        group = fetch.group
        group.fetching.discard(fetch.start, fetch.stop)
        self.keep_blocks(group, blocks)
        missing = [
            gap
            for a, b in group.needed.runs_in(fetch.start, fetch.stop)
            for gap in group.blocks.gaps_in(a, b)
        ]
        group.misses = group.misses + 1 if missing else 0
        return missing

    def ask_again(self, fetch: Fetch, missing: Iterable[tuple[int, int]], why: str) -> None:
        """Results were not where they should be: ask where they are now, or give up after many
        tries.
        """
        group = fetch.group
        runs = RunSet(bound for run in missing for bound in run)
        if self.closed is not None or not runs or group.id not in self.groups:
            return
        if group.misses > MAX_MISSES:
            text = f"{group.name}[{runs.bounds[0]}]: the result cannot be fetched: {why}"
            record = FailedTasks({"kind": "lost", "text": text}, runs.bounds[0])
            group.misses = 0
            for start, stop in runs:
                self._set_failed(group, start, stop, record)
            return
        self.out.append(WantResults(group.id, runs.bounds))

    # --- the end ----------------------------------------------------------------------------------

    def check_open(self) -> None:
        """Raises: ConnectionClosed, with the reason, when there is no connection any more."""
        if self.closed is not None:
            raise ConnectionClosed(str(self.closed)) from self.closed.__cause__

    def close(self, error: Exception) -> None:
        """There is no connection any more: what is not here will never come."""
        if self.closed is not None:
            return
        self.closed = error
        self.out.clear()
        self.growing.clear()
        self.fetches.clear()
        for group in list(self.groups.values()):
            group.tell_closed()

    def forget_all(self, text: str) -> None:
        """The scheduler has forgotten all groups: what is not here is cancelled."""
        failure: Failure = {"kind": "cancelled", "text": text}
        for group in list(self.open.values()):
            self._drop_graph(group)
        for group in list(self.groups.values()):
            record = FailedTasks(failure, 0)
            for start, stop in group.held:
                for a, b in group.awaited_in(start, stop):
                    self._set_failed(group, a, b, record)


_HANDLERS: dict[type[Message], Callable[[Session, GroupState, Any], None]] = {
    TasksDone: Session._on_done,
    TasksFailed: Session._on_failed,
    TasksReopened: Session._on_reopened,
    GroupRefused: Session._on_refused,
}
