"""What must hold after every event, as named functions. Tests check all of it; production checks
nothing.

Law: reads only. A failing check raises `AssertionError` with the name of the rule and what broke
it.
"""

from __future__ import annotations

from math import isclose

from pyroaring import BitMap

from .graph import Graph
from .groups import Group
from .layers import Data
from .ledger import Ledger
from .moves import STATES
from .release import find_ended, find_unwanted
from .restrictions import can_take
from .runs import runs_of, set_of


def check_all(ledger: Ledger) -> None:
    """Check every rule that holds after any event."""
    for group in ledger.groups.values():
        each_task_is_in_exactly_one_state(group)
        waiting_tasks_miss_an_input(ledger, group)
        ready_tasks_miss_none(ledger, group)
        assigned_tasks_are_with_one_live_worker(ledger, group)
        tasks_sent_along_are_with_their_inputs(ledger, group)
        done_tasks_have_holders(ledger, group)
        failed_tasks_have_a_cause(group)
        nothing_unwanted_is_kept(ledger, group)
        nothing_wanted_is_released(ledger, group)
        counters_are_a_recount(group)
        ready_groups_are_queued(group)
        groups_are_linked(ledger, group)
        payloads_are_kept(group)
        ended_groups_are_forgotten(group)
    workers_know_their_own(ledger)
    clients_know_their_holds(ledger)
    datasets_are_held(ledger)
    blobs_are_kept(ledger)


def check_placed(ledger: Ledger) -> None:
    """Check what holds after `place`."""
    no_task_is_ready_while_a_slot_is_free(ledger)


def each_task_is_in_exactly_one_state(group: Group) -> None:
    """Every task up to n is in one set, and the sets hold nothing else."""
    union = BitMap().union(*group.sets.values())
    assert union == set_of(0, group.n), f"{group}: {runs_of(union)} of {group.n} tasks"
    total = sum(len(group.sets[state]) for state in STATES)
    assert total == group.n, f"{group}: {total} places for {group.n} tasks"


def waiting_tasks_miss_an_input(ledger: Ledger, group: Group) -> None:
    """A waiting task has an unfinished input that is there; in a graph their number is counted.

    Data waits for its client to put it somewhere.
    """
    if isinstance(group.layer, Data):
        assert not group.waiting or group.owner in ledger.clients, f"{group} waits for nobody"
        return
    for task in group.waiting:
        missing = 0
        for number, results in group.layer.inputs_of(BitMap((task,))).items():
            assert number in ledger.groups, f"{group}[{task}] waits for group {number:x}"
            producer = ledger.groups[number]
            lacking = results - producer.done
            assert lacking.issubset(producer.unfinished()), f"{group}[{task}] waits in vain"
            missing += len(lacking)
        assert missing, f"{group}[{task}] waits for nothing"
        _check_count(ledger, group, task)


def ready_tasks_miss_none(ledger: Ledger, group: Group) -> None:
    """All inputs of ready tasks are done."""
    for number, results in group.layer.inputs_of(group.ready).items():
        lacking = results - ledger.done_of(number)
        assert not lacking, f"{group}: ready without {runs_of(lacking)} of {number:x}"


def assigned_tasks_are_with_one_live_worker(ledger: Ledger, group: Group) -> None:
    """The assignments of a group are a partition of its assigned tasks, all on live workers that
    know the group.
    """
    union = BitMap()
    for number, assignment in group.assignments.items():
        worker = assignment.worker
        assert assignment.left and assignment.left.isdisjoint(union), f"{assignment} overlaps"
        assert ledger.workers.get(worker.peer) is worker, f"{assignment}: the worker is gone"
        assert worker.assignments[number] is ledger.assignments[number] is assignment
        assert group.id in worker.knows and worker.peer in group.known_by
        union |= assignment.left
    assert union == group.assigned, f"{group}: assigned {runs_of(group.assigned)}, {runs_of(union)}"


