"""Placement: which group is served next, by which worker, with how many tasks.

Replaceable: the rest of the room knows `Placement` by `on_ready`, `on_report`, `on_moved`,
`on_worker_added`, `on_worker_changed`, `on_worker_gone`, `on_client_gone` and `next_span`;
`SchedulerCore` takes another one as an argument. It keeps two indices: groups with ready tasks, as
a heap per client (priority, then depth first, then age), and workers that have room, those with a
free slot (the fastest first) apart from those that could only queue more (the least loaded first).
So the cost of a decision does not grow with the number of workers, tasks or finished groups.

- Between clients: whoever has been served least (expected seconds of work).
- Room: a free slot, or less work queued than `queue_s` per slot in few spans.
- Length: lengths.py.
- Place: tasks whose inputs the worker has; else, among the holders of the inputs of the first ready
  task and the worker, who is expected to finish it first: what waits there, moving what it lacks
  (distance.py), the task at that worker's speed (pace.py). Merges of an exchange: their
  planned owner, if it has room.
- Groups that may not run anywhere are kept apart: restrictions.py.

How well that does beside an oracle is in docs/placement.md, made by tests/simulation/judge.

Law: pure; it changes nothing but its own indices and estimates. It reads groups and workers, no
messages, no clock.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from pyroaring import BitMap

from ..ids import GroupId, PeerId
from .distance import Distances
from .exchange import Exchange
from .indices import Buckets
from .lengths import Lengths
from .pace import MOST
from .restrictions import Restrictions
from .runs import run_at

if TYPE_CHECKING:
    from .groups import Assignment, Group
    from .ledger import Ledger
    from .peers import Worker

GUESS_S = 1e-3
"""A task of unknown duration, where a share of service is counted."""

QUEUED_SPANS = 4
OVERFLOW = 4.0
"""A worker without room may be given tasks whose inputs it holds, up to this many times the usual
queue.
"""

CANDIDATES = 4
"""So many holders of inputs are considered, those with the most bytes."""

LOADS = 8
"""Workers without a free slot are told apart by so many steps of load."""

RUNS = 6
"""So many runs are looked at for a long one, behind a first one that is short."""

LOOK_AT = 4
"""So many groups are looked at to see how much work is ready."""

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
        self,
        span_s: float = 0.04,
        queue_s: float = 0.08,
        max_span: int = 1 << 16,
        span_bytes: int = 16 << 20,
        bandwidth: float = 1e9,
    ) -> None:
        """As the fields of `Limits`."""
        self.lengths = Lengths(span_s, queue_s, max_span, span_bytes)
        self.distances = Distances(bandwidth)
        self.total_slots = 0
        self._queues: dict[PeerId, list[Row]] = {}
        self._free = Buckets(2 * MOST + 1)
        self._room = Buckets(LOADS)
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
        self.lengths.on_workers(1, worker.slots * worker.pace.speed)
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
            self._free.put(worker, MOST - worker.pace.step)
            self._room.drop(peer)
            self.queueing.pop(peer, None)
            return
        self._free.drop(peer)
        if tasks > worker.slots:
            self.queueing[peer] = worker
        else:
            self.queueing.pop(peer, None)
        limit_s = self.lengths.queue_s * worker.slots
        is_short = worker.load_s < limit_s and not worker.is_behind
        if is_short and (worker.spans < QUEUED_SPANS or tasks < 2 * worker.slots):
            self._room.put(worker, int(worker.load_s / limit_s * LOADS))
        else:
            self._room.drop(peer)

    def on_worker_gone(self, worker: Worker) -> None:
        """A worker has left."""
        self.total_slots -= worker.slots
        self.lengths.on_workers(-1, -worker.slots * worker.pace.speed)
        self._free.drop(worker.peer)
        self._room.drop(worker.peer)
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
    def worker_count(self) -> int:
        """Return the number of workers."""
        return self.lengths.workers

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

    # --- what is learned ------------------------------------------------------------------------

    def on_report(self, group: Group, worker: Worker, count: int, seconds: float) -> float:
        """A worker took `seconds` for `count` tasks: learn of its speed. Return what they would
        have taken at speed 1.
        """
        mean, before = group.mean_s(), worker.pace.speed
        if mean is not None and worker.pace.learn(count, mean * count, seconds):
            self.lengths.on_workers(0, worker.slots * (worker.pace.speed - before))
            self.on_worker_changed(worker)
        return seconds * before

    def on_moved(self, source: Worker, target: Worker, nbytes: int, seconds: float) -> None:
        """A worker has fetched results from another: learn of what is between them."""
        self.distances.learn(source, target, nbytes, seconds)

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
        worker, tasks = self.choose(ledger, group)
        start, stop = self._cut(group, worker, tasks)
        return self._plan(group, worker, start, stop)

    def _plan(self, group: Group, worker: Worker, start: int, stop: int) -> Plan:
        task_s = self.lengths.task_s(group, worker)
        served = (stop - start) * (GUESS_S if group.mean_s() is None else task_s)
        self._served[group.owner] = self._served.get(group.owner, 0.0) + served
        return Plan(group, worker, start, stop, task_s)

    def length_of(self, group: Group, worker: Worker) -> int:
        """Return how long a span of a group may be on a worker."""
        return self.lengths.find_length(group, worker, self._other_work_s(group))

    def choose(self, ledger: Ledger, group: Group) -> tuple[Worker, BitMap]:
        """Return a worker that has room, or holds what is needed, and which of the ready tasks of a
        group it may be given.
        """
        worker = self.first_with_room()
        if self.worker_count == 1 or not group.layer.has_inputs:
            return worker, group.ready
        if isinstance(group.layer, Exchange) and group.layer.is_merge(group.ready.min()):
            return self._weigh_merges(ledger, group, group.layer, worker)
        local = _find_local(ledger, group, worker)
        if local:
            return worker, local
        return self._weigh(ledger, group, worker)

    def first_with_room(self) -> Worker:
        """Return a worker with a free slot, the fastest; if there is none, the least loaded one
        that has room.
        """
        return self._free.get_first() if self._free else self._room.get_first()

    def _weigh(self, ledger: Ledger, group: Group, worker: Worker) -> tuple[Worker, BitMap]:
        """Return who is expected to finish the first ready task first, and what else it may be
        given.
        """
        first = BitMap((group.ready.min(),))
        sizes = _find_sizes(ledger, group, first)
        holders = sorted(sizes, key=sizes.__getitem__, reverse=True)[:CANDIDATES]
        best, least_s = worker, self._finish_s(group, worker, sizes)
        for holder in holders:
            if holder is worker or not self._can_queue(holder):
                continue
            finish_s = self._finish_s(group, holder, sizes)
            if finish_s < least_s or (finish_s == least_s and best is worker):
                best, least_s = holder, finish_s
        if best is worker:
            return worker, group.ready
        return best, _find_local(ledger, group, best) or first

    def _can_queue(self, worker: Worker) -> bool:
        if self.has_room(worker):
            return True
        return not worker.is_behind and _wait_of(worker) < OVERFLOW * self.lengths.queue_s

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

    def loss_s(self, ledger: Ledger, assignment: Assignment) -> float:
        """Return how much longer the last task of a span takes if the first worker with room runs
        it instead: moving its inputs, and running it there.
        """
        group, worker = assignment.group, self.first_with_room()
        ratio = assignment.worker.pace.speed / worker.pace.speed
        slower_s = assignment.task_s * (ratio - 1.0)
        if not group.layer.has_inputs:
            return slower_s
        task = assignment.left.max()
        if isinstance(group.layer, Exchange) and group.layer.is_merge(task):
            return float("inf")  # its shards were sent there, from everywhere
        sizes = _find_sizes(ledger, group, BitMap((task,)))
        return slower_s + self._moving_s(worker, sizes)

    def _moving_s(self, worker: Worker, sizes: dict[Worker, int]) -> float:
        found = 0.0
        for holder, nbytes in sizes.items():
            if holder is not worker:
                found = max(found, self.distances.seconds(holder, worker, nbytes))
        return found

    def _finish_s(self, group: Group, worker: Worker, sizes: dict[Worker, int]) -> float:
        """Return when a worker is expected to finish a task whose inputs lie as `sizes` says."""
        mean = group.mean_s()
        work_s = 0.0 if mean is None else mean / worker.pace.speed
        return _wait_of(worker) + self._moving_s(worker, sizes) + work_s

    def _cut(self, group: Group, worker: Worker, tasks: BitMap) -> tuple[int, int]:
        """Return the span to be cut from tasks: the longest of their first runs, as far as it may
        go. So small runs have time to grow together, and are taken when there is nothing else.
        """
        length = self.length_of(group, worker)
        # what would be left of a run is taken along, lest runs fall to pieces
        limit = length + length // 2 if length >= 4 * worker.slots else length
        start, stop = best = run_at(tasks, tasks.min(), limit)
        if stop - start < length and group.layer.has_inputs:
            last = tasks.max()
            for _ in range(RUNS):
                if stop > last or best[1] - best[0] >= length:
                    break
                start, stop = run_at(tasks, tasks.next_set_bit(stop), limit)
                if stop - start > best[1] - best[0]:
                    best = start, stop
        start, stop = best
        return (start, start + length) if stop - start == limit and stop in tasks else best

    def _other_work_s(self, group: Group) -> float:
        """Return about how many seconds of work are ready in other groups of the same client."""
        found, mean = 0.0, group.mean_s() or GUESS_S
        for _, _, _, other in self._queues.get(group.owner, ())[:LOOK_AT]:
            if other is not group:
                found += len(other.ready) * (other.mean_s() or mean)
        return found


def _find_sizes(ledger: Ledger, group: Group, task: BitMap) -> dict[Worker, int]:
    """Return how many bytes of a task's inputs each worker holds, every input counted once."""
    sizes: dict[Worker, int] = {}
    for number, results in group.layer.inputs_of(task).items():
        producer = ledger.groups[number]
        each = producer.bytes_of(1)
        for index in results:
            holder = producer.where.find(index)
            if holder is not None:
                sizes[holder] = sizes.get(holder, 0) + each
    return sizes


def _find_local(ledger: Ledger, group: Group, worker: Worker) -> BitMap:
    """Return the ready tasks whose inputs a worker has."""

    def held(number: GroupId) -> BitMap:
        return ledger.groups[number].holders.get(worker.peer) or BitMap()

    return group.layer.find_local(group.ready, held)


def _wait_of(worker: Worker) -> float:
    """Return after how many seconds a worker is expected to begin one more task."""
    return 0.0 if worker.tasks < worker.slots else worker.load_s / worker.slots
