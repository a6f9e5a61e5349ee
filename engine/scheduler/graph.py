"""The layer `Graph`: tasks with payloads of their own and explicit edges; it grows while it is
open.

Payloads stay as they came, in chunks of one submission each; edges stand in arrays (forwards end to
end by task, backwards as linked lists threaded through the edge numbers). There is no object per
task and none per edge.

A chunk whose tasks are all released, and whose results nobody could ask for again to recompute
something, is dropped.

Law: as in layers.py: it knows no state of any task but one number per task, its missing inputs,
which is right for waiting tasks and without meaning for others.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, ClassVar

from pyroaring import BitMap

from ..errors import PeerError
from ..ids import MAX_TASKS, Digest, GroupId
from ..messages import Blob, ExtendGroup
from .closed import SetOf
from .runs import set_of

LOOK_AT = 64
"""How many tasks a search for tasks with inputs at a certain place looks at."""

PAGE_BITS = 6
PAGE_MASK = (1 << PAGE_BITS) - 1
_EMPTY_PAGE = array("I", [0] * (1 << PAGE_BITS))


class Chunk:
    """The payloads of tasks ``[start, start + count)``. `pins`: edges to its tasks from chunks that
    are kept.
    """

    __slots__ = ("count", "lengths", "offsets", "payload", "pins", "start")

    def __init__(self, start: int, count: int, payload: Blob, lengths: Blob) -> None:
        self.start = start
        self.count = count
        self.payload = payload
        self.lengths = lengths
        self.offsets: array[int] | None = None
        self.pins = 0

    def cut(self, start: int, stop: int) -> tuple[Blob, Blob]:
        """Return payload and lengths of tasks ``[start, stop)``, which must lie in this chunk."""
        first, last = start - self.start, stop - self.start
        if first == 0 and last == self.count:
            return self.payload, self.lengths
        if self.offsets is None:
            self.offsets = array("Q", accumulate(memoryview(self.lengths).cast("I"), initial=0))
        begin, end = self.offsets[first], self.offsets[last]
        return (
            memoryview(self.payload)[begin:end],
            memoryview(self.lengths)[4 * first : 4 * last],
        )


class Graph:
    """Explicit tasks, appended by `extend`."""

    kind: ClassVar[str] = "graph"
    __slots__ = (
        "_edge_groups", "_edge_indices", "_edge_next", "_edge_tasks", "_first", "_heads",
        "_missing", "_payload_bytes", "chunk_starts", "chunks", "dropped", "links", "n", "wire",
    )  # fmt: skip

    def __init__(self, wire: dict[str, Any]) -> None:
        self.wire = wire
        self.n = 0
        self.chunks: list[Chunk | None] = []
        self.chunk_starts = array("Q")
        self.dropped = BitMap()
        self._payload_bytes = 0
        # Edge 0 does not exist: it ends the lists. Edges of task t: [_first[t], _first[t + 1]).
        self._first = array("I", [1])
        self._missing = array("I")
        self._edge_groups = array("q", [0])
        self._edge_indices = array("I", [0])
        self._edge_tasks = array("I", [0])
        self._edge_next = array("I", [0])
        self._heads: dict[GroupId, dict[int, array[int]]] = {}
        # Groups that tasks of kept chunks take results of, with the number of edges.
        self.links: dict[GroupId, int] = {}

    @property
    def has_inputs(self) -> bool:
        """Does any task take results of others?"""
        return len(self._edge_tasks) > 1

    @property
    def edge_count(self) -> int:
        """Return the number of edges."""
        return len(self._edge_tasks) - 1

    def producers(self) -> set[GroupId]:
        """Return the groups that it takes results of."""
        return set(self.links)

    def define_blobs(self) -> list[Digest]:
        """Return the blobs that a worker must have before its first span."""
        return [self.wire["function"]]

    all_blobs = define_blobs

    # --- growth -------------------------------------------------------------------------------

    def extend(self, message: ExtendGroup) -> bool:
        """Append tasks. Return whether there are edges among what came.

        Raises:
            PeerError: the columns do not fit each other, or a task depends on itself or a later
            one.
        """
        start, count = message.start, message.count
        payload, lengths = message.payload, message.lengths
        if count < 1 or start != self.n or start + count > MAX_TASKS:
            raise PeerError(f"ExtendGroup: {count} tasks from {start} on, there are {self.n}")
        if len(lengths) != 4 * count:
            raise PeerError(f"ExtendGroup: {len(lengths)} bytes of lengths for {count} tasks")
        total = sum(memoryview(lengths).cast("I"))
        if total != len(payload):
            raise PeerError(f"ExtendGroup: {len(payload)} bytes of payload, lengths say {total}")
        groups, indices = self._check_edges(message)
        self._payload_bytes += total
        self.chunks.append(Chunk(start, count, payload, lengths))
        self.chunk_starts.append(start)
        self.n = start + count
        if groups:
            self._add_edges(start, memoryview(message.dep_counts).cast("I"), groups, indices)
        elif self.edge_count:
            self._first.extend([self._first[-1]] * count)
            self._missing.extend([0] * count)
        return bool(groups)

    def _check_edges(self, message: ExtendGroup) -> tuple[array[int], array[int]]:
        groups, indices = array("q"), array("I")
        if not message.dep_counts:
            if message.dep_groups or message.dep_indices:
                raise PeerError("ExtendGroup: dependencies without counts")
            return groups, indices
        if len(message.dep_counts) != 4 * message.count:
            raise PeerError("ExtendGroup: dep_counts does not have one number per task")
        counts = memoryview(message.dep_counts).cast("I")
        total = sum(counts)
        if len(message.dep_groups) != 8 * total or len(message.dep_indices) != 4 * total:
            raise PeerError(f"ExtendGroup: dep_counts says {total} dependencies, others came")
        groups.frombytes(message.dep_groups)
        indices.frombytes(message.dep_indices)
        if message.group in groups:
            edge = 0
            for task, number in enumerate(counts, message.start):
                for at in range(edge, edge + number):
                    if groups[at] == message.group and indices[at] >= task:
                        raise PeerError(f"ExtendGroup: task {task} depends on {indices[at]}")
                edge += number
        return groups, indices

    def _add_edges(
        self, start: int, counts: memoryview, groups: array[int], indices: array[int]
    ) -> None:
        first, tasks, nexts = self._first, self._edge_tasks, self._edge_next
        if len(first) < start + 1:  # no task before had any
            first.extend([1] * (start + 1 - len(first)))
            self._missing.extend([0] * (start - len(self._missing)))
        self._missing.extend(counts)
        origin = len(tasks)
        for task, number in enumerate(counts, start):
            first_edge = len(tasks)
            for edge in range(first_edge, first_edge + number):
                group, index = groups[edge - origin], indices[edge - origin]
                pages = self._heads.setdefault(group, {})
                self.links[group] = self.links.get(group, 0) + 1
                page = pages.get(index >> PAGE_BITS)
                if page is None:
                    page = pages[index >> PAGE_BITS] = _EMPTY_PAGE[:]
                nexts.append(page[index & PAGE_MASK])
                page[index & PAGE_MASK] = edge
                tasks.append(task)
            first.append(len(tasks))
        self._edge_groups.extend(groups)
        self._edge_indices.extend(indices)

    # --- dependencies -------------------------------------------------------------------------

    def inputs_of(self, tasks: BitMap) -> dict[GroupId, BitMap]:
        """Return the results that these tasks take, by group."""
        found: dict[GroupId, BitMap] = {}
        if not self.has_inputs:
            return found
        first, groups, indices = self._first, self._edge_groups, self._edge_indices
        for task in tasks:
            for edge in range(first[task], first[task + 1]):
                group = groups[edge]
                if group in found:
                    found[group].add(indices[edge])
                else:
                    found[group] = BitMap((indices[edge],))
        return found

    def consumers_of(self, group: GroupId, results: BitMap) -> BitMap:
        """Return the tasks here that take any of these results of a group."""
        tasks = self._edge_tasks
        return BitMap([tasks[edge] for edge in self._edges_to(group, results)])

    def needed(self, group: GroupId, results: BitMap, unfinished: BitMap) -> BitMap:
        """Return which of these results are taken by the unfinished among the tasks here."""
        if group not in self._heads or not unfinished:
            return BitMap()
        tasks, indices = self._edge_tasks, self._edge_indices
        edges = self._edges_to(group, results)
        return BitMap([indices[edge] for edge in edges if tasks[edge] in unfinished])

    def on_done(self, group: GroupId, results: BitMap, waiting: BitMap, done: SetOf) -> BitMap:
        """These results are done now. Return the waiting tasks that are complete by that."""
        complete = []
        missing, tasks = self._missing, self._edge_tasks
        for edge in self._edges_to(group, results):
            task = tasks[edge]
            if task in waiting:
                missing[task] -= 1
                if not missing[task]:
                    complete.append(task)
        return BitMap(complete)

    def on_lost(self, group: GroupId, results: BitMap, waiting: BitMap) -> None:
        """These results are not done any more: waiting tasks miss one more input each."""
        missing, tasks = self._missing, self._edge_tasks
        for edge in self._edges_to(group, results):
            task = tasks[edge]
            if task in waiting:
                missing[task] += 1

    def count_again(self, tasks: BitMap, done: SetOf) -> BitMap:
        """These tasks wait again: count their missing inputs. Return those that miss none."""
        if not self.has_inputs:
            return tasks
        first, groups, indices = self._first, self._edge_groups, self._edge_indices
        complete = []
        sets: dict[GroupId, BitMap] = {}
        for task in tasks:
            missing = 0
            for edge in range(first[task], first[task + 1]):
                group = groups[edge]
                if group not in sets:
                    sets[group] = done(group)
                missing += indices[edge] not in sets[group]
            self._missing[task] = missing
            if not missing:
                complete.append(task)
        return BitMap(complete)

    def complete(self, tasks: BitMap, done: SetOf) -> BitMap:
        """Return those of these tasks whose inputs are all done."""
        if not self.has_inputs:
            return tasks
        first, groups, indices = self._first, self._edge_groups, self._edge_indices
        complete = []
        sets: dict[GroupId, BitMap] = {}
        for task in tasks:
            for edge in range(first[task], first[task + 1]):
                group = groups[edge]
                if group not in sets:
                    sets[group] = done(group)
                if indices[edge] not in sets[group]:
                    break
            else:
                complete.append(task)
        return BitMap(complete)

    def missing_of(self, task: int) -> int:
        """Return the number of missing inputs of a waiting task."""
        return self._missing[task] if self.has_inputs else 0

    def _edges_to(self, group: GroupId, results: BitMap) -> Iterator[int]:
        pages = self._heads.get(group)
        if pages is None or not results:
            return
        nexts = self._edge_next
        low, high = results.min() >> PAGE_BITS, (results.max() >> PAGE_BITS) + 1
        numbers = range(low, high) if high - low <= len(pages) else sorted(pages)
        for number in numbers:
            page = pages.get(number)
            if page is None or not low <= number < high:
                continue
            base = number << PAGE_BITS
            for at, edge in enumerate(page):
                if edge and base + at in results:
                    while edge:
                        yield edge
                        edge = nexts[edge]

    def find_local(self, tasks: BitMap, held: SetOf) -> BitMap:
        """Return those of the first LOOK_AT of these tasks whose inputs are all held."""
        return self.complete(tasks[:LOOK_AT] if self.has_inputs else tasks, held)

    # --- payloads -----------------------------------------------------------------------------

    def bytes_per_task(self) -> float:
        """Return the mean size of a payload."""
        return self._payload_bytes / self.n if self.n else 0.0

    def can_run_again(self, tasks: BitMap) -> BitMap:
        """Return those of these tasks whose payload is still here."""
        return tasks - self.dropped

    def cut(self, start: int, stop: int) -> tuple[Blob, Blob]:
        """Return payload and lengths of tasks ``[start, stop)``, none of which was dropped."""
        at = self.find_chunk(start)
        parts = []
        while start < stop:
            chunk = self.chunks[at]
            assert chunk is not None, f"the payload of task {start} is gone"
            end = min(stop, chunk.start + chunk.count)
            parts.append(chunk.cut(start, end))
            start, at = end, at + 1
        if len(parts) == 1:
            return parts[0]
        return b"".join([part[0] for part in parts]), b"".join([part[1] for part in parts])

    def cut_inputs(self, start: int, stop: int) -> list[Blob]:
        """Return the dependencies of tasks ``[start, stop)`` as columns, or an empty list."""
        if not self.has_inputs:
            return []
        begin, end = self._first[start], self._first[stop]
        if begin == end:
            return []
        first = self._first
        counts = array("I", [first[t + 1] - first[t] for t in range(start, stop)])
        columns = (counts, self._edge_groups[begin:end], self._edge_indices[begin:end])
        return [column.tobytes() for column in columns]

    def find_chunk(self, task: int) -> int:
        """Return the position of the chunk that has a task."""
        return bisect_right(self.chunk_starts, task) - 1

    def pin(self, task: int, count: int) -> int | None:
        """Add to the pins of a task's chunk. Return its position if it has none left, else None."""
        at = self.find_chunk(task)
        chunk = self.chunks[at]
        if chunk is None:
            return None
        chunk.pins += count
        return None if chunk.pins else at

    def drop(self, at: int) -> list[tuple[GroupId, int]]:
        """Drop a chunk. Return the inputs that its tasks took, one for each edge."""
        chunk = self.chunks[at]
        assert chunk is not None, f"chunk {at} was dropped before"
        self.chunks[at] = None
        stop = chunk.start + chunk.count
        self.dropped |= set_of(chunk.start, stop)
        return self.edges_of(chunk.start, stop)

    def unlink(self, group: GroupId) -> bool:
        """An edge of a dropped chunk is gone. Return whether it was the last one to that group."""
        self.links[group] -= 1
        if self.links[group]:
            return False
        del self.links[group], self._heads[group]
        return True

    def edges_of(self, start: int, stop: int) -> list[tuple[GroupId, int]]:
        """Return the inputs of tasks ``[start, stop)``, one for each edge."""
        if not self.has_inputs:
            return []
        edges = slice(self._first[start], self._first[stop])
        return list(zip(self._edge_groups[edges], self._edge_indices[edges], strict=True))
