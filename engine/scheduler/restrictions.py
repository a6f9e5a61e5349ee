"""Restrictions: groups that may not run just anywhere, because they ask for resources, name their
workers, or are to run once on each executor of a worker.

Groups of equal restrictions share a `Restriction`, with a queue of its own: what cannot be placed
waits there, and nobody else waits for it or looks at it again until a worker that it fits has
changed. Workers are found by what they offer and by their names, so the cost of a decision follows
neither their number nor that of blocked groups.

- Resources are never over-committed: the worker deals them out task by task. It is given what they
  allow at a time, and of short tasks a few rounds more, so that it need not wait for us. Who asks
  for much, while others ask for less of the same, is queued at a worker, so as not to be overtaken.
- Before others: a restricted group goes first on a worker that it fits, unless another of its
client
  has a higher priority, or another client was served less.
- Place: a worker that holds inputs of the first ready task, else those that fit take turns.

Law: pure, as placement.py, which it is a part of. `Worker.lent` is changed by `lend` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from pyroaring import BitMap

from ..ids import GroupId, PeerId
from ..resources import Ask, amount_of, ask_text, can_serve, offers_text, parts_of
from .runs import first_run

if TYPE_CHECKING:
    from .groups import Group
    from .ledger import Ledger
    from .peers import Worker
    from .placement import Placement

MAX_ROUNDS = 16
"""A worker is given at most so many times what its resources allow at a time."""
LOOK_AT = 8
"""So many workers that might have room are looked at for one with a free slot."""
MAX_HEADS = 32
"""So many restrictions compete for the next decision; if there are more, they take turns."""
SHOWN_NAMES = 5

Row: TypeAlias = "tuple[int, int, int, Group]"
Key: TypeAlias = tuple[tuple[tuple[str, float], ...], tuple[str, ...], bool]


class Restriction:
    """What some groups have in common. `fitting`: workers that could run them if they had nothing
    else to do; `candidates`: those among them that have changed since they were found to be full.
    """

    __slots__ = ("ask", "candidates", "fitting", "groups", "key", "names", "once", "parts", "queue")

    def __init__(self, key: Key, ask: Ask, names: tuple[str, ...], once: bool) -> None:
        self.key = key
        self.ask = ask
        self.parts = {name: parts_of(amount) for name, amount in ask.items()}
        self.names = names
        self.once = once
        self.groups: dict[GroupId, Group] = {}
        self.queue: list[Row] = []
        self.fitting: dict[PeerId, Worker] = {}
        self.candidates: dict[PeerId, Worker] = {}

    def fits(self, worker: Worker) -> bool:
        """Return whether a worker could run its groups."""
        if self.names and worker.name not in self.names and worker.host not in self.names:
            return False
        return can_serve(worker.resources, self.ask)

    def find_group(self) -> Group | None:
        """Return the group that is served next, None if none has ready tasks."""
        while self.queue:
            group = self.queue[0][-1]
            if group.ready:
                return group
            heappop(self.queue)
            group.is_queued = False
        return None

    def count_room(self, worker: Worker, group: Group, queue_s: float) -> int | None:
        """Return how many more tasks the resources of a worker allow; None: any number."""
        if not self.parts:
            return None
        mean = group.mean_s()
        rounds = 1
        if mean is not None:
            rounds += min(MAX_ROUNDS - 1, int(queue_s / max(mean, 1e-6)))
        return min(
            (rounds * parts_of(amount_of(worker.resources[name])) - worker.lent.get(name, 0))
            // parts
            for name, parts in self.parts.items()
        )


class Restrictions:
    """All restrictions, and the indices that find workers for them."""

    def __init__(self) -> None:
        self._known: dict[Key, Restriction] = {}
        # Those with groups in their queues; among them (open) those with candidates.
        self._active: dict[Key, Restriction] = {}
        self.open: dict[Key, Restriction] = {}
        self._named: dict[str, dict[PeerId, Worker]] = {}
        self._offering: dict[str, dict[PeerId, Worker]] = {}

    @property
    def has_ready(self) -> bool:
        """Return whether some restricted group may have ready tasks."""
        return any(restriction.find_group() for restriction in self._active.values())

    # --- groups and workers come and go -----------------------------------------------------------

    def join(self, group: Group, options: dict[str, Any]) -> None:
        """Give a new group its restriction, if its options ask for one."""
        ask, names = options.get("resources") or {}, tuple(options.get("workers") or ())
        if not ask and not names:
            return
        once = bool(options.get("once"))
        key = (tuple(sorted(ask.items())), tuple(sorted(names)), once)
        restriction = self._known.get(key)
        if restriction is None:
            restriction = self._known[key] = Restriction(key, ask, names, once)
            for worker in list(self._find_workers(restriction)):
                self._fit(restriction, worker)
        restriction.groups[group.id] = group
        group.restriction = restriction

    def leave(self, group: Group) -> None:
        """A group is forgotten."""
        restriction = group.restriction
        if restriction is None:
            return
        restriction.groups.pop(group.id, None)
        if not restriction.groups:
            for table in (self._known, self._active, self.open):
                table.pop(restriction.key, None)
            for worker in restriction.fitting.values():
                worker.restrictions.pop(restriction.key, None)

    def _find_workers(self, restriction: Restriction) -> Iterable[Worker]:
        if restriction.names:
            tables = [self._named.get(name, {}) for name in restriction.names]
            return {peer: w for table in tables for peer, w in table.items()}.values()
        tables = [self._offering.get(name, {}) for name in restriction.ask]
        return min(tables, key=len).values()

    def _fit(self, restriction: Restriction, worker: Worker) -> None:
        if restriction.fits(worker):
            restriction.fitting[worker.peer] = worker
            worker.restrictions[restriction.key] = restriction
            self._offer(restriction, worker)

    def on_worker_added(self, worker: Worker) -> None:
        """A worker has joined."""
        for name in {worker.name, worker.host}:
            self._named.setdefault(name, {})[worker.peer] = worker
        for name in worker.resources:
            self._offering.setdefault(name, {})[worker.peer] = worker
        for restriction in self._known.values():
            self._fit(restriction, worker)

    def on_worker_gone(self, worker: Worker) -> None:
        """A worker has left."""
        for table, names in (
            (self._named, {worker.name, worker.host}),
            (self._offering, set(worker.resources)),
        ):
            for name in names:
                del table[name][worker.peer]
                if not table[name]:
                    del table[name]
        for restriction in worker.restrictions.values():
            del restriction.fitting[worker.peer]
            self._drop(restriction, worker)
        worker.restrictions.clear()

    def on_worker_changed(self, worker: Worker) -> None:
        """A worker that fits some restriction has more or fewer tasks than before."""
        for key, restriction in worker.restrictions.items():
            if key in self._active:
                self._offer(restriction, worker)

    def _offer(self, restriction: Restriction, worker: Worker) -> None:
        """A worker may have room for a restriction."""
        restriction.candidates[worker.peer] = worker
        if restriction.key in self._active:
            self.open[restriction.key] = restriction

    def _drop(self, restriction: Restriction, worker: Worker) -> None:
        restriction.candidates.pop(worker.peer, None)
        if not restriction.candidates:
            self.open.pop(restriction.key, None)

    def on_ready(self, group: Group) -> None:
        """A restricted group has ready tasks."""
        restriction = group.restriction
        assert restriction is not None
        group.is_queued = True
        if restriction.key not in self._active:  # nobody has looked what became of its workers
            self._active[restriction.key] = restriction
            restriction.candidates.update(restriction.fitting)
        if restriction.candidates:
            self.open[restriction.key] = restriction
        heappush(restriction.queue, (-group.priority, -group.depth, group.serial, group))

    # --- decisions --------------------------------------------------------------------------------

    def find_span(
        self, placement: Placement, ledger: Ledger
    ) -> tuple[Group, Worker, int, int] | None:
        """Return the tasks of a restricted group that are handed out next, and to whom; None if
        there is nothing, or something else comes first.
        """
        for group, restriction in self._in_order(placement):
            general = None if restriction.once else placement.find_ready()
            if general is not None and _goes_before(placement, general, group):
                return None
            worker = self._find_worker(placement, ledger, restriction, group)
            if worker is None:
                continue
            room = restriction.count_room(worker, group, placement.lengths.queue_s)
            length = len(group.ready)
            if not restriction.once:
                length = placement.length_of(group, worker)
            if room is not None:
                length = max(1, min(length, room))
            start, stop = first_run(group.ready, length)
            if restriction.key in self.open:
                self.open[restriction.key] = self.open.pop(restriction.key)
            return group, worker, start, stop
        return None

    def _in_order(self, placement: Placement) -> Iterator[tuple[Group, Restriction]]:
        """Yield the groups that are next in the queues with candidates, in the order of service."""
        heads = []
        for key, restriction in list(islice(self.open.items(), MAX_HEADS)):
            group = restriction.find_group()
            if group is None:
                del self.open[key]
                self._active.pop(key, None)
                continue
            row = (not restriction.once, placement.served_of(group.owner), *restriction.queue[0])
            heads.append((row[:-1], group, restriction))
        heads.sort(key=lambda head: head[0])
        return ((group, restriction) for _, group, restriction in heads)

    def _find_worker(
        self, placement: Placement, ledger: Ledger, restriction: Restriction, group: Group
    ) -> Worker | None:
        """Return a worker with room; those that have none are candidates no longer."""
        found: list[Worker] = []
        for worker in list(islice(restriction.candidates.values(), LOOK_AT)):
            if _has_room(placement, restriction, group, worker):
                found.append(worker)
                if worker.tasks < worker.slots:
                    break
            else:
                self._drop(restriction, worker)
        while not found and restriction.candidates:
            worker = next(iter(restriction.candidates.values()))
            if _has_room(placement, restriction, group, worker):
                found.append(worker)
            else:
                self._drop(restriction, worker)
        if not found:
            return self._find_waiting_place(placement, restriction, group)
        chosen = next((w for w in found if w.tasks < w.slots), found[0])
        if len(restriction.candidates) > 1 and group.layer.has_inputs:
            holder = _find_holder(ledger, group)
            if holder is not None and holder.peer in restriction.candidates:
                is_better = holder.tasks < holder.slots or chosen.tasks >= chosen.slots
                if is_better and _has_room(placement, restriction, group, holder):
                    return holder
        del restriction.candidates[chosen.peer]  # and to the end: they take turns
        restriction.candidates[chosen.peer] = chosen
        return chosen

    def _find_waiting_place(
        self, placement: Placement, restriction: Restriction, group: Group
    ) -> Worker | None:
        """Return a worker where the first task of a group may wait for its resources, if it would
        wait for ever here: others that ask for less of the same would go on to overtake it. The
        worker lets nobody overtake.
        """
        if group.assigned or not any(
            name in other.parts and other.parts[name] < parts
            for other in self._active.values()
            for name, parts in restriction.parts.items()
        ):
            return None
        places = [
            worker
            for worker in islice(restriction.fitting.values(), LOOK_AT)
            if placement.has_room(worker)
            and all(
                worker.lent.get(name, 0) <= parts_of(amount_of(worker.resources[name]))
                for name in restriction.parts
            )
        ]
        return min(places, key=lambda worker: worker.load_s, default=None)

    # --- what is wrong ----------------------------------------------------------------------------

    def find_trouble(self, group: Group, workers: Iterable[Worker]) -> str | None:
        """Return in words why ready tasks of a group cannot be placed anywhere, or not everywhere
        where they might; None if all is well.
        """
        restriction = group.restriction
        if restriction is None or not group.ready:
            return None
        missing = [name for name in restriction.names if name not in self._named]
        if restriction.fitting:
            return f"there is no worker {_names_text(missing)}" if missing else None
        if restriction.names and len(missing) == len(restriction.names):
            known = _names_text(sorted(worker.name for worker in workers))
            return f"waits for worker {_names_text(missing)}; there are: {known or 'none'}"
        chosen = list(self._find_workers(restriction)) if restriction.names else workers
        offers = [(worker.name, worker.resources) for worker in chosen]
        there_is = offers_text(offers, restriction.ask)
        return f"waits for a worker with {ask_text(restriction.ask)}; there is {there_is}"


def lend(worker: Worker, group: Group, count: int) -> None:
    """So many more tasks of a group are with a worker, or with a negative number fewer."""
    assert group.restriction is not None
    for name, parts in group.restriction.parts.items():
        worker.lent[name] = worker.lent.get(name, 0) + count * parts


def can_take(group: Group, worker: Worker) -> bool:
    """Return whether the resources of a worker that has a free slot allow one more task."""
    restriction = group.restriction
    if restriction is None or worker.peer not in restriction.fitting:
        return restriction is None
    room = restriction.count_room(worker, group, 0.0)
    return room is None or room > 0


def can_run_again(group: Group, tasks: BitMap) -> BitMap:
    """Return those of these tasks that can be computed once more."""
    return BitMap() if is_stranded(group) else group.layer.can_run_again(tasks)


def is_stranded(group: Group) -> bool:
    """Return whether a group was to run on the executors of one worker, and that is not there."""
    restriction = group.restriction
    return restriction is not None and restriction.once and not restriction.fitting


def find_stranded(worker: Worker) -> list[tuple[Group, BitMap]]:
    """Return what was to run on the executors of a worker, and nowhere else."""
    return [
        (group, group.unfinished())
        for restriction in worker.restrictions.values()
        if restriction.once
        for group in restriction.groups.values()
    ]


def _has_room(placement: Placement, restriction: Restriction, group: Group, worker: Worker) -> bool:
    if restriction.once:
        return True
    if not placement.has_room(worker):
        return False
    room = restriction.count_room(worker, group, placement.lengths.queue_s)
    return room is None or room > 0


def _goes_before(placement: Placement, general: Group, group: Group) -> bool:
    """Return whether a group without restrictions is served before a restricted one."""
    if general.owner == group.owner:
        return general.priority > group.priority
    return placement.served_of(general.owner) < placement.served_of(group.owner)


def _find_holder(ledger: Ledger, group: Group) -> Worker | None:
    """Return the worker that holds most of the inputs of the first ready task."""
    sizes: dict[Worker, int] = {}
    for number, results in group.layer.inputs_of(BitMap((group.ready.min(),))).items():
        producer = ledger.groups[number]
        each = max(1, producer.bytes_of(1))
        for index in results:
            holder = producer.where.find(index)
            if holder is not None:
                sizes[holder] = sizes.get(holder, 0) + each
    return max(sizes, key=sizes.__getitem__) if sizes else None


def _names_text(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(repr(name) for name in names[:SHOWN_NAMES]) + more
