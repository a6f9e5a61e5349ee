"""A simulated cluster: one scheduler, workers, clients, the network between them.

Law: putting together only. What must hold for a whole cluster is checked here: `check_agreement`
(when all is quiet, the stores hold exactly what the scheduler believes) and `check_empty` (when
nobody holds anything, nothing is left anywhere).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cellspan.engine.resources import Offer
from cellspan.engine.worker.runs import normalize, pairs

from .faults import Faults, Injector
from .network import Link, Weather
from .sim_client import SimClient
from .sim_scheduler import SimScheduler
from .sim_worker import HOST, SimWorker
from .truth import Truth
from .world import World


class Cluster:
    """See the head of this file. `is_small`: messages travel as bytes, heartbeats beat."""

    def __init__(
        self,
        world: World,
        faults: Faults,
        slots: int,
        check_every: int,
        *,
        is_small: bool,
        has_resources: bool = False,
    ) -> None:
        self.world = world
        self.is_small = is_small
        self.has_resources = has_resources
        self.weather = Weather(jitter_s=faults.jitter_s, uses_codec=self.is_small)
        self.truth = Truth()
        self.truth.small_stores = faults.is_store_small and not faults.has_disk
        self.scheduler = SimScheduler(world, check_every)
        self.injector = Injector(self, faults)
        self.workers: dict[str, SimWorker] = {}
        self.clients: list[SimClient] = []
        self.slots = slots
        self.limit_bytes = 400_000 if faults.is_store_small else 1 << 40
        self.disk_bytes = 1 << 40 if faults.has_disk else 0
        self.lose_pushes = faults.lose_pushes
        self.settled = 0.0
        """When everybody had what he waited for."""
        self._wanted = 0

    def live_workers(self) -> list[SimWorker]:
        """Return the workers that run."""
        return [worker for worker in self.workers.values() if not worker.is_dead]

    def add_worker(self) -> SimWorker:
        """Start a worker."""
        world, scheduler = self.world, self.scheduler
        peer = scheduler.next_peer()
        slots = world.random.randint(1, self.slots) if self.is_small else self.slots
        worker = SimWorker(
            world, self.weather, self.truth, peer, slots, self.limit_bytes,
            self.injector.slowness(), world.random.uniform(0.02, 0.3), self.workers.get,
            self.is_small, self.disk_bytes, self.lose_pushes, self._make_offer(peer),
        )  # fmt: skip
        self.workers[worker.address] = worker
        if self.is_small:
            worker.on_sent = partial(self.injector.repeat, worker)
        info = {
            "name": worker.name, "slots": slots, "memory_limit_bytes": self.limit_bytes,
            "address": worker.address, "host": HOST, "pid": peer, "topology": "/h",
            "python": "3", "version": "0", "executors": slots, "resources": worker.offer,
        }  # fmt: skip
        link = self._connect(
            peer, worker.name, worker.on_messages, worker.on_closed, scheduler.on_worker_closed
        )
        scheduler.core.add_worker(peer, info, world.now)
        scheduler.turn_soon()
        worker.start(link)
        return worker

    def _make_offer(self, peer: int) -> Offer:
        """What a worker offers: every one some GPUs, every other one tape drives."""
        if not self.has_resources:
            return {}
        offer: Offer = {"GPU": 2, "scratch": 4.0}
        if peer % 2:
            offer["tape"] = [f"drive-{peer}", 7]
        return offer

    def add_client(self) -> SimClient:
        """Connect a client."""
        peer = self.scheduler.next_peer()
        client = SimClient(self.world, self.truth, peer, self.workers.get)
        client.link = self._connect(
            peer, client.name, client.on_messages, lambda reason: None,
            lambda peer, reason: self.scheduler.on_client_closed(peer),
        )  # fmt: skip
        self.scheduler.core.add_client(peer, {"name": client.name}, self.world.now)
        self.clients.append(client)
        return client

    def _connect(
        self,
        peer: int,
        name: str,
        on_messages: Callable[..., None],
        on_closed: Callable[[str], None],
        on_gone: Callable[[int, str], None],
    ) -> Link:
        scheduler = self.scheduler
        link = self.scheduler.links[peer] = Link(
            self.world, self.weather, ("s", name),
            (partial(scheduler.on_messages, peer), on_messages),
            (partial(on_gone, peer), on_closed),
        )  # fmt: skip
        return link

    def start_workers(self, count: int) -> None:
        """Start so many workers, and keep about so many."""
        self._wanted = count
        for _ in range(count):
            self.add_worker()

    def replace_worker(self) -> None:
        """Start a worker if there are too few."""
        if len(self.live_workers()) < self._wanted:
            self.add_worker()

    def restart(self) -> None:
        """Somebody restarts the cluster: all that clients hold is cancelled."""
        self.truth.restarts += 1
        here = [w for w in self.live_workers() if w.peer in self.scheduler.links]
        for worker in here:
            worker.restarts_due += 1
        self.scheduler.restart([worker.peer for worker in here])

    def heal(self) -> None:
        """End all faults."""
        self.world.note("heal")
        self.injector.heal()
        self.weather.jitter_s = min(self.weather.jitter_s, 2e-4)
        while len(self.live_workers()) < self._wanted or self._lacks_tape():
            self.add_worker()

    def _lacks_tape(self) -> bool:
        if not self.has_resources:
            return False
        return not any("tape" in worker.offer for worker in self.live_workers())

    def is_settled(self) -> bool:
        """Return whether every client has all that it waits for."""
        return all(client.is_settled() for client in self.clients)

    # --- what must hold ---------------------------------------------------------------------------

    def check_settled(self, bound_s: float) -> None:
        """Require that everybody has what he waits for within a bound, and keeps it."""
        world = self.world
        if not world.run(world.now + bound_s, self.is_settled) and not self.is_settled():
            unsettled = [c.describe() for c in self.clients if not c.is_settled()]
            raise world.fail(f"not settled within {bound_s} s: " + " | ".join(unsettled))
        self.settled = world.now
        world.run(world.now + 3.0)
        if not self.is_settled():
            unsettled = [c.describe() for c in self.clients if not c.is_settled()]
            raise world.fail("settled, and then not any more: " + " | ".join(unsettled))

    def check_agreement(self) -> None:
        """Require that each store holds exactly what the scheduler believes."""
        ledger = self.scheduler.core.ledger
        for worker in self.live_workers():
            asked = [request for peer, request in self.scheduler.restarting if peer == worker.peer]
            if asked and self.truth.restarts in asked:
                raise self.world.fail(f"{worker.name} was to restart and never said that it has")
            believed = {
                number: normalize((i, i + 1) for i in group.holders[worker.peer])
                for number, group in ledger.workers[worker.peer].holds.items()
            }
            held = {g: normalize(pairs(runs)) for g, runs in worker.core.store.held().items()}
            for group in sorted(believed.keys() | held.keys()):
                here, there = held.get(group, []), believed.get(group, [])
                if here != there or group not in believed or group not in held:
                    text = f"{worker.name} holds {group:x}{here}, the scheduler believes {there}"
                    raise self.world.fail(text)
            if worker.core.assignments or worker.core.running:
                raise self.world.fail(f"{worker.name} has {worker.core.assignments}")
            parcels = {number: here.parcels for number, here in worker.core._desk._here.items()}
            if any(parcels.values()):
                raise self.world.fail(f"{worker.name} keeps shards that nobody needs: {parcels}")
            numbers = set(worker.executors)
            if len(numbers) != worker.slots:
                raise self.world.fail(f"{worker.name} has {len(numbers)} executors")

    def check_empty(self) -> None:
        """Require that nothing is left when nobody holds anything."""
        for client in self.clients:
            if not client.is_gone:
                client.release_all()
        self.world.run(self.world.now + 3.0)
        ledger = self.scheduler.core.ledger
        left = {
            "groups": list(ledger.groups), "assignments": list(ledger.assignments),
            "blobs": list(ledger.blobs), "restrictions": ledger.placement.restrictions.has_ready,
            "ready": self.scheduler.core.ledger.placement.find_ready(),
        }  # fmt: skip
        if any(left.values()):
            raise self.world.fail(f"left in the scheduler: {left}")
        for worker in self.live_workers():
            core = worker.core
            left = {
                "results": list(core.store.held()), "files": list(worker.disk),
                "groups": list(core._groups._groups), "blobs": list(core._groups.blobs),
                "assignments": list(core.assignments), "exchanges": list(core._desk._here),
                "fetches of shards": list(core._desk._fetches), "memory": core.store.nbytes,
                "disk": core.store.disk_nbytes,
            }  # fmt: skip
            if any(left.values()):
                raise self.world.fail(f"left on {worker.name}: {left}")
