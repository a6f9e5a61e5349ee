"""The simulated scheduler process: the shell around the real scheduler core.

Law: it does what scheduler/server.py does: messages in as they come, then one turn (place,
sends), and nothing else. Every exception is a mistake, also a `PeerError`: no peer of a simulation
breaks the protocol.
"""

from __future__ import annotations

from collections import Counter

from cellspan.engine.messages import ExecutorsRestarted, Message, RestartExecutors
from cellspan.engine.scheduler.core import SchedulerCore
from cellspan.engine.scheduler.invariants import check_all, check_placed

from .network import Link
from .world import World

TURN_S = 20e-6


class SimScheduler:
    """`check_every`: invariants are checked after each so-many-th event, 0 for never."""

    def __init__(self, world: World, check_every: int) -> None:
        self.world = world
        self.check_every = check_every
        self.core = SchedulerCore(now=world.now)
        self.links: dict[int, Link] = {}
        self.received: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.turns = 0
        self.events = 0
        self.restarting: set[tuple[int, int]] = set()
        self._restarts = 0
        self._wakeup: float | None = None
        self._turn_is_due = False
        self._last_peer = 0

    def next_peer(self) -> int:
        """Return the next session number."""
        self._last_peer += 1
        return self._last_peer

    def on_messages(self, peer: int, messages: list[Message]) -> None:
        """Take a batch of a peer."""
        for message in messages:
            self.received[type(message).__name__] += 1
            if isinstance(message, ExecutorsRestarted):
                self._on_restarted({(peer, message.request)})
                continue
            try:
                self.core.handle(peer, message, self.world.now)
                self._check()
            except Exception as error:
                raise self.world.fail(f"{message!r:.300} of peer {peer}: {error!r}") from error
        self.turn_soon()

    def on_worker_closed(self, peer: int, reason: str) -> None:
        """A worker's link is gone."""
        if self.links.pop(peer, None) is not None:
            self.core.remove_worker(peer, reason, self.world.now)
            self._on_restarted({asked for asked in self.restarting if asked[0] == peer})
            self._check()
            self.turn_soon()

    def on_client_closed(self, peer: int) -> None:
        """A client's link is gone."""
        if self.links.pop(peer, None) is not None:
            self.core.remove_client(peer, self.world.now)
            self._check()
            self.turn_soon()

    def restart(self, workers: list[int]) -> None:
        """Forget all groups and have the workers restart their executors, as the desk does."""
        self._restarts += 1
        self.core.forget_everything(self.world.now, "restarted")
        self._check()
        for peer in workers:
            self.restarting.add((peer, self._restarts))
            self.links[peer].send(0, [RestartExecutors(self._restarts)])
        self._on_restarted(set())
        self.turn_soon()

    def _on_restarted(self, answered: set[tuple[int, int]]) -> None:
        """Workers have restarted, or are gone; when all have, data may be put again."""
        self.restarting -= answered
        if not self.restarting and self.core.ledger.is_restarting:
            self.core.on_restarted(self.world.now)

    def turn_soon(self) -> None:
        """Have a turn when all that has come by then is handled."""
        if not self._turn_is_due:
            self._turn_is_due = True
            self.world.after(TURN_S, "turn", self._turn)

    def _check(self, *, is_placed: bool = False) -> None:
        self.events += 1
        if self.check_every and not self.events % self.check_every:
            check_all(self.core.ledger)
            if is_placed:
                check_placed(self.core.ledger)

    def _turn(self) -> None:
        self._turn_is_due = False
        self.turns += 1
        try:
            self.core.place(self.world.now)
            self._check(is_placed=True)
        except Exception as error:
            raise self.world.fail(f"place: {error!r}") from error
        batches: dict[int, list[Message]] = {}
        for peer, message in self.core.take_sends():
            self.sent[type(message).__name__] += 1
            batches.setdefault(peer, []).append(message)
        for peer, messages in batches.items():
            if peer in self.links:
                self.links[peer].send(0, messages)
        self._wakeup = self.core.next_wakeup(self.world.now)
        if self._wakeup is not None:
            self.world.at(self._wakeup, "wakeup", self._wake, self._wakeup)

    def _wake(self, due: float) -> None:
        if due == self._wakeup:
            self.turn_soon()
