"""A tiny driver for examples: say something, compare everything that is sent because of it."""

from __future__ import annotations

from array import array
from typing import Any

from cellspan.engine.ids import make_group_id
from cellspan.engine.messages import (
    ExtendGroup,
    Message,
    RunSpan,
    SpanDone,
    SubmitGroup,
    TaskFailed,
)
from cellspan.engine.scheduler.core import SchedulerCore
from cellspan.engine.scheduler.ledger import Limits

FUNCTION = b"f" * 16
CLIENT, OTHER_CLIENT, WORKER, OTHER_WORKER = 1, 2, 11, 12


class Driver:
    """A validated core with two clients and one worker (or none). Every message of the core must be
    taken. Consumers are not sent along with their producers unless a test sets `along_s`.
    """

    def __init__(self, workers: int = 1, slots: int = 2, **limits: Any) -> None:
        self.core = SchedulerCore(Limits(**{"along_s": 0.0, **limits}), validate=True)
        self.now = 100.0
        self.serial = 0
        self.core.add_client(CLIENT, {"name": "ada"}, self.now)
        self.core.add_client(OTHER_CLIENT, {"name": "bob"}, self.now)
        for peer in (WORKER, OTHER_WORKER)[:workers]:
            self.add_worker(peer, slots)

    def add_worker(self, peer: int, slots: int = 2) -> None:
        info = {"name": f"w{peer}", "slots": slots, "address": f"memory://{peer}"}
        self.core.add_worker(peer, info, self.now)

    # --- saying

    def say(self, peer: int, message: Message) -> None:
        self.core.handle(peer, message, self.now)

    def each(self, n: int, *args: list[Any], wanted: bool = False, **options: int) -> int:
        """Submit a group of tasks `f(*args)`; return its number."""
        self.serial += 1
        group = make_group_id(CLIENT, self.serial)
        blobs = {FUNCTION: b"function"}
        for spec in args:
            if spec[0] == "blob":
                blobs[spec[1]] = b"blob"
            elif spec[0] == "items":
                blobs.update({digest: b"items" + digest for digest in spec[2]})
        layer = {"kind": "each", "n": n, "function": FUNCTION, "args": list(args), "names": []}
        self.say(CLIENT, SubmitGroup(group, f"g{self.serial}", layer, blobs, options, wanted))
        return group

    def fold(
        self,
        source: int,
        offset: int,
        count: int,
        fanin: int,
        initial: bool = False,
        **options: int,
    ) -> int:
        """Submit a tree over results of a group; return its number."""
        self.serial += 1
        group = make_group_id(CLIENT, self.serial)
        wire = make_fold(source, offset, count, fanin, FUNCTION if initial else None)
        blobs = {FUNCTION: b"function"}
        self.say(CLIENT, SubmitGroup(group, f"g{self.serial}", wire, blobs, options, False))
        return group

    def exchange(self, source: int, offset: int, count: int, outputs: int, **options: int) -> int:
        """Submit an exchange over results of a group; return its number."""
        self.serial += 1
        group = make_group_id(CLIENT, self.serial)
        wire = make_exchange(source, offset, count, outputs)
        blobs = {FUNCTION: b"function"}
        self.say(CLIENT, SubmitGroup(group, f"g{self.serial}", wire, blobs, options, False))
        return group

    def graph(self, wanted: bool = False, **options: int) -> int:
        self.serial += 1
        group = make_group_id(CLIENT, self.serial)
        layer = {"kind": "graph", "function": FUNCTION}
        blobs = {FUNCTION: b"function"}
        self.say(CLIENT, SubmitGroup(group, f"g{self.serial}", layer, blobs, options, wanted))
        return group

    def data(self, n: int) -> int:
        self.serial += 1
        group = make_group_id(CLIENT, self.serial)
        layer = {"kind": "data", "n": n}
        self.say(CLIENT, SubmitGroup(group, f"g{self.serial}", layer, {}, {}, False))
        return group

    def extend(self, group: int, start: int, inputs: list[list[tuple[int, int]]]) -> None:
        """Append tasks with these inputs; the payload of task `i` is its index in two bytes."""
        self.say(CLIENT, make_extension(group, start, inputs))

    def done(self, span: RunSpan, start: int | None = None, stop: int | None = None) -> None:
        """Let a worker report (part of) a span; 1 ms and 8 bytes each."""
        first = span.start if start is None else start
        last = span.stop if stop is None else stop
        count = last - first
        self.say(
            self.peer_of(span),
            SpanDone(
                span.assignment, span.group, first, last, 8 * count, 1e-3 * count, [40, count], None
            ),
        )

    def failed(self, span: RunSpan, index: int, kind: str = "raised", **more: Any) -> None:
        failure = {"kind": kind, "text": f"task {index} {kind}", **more}
        message = TaskFailed(span.assignment, span.group, index, 1e-3, failure)
        self.say(self.peer_of(span), message)

    def peer_of(self, span: RunSpan) -> int:
        return self.core.ledger.assignments[span.assignment].worker.peer

    # --- hearing

    def place(self) -> None:
        self.core.place(self.now)

    def sent(self) -> list[tuple[int, Message]]:
        return self.core.take_sends()

    def expect(self, *sends: tuple[int, Message]) -> None:
        """Exactly this was sent since the last look."""
        assert self.sent() == list(sends)

    def expect_kinds(self, *sends: tuple[int, type[Message]]) -> list[Any]:
        """Messages of exactly these kinds were sent; return them."""
        sent = self.sent()
        assert [(peer, type(message)) for peer, message in sent] == list(sends), sent
        return [message for _, message in sent]

    def expect_after_place(self, *sends: tuple[int, type[Message]]) -> list[Any]:
        """Place; messages of exactly these kinds are sent by it; return them."""
        self.place()
        return self.expect_kinds(*sends)

    def spans(self) -> list[RunSpan]:
        """Place, and return the spans among what is sent."""
        self.place()
        return [message for _, message in self.sent() if isinstance(message, RunSpan)]

    def run_all(self) -> None:
        """Let the workers do everything that is ready, until nothing is."""
        while spans := self.spans():
            for span in spans:
                self.done(span)
            self.now += 0.01

    def counts(self, group: int) -> dict[str, int]:
        """Return how many tasks of a group are in which state, those states that have any."""
        found = self.core.ledger.groups[group]
        return {state: len(tasks) for state, tasks in found.sets.items() if tasks}


