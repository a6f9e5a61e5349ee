"""A light worker: the messages of a real one, in virtual time, with as little work as can be.

It keeps what a real worker keeps (spans, a queue, a store, inputs on their way) and says what a
real worker says. What it leaves out: executors, pieces queued behind others (its slots are fed at
once), values, failures. A task begins when all its inputs are in the store, in the order of spans,
and a slot takes as many tasks at a time as are PIECE_S of work, as the real one does.

Law: deterministic; it knows true durations and sizes and tells them only as a real worker would.
Every task of every assignment is reported exactly once.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Any, Protocol

import numpy as np
from pyroaring import BitMap

from cellspan.engine.messages import (
    DataStored,
    DefineGroup,
    ForgetGroup,
    FreeResults,
    Message,
    RunSpan,
    SpanDone,
    SpanReturned,
    TakeBack,
)
from cellspan.engine.scheduler.runs import runs_of, set_of
from cellspan.engine.worker.assignments import Assignment, WorkGroup
from cellspan.engine.worker.runs import normalize, pairs

from .problem import Floats, Machine, Problem, number_of

PIECE_S = 0.010
"""Work that a slot takes at a time where tasks are short."""
LEAST_S = 0.001
"""It takes no less than this for the sake of an even end."""
LARGE_BYTES = 1 << 16

Entry = tuple[int, int, int]
"""Tasks that can begin: number of their span, start, stop."""


class Cluster(Protocol):
    """What a worker needs of the cluster around it."""

    problem: Problem
    now: float

    def after(self, delay_s: float, call: Any, *args: Any) -> None:
        """Call something later."""

    def report(self, worker: LightWorker, messages: list[Message]) -> None:
        """Send messages to the scheduler."""

    def ask(self, worker: LightWorker, holder: int, nbytes: int) -> tuple[LightWorker, float]:
        """Return another worker, and how long so many bytes take from there."""


class Span:
    """An assignment in work. `missing`: of tasks that wait, how many inputs are not here."""

    __slots__ = ("group", "id", "left", "missing", "needs", "number", "start", "stop")

    def __init__(self, number: int, message: RunSpan) -> None:
        self.number = number
        self.id = message.assignment
        self.group = message.group
        self.start = message.start
        self.stop = message.stop
        self.left = message.stop - message.start
        self.missing: dict[int, int] = {}
        self.needs: Assignment | None = None


class Run:
    """What a slot runs: tasks ``[start, stop)``, and the times at which they end."""

    __slots__ = ("ends", "since", "span", "start", "stop", "version")

    def __init__(self, span: Span, start: int, stop: int, since: float, ends: Floats) -> None:
        self.span = span
        self.start = start
        self.stop = stop
        self.since = since
        self.ends = ends
        self.version = 0


class Fetching:
    """Inputs on their way: one run of results of one group, from one worker."""

    __slots__ = ("group", "holder", "since", "start", "stop")

    def __init__(self, group: int, start: int, stop: int, holder: int, since: float) -> None:
        self.group = group
        self.start = start
        self.stop = stop
        self.holder = holder
        self.since = since


class LightWorker:
    """See the head of this file."""

    __slots__ = (
        "_by_number", "_numbers", "busy_s", "cluster", "groups", "idle", "machine", "now_fetching",
        "outbox", "peer", "pending", "queued", "ready", "running", "spans", "store", "waiting",
    )  # fmt: skip

    def __init__(self, cluster: Cluster, peer: int, machine: Machine) -> None:
        self.cluster = cluster
        self.peer = peer
        self.machine = machine
        self.idle = machine.slots
        self.busy_s = 0.0
        self.groups: dict[int, WorkGroup] = {}
        self.spans: dict[int, Span] = {}
        self.ready: list[Entry] = []
        self.queued = 0
        self.running: list[Run] = []
        self.store: dict[int, BitMap] = {}
        # Tasks assigned here and not done; inputs on their way; who waits for a result.
        self.pending: dict[int, BitMap] = {}
        self.now_fetching: dict[int, BitMap] = {}
        self.waiting: dict[tuple[int, int], list[tuple[Span, int]]] = {}
        self.outbox: list[Message] = []
        self._numbers = 0
        self._by_number: dict[int, Span] = {}

    # --- messages -----------------------------------------------------------------------------

    def on_messages(self, messages: list[Message]) -> None:
        """Take a batch from the scheduler."""
        for message in messages:
            kind = type(message)
            if kind is RunSpan:
                self._on_span(message)  # type: ignore[arg-type]
            elif kind is FreeResults:
                self._on_free(message)  # type: ignore[arg-type]
            elif kind is TakeBack:
                self._on_take_back(message)  # type: ignore[arg-type]
            elif kind is DefineGroup:
                assert isinstance(message, DefineGroup)
                self.groups[message.group] = WorkGroup(message.group, message.name, message.layer)
            elif kind is ForgetGroup:
                assert isinstance(message, ForgetGroup)
                del self.groups[message.group]
            else:
                raise AssertionError(f"a light worker does not take {message!r:.200}")
        self._feed()
        self._flush()

    def _flush(self) -> None:
        if self.outbox:
            messages, self.outbox = self.outbox, []
            self.cluster.report(self, messages)

    def _on_span(self, message: RunSpan) -> None:
        self._numbers += 1
        span = Span(self._numbers, message)
        self.spans[message.assignment] = self._by_number[span.number] = span
        work = self.cluster.problem.works[number_of(message.group) - 1]
        if work.has_inputs:
            span.needs = Assignment(message, self.groups[message.group])
            self._await_inputs(span, message.holders)
            return
        if work.is_taken:
            self.pending.setdefault(span.group, BitMap()).add_range(span.start, span.stop)
        heappush(self.ready, (span.number, span.start, span.stop))
        self.queued += span.left

    def _await_inputs(self, span: Span, holders: list[list[Any]]) -> None:
        """Ask for what is not here; begin what lacks nothing; return all if one has no holder."""
        assert span.needs is not None
        pending = self.pending.setdefault(span.group, BitMap())
        pending.add_range(span.start, span.stop)
        needs = span.needs.needs(span.start, span.stop)
        lost: list[list[int]] = []
        for group, runs in needs.items():
            lacking = BitMap()
            for start, stop in pairs(runs):
                lacking.add_range(start, stop)
            for known in (self.store, self.now_fetching, self.pending):
                if group in known:
                    lacking -= known[group]
            for number, start, stop, holder, _ in holders:
                found = lacking & set_of(start, stop) if number == group else BitMap()
                for first, last in pairs(runs_of(found)):
                    self._fetch(group, first, last, holder)
                lacking -= found
            lost += [[group, index, self.peer] for index in lacking]
        if lost:
            pending.remove_range(span.start, span.stop)
            self._give_back(span, [span.start, span.stop], "inputs are not here", lost)
            return
        for task in range(span.start, span.stop):
            missing = 0
            for group, runs in span.needs.needs(task, task + 1).items():
                here = self.store.get(group)
                for index in (i for a, b in pairs(runs) for i in range(a, b)):
                    if here is None or index not in here:
                        missing += 1
                        self.waiting.setdefault((group, index), []).append((span, task))
            if missing:
                span.missing[task] = missing
            else:
                heappush(self.ready, (span.number, task, task + 1))
                self.queued += 1

    def _fetch(self, group: int, start: int, stop: int, holder: int) -> None:
        """Ask for results: large ones each on its own, like the oracle, small ones together."""
        self.now_fetching.setdefault(group, BitMap()).add_range(start, stop)
        sizes = self.cluster.problem.works[number_of(group) - 1].sizes
        while start < stop:
            end = start + 1
            while end < stop and sizes[end - 1] < LARGE_BYTES and sizes[end] < LARGE_BYTES:
                end += 1
            fetching = Fetching(group, start, end, holder, self.cluster.now)
            nbytes = int(sizes[start:end].sum())
            _, seconds = self.cluster.ask(self, holder, nbytes)
            self.cluster.after(seconds, self._on_fetched, fetching, nbytes)
            start = end

    def _on_fetched(self, fetching: Fetching, nbytes: int) -> None:
        group, start, stop = fetching.group, fetching.start, fetching.stop
        other, _ = self.cluster.ask(self, fetching.holder, 0)
        self.now_fetching[group].remove_range(start, stop)
        here = other.store.get(group, BitMap()) & set_of(start, stop)
        for first, last in pairs(runs_of(here)):
            self.outbox.append(self._stored(fetching, first, last, nbytes))
            self._keep(group, first, last)
        for index in set_of(start, stop) - here:  # it was freed there: late by a race
            for span, task in self.waiting.pop((group, index), []):
                if span.missing.pop(task, None) is not None:
                    self.pending[span.group].discard(task)
                    missing = [[group, index, fetching.holder]]
                    self._give_back(span, [task, task + 1], "an input was not there", missing)
        self._feed()
        self._flush()

    def _stored(self, fetching: Fetching, start: int, stop: int, nbytes: int) -> DataStored:
        share = nbytes * (stop - start) // (fetching.stop - fetching.start)
        seconds = self.cluster.now - fetching.since
        return DataStored(fetching.group, start, stop, share, fetching.holder, seconds)

    def _keep(self, group: int, start: int, stop: int) -> None:
        """Results are here: begin the tasks that waited for nothing else."""
        known = self.store.get(group)
        if known is None:
            known = self.store[group] = BitMap()
        known.add_range(start, stop)
        if not self.waiting:
            return
        for index in range(start, stop):
            for span, task in self.waiting.pop((group, index), ()):
                missing = span.missing.get(task)
                if missing is None:
                    continue  # taken back meanwhile
                if missing > 1:
                    span.missing[task] = missing - 1
                    continue
                del span.missing[task]
                heappush(self.ready, (span.number, task, task + 1))
                self.queued += 1

    def _on_free(self, message: FreeResults) -> None:
        known = self.store.get(message.group)
        if known is None:
            return
        for start, stop in pairs(message.runs):
            known.remove_range(start, stop)
        if not known:
            del self.store[message.group]

    # --- slots --------------------------------------------------------------------------------

    def _feed(self) -> None:
        while self.idle and self.ready:
            number, start, stop = heappop(self.ready)
            while self.ready and self.ready[0] == (number, stop, stop + 1):
                heappop(self.ready)
                stop += 1
            self._begin(self._by_number[number], start, stop)

    def _begin(self, span: Span, start: int, stop: int) -> None:
        """Run some of these tasks, and queue the rest again."""
        cluster = self.cluster
        durations = cluster.problem.works[number_of(span.group) - 1].durations
        if stop - start == 1:
            ends = durations[start:stop] / self.machine.speed
        else:
            share = -(-self.queued // self.machine.slots)
            ends = np.cumsum(durations[start : min(stop, start + 4096)]) / self.machine.speed
            least = int(ends.searchsorted(LEAST_S))
            count = min(int(ends.searchsorted(PIECE_S)), max(share, least), len(ends))
            ends = ends[: max(1, count)]
        last = start + len(ends)
        if last < stop:
            heappush(self.ready, (span.number, last, stop))
        self.queued -= last - start
        self.idle -= 1
        run = Run(span, start, last, cluster.now, ends)
        self.running.append(run)
        cluster.after(float(ends[-1]), self._on_end, run, 0)

    def _on_end(self, run: Run, version: int) -> None:
        if version != run.version:
            return  # it was cut
        span, start, stop = run.span, run.start, run.stop
        self.running.remove(run)
        self.idle += 1
        seconds = float(run.ends[stop - start - 1])
        self.busy_s += seconds
        nbytes = int(self.cluster.problem.works[number_of(span.group) - 1].sizes[start:stop].sum())
        if span.group in self.pending:
            self.pending[span.group].remove_range(start, stop)
        self.outbox.append(SpanDone(span.id, span.group, start, stop, nbytes, seconds, [], None))
        self._close(span, stop - start)
        self._keep(span.group, start, stop)
        self._feed()
        self._flush()

    def _close(self, span: Span, count: int) -> None:
        span.left -= count
        assert span.left >= 0
        if not span.left:
            del self.spans[span.id], self._by_number[span.number]

    # --- taking back --------------------------------------------------------------------------

    def _on_take_back(self, message: TakeBack) -> None:
        span = self.spans.get(message.assignment)
        if span is None:  # late by a race: all of it was reported before the message came
            self.outbox.append(SpanReturned(message.assignment, 0, [], "nothing was left"))
            return
        wanted = BitMap()
        for start, stop in pairs(message.runs):
            wanted.add_range(start, stop)
        taken = self._drop_queued(span, wanted) | self._cut(span, wanted)
        if span.group in self.pending:
            self._drop_consumers(span.group, taken)
        self._give_back(span, runs_of(taken), "taken back", [])

    def _drop_queued(self, span: Span, wanted: BitMap) -> BitMap:
        """Take tasks that have not begun out of the queue; return them."""
        taken = BitMap([task for task in span.missing if task in wanted])
        for task in taken:
            del span.missing[task]
        kept: list[Entry] = []
        for entry in self.ready:
            number, start, stop = entry
            inside = wanted & set_of(start, stop) if number == span.number else None
            if not inside:
                kept.append(entry)
                continue
            self.queued -= len(inside)
            taken |= inside
            rest = set_of(start, stop) - inside
            kept += [(number, first, last) for first, last in pairs(runs_of(rest))]
        self.ready = kept
        heapify(self.ready)
        return taken

    def _cut(self, span: Span, wanted: BitMap) -> BitMap:
        """End runs after the task that runs now, if tasks behind it are wanted."""
        taken = BitMap()
        for run in self.running:
            if run.span is not span:
                continue
            passed = self.cluster.now - run.since
            at = run.start + int(run.ends.searchsorted(passed, side="right")) + 1
            inside = wanted & set_of(at, run.stop)
            if not inside:
                continue
            run.version += 1
            rest = set_of(at, run.stop) - inside
            for first, last in pairs(runs_of(rest)):
                heappush(self.ready, (span.number, first, last))
                self.queued += last - first
            taken |= inside
            run.stop = at
            end = float(run.ends[at - run.start - 1])
            self.cluster.after(max(0.0, end - passed), self._on_end, run, run.version)
        return taken

    def _drop_consumers(self, group: int, taken: BitMap) -> None:
        """Tasks went elsewhere: return the tasks here that wait for their results."""
        pending = self.pending[group]
        pending -= taken
        stack = [(group, task) for task in taken]
        while stack:
            key = stack.pop()
            for span, task in self.waiting.pop(key, []):
                if span.missing.pop(task, None) is None:
                    continue
                self.pending[span.group].discard(task)
                self._give_back(span, [task, task + 1], "an input is not computed here", [])
                stack.append((span.group, task))

    def _give_back(
        self, span: Span, runs: list[int], reason: str, missing: list[list[int]]
    ) -> None:
        runs = normalize(pairs(runs))
        self.outbox.append(SpanReturned(span.id, span.group, runs, reason, missing))
        if runs:
            self._close(span, sum(runs[1::2]) - sum(runs[::2]))