def tasks_sent_along_are_with_their_inputs(ledger: Ledger, group: Group) -> None:
    """Of assigned tasks exactly those that miss an input count as sent along, and what they miss
    is assigned to their own worker.
    """
    assert group.along.issubset(group.assigned)
    for assignment in group.assignments.values():
        having = assignment.worker.having
        for task in assignment.left & group.along:
            missing = 0
            for number, results in group.layer.inputs_of(BitMap((task,))).items():
                lacking = results - ledger.done_of(number)
                missing += len(lacking)
                assert lacking.issubset(having.get(number, BitMap())), f"{group}[{task}] is alone"
            assert missing, f"{group}[{task}] has all its inputs"
            _check_count(ledger, group, task)


def _check_count(ledger: Ledger, group: Group, task: int) -> None:
    if isinstance(group.layer, Graph):
        counted = group.layer.missing_of(task)
        edges = group.layer.edges_of(task, task + 1)
        recount = sum(index not in ledger.groups[g].done for g, index in edges)
        assert counted == recount, f"{group}[{task}] misses {recount}, counted {counted}"


def done_tasks_have_holders(ledger: Ledger, group: Group) -> None:
    """Holders are symmetric and live; every done task has one, and one of them is known by task."""
    union, several = BitMap(), BitMap()
    for peer, held in group.holders.items():
        assert ledger.workers[peer].holds[group.id] is group and held
        several |= union & held
        union |= held
    assert union == group.done, f"{group}: done {runs_of(group.done)}, held {runs_of(union)}"
    assert several.issubset(group.copied)
    located = BitMap()
    for start, stop, worker in group.where.sections(0, group.n):
        located.add_range(start, stop)
        assert group.holders[worker.peer].contains_range(start, stop)
    assert located == group.done


def failed_tasks_have_a_cause(group: Group) -> None:
    """Failures are kept for failed tasks and for no others."""
    known = BitMap()
    for start, stop, failure in group.failures.sections(0, group.n):
        assert failure["kind"] and failure["text"]
        known.add_range(start, stop)
    assert known == group.failed


def nothing_unwanted_is_kept(ledger: Ledger, group: Group) -> None:
    """Every task that is not released is held by a client or taken by an unfinished task."""
    unwanted = find_unwanted(group, set_of(0, group.n))
    assert not unwanted, f"{group}: nobody wants {runs_of(unwanted)}"


def nothing_wanted_is_released(ledger: Ledger, group: Group) -> None:
    """No released task is held or taken by an unfinished task."""
    for held in group.holds.values():
        assert held.isdisjoint(group.released), f"{group}: held and released"
    assert group.published.isdisjoint(group.released), f"{group}: published and released"
    for consumer in group.consumers.values():
        needed = consumer.layer.needed(group.id, group.released, consumer.unfinished())
        assert not needed, f"{group}: {runs_of(needed)} released, needed by {consumer}"


def counters_are_a_recount(group: Group) -> None:
    """The counters of the diagnostics say what the sets say."""
    counted = group.counters.counts
    recount = {state: len(members) for state, members in group.sets.items()}
    assert counted == recount, f"{group}: counted {counted}, are {recount}"


def ready_groups_are_queued(group: Group) -> None:
    """Placement knows of every group with ready tasks."""
    assert group.is_queued or not group.ready, f"{group} has ready tasks and is not queued"


def groups_are_linked(ledger: Ledger, group: Group) -> None:
    """Producers know their consumers, and the reverse."""
    for number in group.layer.producers():
        if number in ledger.groups:
            assert ledger.groups[number].consumers.get(group.id) is group
    for number, consumer in group.consumers.items():
        assert ledger.groups.get(number) is consumer and group.id in consumer.layer.producers()


def payloads_are_kept(group: Group) -> None:
    """Payloads are dropped of released tasks only, and what is unfinished can run."""
    if isinstance(group.layer, Graph):
        assert group.layer.dropped.issubset(group.released)
        pins = [chunk.pins for chunk in group.layer.chunks if chunk is not None]
        assert all(count >= 0 for count in pins), f"{group}: pins {pins}"


