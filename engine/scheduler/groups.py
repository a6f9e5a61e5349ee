"""What the scheduler knows of one group: its tasks by state, who holds their results, who wants
them, what they cost.

Tasks by state are six disjoint bitmaps. Beside them stands what is valid in one state only: holders
of done tasks, failures of failed ones, assignments of assigned ones. All of it is compact: a group
of a million tasks that wait, run or are done in order costs some hundred bytes.

Law: state sets, holders, failures and assignments are changed by moves.py alone. No decisions here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyroaring import BitMap

from ..diagnostics.counters import GroupCounters
from ..ids import AssignmentId, Digest, GroupId, PeerId
from ..messages import Failure
from .layers import Layer
from .moves import ASSIGNED, DONE, FAILED, READY, RELEASED, STATES, WAITING
from .runs import RunMap, set_of

if TYPE_CHECKING:
    from .peers import Worker
    from .restrictions import Restriction

GROWTH = 16
"""A span may be this many times as long as one that has been reported on."""

FORGET_TASKS = 8192
"""Learned durations are means over about so many of the latest tasks."""


class Assignment:
    """One handing-out of the span ``[start, stop)`` to a worker. `left`: what has not come back
    yet.

    `task_s`: the expected duration of one task in seconds, as it was counted into the worker's
    load.
    """

    __slots__ = (
        "group",
        "id",
        "is_along",
        "is_asked",
        "left",
        "since",
        "start",
        "stop",
        "task_s",
        "worker",
    )

    def __init__(
        self,
        number: AssignmentId,
        group: Group,
        worker: Worker,
        start: int,
        stop: int,
        task_s: float,
        since: float,
    ) -> None:
        self.id = number
        self.group = group
        self.worker = worker
        self.start = start
        self.stop = stop
        self.left = set_of(start, stop)
        self.task_s = task_s
        self.since = since
        # The worker has been asked to give some of it back, and gave nothing so far.
        self.is_asked = False
        self.is_along = False

    def __repr__(self) -> str:
        return f"<assignment {self.id}: {self.group} [{self.start}, {self.stop}) on {self.worker}>"


class Group:
    """One group. `options` are checked."""

    __slots__ = (
        "allowed_failures",
        "along",
        "assigned",
        "assignments",
        "consumers",
        "content",
        "copied",
        "counters",
        "crashes",
        "depth",
        "done",
        "expected",
        "failed",
        "failures",
        "grown",
        "holders",
        "holds",
        "id",
        "is_open",
        "is_queued",
        "kept",
        "known_by",
        "layer",
        "name",
        "options",
        "owner",
        "priority",
        "published",
        "raised",
        "ready",
        "released",
        "restriction",
        "result_bytes",
        "retries",
        "seconds",
        "serial",
        "sets",
        "tasks_timed",
        "waiting",
        "wants",
        "wants_all",
        "where",
    )  # fmt: skip

    def __init__(
        self,
        number: GroupId,
        name: str,
        owner: PeerId,
        layer: Layer,
        counters: GroupCounters,
        serial: int,
    ) -> None:
        self.id = number
        self.name = name
        self.owner = owner
        self.layer = layer
        self.counters = counters
        self.serial = serial
        self.depth = counters.depth
        self.priority = 0
        self.retries = 0
        self.allowed_failures = 0
        self.options: dict[str, Any] = {}
        # What it may not do without, or where it must run; None: anywhere.
        self.restriction: Restriction | None = None
        # Of shared work: the digest that its id is made of.
        self.content: Digest | None = None
        # May tasks be appended? An empty group is kept like one: others may still map over it.
        self.is_open = layer.kind == "graph" or layer.n == 0
        self.is_queued = False
        self.sets: dict[str, BitMap] = {state: BitMap() for state in STATES}
        self.waiting = self.sets[WAITING]
        self.ready = self.sets[READY]
        self.assigned = self.sets[ASSIGNED]
        self.done = self.sets[DONE]
        self.failed = self.sets[FAILED]
        # Of assigned tasks: those whose inputs are not all done. They wait on their worker.
        self.along = BitMap()
        self.released = self.sets[RELEASED]
        # Who holds futures; who wants small results pushed: of some tasks, or of all there will be.
        self.holds: dict[PeerId, BitMap] = {}
        self.wants: dict[PeerId, BitMap] = {}
        self.wants_all: set[PeerId] = set()
        # Futures in data sets; tasks that are to be computed whoever may want them.
        self.published = BitMap()
        self.kept = BitMap()
        # Of done tasks: every worker's results, one worker per task, tasks that have more than one.
        self.holders: dict[PeerId, BitMap] = {}
        self.where: RunMap[Worker] = RunMap()
        self.copied = BitMap()
        # Data: which tasks a client was told to put on which worker.
        self.expected: dict[PeerId, BitMap] = {}
        self.failures: RunMap[Failure] = RunMap()
        self.assignments: dict[AssignmentId, Assignment] = {}
        self.known_by: dict[PeerId, Worker] = {}
        self.raised: dict[int, int] = {}
        self.crashes: dict[int, int] = {}
        # Groups with tasks that take results of this one (a `Graph` may be among its own).
        self.consumers: dict[GroupId, Group] = {}
        self.seconds = 0.0
        self.tasks_timed = 0
        self.result_bytes = 0.0
        self.grown = 1

    def __repr__(self) -> str:
        return f"<group {self.id:x} {self.name!r}>"

    @property
    def n(self) -> int:
        """Return the number of tasks so far."""
        return self.layer.n

    def pending(self) -> BitMap:
        """Return the tasks whose inputs are not all done: waiting here, or on a worker."""
        return self.waiting | self.along if self.along else self.waiting

    def unfinished(self) -> BitMap:
        """Return the tasks that are still to be computed."""
        found = self.waiting | self.ready
        found |= self.assigned
        return found

    def held(self) -> BitMap:
        """Return the tasks of which any client holds a future."""
        holds = list(self.holds.values())
        return holds[0] if len(holds) == 1 else BitMap().union(*holds)

    def is_held(self, start: int, stop: int) -> bool:
        """Return whether one client holds all tasks of a run: then nobody else need be asked."""
        return any(held.contains_range(start, stop) for held in self.holds.values())

    def is_wanted(self, start: int, stop: int) -> bool:
        """Return whether some client waits for the results of any task of a run."""
        if self.wants_all:
            return True
        return any(wanted.range_cardinality(start, stop) for wanted in self.wants.values())

    def is_passing(self, start: int, stop: int) -> bool:
        """Return whether the results of a run are taken by tasks of one other group alone."""
        if len(self.consumers) != 1 or self.id in self.consumers:
            return False
        kept = [*self.holds.values(), self.published] if self.published else self.holds.values()
        return not any(held.range_cardinality(start, stop) for held in kept)

    def has_wish(self, client: PeerId, start: int, stop: int) -> bool:
        """Return whether this client wants the results of all tasks of a run pushed."""
        if client in self.wants_all:
            return True
        return client in self.wants and self.wants[client].contains_range(start, stop)

    # --- what is learned ----------------------------------------------------------------------

    def learn(self, count: int, seconds: float, nbytes: int, span: int) -> None:
        """Take in a report of `count` finished tasks of a span that gave each slot `span` tasks."""
        if self.tasks_timed > FORGET_TASKS:
            self.tasks_timed //= 2
            self.seconds /= 2
            self.result_bytes /= 2
        self.tasks_timed += count
        self.seconds += seconds
        self.result_bytes += nbytes
        if span * GROWTH > self.grown:
            self.grown = span * GROWTH

    def mean_s(self) -> float | None:
        """Return the mean duration of its tasks in seconds, None if none has been reported."""
        return self.seconds / self.tasks_timed if self.tasks_timed else None

    def bytes_of(self, count: int) -> int:
        """Return about how large the results of `count` tasks are."""
        return int(count * self.result_bytes / self.tasks_timed) if self.tasks_timed else 0
