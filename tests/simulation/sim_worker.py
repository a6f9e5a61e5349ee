"""A simulated worker process: the shell around a real worker core.

Law: it performs the core's effects as worker/server.py does, and decides nothing. When its link to
the scheduler breaks it ends, with its executors and its store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cellspan.engine.errors import PeerError
from cellspan.engine.messages import (
    Blob,
    Block,
    EndWorker,
    Heartbeat,
    Message,
    RestartExecutors,
)
from cellspan.engine.resources import Offer
from cellspan.engine.worker.core import WorkerCore
from cellspan.engine.worker.death import Death
from cellspan.engine.worker.effects import (
    Cut,
    Effect,
    Fetch,
    FetchShards,
    Kill,
    PushShards,
    ReadPage,
    Revoke,
    SendFrame,
    Spawn,
    Spill,
    Unlink,
)
from cellspan.engine.worker.store import Store, StoredBlock

from .network import Link, Weather
from .sim_executor import Disk, SimExecutor
from .sim_shards import ShardMoves
from .truth import Truth
from .world import World

CUT_WAIT_S = 1e-4
DEATH_S = 1e-3
REFUSED_S = 5e-3
HEARTBEAT_S = 1.0
HOST = "h"
SPILL_S = 2e-3


class SimWorker:
    """One worker. `find_worker` gives the worker behind an address, None if it is gone."""

    def __init__(
        self,
        world: World,
        weather: Weather,
        truth: Truth,
        peer: int,
        slots: int,
        limit_bytes: int,
        slowness: float,
        spawn_s: float,
        find_worker: Callable[[str], SimWorker | None],
        is_small: bool,
        disk_bytes: int = 0,
        lose_pushes: float = 0.0,
        offer: Offer | None = None,
    ) -> None:
        self.world = world
        self.weather = weather
        self.truth = truth
        self.peer = peer
        self.name = f"w{peer}"
        self.address = f"sim://{self.name}"
        self.slots = slots
        self.slowness = slowness
        self.spawn_s = spawn_s
        self.find_worker = find_worker
        self.is_small = is_small
        self.is_dead = False
        self.restarts_due = 0
        """Restarts that the scheduler has ordered, and of which the order is under way."""
        self.link: Link | None = None
        self.disk: Disk = {}
        self.executors: dict[int, SimExecutor] = {}
        self.moves = ShardMoves(self, lose_pushes)
        self.offer = offer or {}
        store = Store(limit_bytes, disk_bytes, "on disk")
        self.core = WorkerCore(peer, self.name, slots, store, self.offer)
        self.on_sent: Callable[[list[Message]], None] | None = None
        self._timer = float("inf")
        self._files = 0

    def start(self, link: Link) -> None:
        """Be connected."""
        self.link = link
        self.flush()
        if self.is_small:
            self._beat()

    # --- the scheduler ----------------------------------------------------------------------------

    def on_messages(self, messages: list[Message]) -> None:
        """Take a batch from the scheduler."""
        for message in messages:
            if self.is_dead:
                return
            if isinstance(message, EndWorker):
                self.kill(message.reason)
                return
            if isinstance(message, RestartExecutors):
                self.restarts_due -= 1
            try:
                self.core.handle(message)
            except PeerError as error:
                raise self.world.fail(f"{self.name} refused {message!r:.300}: {error}") from error
        self.core.dispatch(self.world.now)
        self.flush()

    def on_closed(self, reason: str) -> None:
        """The link to the scheduler is gone."""
        self.kill(f"no scheduler: {reason}")

    def kill(self, reason: str) -> None:
        """End at once: executors, store and links are gone."""
        if self.is_dead:
            return
        self.is_dead = True
        self.world.note(f"{self.name} ends: {reason}")
        for executor in self.executors.values():
            executor.is_dead = True
        self.disk.clear()
        if self.link is not None:
            self.link.cut(f"{self.name} ended")

    def _beat(self) -> None:
        if not self.is_dead and self.link is not None:
            stats = {"running": float(self.core.running), "executors": float(len(self.executors))}
            self.link.send(1, [Heartbeat(stats)])
            self.world.after(HEARTBEAT_S, f"{self.name} beats", self._beat)

    # --- effects ----------------------------------------------------------------------------------

    def flush(self) -> None:
        """Perform what the core asks for until it asks for nothing more, then send its news."""
        while effects := self.core.take_effects():
            for effect in effects:
                self._perform(effect)
        assert self.link is not None
        sends = self.core.take_sends()
        self.link.send(1, sends)
        if sends and self.on_sent is not None:
            self.on_sent(sends)
        due = self.core.next_wakeup()
        if due is not None and due < self._timer:
            self._timer = due
            self.world.at(due, f"{self.name} wakes", self._wake, due)

    def _wake(self, due: float) -> None:
        if due != self._timer:
            return
        self._timer = float("inf")
        if not self.is_dead:
            self.core.on_timer(self.world.now)
            self.flush()

    def _perform(self, effect: Effect) -> None:
        now = self.world.now
        match effect:
            case SendFrame(executor, header, buffers):
                if executor in self.executors:
                    self.executors[executor].send(header, buffers)
            case Spawn(executor):
                self._spawn(executor)
            case Revoke(executor, piece):
                found = self.executors.get(executor)
                taken = found is not None and found.revoke(piece)
                self.core.on_revoked(executor, piece, taken, now)
            case Cut(executor, piece):
                if executor in self.executors:
                    self.executors[executor].cut(piece)
                    self._after(CUT_WAIT_S, "reads a page", self._read_page, executor, piece)
            case ReadPage(executor, piece):
                if executor in self.executors:
                    self.core.on_page(executor, piece, *self.executors[executor].read_page(), now)
            case Kill(executor):
                self._note_overrun(executor)
                self.crash_executor(executor, "SIGKILL")
            case Fetch():
                self._fetch(effect)
            case FetchShards():
                self.moves.fetch(effect, self._after)
            case PushShards():
                self.moves.push(effect)
            case Spill():
                self._after(SPILL_S, f"spills {effect.number}", self.moves.spill, effect)
            case Unlink(paths):
                for path in paths:
                    del self.disk[path]

    def _after(self, delay_s: float, what: str, call: Callable[..., None], *args: Any) -> None:
        def run() -> None:
            if not self.is_dead:
                call(*args)
                self.flush()

        self.world.after(delay_s, f"{self.name} {what}", run)

    # --- executors --------------------------------------------------------------------------------

    def _note_overrun(self, number: int) -> None:
        """An executor is killed by our own wish; perhaps for a task that took too long."""
        executor = self.executors.get(number)
        if executor is not None and executor.group:  # dead or not: the page is what is judged
            limit_s = self.truth.groups[executor.group].options.get("timeout")
            task = executor.overran(limit_s) if limit_s is not None else None
            if task is not None:
                self.truth.overran[task] += 1

    def _check_begun(self, names: list[str] | None) -> None:
        """Require that a task may run here, and that no resource is given out twice."""
        if names is not None and self.name not in names and HOST not in names:
            raise self.world.fail(f"{self.name} runs what is for {names}")
        used: dict[str, float] = {}
        units: list[tuple[str, Any]] = []
        for executor in self.executors.values():
            for name, given in (executor.running or {}).items():
                if isinstance(given, list):
                    units += [(name, unit) for unit in given]
                else:
                    used[name] = used.get(name, 0) + given
        over = [name for name, amount in used.items() if amount > self.offer[name] + 1e-9]
        if over or len(set(units)) != len(units):
            raise self.world.fail(f"{self.name} gave out twice: {units}, {used}")

    def _spawn(self, number: int) -> None:
        label = f"{self.name}.{number}"
        self.executors[number] = SimExecutor(
            self.world, self.truth, label, number, self.disk, self.slowness,
            self._on_report, self.crash_executor, self.is_small,
        )  # fmt: skip
        self.executors[number].check = self._check_begun
        self._after(self.spawn_s, f"has executor {number}", self._on_ready, number)

    def _on_ready(self, number: int) -> None:
        if number in self.executors and not self.executors[number].is_dead:
            self.core.on_executor_ready(number, self.world.now)

    def _on_report(self, number: int, header: dict[str, Any], buffers: list[Blob]) -> None:
        """What was written before a death arrives all the same."""
        if not self.is_dead:
            self.core.on_report(number, header, buffers, self.world.now)
            self.flush()

    def crash_executor(self, number: int, signal: str) -> None:
        """An executor dies now; the worker hears of it a little later."""
        executor = self.executors.get(number)
        if executor is None or executor.is_dead:
            return
        executor.is_dead = True
        death = Death(*executor.read_page(), None, signal, False, ["last words"])
        self._after(DEATH_S, f"lost executor {number}", self._on_died, number, death)

    def _on_died(self, number: int, death: Death) -> None:
        del self.executors[number]
        self.core.on_executor_died(number, death, self.world.now)

    def _read_page(self, number: int, piece: int) -> None:
        executor = self.executors.get(number)
        if executor is not None:
            self.core.on_cut(number, piece, *executor.read_page(), self.world.now)

    # --- data -------------------------------------------------------------------------------------

    def serve(self, group: int, start: int, stop: int) -> list[Block]:
        """Return blocks with what is here of a range of results."""
        blocks: list[Block] = []
        for block in self.core.store.find(group, start, stop):
            parts = block.parts if block.path is None else self.disk[block.path]
            blocks.append([block.start, block.stop, block.single, list(parts)])
        return blocks

    def put(self, group: int, blocks: list[Block]) -> str | None:
        """Keep scattered data. Return None, or why it cannot be kept."""
        stored = [StoredBlock(group, *block) for block in blocks]
        error = self.core.put(stored)
        self.flush()
        return error

    def _fetch(self, fetch: Fetch) -> None:
        fetch.began = self.world.now
        delay = self.delay(0)
        what = f"{self.name} asks w{fetch.worker} for {fetch.group:x}[{fetch.start},{fetch.stop})"
        self.world.after(delay, what, self._ask, fetch)

    def _ask(self, fetch: Fetch) -> None:
        """The request reaches the other worker, if it is there."""
        other = self.find_worker(fetch.address)
        if other is None or other.is_dead:
            self._after(REFUSED_S, "is refused", self._on_refused, fetch)
            return
        blocks = other.serve(fetch.group, fetch.start, fetch.stop)
        nbytes = sum(len(part) for block in blocks for part in block[3])
        delay = self.delay(nbytes)
        self._after(delay, f"gets fetch {fetch.number}", self._on_answer, fetch, other, blocks)

    def _on_answer(self, fetch: Fetch, other: SimWorker, blocks: list[Block]) -> None:
        if other.is_dead:  # it went while it sent
            self._on_refused(fetch)
            return
        stored = []
        for start, stop, single, parts in blocks:
            if sum(map(len, parts)) < 65_536:
                stored.append(StoredBlock(fetch.group, start, stop, single, parts))
                continue
            self._files += 1
            path = f"{self.name}-fetched-{self._files}"
            self.disk[path] = parts
            places = [0, len(parts[0]), 64 + len(parts[0]), sum(map(len, parts[1:]))]
            stored.append(StoredBlock(fetch.group, start, stop, single, [], path, places))
        self.core.on_fetched(fetch.number, stored, self.world.now)

    def _on_refused(self, fetch: Fetch) -> None:
        self.core.on_fetch_failed(fetch.number, "connection refused", self.world.now)

    def delay(self, nbytes: int) -> float:
        """Draw how long so much takes on its way."""
        weather = self.weather
        delay = weather.latency_s + nbytes / weather.bandwidth
        if weather.jitter_s:
            delay += self.world.random.expovariate(1 / weather.jitter_s)
        return delay
