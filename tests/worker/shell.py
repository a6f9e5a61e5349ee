"""A worker core with imaginary executors: effects are carried out on lists, nothing runs.

Law: it does what the real shell and the real executors may do, in any order that those may do it
in. An imaginary task has no duration and no value; its result is its index as one byte.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from cellspan.engine.ids import digest_of
from cellspan.engine.messages import (
    DefineGroup,
    ForgetGroup,
    Message,
    RunSpan,
    SpanDone,
    SpanReturned,
    TaskFailed,
)
from cellspan.engine.worker.core import WorkerCore
from cellspan.engine.worker.death import Death
from cellspan.engine.worker.effects import (
    Cut,
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
from cellspan.engine.worker.store import Store

FUNCTION = b"a function"
WORKER = 7


def each(n: int, *args: list[Any]) -> dict[str, Any]:
    """Return an `Each` layer; without arguments given, over a range."""
    specs = list(args) or [["range", 0, 1]]
    return {"kind": "each", "n": n, "function": digest_of(FUNCTION), "args": specs, "names": []}


def define(
    group: int,
    layer: dict[str, Any],
    blobs: dict[bytes, bytes] | None = None,
    **options: Any,
) -> Message:
    every = {digest_of(FUNCTION): FUNCTION, **(blobs or {})}
    return DefineGroup(group, f"g{group}", layer, every, options)


def span(assignment: int, group: int, start: int, stop: int, **more: Any) -> RunSpan:
    return RunSpan(assignment, group, start, stop, more.pop("inline", False), **more)


@dataclass
class ImaginaryExecutor:
    """`waiting`: pieces whose token nobody has read. `piece`: what runs; `at`: the next task of it,
    `begun`: whether that task is being run; `told`: tasks before it were reported."""

    is_ready: bool = False
    waiting: deque[dict[str, Any]] = field(default_factory=deque)
    frames: list[dict[str, Any]] = field(default_factory=list)
    piece: dict[str, Any] | None = None
    at: int = 0
    told: int = 0
    begun: bool = False
    cut: int = 0
    results: list[int] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    claimed: list[int] = field(default_factory=list)
    """Groups of the pieces that it has begun."""


class Shell:
    """Carries out the effects of a core; keeps what was sent."""

    def __init__(self, slots: int, limit_bytes: int = 1 << 30, **resources: Any) -> None:
        self.core = WorkerCore(WORKER, "w", slots, Store(limit_bytes), resources)
        self.now = 0.0
        self.executors: dict[int, ImaginaryExecutor] = {}
        self.cuts: list[Cut] = []
        self.looks: list[ReadPage] = []
        self.fetches: dict[int, Fetch] = {}
        self.pulls: list[FetchShards] = []
        self.pushes: list[PushShards] = []
        self.spills: list[Spill] = []
        self.doomed: set[int] = set()
        self.unlinked: list[str] = []
        self.sent: list[Message] = []
        self.perform()

    def handle(self, message: Message) -> None:
        self.handle_all([message])

    def handle_all(self, messages: list[Message]) -> None:
        for message in messages:
            self.core.handle(message)
        self.core.dispatch(self.now)
        self.perform()

    def perform(self) -> None:
        while effects := self.core.take_effects():
            for effect in effects:
                match effect:
                    case SendFrame():
                        self._send(effect)
                    case Revoke():
                        self._revoke(effect)
                    case Cut():
                        if effect.executor in self.executors:
                            self.executors[effect.executor].cut = effect.piece
                        self.cuts.append(effect)
                    case ReadPage():
                        self.looks.append(effect)
                    case Kill():
                        self.doomed.add(effect.executor)
                    case Spawn():
                        self.executors[effect.executor] = ImaginaryExecutor()
                    case Fetch():
                        self.fetches[effect.number] = effect
                    case FetchShards():
                        self.pulls.append(effect)
                    case PushShards():
                        self.pushes.append(effect)
                    case Spill():
                        self.spills.append(effect)
                    case Unlink():
                        self.unlinked += effect.paths
        self.sent += self.core.take_sends()

    def _send(self, effect: SendFrame) -> None:
        executor = self.executors[effect.executor]
        executor.frames.append(effect.header)
        if effect.token:
            assert effect.header["piece"] == effect.token
            executor.waiting.append(effect.header)
            assert len(executor.waiting) + (executor.piece is not None) <= 2

    def _revoke(self, effect: Revoke) -> None:
        executor = self.executors.get(effect.executor)
        taken = [piece["piece"] for piece in executor.waiting] if executor else []
        if executor:
            executor.waiting.clear()
        for number in taken:
            self.core.on_revoked(effect.executor, number, True, self.now)
        if effect.piece not in taken:
            self.core.on_revoked(effect.executor, effect.piece, False, self.now)

    # --- what executors do -----------------------------------------------------------------------

    def ready(self, number: int) -> None:
        self.executors[number].is_ready = True
        self.core.on_executor_ready(number, self.now)
        self.perform()

    def start_all(self) -> None:
        for number, executor in list(self.executors.items()):
            if not executor.is_ready:
                self.ready(number)

    def claim(self, number: int) -> bool:
        """Begin the next piece, if there is one and none runs."""
        executor = self.executors[number]
        if executor.piece is not None or not executor.waiting:
            return False
        executor.piece = executor.waiting.popleft()
        executor.at = executor.told = executor.piece["start"]
        executor.begun = False
        executor.claimed.append(executor.piece["group"])
        return True

    def step(self, number: int, fails: bool = False) -> bool:
        """Begin the next task, or end the one that was begun; False at the end of the piece."""
        executor = self.executors[number]
        piece = executor.piece
        assert piece is not None
        if executor.begun:
            if fails:
                executor.failed.append({"index": executor.at, "kind": "raised", "text": "no"})
            else:
                executor.results.append(executor.at)
            executor.at += 1
            executor.begun = False
        elif executor.at == piece["stop"] or executor.cut == piece["piece"]:
            return False
        else:
            executor.begun = True
        return True

    def report(self, number: int, over: bool, gone: list[int] | None = None) -> None:
        """Report the tasks that have ended since the last time."""
        executor = self.executors[number]
        piece = executor.piece
        assert piece is not None and not (over and executor.begun)
        header = {
            "piece": piece["piece"],
            "start": executor.told,
            "stop": executor.at,
            "over": over,
            "seconds": 1e-3,
            "elapsed": 1e-3 * (executor.at - executor.told),
            "times": [40, executor.at - executor.told],
            "blocks": [[i, i + 1, True, 1] for i in executor.results],
            "failed": [{**failed, "seconds": 1e-3} for failed in executor.failed],
            "gone": gone,
        }
        buffers: list[Any] = [bytes([i % 256]) for i in executor.results]
        executor.told = executor.at
        executor.results, executor.failed = [], []
        if over:
            executor.piece = None
        self.core.on_report(number, header, buffers, self.now)
        self.perform()

    def die(self, number: int, signal: str = "SIGSEGV") -> None:
        """End an executor; a task that was begun is what its page shows."""
        executor = self.executors.pop(number)
        self.doomed.discard(number)
        piece = executor.piece["piece"] if executor.piece is not None else 0
        death = Death(piece, executor.at, None, signal, False, ["last words"])
        self.core.on_executor_died(number, death, self.now)
        self.perform()

    def answer_cut(self) -> None:
        """Answer the oldest cut with what the page shows."""
        cut = self.cuts.pop(0)
        executor = self.executors.get(cut.executor)
        page = (0, 0)
        if executor is not None and executor.piece is not None:
            page = executor.piece["piece"], executor.at
        self.core.on_cut(cut.executor, cut.piece, *page, self.now)
        self.perform()

    def pass_time(self, seconds: float) -> None:
        """Let time pass; the worker is woken when it wants to be, and looks at pages."""
        end = self.now + seconds
        while (due := self.core.next_wakeup()) is not None and due <= end:
            self.now = max(self.now, due)
            self.core.on_timer(self.now)
            self.perform()
            while self.looks:
                look = self.looks.pop(0)
                executor = self.executors.get(look.executor)
                page = (0, 0)
                if executor is not None and executor.piece is not None:
                    page = executor.piece["piece"], executor.at
                self.core.on_page(look.executor, look.piece, *page, self.now)
                self.perform()
            while self.cuts:
                self.answer_cut()
        self.now = end

    def run_to_end(self) -> None:
        """Let everything that is begun or waits come to its end."""
        for _ in range(10_000):
            if self.doomed:
                self.die(min(self.doomed), "SIGKILL")
            elif self.cuts:
                self.answer_cut()
            elif not self._move_one():
                return
        raise AssertionError("it never comes to rest")

    def _move_one(self) -> bool:
        for number, executor in list(self.executors.items()):
            if not executor.is_ready:
                self.ready(number)
                return True
            if executor.piece is not None or self.claim(number):
                while self.step(number):
                    pass
                self.report(number, over=True)
                return True
        return False


def outcomes(messages: list[Message]) -> dict[int, dict[int, list[str]]]:
    """Return what was said of each task: by assignment and index, a list of outcomes."""
    found: dict[int, dict[int, list[str]]] = {}

    def note(assignment: int, start: int, stop: int, what: str) -> None:
        for index in range(start, stop):
            found.setdefault(assignment, {}).setdefault(index, []).append(what)

    for message in messages:
        match message:
            case SpanDone():
                note(message.assignment, message.start, message.stop, "done")
            case TaskFailed():
                kind = message.failure["kind"]
                note(message.assignment, message.index, message.index + 1, kind)
            case SpanReturned():
                for start, stop in zip(message.runs[::2], message.runs[1::2], strict=True):
                    note(message.assignment, start, stop, "returned")
    return found


def forget(group: int) -> Message:
    return ForgetGroup(group)
