"""What goes wrong in one run: a mix of faults drawn from the seed, each at its own pace, until the
heal.

Law: only what may happen to a real cluster. A report is repeated only when its assignment is over,
because connections are ordered and nothing is doubled inside one.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from cellspan.engine.messages import Message, SpanDone, SpanReturned, TaskFailed

if TYPE_CHECKING:
    from .cluster import Cluster
    from .sim_worker import SimWorker


@dataclass
class Faults:
    """Mean seconds between faults of a kind over the whole cluster, 0 for never; probabilities.
    `has_disk`: what does not fit a small store goes to disk."""

    kill_executor_s: float = 0.0
    kill_worker_s: float = 0.0
    cut_worker_s: float = 0.0
    join_worker_s: float = 0.0
    stall_s: float = 0.0
    leave_s: float = 0.0
    restart_s: float = 0.0
    repeat: float = 0.0
    slow: float = 0.0
    is_store_small: bool = False
    jitter_s: float = 2e-4
    has_disk: bool = False
    lose_pushes: float = 0.0

    def describe(self) -> str:
        """Return what is switched on."""
        return ", ".join(f"{name}={value:g}" for name, value in vars(self).items() if value)


def draw_faults(random: Random) -> Faults:
    """Draw a mix: each kind is off in about half of the runs."""

    def maybe(low: float, high: float) -> float:
        return random.uniform(low, high) if random.random() < 0.5 else 0.0

    return Faults(
        kill_executor_s=maybe(0.05, 0.5),
        kill_worker_s=maybe(0.2, 2.0),
        cut_worker_s=maybe(0.3, 2.0),
        join_worker_s=maybe(0.3, 2.0),
        stall_s=maybe(0.05, 0.5),
        leave_s=maybe(0.5, 3.0),
        restart_s=random.uniform(0.5, 2.0) if random.random() < 0.15 else 0.0,
        repeat=maybe(0.05, 0.5),
        slow=maybe(0.1, 0.4),
        is_store_small=random.random() < 0.15,
        jitter_s=random.choice([2e-5, 2e-4, 2e-3, 2e-2]),
        has_disk=random.random() < 0.6,
        lose_pushes=random.choice([0.0, 0.0, 0.3, 1.0]),
    )


class Injector:
    """Lets faults happen in a cluster until `heal`."""

    def __init__(self, cluster: Cluster, faults: Faults) -> None:
        self._cluster = cluster
        self._faults = faults
        self._random = cluster.world.fork("faults")
        self.is_over = False

    def start(self) -> None:
        """Begin."""
        for every_s, name, act in (
            (self._faults.kill_executor_s, "kill executor", self._kill_executor),
            (self._faults.kill_worker_s, "kill worker", self._kill_worker),
            (self._faults.cut_worker_s, "cut worker", self._cut_worker),
            (self._faults.join_worker_s, "join worker", self._cluster.add_worker),
            (self._faults.stall_s, "stall", self._stall),
            (self._faults.leave_s, "client leaves", self._leave),
            (self._faults.restart_s, "restart", self._cluster.restart),
        ):
            if every_s:
                self._schedule(every_s, name, act)

    def heal(self) -> None:
        """Nothing goes wrong any more, and there are workers again."""
        self.is_over = True

    def _schedule(self, every_s: float, name: str, act: object) -> None:
        def run() -> None:
            if not self.is_over:
                assert callable(act)
                act()
                self._schedule(every_s, name, act)

        delay = self._random.expovariate(1 / every_s)
        self._cluster.world.after(delay, f"fault: {name}", run)

    def slowness(self) -> float:
        """Draw how slow a new worker is."""
        return self._random.uniform(3, 20) if self._random.random() < self._faults.slow else 1.0

    def repeat(self, worker: SimWorker, messages: list[Message]) -> None:
        """Maybe send reports a second time, when their assignments are over."""
        for message in messages:
            if not isinstance(message, SpanDone | TaskFailed | SpanReturned) or self.is_over:
                continue
            if self._random.random() < self._faults.repeat:
                delay = self._random.uniform(0.001, 1.0)
                label = f"{worker.name} says once more"
                self._cluster.world.after(delay, label, self._say_again, worker, message)

    def _say_again(self, worker: SimWorker, message: SpanDone | TaskFailed | SpanReturned) -> None:
        is_over = message.assignment not in self._cluster.scheduler.core.ledger.assignments
        if is_over and not worker.is_dead and worker.link is not None:
            worker.link.send(1, [message])

    def _pick_worker(self) -> SimWorker | None:
        workers = self._cluster.live_workers()
        return self._random.choice(workers) if workers else None

    def _kill_executor(self) -> None:
        worker = self._pick_worker()
        if worker is not None and worker.executors:
            self._cluster.truth.killed_executors += 1
            worker.crash_executor(self._random.choice(list(worker.executors)), "SIGKILL")
            worker.flush()

    def _kill_worker(self) -> None:
        worker = self._pick_worker()
        if worker is not None:
            self._lose(worker)
            worker.kill("killed")

    def _cut_worker(self) -> None:
        """The connection breaks: scheduler and worker hear of it at different times."""
        worker = self._pick_worker()
        if worker is not None and worker.link is not None:
            self._lose(worker)
            worker.link.cut("broken")

    def _lose(self, worker: SimWorker) -> None:
        self._cluster.truth.lost_workers += 1
        delay = self._random.uniform(0.05, 1.0)
        self._cluster.world.after(delay, "replacement", self._cluster.replace_worker)

    def _stall(self) -> None:
        links = [w.link for w in self._cluster.live_workers()]
        links += [c.link for c in self._cluster.clients if not c.is_gone]
        link = self._random.choice(links) if links else None
        if link is not None:
            link.stall(self._random.randint(0, 1), self._random.uniform(0.01, 1.0))

    def _leave(self) -> None:
        here = [client for client in self._cluster.clients if not client.is_gone]
        if len(here) > 1:
            self._random.choice(here).leave(in_order=self._random.random() < 0.5)
