"""A problem on a light cluster: the real scheduler core, light workers, a client, virtual time.

Law: the scheduler's shell does what scheduler/server.py does: messages in as they come, one turn
for all that came meanwhile. A message takes `Network.control_s` either way. No chance: equal times
run in the order in which they were made.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

from cellspan.engine.messages import Message, RunSpan, SpanReturned, TasksDone, TasksFailed
from cellspan.engine.scheduler.core import SchedulerCore
from cellspan.engine.scheduler.placement import Placement

from .light import LightWorker
from .problem import CLIENT, Problem, level_of

TURN_S = 20e-6
FIRST_WORKER = 2


@dataclass(frozen=True)
class Outcome:
    """`seconds`: until the client knew that all was done; `assigned`: tasks in `RunSpan`s, each
    more than once if it was taken back; `taken_back`: tasks that were.
    """

    seconds: float
    tasks: int
    spans: int
    assigned: int
    taken_back: int
    bytes_moved: int
    busy: float
    """Part of all slots' time that was spent on tasks."""
    received: int
    """Messages that the scheduler got from workers."""


class LightCluster:
    """One run."""

    def __init__(self, problem: Problem, placement: Placement | None = None) -> None:
        self.problem = problem
        self.now = 0.0
        self.bytes_moved = 0
        self.sent: Counter[str] = Counter()
        self.received = self.assigned = self.taken_back = self.done = 0
        self.finished = 0.0
        self.core = SchedulerCore(placement=placement)
        self._heap: list[tuple[float, int, Any, tuple[Any, ...]]] = []
        self._number = 0
        self._turn_is_due = False
        self._wakeup: float | None = None
        self._levels: dict[tuple[str, str], int] = {}
        self.workers: dict[int, LightWorker] = {}
        for peer, machine in enumerate(problem.machines, FIRST_WORKER):
            self.workers[peer] = LightWorker(self, peer, machine)
            info = {
                "name": f"w{peer}", "slots": machine.slots, "address": f"sim://{peer}",
                "topology": machine.path, "host": machine.path,
            }  # fmt: skip
            self.core.add_worker(peer, info, 0.0)
        self.core.add_client(CLIENT, {"name": "judge"}, 0.0)

    def run(self) -> Outcome:
        """Run it to its end."""
        problem, control_s = self.problem, self.problem.network.control_s
        self.after(control_s, self._on_messages, CLIENT, list(problem.messages()))
        heap = self._heap
        while heap and self.done < problem.held:
            self.now, _, call, args = heappop(heap)
            call(*args)
        assert self.done == problem.held, f"{self.done} of {problem.held} held tasks are done"
        busy_s = sum(worker.busy_s for worker in self.workers.values())
        return Outcome(
            seconds=self.finished,
            tasks=problem.tasks,
            spans=self.sent["RunSpan"],
            assigned=self.assigned,
            taken_back=self.taken_back,
            bytes_moved=self.bytes_moved,
            busy=busy_s / (self.finished * problem.slots),
            received=self.received,
        )

    # --- for workers --------------------------------------------------------------------------

    def after(self, delay_s: float, call: Any, *args: Any) -> None:
        """Call something later."""
        self._number += 1
        heappush(self._heap, (self.now + delay_s, self._number, call, args))

    def report(self, worker: LightWorker, messages: list[Message]) -> None:
        """Send messages to the scheduler."""
        self.after(self.problem.network.control_s, self._on_messages, worker.peer, messages)

    def ask(self, worker: LightWorker, holder: int, nbytes: int) -> tuple[LightWorker, float]:
        """Return another worker, and how long so many bytes take from there."""
        other = self.workers[holder]
        self.bytes_moved += nbytes
        ends = worker.machine.path, other.machine.path
        level = self._levels.get(ends)
        if level is None:
            level = self._levels[ends] = level_of(*ends)
        return other, self.problem.network.seconds(level, nbytes)

    # --- the scheduler ------------------------------------------------------------------------

    def _on_messages(self, peer: int, messages: list[Message]) -> None:
        for message in messages:
            self.received += peer != CLIENT
            if type(message) is SpanReturned:
                self.taken_back += sum(message.runs[1::2]) - sum(message.runs[::2])
            self.core.handle(peer, message, self.now)
        if not self._turn_is_due:
            self._turn_is_due = True
            self.after(TURN_S, self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        core, now = self.core, self.now
        core.place(now)
        batches: dict[int, list[Message]] = {}
        for peer, message in core.take_sends():
            self.sent[type(message).__name__] += 1
            if type(message) is RunSpan:
                self.assigned += message.stop - message.start
            if peer == CLIENT:
                self._on_news(message)
            else:
                batches.setdefault(peer, []).append(message)
        control_s = self.problem.network.control_s
        for peer, messages in batches.items():
            self.after(control_s, self.workers[peer].on_messages, messages)
        wakeup = core.next_wakeup(now)
        if wakeup is not None and wakeup != self._wakeup:
            self.after(max(0.0, wakeup - now), self._wake, wakeup)
        self._wakeup = wakeup

    def _wake(self, due: float) -> None:
        if due == self._wakeup and not self._turn_is_due:
            self._wakeup = None
            self._turn_is_due = True
            self._turn()

    def _on_news(self, message: Message) -> None:
        if isinstance(message, TasksDone):
            self.done += message.stop - message.start
            self.finished = self.now + self.problem.network.control_s
        assert not isinstance(message, TasksFailed), message


def run(problem: Problem, placement: Placement | None = None) -> Outcome:
    """Run a problem with a policy (None: the one that ships)."""
    return LightCluster(problem, placement).run()