def ended_groups_are_forgotten(group: Group) -> None:
    """No group stays whose tasks are all released, that is closed and of which no other takes
    results.
    """
    assert not find_ended(group), f"{group} is not forgotten"


def workers_know_their_own(ledger: Ledger) -> None:
    """The load of every worker is the sum over its assignments, and its groups are there."""
    for worker in ledger.workers.values():
        along = sum(len(a.left & a.group.along) for a in worker.assignments.values())
        tasks = sum(len(a.left) for a in worker.assignments.values()) - along
        counted = worker.tasks, worker.along
        assert counted == (tasks, along), f"{worker}: counted {counted}, are {tasks}, {along}"
        assert worker.spans == sum(not a.is_along for a in worker.assignments.values())
        having: dict[int, BitMap] = {}
        for assignment in worker.assignments.values():
            number = assignment.group.id
            having[number] = having.get(number, BitMap()) | assignment.left
        assert worker.having == having
        load_s = sum(len(a.left) * a.task_s for a in worker.assignments.values())
        assert isclose(worker.load_s, load_s, rel_tol=1e-6, abs_tol=1e-6)
        for number, group in worker.holds.items():
            assert ledger.groups.get(number) is group and worker.peer in group.holders
        assert all(number in ledger.groups for number in worker.knows)
        lent: dict[str, int] = {}
        for assignment in worker.assignments.values():
            restriction = assignment.group.restriction
            for name, parts in (restriction.parts if restriction is not None else {}).items():
                lent[name] = lent.get(name, 0) + parts * len(assignment.left)
        assert lent == {name: n for name, n in worker.lent.items() if n}, f"{worker}: lent"
    alive = sum(worker.slots for worker in ledger.workers.values())
    assert ledger.placement.total_slots == alive
    for assignment in ledger.assignments.values():
        assert ledger.groups.get(assignment.group.id) is assignment.group


def clients_know_their_holds(ledger: Ledger) -> None:
    """Holds are symmetric, and of clients that are connected."""
    for group in ledger.groups.values():
        for peer, held in group.holds.items():
            assert held and ledger.clients[peer].holds[group.id] is group
    for client in ledger.clients.values():
        for number in client.holds:
            assert client.peer in ledger.groups[number].holds
        for number in client.opened:
            assert ledger.groups[number].is_open


def datasets_are_held(ledger: Ledger) -> None:
    """What is published of a group is the union over the data sets, whose groups are all there."""
    union: dict[int, BitMap] = {}
    for dataset in ledger.datasets.values():
        for number, tasks in dataset.tasks.items():
            union[number] = union.get(number, BitMap()) | tasks
    assert union.keys() <= ledger.groups.keys()
    for group in ledger.groups.values():
        assert group.published == union.get(group.id, BitMap()), f"{group}: published"


def blobs_are_kept(ledger: Ledger) -> None:
    """Exactly the blobs that groups name are kept, and workers are known to have the right ones."""
    uses: dict[bytes, int] = {}
    for group in ledger.groups.values():
        for digest in set(group.layer.all_blobs()):
            uses[digest] = uses.get(digest, 0) + 1
    assert uses == ledger.blob_uses and uses.keys() == ledger.blobs.keys()


def no_task_is_ready_while_a_slot_is_free(ledger: Ledger) -> None:
    """After `place` ready tasks are left only if all slots have work."""
    groups = [group for group in ledger.groups.values() if group.ready]
    free = [worker for worker in ledger.workers.values() if worker.tasks < worker.slots]
    ready = any(group.restriction is None for group in groups)
    assert not ready or not free, f"ready tasks, and free slots on {free}"
    for group in groups:
        if group.restriction is not None:
            for worker in free:
                assert not can_take(group, worker), f"{group} is ready, and {worker} is free for it"
