"""Whole runs from a seed: draw faults and users, let them act, heal, and require everything.

Law: a run either returns its `Outcome` or raises `SimulationFailed` with the seed in its text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .cluster import Cluster
from .faults import Faults, draw_faults
from .user import Habits, User
from .work import Function
from .world import START_S, World

BOUND_S = 120.0
READY_S = 0.5
"""When `run_plain` submits: all executors are up."""
SMALL_WORKERS = 20
"""Up to so many workers everything travels as bytes."""


@dataclass
class Outcome:
    """What a run was. `seconds`: simulated time until everybody had what he waited for; `checked`:
    results that were compared with the oracle's; `finished`: tasks that executors finished.
    """

    digest: str
    calls: int
    seconds: float
    turns: int
    received: dict[str, int]
    sent: dict[str, int]
    checked: int
    tasks: int
    finished: int
    moves: dict[str, int]
    faults: str


def run_faulty(
    seed: int,
    workers: int,
    tasks: int,
    *,
    actions: int = 25,
    clients: int = 2,
    check_every: int = 1,
    has_options: bool = False,
    trace: Callable[[str], None] | None = None,
) -> Outcome:
    """Run a cluster with users who do everything that they may, and faults; `tasks` is about the
    size of the largest groups. `has_options`: groups ask for resources, name workers, have time
    limits, and are shared."""
    world = World(seed, trace)
    draw = world.fork("mix")
    faults = draw_faults(draw)
    habits = Habits(
        tasks=tasks,
        mean_s=draw.choice([0.0005, 0.003, 0.01]),
        raises=draw.choice([0, 5, 40]),
        crashes=draw.choice([0, 10, 60]),
        has_options=has_options,
    )
    slots = draw.randint(1, 4)
    is_small = workers <= SMALL_WORKERS
    cluster = Cluster(
        world, faults, slots, check_every, is_small=is_small, has_resources=has_options
    )
    world.note(f"faults: {faults.describe()}")
    cluster.start_workers(workers)
    board: list[tuple[int, str]] = []
    pace = draw.choice([8.0, 20.0, 60.0])
    for number in range(clients):
        user = User(cluster.add_client(), world.fork(f"user {number}"), habits, board)
        time = 0.0
        for _ in range(actions):
            time += draw.expovariate(pace)
            world.after(time, f"{user.client.name} acts", _act, user)
    cluster.injector.start()
    world.run(START_S + max(time, 1.0))
    cluster.heal()
    cluster.check_settled(BOUND_S)
    cluster.check_agreement()
    cluster.check_empty()
    return _outcome(cluster, faults)


def _act(user: User) -> None:
    if not user.client.is_gone:
        user.act()


def run_plain(
    seed: int,
    workers: int,
    tasks: int,
    *,
    slots: int = 8,
    mean_s: float = 0.001,
    chain: int = 1,
    faults: Faults | None = None,
    check_every: int = 0,
    trace: Callable[[str], None] | None = None,
) -> Outcome:
    """Run one map of `tasks` tasks, and `chain - 1` maps over its results."""
    world = World(seed, trace)
    faults = faults or Faults()
    cluster = Cluster(world, faults, slots, check_every, is_small=workers <= SMALL_WORKERS)
    cluster.start_workers(workers)
    world.run(START_S + READY_S)
    habits = Habits(tasks, mean_s, large=False)
    user = User(cluster.add_client(), world.fork("user"), habits, [])
    specs = [["range", 7, 3]]
    for link in range(chain):
        mirror = user.submit_each(tasks, specs, Function(link + 1, mean_s), wanted=True)
        specs = [["same", mirror.group, 0]]
    user.client.flush()
    cluster.injector.start()
    if faults.describe():
        world.run(world.now + 0.5 * chain * tasks * mean_s / (workers * slots) + 0.1)
        cluster.heal()
    cluster.check_settled(BOUND_S)
    cluster.check_agreement()
    cluster.check_empty()
    return _outcome(cluster, faults)


def run_exchange(
    seed: int,
    workers: int,
    inputs: int,
    outputs: int,
    *,
    mean_s: float = 0.002,
    faults: Faults | None = None,
    check_every: int = 0,
    trace: Callable[[str], None] | None = None,
) -> Outcome:
    """Run one map, and an exchange over its results."""
    world = World(seed, trace)
    faults = faults or Faults()
    cluster = Cluster(world, faults, 2, check_every, is_small=workers <= SMALL_WORKERS)
    cluster.start_workers(workers)
    world.run(START_S + READY_S)
    user = User(cluster.add_client(), world.fork("user"), Habits(inputs, mean_s), [])
    patient = {"allowed_failures": 1000}  # workers are lost again and again, with what they run
    values, first = [["range", 7, 3]], Function(1, mean_s)
    source = user.submit_each(inputs, values, first, wanted=False, options=patient)
    split, merge = Function(2, mean_s, nbytes=100), Function(3, mean_s)
    user.submit_exchange(source.group, 0, inputs, outputs, split, merge, patient)
    user.client.flush()
    cluster.injector.start()
    if faults.describe():
        world.run(world.now + (2 * inputs + outputs) * mean_s / workers + 0.1)
        cluster.heal()
    cluster.check_settled(BOUND_S)
    cluster.check_agreement()
    cluster.check_empty()
    return _outcome(cluster, faults)


def _outcome(cluster: Cluster, faults: Faults) -> Outcome:
    world, scheduler, truth = cluster.world, cluster.scheduler, cluster.truth
    return Outcome(
        digest=world.digest(),
        calls=world.calls,
        seconds=cluster.settled - START_S,
        turns=scheduler.turns,
        received=dict(scheduler.received),
        sent=dict(scheduler.sent),
        checked=sum(client.checked for client in cluster.clients),
        tasks=sum(len(group.values) for group in truth.groups.values()),
        finished=truth.finished.total(),
        moves=dict(truth.moves),
        faults=faults.describe(),
    )
