"""Groups and assignments as a worker knows them: what is still to be run, and which inputs it
needs.

Law: an assignment counts each of its tasks as open until it was reported: done, failed or
returned; it is forgotten when none is open. What is not begun stands in `queue`, or in `awaiting`
while inputs of it are being computed here; what is begun belongs to a piece.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable
from itertools import accumulate, pairwise
from typing import Any

from pyroaring import BitMap

from ..errors import PeerError
from ..executor.inputs import take_levels
from ..ids import AssignmentId, Digest, GroupId
from ..messages import Blob, Runs, RunSpan
from ..resources import Ask, check_ask
from . import runs as runs_

TARGET_S = 0.010
"""Work that one piece of short tasks shall hold."""
LEAST_S = 0.00025
"""Pieces are not made shorter than this for the sake of an even end."""
GROWTH = 16
FIRST_LENGTH = 1

Needs = dict[GroupId, Runs]


class WorkGroup:
    """A group: its layer, the blobs that it names, chunks of its items, and what was learned
    about its tasks."""

    def __init__(
        self,
        group: GroupId,
        name: str,
        layer: dict[str, Any],
        options: dict[str, Any] | None = None,
    ) -> None:
        self.group = group
        self.name = name
        self.layer = layer
        self.kind: str = layer["kind"]
        self.same: list[tuple[GroupId, int]] = []
        self.shared: Needs = {}
        """Of an `Each`: groups whose results its tasks take by index, with the offset; and results
        that every task takes."""
        self.is_unlinked = False
        """A chain with it could not be prepared: its tasks are run for themselves."""
        if self.kind == "each":
            self._read_each(layer)
        self.splits: int = layer["count"] if self.kind == "exchange" else 0
        """Of an exchange: so many of its tasks are splits, the others merges."""
        self.digests: list[Digest] = _digests_of(layer)
        self.chunks: dict[tuple[int, int], tuple[int, Blob]] = {}
        """By (argument position, chunk number): the thing's number, and its content."""
        self.mean_s: float | None = None
        """Mean time per task as an executor spends it, everything included."""
        self.length = FIRST_LENGTH
        """Length of the longest piece that was measured, or the first guess."""
        options = options or {}
        self.resources: Ask = check_ask(options["resources"]) if options.get("resources") else {}
        self.timeout_s: float | None = options.get("timeout")
        self.once = bool(options.get("once"))
        """One task for each executor."""
        self.span: list[int] | None = options.get("span")
        """How many tasks a piece shall have at least and at most."""

    @property
    def is_limited(self) -> bool:
        """May its tasks not begin on any executor at any time?"""
        return bool(self.resources) or self.once

    def _read_each(self, layer: dict[str, Any]) -> None:
        shared: dict[GroupId, list[int]] = {}
        for spec in layer["args"]:
            if spec[0] == "same":
                self.same.append((spec[1], spec[2]))
            elif spec[0] == "blob":
                for group, index in zip(spec[2][::2], spec[2][1::2], strict=True):
                    shared.setdefault(group, []).append(index)
        self.shared = {group: runs_.of_indices(found) for group, found in shared.items()}

    def get_chunk(self, position: int, number: int) -> tuple[int, Blob]:
        """Return the thing's number and the content of a chunk of items."""
        return self.chunks[position, number]

    def learn(self, count: int, elapsed_s: float) -> None:
        """Take the measured time of `count` tasks in a row."""
        mean = elapsed_s / count
        # heavier for longer stretches; half for a single task, so that a change shows soon
        weight = 0.5 if count < self.length else 0.75
        self.mean_s = mean if self.mean_s is None else self.mean_s + weight * (mean - self.mean_s)
        self.length = max(self.length, count)

    def learn_slow(self, elapsed_s: float) -> None:
        """A task takes at least this long, and is not over."""
        self.mean_s = max(self.mean_s or 0.0, elapsed_s)

    def wire_layer(self) -> dict[str, Any]:
        """Return the layer as an executor takes it: digests in hexadecimal."""
        layer = dict(self.layer)
        layer["function"] = self.layer["function"].hex()
        if self.kind == "each":
            layer["args"] = [
                ["blob", s[1].hex(), s[2]]
                if s[0] == "blob"
                else ["items", s[1], []]
                if s[0] == "items"
                else s
                for s in self.layer["args"]
            ]
        elif self.kind == "exchange":
            layer["split"] = self.layer["split"].hex()
        elif self.kind == "fold" and self.layer["initial"] is not None:
            layer["initial"] = self.layer["initial"].hex()
        return layer


