"""Placement: which group is served next, by which worker, with how many tasks.

Replaceable: the rest of the room knows `Placement` by `on_ready`, `on_worker_changed`,
`on_worker_gone`, `on_client_gone` and `next_span`. It keeps two indices: groups with ready tasks,
as a heap per client (priority, then depth first, then age), and workers that have room, those with
a free slot apart from those that could only queue more. So the cost of a decision does not grow
with the number of workers, tasks or finished groups.

- Between clients: whoever has been served least (expected seconds of work).
- Room: a free slot, or less work queued than `queue_s` per slot in few spans.
- Length: `span_s` of work per slot by the learned mean; one task per slot while nothing is known,
  at most GROWTH times longer from report to report; with several workers at most half of a fair
  share of what is ready.
- Place: tasks whose inputs the worker has; else the holder of the inputs, if waiting for it is
  shorter than moving them. Merges of an exchange: their planned owner, if it has room.
- Groups that may not run anywhere are kept apart: restrictions.py.

Law: pure; it changes nothing but its own indices. It reads groups and workers, no messages, no
clock.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from pyroaring import BitMap

from ..ids import GroupId, PeerId
from .exchange import Exchange
from .restrictions import Restrictions
from .runs import first_run

if TYPE_CHECKING:
    from .groups import Group
    from .ledger import Ledger
    from .peers import Worker

MIN_TASK_S = 1e-6
"""What handling a task costs at least, whatever its function takes."""

GUESS_S = 1e-3
"""A task of unknown duration, where a share of service is counted."""

QUEUED_SPANS = 4
OVERFLOW = 4.0
"""A worker without room may be given tasks whose inputs it holds, up to this many times the usual
queue.
"""

MAX_FOLLOWING = 64

LATENCY_S = 0.5e-3

LEAST_SPAN_S = 0.25e-3
"""Less work than this is not cut up for the sake of balance."""

Row: TypeAlias = tuple[int, int, int, "Group"]


class Plan(NamedTuple):
    """Give a worker tasks ``[start, stop)`` of a group, expected to take `task_s` seconds each."""

    group: Group
    worker: Worker
    start: int
    stop: int
    task_s: float


class Placement:
    """The policy and its indices."""

    def __init__(
        self, span_s: float, queue_s: float, max_span: int, span_bytes: int, bandwidth: float
    ) -> None:
        self.span_s = span_s
        self.queue_s = queue_s
        self.max_span = max_span
        self.span_bytes = span_bytes
        self.bandwidth = bandwidth
        self.total_slots = 0
        self.worker_count = 0
        self._queues: dict[PeerId, list[Row]] = {}
        self._free: dict[PeerId, Worker] = {}
        self._room: dict[PeerId, Worker] = {}
        # Workers that have more tasks than slots.
        self.queueing: dict[PeerId, Worker] = {}
        self._served: dict[PeerId, float] = {}
        self.restrictions = Restrictions()

    # --- indices --------------------------------------------------------------------------------

    @property
    def has_ready(self) -> bool:
        """Return whether some group may have ready tasks."""
        return bool(self._queues)

    def on_ready(self, group: Group) -> None:
        """A group has ready tasks."""
        if group.is_queued:
            return
        if group.restriction is not None:
            self.restrictions.on_ready(group)
            return
        group.is_queued = True
        queue = self._queues.get(group.owner)
        if queue is None:  # who asked for nothing for a while has saved nothing up
            least = min((self._served[peer] for peer in self._queues), default=0.0)
            self._served[group.owner] = max(self._served.get(group.owner, 0.0), least - GUESS_S)
            queue = self._queues[group.owner] = []
        heappush(queue, (-group.priority, -group.depth, group.serial, group))

    def on_worker_added(self, worker: Worker) -> None:
        """A worker has joined."""
        self.total_slots += worker.slots
        self.worker_count += 1
        self._index(worker)
        self.restrictions.on_worker_added(worker)

    def on_worker_changed(self, worker: Worker) -> None:
        """A worker has more or fewer tasks than before."""
        self._index(worker)
        if worker.restrictions:
            self.restrictions.on_worker_changed(worker)

    def _index(self, worker: Worker) -> None:
        peer, tasks = worker.peer, worker.tasks
        if tasks < worker.slots:
            self._free[peer] = worker
            self._room.pop(peer, None)
            self.queueing.pop(peer, None)
            return
        self._free.pop(peer, None)
        if tasks > worker.slots:
            self.queueing[peer] = worker
        else:
            self.queueing.pop(peer, None)
        is_short = worker.load_s < self.queue_s * worker.slots and not worker.is_behind
        if is_short and (worker.spans < QUEUED_SPANS or tasks < 2 * worker.slots):
            self._room[peer] = worker
        else:
            self._room.pop(peer, None)

    def on_worker_gone(self, worker: Worker) -> None:
        """A worker has left."""
        self.total_slots -= worker.slots
        self.worker_count -= 1
        self._free.pop(worker.peer, None)
        self._room.pop(worker.peer, None)
        self.queueing.pop(worker.peer, None)
        self.restrictions.on_worker_gone(worker)

    def on_client_gone(self, peer: PeerId) -> None:
        """A client has left; groups of it that others hold stay where they are."""
        if peer not in self._queues:
            self._served.pop(peer, None)

    def has_room(self, worker: Worker) -> bool:
        """Return whether a worker would be given tasks."""
        return worker.peer in self._free or worker.peer in self._room

    @property
    def free_count(self) -> int:
        """Return the number of workers with a free slot."""
        return len(self._free)

    def find_ready(self) -> Group | None:
        """Return the group to be served next, None if no group has ready tasks."""
        queues = self._queues
        while queues:
            owner = next(iter(queues)) if len(queues) == 1 else min(queues, key=self._served_of)
            queue = queues[owner]
            while queue:
                group = queue[0][-1]
                if group.ready:
                    return group
                heappop(queue)
                group.is_queued = False
            del queues[owner]
        return None

    def charge(self, owner: PeerId, seconds: float) -> None:
        """A client is served so many expected seconds of work beyond what was planned here."""
        if owner in self._served:
            self._served[owner] += seconds

    def _served_of(self, owner: PeerId) -> float:
        return self._served[owner]

    def served_of(self, owner: PeerId) -> float:
        """Return how much a client has been served, in expected seconds of work."""
        return self._served.get(owner, 0.0)

    # --- decisions ------------------------------------------------------------------------------

    def next_span(self, ledger: Ledger) -> Plan | None:
        """Return what to hand out next, None if nothing is ready or no worker has room."""
        limited = self.restrictions.find_span(self, ledger) if self.restrictions.open else None
        if limited is not None:
            return self._plan(*limited)
        if not self._free and not self._room:
            return None
        group = self.find_ready()
        if group is None:
            return None
        if self._free:
            peer, worker = next(iter(self._free.items()))
            del self._free[peer]  # and to the end: free workers take turns
            self._free[peer] = worker
        else:
            worker = next(iter(self._room.values()))
        if self.worker_count > 1 and group.layer.has_inputs:
            worker, tasks = self._weigh(ledger, group, worker)
            start, stop = first_run(tasks, self.length_of(group, worker))
        else:
            start, stop = first_run(group.ready, self.length_of(group, worker))
        return self._plan(group, worker, start, stop)

    def _plan(self, group: Group, worker: Worker, start: int, stop: int) -> Plan:
        mean = group.mean_s()
        task_s = self.queue_s if mean is None else max(mean, MIN_TASK_S)
        served = (stop - start) * (GUESS_S if mean is None else task_s)
        self._served[group.owner] = self._served.get(group.owner, 0.0) + served
        return Plan(group, worker, start, stop, task_s)

    def length_of(self, group: Group, worker: Worker) -> int:
        """Return how long a span of a group may be on a worker."""
        mean, slots = group.mean_s(), worker.slots
        per_slot, least = 1, 1
        if mean is not None:
            task_s = max(mean, MIN_TASK_S) + _following_s(group)
            per_slot = max(1, min(int(self.span_s / task_s), group.grown, self.max_span))
            least = max(1, int(LEAST_SPAN_S / task_s))
        if hint := group.options.get("span"):
            per_slot, least = min(max(per_slot, hint[0]), hint[1]), max(least, hint[0])
        free = slots - worker.tasks
        length = free if per_slot == 1 and free > 0 else per_slot * slots
        if self.worker_count > 1:
            share = -(-len(group.ready) * slots // (2 * self.total_slots))
            length = min(length, max(share, least))
        size = group.layer.bytes_per_task()
        if size * length > self.span_bytes:
            length = max(1, int(self.span_bytes / size))
        return length

    def _weigh(self, ledger: Ledger, group: Group, worker: Worker) -> tuple[Worker, BitMap]:
        """Return the worker that is to run ready tasks with inputs, and which it may be given."""
        if isinstance(group.layer, Exchange) and group.layer.is_merge(group.ready.min()):
            return self._weigh_merges(ledger, group, group.layer, worker)
        local = self._find_local(ledger, group, worker)
        if local:
            return worker, local
        first = BitMap((group.ready.min(),))
        sizes: dict[Worker, int] = {}
        for number, results in group.layer.inputs_of(first).items():
            producer = ledger.groups[number]
            each = producer.bytes_of(1)
            for index in results:
                holder = producer.where.find(index)
                if holder is not None:
                    sizes[holder] = sizes.get(holder, 0) + each
        if sizes:
            best = max(sizes, key=sizes.__getitem__)
            moving_s = LATENCY_S + sizes[best] / self.bandwidth
            waiting_s = _wait_of(best)
            can_queue = self.has_room(best) or waiting_s < OVERFLOW * self.queue_s
            if can_queue and waiting_s <= _wait_of(worker) + moving_s:
                return best, self._find_local(ledger, group, best) or first
        return worker, group.ready

    def _weigh_merges(
        self, ledger: Ledger, group: Group, layer: Exchange, worker: Worker
    ) -> tuple[Worker, BitMap]:
        """All of them take from everywhere: what matters is whom their shards were sent to."""
        own = layer.owned_by(worker.peer) & group.ready
        if own:
            return worker, own
        first = group.ready.min()
        owner = ledger.workers.get(layer.owner_of(first) or 0)
        if owner is not None and self.has_room(owner):
            return owner, layer.owned_by(owner.peer) & group.ready
        return worker, BitMap((first,))

    def _find_local(self, ledger: Ledger, group: Group, worker: Worker) -> BitMap:
        def held(number: GroupId) -> BitMap:
            return ledger.groups[number].holders.get(worker.peer) or BitMap()

        return group.layer.find_local(group.ready, held)


def _following_s(group: Group) -> float:
    """Return what a task of a group draws after it, in seconds: those that take its result alone,
    one after the other, and that are sent along with it (along.py).
    """
    seconds = 0.0
    for _ in range(MAX_FOLLOWING):
        if len(group.consumers) != 1:
            break
        (consumer,) = group.consumers.values()
        if consumer is group or consumer.layer.kind != "each" or not consumer.waiting:
            break
        seconds += max(consumer.mean_s() or 0.0, MIN_TASK_S)
        group = consumer
    return seconds


def _wait_of(worker: Worker) -> float:
    """Return after how many seconds a worker is expected to begin one more task."""
    return 0.0 if worker.tasks < worker.slots else worker.load_s / worker.slots
