"""All records of the scheduler in one place: groups, clients, workers, assignments, blobs, and what
is to be sent.

The functions of this room (submission, handing, results, release, recovery) take the ledger as
their first argument; core.py owns it and calls them.

Law: look-ups and book-keeping, no decisions. `now` is the time of the event that is being handled.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pyroaring import BitMap

from ..diagnostics.activity import ActivityRing
from ..diagnostics.counters import GroupCounters
from ..errors import PeerError
from ..ids import AssignmentId, Digest, GroupId, PeerId
from ..messages import Blob, PickWorkers
from .groups import Assignment, Group
from .outbox import Outbox
from .peers import Client, Worker
from .placement import Placement

FINISHED_GROUPS = 50


@dataclass(slots=True, frozen=True)
class Limits:
    """What can be set for a whole scheduler.

    span_s: work per slot that a span aims at, in seconds; queue_s: work per slot up to which a
    worker is given more; max_span: tasks per slot and span; span_bytes: payload of one span;
    allowed_failures: how often a task may take its executor or worker down before it is given up;
    bandwidth: bytes per second expected between two workers; along_s: work per slot up to which
    tasks are sent along with their producers, 0 for none.
    """

    span_s: float = 0.04
    queue_s: float = 0.08
    max_span: int = 1 << 16
    span_bytes: int = 16 << 20
    allowed_failures: int = 2
    bandwidth: float = 1e9
    along_s: float = 0.16


class Dataset:
    """A published data set: its content, pickled, and the tasks whose futures are in it."""

    __slots__ = ("content", "tasks")

    def __init__(self, content: Blob, tasks: dict[GroupId, BitMap]) -> None:
        self.content = content
        self.tasks = tasks


class Ledger:
    """The records. See the attributes' comments."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self.now = now
        self.clients: dict[PeerId, Client] = {}
        self.workers: dict[PeerId, Worker] = {}
        self.groups: dict[GroupId, Group] = {}
        self.assignments: dict[AssignmentId, Assignment] = {}
        self.outbox = Outbox()
        self.placement = Placement(
            limits.span_s, limits.queue_s, limits.max_span, limits.span_bytes, limits.bandwidth
        )
        self.activity = ActivityRing(now)
        # Counters of groups that were forgotten, for the diagnostics.
        self.finished: deque[GroupCounters] = deque(maxlen=FINISHED_GROUPS)
        # Contents of blobs, and how many groups name each.
        self.blobs: dict[Digest, Blob] = {}
        self.blob_uses: dict[Digest, int] = {}
        self.datasets: dict[str, Dataset] = {}
        # Groups whose end is to be considered when the present event has been dealt with.
        self.ending: dict[GroupId, Group] = {}
        # Clients that asked where to put data while there was no worker.
        self.unplaced: list[tuple[PeerId, PickWorkers]] = []
        self.is_restarting = False
        """Workers are to drop their stores: what was put there now would be swept away."""
        # Results that were passed on to what follows them, on a worker that does not have them.
        self.passed: list[tuple[Group, Worker, BitMap]] = []
        # Workers that could be sent more tasks along when they have caught up.
        self.behind: dict[PeerId, Worker] = {}
        # When the balance is to be looked at again, see rebalance.py.
        self.next_balance = 0.0
        self.last_assignment: AssignmentId = 0
        self.last_serial = 0

    def get_client(self, peer: PeerId) -> Client:
        """Return a client that must be there."""
        if peer not in self.clients:
            raise PeerError(f"peer {peer} is no client")
        return self.clients[peer]

    def get_worker(self, peer: PeerId) -> Worker:
        """Return a worker that must be there."""
        if peer not in self.workers:
            raise PeerError(f"peer {peer} is no worker")
        return self.workers[peer]

    def done_of(self, group: GroupId) -> BitMap:
        """Return the done tasks of a group; an empty set if there is no such group."""
        found = self.groups.get(group)
        return found.done if found is not None else BitMap()

    def size_of(self, group: GroupId) -> int | None:
        """Return the number of tasks of a group, None if there is no such group."""
        found = self.groups.get(group)
        return found.n if found is not None else None

    def keep_blobs(self, group: Group, blobs: dict[Digest, Blob]) -> None:
        """Keep the blobs that a new group names."""
        for digest in set(group.layer.all_blobs()):
            self.blob_uses[digest] = self.blob_uses.get(digest, 0) + 1
            if digest not in self.blobs:
                self.blobs[digest] = blobs[digest]

    def drop_blobs(self, group: Group) -> None:
        """Drop the blobs that only this group named."""
        for digest in set(group.layer.all_blobs()):
            self.blob_uses[digest] -= 1
            if not self.blob_uses[digest]:
                del self.blob_uses[digest], self.blobs[digest]