def ints(code: str, numbers: list[int]) -> bytes:
    """Return numbers as a column."""
    return array(code, numbers).tobytes()


def make_fold(
    group: int,
    offset: int,
    count: int,
    fanin: int,
    initial: bytes | None = None,
    n: int | None = None,
) -> dict[str, Any]:
    """Return the wire form of a tree; its number of tasks is counted level by level."""
    if n is None:
        n, left = 0, count
        while left > 1 or not n:
            left = -(-left // fanin)
            n += left
    return {
        "kind": "fold", "n": n, "function": FUNCTION, "initial": initial, "group": group,
        "offset": offset, "count": count, "fanin": fanin,
    }  # fmt: skip


def make_exchange(group: int, offset: int, count: int, outputs: int) -> dict[str, Any]:
    """Return the wire form of an exchange."""
    return {
        "kind": "exchange", "n": count + outputs, "split": FUNCTION, "function": FUNCTION,
        "group": group, "offset": offset, "count": count, "outputs": outputs,
    }  # fmt: skip


def make_extension(group: int, start: int, inputs: list[list[tuple[int, int]]]) -> ExtendGroup:
    flat = [task for tasks in inputs for task in tasks]
    count = len(inputs)
    return ExtendGroup(
        group,
        start,
        count,
        b"".join(index.to_bytes(2, "big") for index in range(start, start + count)),
        ints("I", [2] * count),
        ints("I", [len(tasks) for tasks in inputs]) if flat else b"",
        ints("q", [g for g, _ in flat]),
        ints("I", [i for _, i in flat]),
    )