def pick_length(groups: list[WorkGroup], queued: int, slots: int) -> int:
    """Return how many tasks the next piece shall have, of `queued` ones; each is followed by one of
    every further group.
    """
    if groups[0].is_limited:
        return 1
    least, most = groups[0].span or (1, queued)
    mean = 0.0
    for group in groups:
        if group.mean_s is None:
            return min(max(FIRST_LENGTH, least), queued)
        mean += group.mean_s
    mean = max(mean, 1e-8)
    share = max(-(-queued // slots), int(LEAST_S / mean))
    longest = GROWTH * min(group.length for group in groups)
    length = max(1, min(int(TARGET_S / mean), share, longest))
    return min(max(length, least), most, queued)


class Assignment:
    """One span in work."""

    def __init__(self, message: RunSpan, group: WorkGroup) -> None:
        self.assignment: AssignmentId = message.assignment
        self.group = group
        self.start = message.start
        self.stop = message.stop
        self.inline = message.inline
        self.passing = message.passing
        self.alone: set[int] = set()
        """Tasks that are run unlinked: an executor died in a chain with them."""
        self.patient = message.patient
        self.queue: deque[tuple[int, int]] = deque([(message.start, message.stop)])
        self.queued = message.stop - message.start
        self.awaiting = BitMap()
        self.is_ready = False
        """It stands in the dispatcher's row."""
        self.open = self.queued
        self.unwanted: list[tuple[int, int]] = []
        """What the scheduler has asked back: none of it is begun any more."""
        self.fetches: set[int] = set()
        """Numbers of the fetches that it waits for."""
        self.pulls: set[int] = set()
        """Numbers of the fetches of shards that it waits for."""
        self.holders: list[list[Any]] = []
        """Of merges: who may have splits."""
        self._payload = memoryview(message.payload)
        self._offsets: list[int] = []
        self._dep_offsets: list[int] = []
        if group.kind == "graph":
            self._read_graph(message)

    def _read_graph(self, message: RunSpan) -> None:
        lengths = _array("I", message.lengths)
        if len(lengths) != self.queued or sum(lengths) != len(self._payload):
            raise PeerError(
                f"assignment {self.assignment}: payload and lengths do not fit the span"
            )
        self._offsets = [0, *accumulate(lengths)]
        if not message.inputs:
            return
        counts, groups, indices = message.inputs
        self._dep_offsets = [0, *accumulate(_array("I", counts))]
        self._dep_groups = _array("q", groups)
        self._dep_indices = _array("I", indices)
        ends = self._dep_offsets[-1]
        if len(self._dep_offsets) != len(self._offsets) or not (
            len(self._dep_groups) == len(self._dep_indices) == ends
        ):
            raise PeerError(f"assignment {self.assignment}: dependencies do not fit the span")

    @property
    def is_merge(self) -> bool:
        """Are these merges of an exchange? They take shards, no results."""
        return self.group.kind == "exchange" and self.start >= self.group.splits

    def needs(self, start: int, stop: int) -> Needs:
        """Return the results that tasks `[start, stop)` take as inputs, as runs by group."""
        if self.group.kind == "graph":
            return self._graph_needs(start, stop)
        if self.group.kind == "exchange":
            layer = self.group.layer
            first = layer["offset"]
            return {} if self.is_merge else {layer["group"]: [first + start, first + stop]}
        spans: dict[GroupId, list[tuple[int, int]]] = {}
        if self.group.kind == "fold":
            for group, first, last in take_levels(self.group.layer, start, stop):
                spans.setdefault(group, []).append((first, last))
            return {group: runs_.normalize(some) for group, some in spans.items()}
        for group, runs in self.group.shared.items():
            spans.setdefault(group, []).extend(runs_.pairs(runs))
        for group, offset in self.group.same:
            spans.setdefault(group, []).append((start + offset, stop + offset))
        return {group: runs_.normalize(some) for group, some in spans.items()}

    def inputs_of(self, task: int) -> Iterable[tuple[GroupId, int]]:
        """Return the results that one task takes as inputs, of a graph one for each edge."""
        if self.group.kind != "graph":
            needs = self.needs(task, task + 1)
            return (
                (group, index) for group, runs in needs.items() for index in runs_.indices(runs)
            )
        if not self._dep_offsets:
            return ()
        at = task - self.start
        edges = slice(self._dep_offsets[at], self._dep_offsets[at + 1])
        return zip(self._dep_groups[edges], self._dep_indices[edges], strict=True)

    def _graph_needs(self, start: int, stop: int) -> Needs:
        if not self._dep_offsets:
            return {}
        first = self._dep_offsets[start - self.start]
        last = self._dep_offsets[stop - self.start]
        indices: dict[GroupId, list[int]] = {}
        for place in range(first, last):
            indices.setdefault(self._dep_groups[place], []).append(self._dep_indices[place])
        return {group: runs_.of_indices(some) for group, some in indices.items()}

    def payload(self, start: int, stop: int) -> tuple[memoryview, list[int]]:
        """Return the payload of tasks `[start, stop)` of a `Graph`, and the length of each."""
        offsets = self._offsets[start - self.start : stop - self.start + 1]
        lengths = [b - a for a, b in pairwise(offsets)]
        return self._payload[offsets[0] : offsets[-1]], lengths

    def chunks(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return (argument position, chunk number) of the items that tasks `[start, stop)` of an
        `Each` take."""
        if self.group.kind != "each":
            return []
        return [
            (position, number)
            for position, spec in enumerate(self.group.layer["args"])
            if spec[0] == "items"
            for number in range(start // spec[1], (stop - 1) // spec[1] + 1)
        ]

    def take(self, length: int) -> tuple[int, int]:
        """Take up to `length` tasks from the head of the queue."""
        start, stop = self.queue.popleft()
        end = min(stop, start + length)
        if end < stop:
            self.queue.appendleft((end, stop))
        self.queued -= end - start
        return start, end

    def put_back(self, runs: Runs) -> None:
        """Put tasks back to the head of the queue."""
        for start, stop in reversed(list(runs_.pairs(runs))):
            self.queue.appendleft((start, stop))
            self.queued += stop - start

    def drop_unbegun(self, runs: Runs) -> Runs:
        """Take these tasks out of the queue, or out of those that wait; return those that were
        there.
        """
        dropped = self.drop_queued(runs)
        waiting = self.awaiting & runs_.to_set(runs)
        if not waiting:
            return dropped
        self.awaiting -= waiting
        return runs_.normalize([*runs_.pairs(dropped), *runs_.pairs(runs_.of_set(waiting))])

    def drop_queued(self, runs: Runs) -> Runs:
        """Take these tasks out of the queue; return those that were in it."""
        dropped, kept = runs_.split(runs_.normalize(self.queue), runs)
        self.queue = deque(runs_.pairs(kept))
        self.queued = runs_.count(kept)
        return dropped


def _digests_of(layer: dict[str, Any]) -> list[Digest]:
    digests = [layer["function"]]
    if layer["kind"] == "fold":
        if layer["initial"] is not None:
            digests.append(layer["initial"])
    elif layer["kind"] == "exchange":
        digests.append(layer["split"])
    elif layer["kind"] == "each":
        digests += [spec[1] for spec in layer["args"] if spec[0] == "blob"]
    return list(dict.fromkeys(digests))


def _array(code: str, data: Blob) -> array[int]:
    values = array(code)
    try:
        values.frombytes(data)
    except ValueError as error:
        raise PeerError(f"a column of {len(data)} bytes does not hold whole numbers") from error
    return values
