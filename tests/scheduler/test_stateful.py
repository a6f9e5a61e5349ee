"""Everything at once: submissions, faults, delays, duplicates, cancellations, releases, in an order
that hypothesis chooses; all invariants after every step, and at the end every wanted task done or
failed with a cause."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from cellspan.engine.messages import (
    CancelTasks,
    CloseGroup,
    DataStored,
    HoldTasks,
    KeepTasks,
    ReleaseTasks,
    RetryTasks,
    SpanDone,
    WantResults,
)

from .world import ModelClient, ModelWorker, Task, World, gather

small = st.integers(0, 1 << 30)
"""A number to choose with, by modulo."""


class Scheduling(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(validate=True)
        self.late: list[tuple[int, SpanDone]] = []

    @initialize()
    def start(self) -> None:
        self.world.add_client()
        self.world.add_client()
        self.world.add_worker(2)

    # --- choosing

    def client(self, number: int) -> ModelClient:
        clients = list(self.world.clients.values())
        return clients[number % len(clients)]

    def worker(self, number: int) -> ModelWorker | None:
        workers = list(self.world.workers.values())
        return workers[number % len(workers)] if workers else None

    def some_futures(self, client: ModelClient, number: int, count: int) -> list[Task]:
        held = sorted(client.futures)
        if not held:
            return []
        at = number % len(held)
        return held[at : at + count]

    def group_runs(self, client: ModelClient, number: int, count: int) -> tuple[int, list[int]]:
        tasks = self.some_futures(client, number, count)
        if not tasks:
            return 1 << 32, [0, 1]
        group = tasks[0][0]
        return group, gather({index for g, index in tasks if g == group})

    # --- clients

    @rule(c=small, n=st.integers(0, 12), retries=st.integers(0, 1), wanted=st.booleans())
    def submit_each(self, c: int, n: int, retries: int, wanted: bool) -> None:
        args = [["range", 0, 1], ["items", 3, [bytes([k]) * 16 for k in range(-(-n // 3))]]]
        self.world.submit_each(self.client(c), n, args, wanted, retries=retries)

    @rule(c=small, f=small, n=st.integers(1, 8), shared=st.integers(0, 3))
    def submit_each_over_results(self, c: int, f: int, n: int, shared: int) -> None:
        client = self.client(c)
        futures = self.some_futures(client, f, n)
        if not futures or futures[0][0] in client.refused:
            return
        group, first = futures[0]
        run = [task for k, task in enumerate(futures) if task == (group, first + k)]
        deps = [number for task in futures[:shared] if task[0] == group for number in task]
        args: list[list[Any]] = [["same", group, first], ["blob", b"b" * 16, deps]]
        self.world.submit_each(client, len(run), args)

    @rule(c=small, f=small, n=st.integers(1, 12), fanin=st.integers(2, 4), initial=st.booleans())
    def submit_fold(self, c: int, f: int, n: int, fanin: int, initial: bool) -> None:
        client = self.client(c)
        futures = self.some_futures(client, f, n)
        if not futures or futures[0][0] in client.refused:
            return
        group, first = futures[0]
        run = [task for k, task in enumerate(futures) if task == (group, first + k)]
        self.world.submit_fold(client, group, first, len(run), fanin, initial)

    @rule(c=small, n=st.integers(1, 24), fanin=st.integers(2, 4), drop=st.booleans())
    def submit_each_and_fold(self, c: int, n: int, fanin: int, drop: bool) -> None:
        client = self.client(c)
        source = self.world.submit_each(client, n)
        self.world.submit_fold(client, source, 0, n, fanin)
        if drop:
            for index in range(n):
                del client.futures[source, index]
            self.world.say(client.peer, ReleaseTasks(source, [0, n]))

    @rule(c=small, f=small, n=st.integers(1, 6), outputs=st.integers(1, 6))
    def submit_exchange(self, c: int, f: int, n: int, outputs: int) -> None:
        client = self.client(c)
        futures = self.some_futures(client, f, n)
        if not futures or futures[0][0] in client.refused:
            return
        group, first = futures[0]
        run = [task for k, task in enumerate(futures) if task == (group, first + k)]
        self.world.submit_exchange(client, group, first, len(run), outputs)

    @rule(c=small, n=st.integers(1, 8), outputs=st.integers(1, 8), drop=st.booleans())
    def submit_each_and_exchange(self, c: int, n: int, outputs: int, drop: bool) -> None:
        client = self.client(c)
        source = self.world.submit_each(client, n)
        self.world.submit_exchange(client, source, 0, n, outputs)
        if drop:
            for index in range(n):
                del client.futures[source, index]
            self.world.say(client.peer, ReleaseTasks(source, [0, n]))

    @rule(c=small)
    def submit_graph(self, c: int) -> None:
        self.world.submit_graph(self.client(c))

    @rule(c=small, g=small, plan=st.lists(st.lists(small, max_size=3), min_size=1, max_size=6))
    def extend_graph(self, c: int, g: int, plan: list[list[int]]) -> None:
        client = self.client(c)
        groups = [group for group in self.world.open_graphs if group >> 32 == client.peer]
        if not groups:
            return
        group = groups[g % len(groups)]
        start = len(self.world.open_graphs[group])
        known = [task for task in sorted(client.futures) if task[0] not in client.refused]
        inputs = []
        for at, choices in enumerate(plan):
            candidates = known + [(group, start + k) for k in range(at)]
            inputs.append([candidates[n % len(candidates)] for n in choices] if candidates else [])
        self.world.extend(client, group, inputs)

    @rule(c=small, g=small)
    def close_graph(self, c: int, g: int) -> None:
        client = self.client(c)
        groups = [group for group in self.world.open_graphs if group >> 32 == client.peer]
        if groups:
            group = groups[g % len(groups)]
            del self.world.open_graphs[group]
            self.world.say(client.peer, CloseGroup(group))

    @rule(c=small, n=st.integers(1, 3), w=small)
    def scatter(self, c: int, n: int, w: int) -> None:
        client, worker = self.client(c), self.worker(w)
        if worker is None:
            return
        group = self.world.submit(client, {"kind": "data", "n": n}, {})
        for index in range(n):
            worker.store[group, index] = self.world.value((group, index))
        worker.outbox.append(DataStored(group, 0, n, 8 * n))

    @rule(c=small, f=small, n=st.integers(1, 6))
    def release(self, c: int, f: int, n: int) -> None:
        client = self.client(c)
        group, runs = self.group_runs(client, f, n)
        for task in self.some_futures(client, f, n):
            if task[0] == group:
                del client.futures[task]
        self.world.say(client.peer, ReleaseTasks(group, runs))

    @rule(c=small, d=small, f=small, n=st.integers(1, 6))
    def hold(self, c: int, d: int, f: int, n: int) -> None:
        holder, other = self.client(c), self.client(d)
        for task in self.some_futures(holder, f, n):
            if task[0] in holder.refused:
                continue
            other.futures.setdefault(task, "pending")
            self.world.say(other.peer, HoldTasks(task[0], [task[1], task[1] + 1]))

    @rule(c=small, d=small, f=small, n=st.integers(0, 6), name=st.sampled_from("ab"))
    def publish(self, c: int, d: int, f: int, n: int, name: str) -> None:
        """Of one's own futures, or of another's that may be gone soon, or were never to be."""
        client, other = self.client(c), self.client(d)
        tasks = [t for t in self.some_futures(other, f, n) if t[0] not in other.refused]
        self.world.publish(client, name, tasks)

    @rule(c=small, name=st.sampled_from("ab"))
    def unpublish(self, c: int, name: str) -> None:
        self.world.unpublish(self.client(c), name)

    @rule(c=small, f=small, n=st.integers(1, 6))
    def keep(self, c: int, f: int, n: int) -> None:
        client = self.client(c)
        self.world.say(client.peer, KeepTasks(*self.group_runs(client, f, n)))

    @rule(c=small, f=small, n=st.integers(1, 6))
    def want(self, c: int, f: int, n: int) -> None:
        client = self.client(c)
        self.world.say(client.peer, WantResults(*self.group_runs(client, f, n)))

    @rule(c=small, f=small, n=st.integers(1, 4))
    def cancel(self, c: int, f: int, n: int) -> None:
        client = self.client(c)
        self.world.say(client.peer, CancelTasks(*self.group_runs(client, f, n), "somebody"))

    @rule(c=small, f=small, n=st.integers(1, 6))
    def retry(self, c: int, f: int, n: int) -> None:
        client = self.client(c)
        self.world.say(client.peer, RetryTasks(*self.group_runs(client, f, n)))

    @precondition(lambda self: len(self.world.clients) > 1)
    @rule(c=small)
    def client_leaves(self, c: int) -> None:
        peer = self.client(c).peer
        self.world.lose_client(peer)
        for group in [g for g in self.world.open_graphs if g >> 32 == peer]:
            del self.world.open_graphs[group]

    @precondition(lambda self: len(self.world.clients) < 3)
    @rule()
    def client_joins(self) -> None:
        self.world.add_client()

    # --- workers

    @precondition(lambda self: len(self.world.workers) < 4)
    @rule(slots=st.integers(1, 4))
    def worker_joins(self, slots: int) -> None:
        self.world.add_worker(slots)

    @rule(w=small, expected=st.booleans())
    def worker_leaves(self, w: int, expected: bool) -> None:
        worker = self.worker(w)
        if worker is not None:
            self.world.lose_worker(worker.peer, expected)

    @rule()
    def place(self) -> None:
        self.world.place()

    @rule(w=small, count=st.integers(1, 8))
    def worker_reads(self, w: int, count: int) -> None:
        worker = self.worker(w)
        while worker is not None and worker.inbox and count:
            worker.read()
            count -= 1

    @rule(w=small, s=small, count=st.integers(1, 4), keep=st.booleans(), can_fetch=st.booleans())
    def worker_runs(self, w: int, s: int, count: int, keep: bool, can_fetch: bool) -> None:
        worker = self.worker(w)
        if worker is not None and worker.spans:
            worker.run(list(worker.spans)[s % len(worker.spans)], count, keep, can_fetch)

    @rule(w=small, keep=st.booleans(), count=st.integers(1, 8))
    def worker_works(self, w: int, keep: bool, count: int) -> None:
        """The usual turn, without delay: place, read, run, report."""
        self.world.place()
        worker = self.worker(w)
        if worker is None:
            return
        while worker.inbox:
            worker.read()
        for assignment in list(worker.spans):
            worker.run(assignment, count, keep)
        while worker.outbox:
            self.world.say(worker.peer, worker.outbox.popleft())

    @rule(keep=st.booleans())
    def all_work(self, keep: bool) -> None:
        for number in range(len(self.world.workers)):
            self.worker_works(number, keep, 3)

    @rule(w=small, s=small, kind=st.sampled_from(["raised", "crashed", "unserializable"]))
    def task_fails(self, w: int, s: int, kind: str) -> None:
        worker = self.worker(w)
        if worker is not None and worker.spans:
            worker.fail(list(worker.spans)[s % len(worker.spans)], kind)

    @rule(w=small, s=small)
    def span_returns(self, w: int, s: int) -> None:
        worker = self.worker(w)
        if worker is not None and worker.spans:
            worker.give_back(list(worker.spans)[s % len(worker.spans)])

    @rule(w=small, count=st.integers(1, 6), again=st.booleans())
    def deliver(self, w: int, count: int, again: bool) -> None:
        worker = self.worker(w)
        while worker is not None and worker.outbox and count:
            message = worker.outbox.popleft()
            self.world.say(worker.peer, message)
            if again:  # delivered twice
                self.world.say(worker.peer, message)
            count -= 1

    @rule()
    def time_passes(self) -> None:
        self.world.now += 0.5

    def teardown(self) -> None:
        if not self.world.workers:
            self.world.add_worker(2)
        self.world.settle()
        self.world.check_end()
        for name in list(self.world.datasets):
            self.world.unpublish(self.client(0), name)
        for client in list(self.world.clients):
            self.world.lose_client(client)
        self.world.settle()
        ledger = self.world.core.ledger
        assert not ledger.groups and not ledger.assignments and not ledger.blobs
        for worker in self.world.workers.values():
            assert not worker.store and not worker.groups and not worker.spans


TestScheduling = Scheduling.TestCase
TestScheduling.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
