"""Budgets that can be held without a clock: memory per pending task, messages per group."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

from cellspan.engine.ids import make_group_id
from cellspan.engine.messages import ExtendGroup, Message, RunSpan, SpanDone, SubmitGroup, TasksDone
from cellspan.engine.scheduler.core import SchedulerCore

from .driver import CLIENT, FUNCTION, WORKER, ints, make_exchange, make_fold

BLOBS = {FUNCTION: b"function"}


def make_core() -> SchedulerCore:
    core = SchedulerCore()
    core.add_client(CLIENT, {"name": "ada"}, 0.0)
    return core


def make_map(n: int) -> SubmitGroup:
    layer = {
        "kind": "each", "n": n, "function": FUNCTION, "args": [["range", 0, 1]], "names": [],
    }  # fmt: skip
    return SubmitGroup(make_group_id(CLIENT, 1), "map", layer, dict(BLOBS), {}, True)


def measure(act: Callable[[], None]) -> int:
    """Return how many bytes are kept because of what `act` does."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        act()
        after, _ = tracemalloc.get_traced_memory()
        return after - before
    finally:
        tracemalloc.stop()


def test_memory_of_a_pending_mapped_task() -> None:
    core = make_core()
    n = 1_000_000
    assert measure(lambda: core.handle(CLIENT, make_map(n), 0.0)) / n <= 16


def test_memory_of_a_pending_tree_is_flat() -> None:
    """A tree is kept as runs: a thousand times the tasks take no more bytes."""

    def kept(n: int, tree: dict[str, object]) -> int:
        core = make_core()
        core.handle(CLIENT, make_map(n), 0.0)
        message = SubmitGroup(make_group_id(CLIENT, 2), "tree", tree, dict(BLOBS), {}, False)
        return measure(lambda: core.handle(CLIENT, message, 0.0))

    source = make_group_id(CLIENT, 1)
    small, large = (kept(n, make_fold(source, 0, n, 8)) for n in (10_000, 10_000_000))
    assert large < small + 10_000 and large < 20_000


def test_memory_of_a_pending_exchange_is_flat() -> None:
    """A million times the shards, a thousand times the tasks: no more bytes."""

    def kept(n: int) -> int:
        core = make_core()
        core.handle(CLIENT, make_map(n), 0.0)
        layer = make_exchange(make_group_id(CLIENT, 1), 0, n, n)
        message = SubmitGroup(make_group_id(CLIENT, 2), "exchange", layer, dict(BLOBS), {}, False)
        return measure(lambda: core.handle(CLIENT, message, 0.0))

    small, large = kept(10_000), kept(10_000_000)
    assert large < small + 10_000 and large < 20_000


def test_memory_of_a_pending_graph_task() -> None:
    core = make_core()
    group, n, batch = make_group_id(CLIENT, 1), 20_000, 50
    layer = {"kind": "graph", "function": FUNCTION}
    core.handle(CLIENT, SubmitGroup(group, "graph", layer, dict(BLOBS), {}, True), 0.0)

    def extend() -> None:
        """Each task takes two results of the submission before; payloads have 60 bytes."""
        for start in range(0, n, batch):
            deps = [
                max(0, task - batch - k) for task in range(start, start + batch) for k in (0, 1)
            ]
            deps = deps if start else []
            message = ExtendGroup(
                group, start, batch, bytes(60 * batch), ints("I", [60] * batch),
                ints("I", [2] * batch) if deps else b"", ints("q", [group] * len(deps)),
                ints("I", deps),
            )  # fmt: skip
            core.handle(CLIENT, message, 0.0)

    assert measure(extend) / n <= 300


def test_a_million_tasks_are_some_dozens_of_messages() -> None:
    core = make_core()
    info = {"name": "w", "slots": 2, "address": "memory://w"}
    core.add_worker(WORKER, info, 0.0)
    n, now, done = 1_000_000, 0.0, 0
    sent: list[Message] = []
    core.handle(CLIENT, make_map(n), now)
    while done < n:
        core.place(now)
        for _, message in core.take_sends():
            sent.append(message)
            if isinstance(message, RunSpan):
                first, last, count = message.start, message.stop, message.stop - message.start
                report = SpanDone(
                    message.assignment, message.group, first, last, count, 1e-6 * count, [0, count],
                    None,
                )  # fmt: skip
                core.handle(WORKER, report, now)
            elif isinstance(message, TasksDone):
                done += message.stop - message.start
        now += 0.01
    assert len(sent) < 100
