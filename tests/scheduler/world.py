"""A small world around a scheduler core: workers and clients as simple models, messages in queues
that a test moves.

A model worker has a store with real values, so that a result that is wrong, stale or computed
without its inputs is seen. `World.value` is the oracle: it evaluates a task serially from what was
submitted.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from cellspan.engine.ids import make_group_id
from cellspan.engine.messages import (
    Accepted,
    CancelTasks,
    DataStored,
    Declined,
    DefineGroup,
    ExtendGroup,
    ForgetGroup,
    FreeResults,
    GroupRefused,
    Message,
    PlanExchange,
    PublishDataset,
    Runs,
    RunSpan,
    SpanDone,
    SpanReturned,
    SubmitGroup,
    TakeBack,
    TaskFailed,
    TasksDone,
    TasksFailed,
    TasksReopened,
    UnpublishDataset,
)
from cellspan.engine.scheduler.core import SchedulerCore

from .driver import FUNCTION, ints, make_exchange, make_fold

Task = tuple[int, int]


def spread(runs: Runs) -> list[int]:
    """Return the indices of runs."""
    return [i for k in range(0, len(runs), 2) for i in range(runs[k], runs[k + 1])]


def gather(indices: set[int]) -> Runs:
    """Return indices as runs."""
    runs: Runs = []
    for index in sorted(indices):
        if runs and runs[-1] == index:
            runs[-1] = index + 1
        else:
            runs += [index, index + 1]
    return runs


class ModelWorker:
    """What a worker does, as far as the scheduler can tell."""

    def __init__(self, world: World, peer: int, slots: int) -> None:
        self.world = world
        self.peer = peer
        self.slots = slots
        self.inbox: deque[Message] = deque()
        self.outbox: deque[Message] = deque()
        self.groups: dict[int, dict[str, Any]] = {}
        self.blobs: dict[int, set[bytes]] = {}
        self.chunks: dict[int, set[tuple[int, int]]] = {}
        self.spans: dict[int, tuple[RunSpan, set[int]]] = {}
        self.store: dict[Task, int] = {}

    def read(self) -> None:
        """Take in one message."""
        message = self.inbox.popleft()
        match message:
            case DefineGroup(group, _, layer, blobs):
                assert group not in self.groups, "told twice"
                self.groups[group] = layer
                known = set(blobs).union(*self.blobs.values())
                self.blobs[group] = set(self.world.define_blobs(layer))
                assert self.blobs[group] <= known, "blobs are missing"
                self.chunks[group] = set()
            case PlanExchange(group, owners):
                layer = self.groups[group]
                at = [bound for start, stop, _, _ in owners for bound in (start, stop)]
                assert at == sorted(at) and (not at or at[-1] <= layer["outputs"])
            case ForgetGroup(group):
                del self.groups[group], self.blobs[group], self.chunks[group]
            case RunSpan():
                self._take_span(message)
            case TakeBack(assignment, runs, kill):
                span = self.spans.get(assignment)
                back = set()
                if span is not None:
                    # Without `kill` the lowest index is taken to run already: it is not given back.
                    running = set() if kill else set(sorted(span[1])[:1])
                    back = (span[1] & set(spread(runs))) - running
                    span[1].difference_update(back)
                    group = span[0].group
                    self.outbox.append(SpanReturned(assignment, group, gather(back), "taken back"))
                    if not span[1]:
                        del self.spans[assignment]
            case FreeResults(group, runs):
                for index in spread(runs):
                    self.store.pop((group, index), None)
            case _:
                raise AssertionError(f"a worker got {message}")

    def _take_span(self, message: RunSpan) -> None:
        layer = self.groups[message.group]
        tasks = set(range(message.start, message.stop))
        assert tasks and message.assignment not in self.spans
        if layer["kind"] == "graph":
            lengths = memoryview(message.lengths).cast("I")
            assert len(lengths) == len(tasks) and sum(lengths) == len(message.payload)
            assert bytes(message.payload) == self.world.payload(
                message.group, message.start, message.stop
            )
            expected = [
                self.world.inputs[message.group, i] for i in range(message.start, message.stop)
            ]
            if message.inputs:
                counts, groups, indices = message.inputs
                flat = [task for tasks_ in expected for task in tasks_]
                assert counts == ints("I", [len(tasks_) for tasks_ in expected])
                assert groups == ints("q", [g for g, _ in flat])
                assert indices == ints("I", [i for _, i in flat])
            else:
                assert not any(expected)
        for index in tasks if layer["kind"] == "fold" else ():
            told = self.world.inputs_of_level(layer, index)
            assert told == self.world.inputs[message.group, index]
        for position, number, _ in message.chunks:
            assert (position, number) not in self.chunks[message.group]
            self.chunks[message.group].add((position, number))
        for position, spec in enumerate(layer.get("args", ())):
            if spec[0] == "items":
                for i in tasks:
                    assert (position, i // spec[1]) in self.chunks[message.group]
        self.spans[message.assignment] = (message, tasks)

    def find_input(self, span: RunSpan, task: Task) -> int | None:
        """Fetch an input from here or from a holder that the span names; None: it is not there."""
        if task in self.store:
            return self.store[task]
        for group, start, stop, peer, _ in span.holders:
            if group == task[0] and start <= task[1] < stop and peer in self.world.workers:
                found = self.world.workers[peer].store.get(task)
                if found is not None:
                    return found
        return None

    def run(
        self, assignment: int, count: int, keep_copies: bool = False, can_fetch: bool = True
    ) -> None:
        """Run the first `count` tasks left of a span; report what cannot be for lack of inputs as
        returned.

        With `keep_copies` fetched inputs are kept and reported; without `can_fetch` no other worker
        can be reached.
        """
        span, left = self.spans[assignment]
        group = span.group
        ran: set[int] = set()
        for index in sorted(left)[:count]:
            needed = self.world.inputs[group, index]
            values = {
                task: self.find_input(span, task) if can_fetch else self.store.get(task)
                for task in needed
            }
            missing = [task for task, value in values.items() if value is None]
            if any(self.is_open(task) for task in missing):
                continue  # sent along: it waits for what is being computed here
            if missing:
                rows = [[g, i, peer] for g, i in missing for peer in self._claimed(span, (g, i))]
                self.outbox.append(
                    SpanReturned(assignment, group, [index, index + 1], "inputs", rows)
                )
            else:
                ran.add(index)
                self.store[group, index] = self.world.compute(
                    group, index, [values[t] for t in needed]
                )
                for task in needed if keep_copies else ():
                    if task not in self.store:
                        self.store[task] = values[task]
                        self.outbox.append(DataStored(task[0], task[1], task[1] + 1, 8))
            left.discard(index)
        runs = gather(ran)
        for start, stop in zip(runs[::2], runs[1::2], strict=True):
            number = stop - start
            blocks = [[start, stop, False, [b"x"]]] if span.inline else None
            self.outbox.append(
                SpanDone(
                    assignment, group, start, stop, 8 * number, 1e-3 * number, [40, number], blocks
                )
            )
        if not left:
            del self.spans[assignment]

    def is_open(self, task: Task) -> bool:
        """Return whether a task is to be computed here."""
        return any(span.group == task[0] and task[1] in left for span, left in self.spans.values())

    def _claimed(self, span: RunSpan, task: Task) -> list[int]:
        """Return which workers should have an input: those that the span names, else this one
        itself.
        """
        peers = [p for g, a, b, p, _ in span.holders if g == task[0] and a <= task[1] < b]
        if (
            self.world.layers[span.group]["kind"] == "exchange"
        ):  # they may have it, or this one itself
            return [*peers, self.peer]
        return peers or [self.peer]

    def fail(self, assignment: int, kind: str) -> None:
        """Let the first task left of a span fail, if it can have begun."""
        span, left = self.spans[assignment]
        index = min(left)
        if any(self.is_open(task) for task in self.world.inputs[span.group, index]):
            return
        left.discard(index)
        failure = {
            "kind": kind,
            "text": f"task {index}: {kind}",
            "exit_code": -9,
            "log": ["last words"],
        }
        self.outbox.append(TaskFailed(assignment, span.group, index, 1e-3, failure))
        if not left:
            del self.spans[assignment]

    def give_back(self, assignment: int) -> None:
        """Return what is left of a span without a reason."""
        span, left = self.spans.pop(assignment)
        self.outbox.append(SpanReturned(assignment, span.group, gather(left), "an executor ended"))


class ModelClient:
    """What a client knows: for each future that it holds 'pending', ('done', worker) or ('failed',
    failure).
    """

    def __init__(self, peer: int) -> None:
        self.peer = peer
        self.futures: dict[Task, Any] = {}
        self.refused: dict[int, str] = {}
        self.answer: Accepted | Declined | None = None
        self.serial = 0

    def read(self, message: Message) -> None:
        """Take in one message."""
        match message:
            case TasksDone(group, start, stop, worker, _):
                for index in range(start, stop):
                    assert (group, index) in self.futures, "told of a future not held"
                    self.futures[group, index] = ("done", worker)
            case TasksFailed(group, runs, failure):
                assert failure["kind"] and failure["text"]
                for index in spread(runs):
                    assert (group, index) in self.futures
                    self.futures[group, index] = ("failed", failure)
            case TasksReopened(group, runs, reason):
                assert reason
                for index in spread(runs):
                    assert self.futures[group, index] != "pending"
                    self.futures[group, index] = "pending"
            case GroupRefused(group, text):
                self.refused[group] = text
            case Accepted() | Declined():
                self.answer = message
            case _:
                raise AssertionError(f"a client got {message}")


class World:
    """A core with model peers."""

    def __init__(self, validate: bool = True) -> None:
        self.core = SchedulerCore(validate=validate)
        self.now = 100.0
        self.workers: dict[int, ModelWorker] = {}
        self.clients: dict[int, ModelClient] = {}
        self.peers = 0
        self.inputs: dict[Task, list[Task]] = {}
        self.layers: dict[int, dict[str, Any]] = {}
        self.open_graphs: dict[int, list[int]] = {}
        self.datasets: dict[str, set[Task]] = {}

    # --- peers

    def add_client(self) -> ModelClient:
        self.peers += 1
        client = self.clients[self.peers] = ModelClient(self.peers)
        self.core.add_client(self.peers, {"name": f"client {self.peers}"}, self.now)
        return client

    def add_worker(self, slots: int = 2) -> ModelWorker:
        self.peers += 1
        worker = self.workers[self.peers] = ModelWorker(self, self.peers, slots)
        info = {"name": f"worker {self.peers}", "slots": slots, "address": f"memory://{self.peers}"}
        self.core.add_worker(self.peers, info, self.now)
        self.pump()
        return worker

    def lose_worker(self, peer: int, expected: bool) -> None:
        worker = self.workers.pop(peer)
        self.core.remove_worker(peer, "it was killed", self.now, expected=expected)
        self.pump()
        for message in worker.outbox:  # a client whose data was not taken gives up on it
            if not isinstance(message, DataStored) or message.group >> 32 not in self.clients:
                continue
            if self.layers[message.group]["kind"] == "data":
                runs = [message.start, message.stop]
                self.say(message.group >> 32, CancelTasks(message.group, runs, "its client"))

    def lose_client(self, peer: int) -> None:
        del self.clients[peer]
        self.core.remove_client(peer, self.now)
        self.pump()

    # --- messages

    def pump(self) -> None:
        """Carry what the core sends: to clients at once, to workers into their inboxes."""
        for peer, message in self.core.take_sends():
            if peer in self.clients:
                self.clients[peer].read(message)
            else:
                self.workers[peer].inbox.append(message)

    def say(self, peer: int, message: Message) -> None:
        """Let the core have a message."""
        self.core.handle(peer, message, self.now)
        self.pump()

    def place(self) -> None:
        self.core.place(self.now)
        self.pump()

    # --- submissions

    def submit(
        self,
        client: ModelClient,
        layer: dict[str, Any],
        blobs: dict[bytes, bytes],
        wanted: bool = True,
        **options: int,
    ) -> int:
        client.serial += 1
        group = make_group_id(client.peer, client.serial)
        self.layers[group] = layer
        if layer["kind"] == "fold":
            self._expand_fold(group, layer)
            client.futures[group, layer["n"] - 1] = "pending"
        elif layer["kind"] == "exchange":
            count, first = layer["count"], layer["offset"]
            for index in range(count):
                self.inputs[group, index] = [(layer["group"], first + index)]
            for index in range(count, layer["n"]):
                self.inputs[group, index] = [(group, split) for split in range(count)]
                client.futures[group, index] = "pending"
        else:
            for index in range(layer.get("n", 0)):
                self.inputs[group, index] = self._inputs_of_each(layer, index)
                client.futures[group, index] = "pending"
        name = f"g{group:x}"
        self.say(client.peer, SubmitGroup(group, name, layer, blobs, dict(options), wanted))
        if layer["kind"] == "graph":
            self.open_graphs[group] = []
        return group

    def submit_each(
        self,
        client: ModelClient,
        n: int,
        args: list[list[Any]] | None = None,
        wanted: bool = True,
        **options: int,
    ) -> int:
        args = [] if args is None else args
        layer = {"kind": "each", "n": n, "function": FUNCTION, "args": args, "names": []}
        blobs = {FUNCTION: b"function"}
        for spec in args:
            if spec[0] == "blob":
                blobs[spec[1]] = b"blob"
            elif spec[0] == "items":
                blobs.update({digest: b"items" for digest in spec[2]})
        return self.submit(client, layer, blobs, wanted, **options)

    def submit_fold(
        self,
        client: ModelClient,
        source: int,
        offset: int,
        count: int,
        fanin: int,
        initial: bool = False,
        **options: int,
    ) -> int:
        """Submit a tree; the client holds its root alone."""
        layer = make_fold(source, offset, count, fanin, b"i" * 16 if initial else None)
        blobs = {FUNCTION: b"function", **({b"i" * 16: b"initial"} if initial else {})}
        return self.submit(client, layer, blobs, False, **options)

    def submit_exchange(
        self,
        client: ModelClient,
        source: int,
        offset: int,
        count: int,
        outputs: int,
        **options: int,
    ) -> int:
        """Submit an exchange; the client holds its merges alone."""
        layer = make_exchange(source, offset, count, outputs)
        return self.submit(client, layer, {FUNCTION: b"function"}, False, **options)

    def submit_graph(self, client: ModelClient, wanted: bool = True, **options: int) -> int:
        layer = {"kind": "graph", "function": FUNCTION}
        return self.submit(client, layer, {FUNCTION: b"function"}, wanted, **options)

    def extend(self, client: ModelClient, group: int, inputs: list[list[Task]]) -> int:
        """Append tasks with these inputs. Return the index of the first."""
        start = len(self.open_graphs[group])
        for index, tasks in enumerate(inputs, start):
            self.inputs[group, index] = tasks
            client.futures[group, index] = "pending"
            self.open_graphs[group].append(index % 5)
        lengths = [index % 5 for index in range(start, start + len(inputs))]
        flat = [task for tasks in inputs for task in tasks]
        message = ExtendGroup(
            group, start, len(inputs), self.payload(group, start, start + len(inputs)),
            ints("I", lengths), ints("I", [len(tasks) for tasks in inputs]) if flat else b"",
            ints("q", [g for g, _ in flat]), ints("I", [i for _, i in flat]),
        )  # fmt: skip
        self.say(client.peer, message)
        return start

    def payload(self, group: int, start: int, stop: int) -> bytes:
        return b"".join(bytes([index % 251]) * (index % 5) for index in range(start, stop))

    @staticmethod
    def define_blobs(layer: dict[str, Any]) -> list[bytes]:
        blobs = [spec[1] for spec in layer.get("args", ()) if spec[0] == "blob"]
        if layer.get("initial") is not None:
            blobs.append(layer["initial"])
        return [layer["function"], *blobs]

    def _expand_fold(self, group: int, layer: dict[str, Any]) -> None:
        """Note what each task of a tree takes, by plain slicing."""
        first, fanin = layer["offset"], layer["fanin"]
        row = [(layer["group"], index) for index in range(first, first + layer["count"])]
        n = 0
        while n < layer["n"]:
            taken = [row[at : at + fanin] for at in range(0, len(row), fanin)]
            row = [(group, index) for index in range(n, n + len(taken))]
            self.inputs.update(zip(row, taken, strict=True))
            n += len(taken)

    @staticmethod
    def inputs_of_level(layer: dict[str, Any], index: int) -> list[Task]:
        """Return what a task of a tree takes, by what its worker was told."""
        for start, stop, group, low, high in layer["levels"]:
            if start <= index < stop:
                first = low + (index - start) * layer["fanin"]
                return [(group, i) for i in range(first, min(high, first + layer["fanin"]))]
        raise AssertionError(f"no level has {index}")

    @staticmethod
    def _inputs_of_each(layer: dict[str, Any], index: int) -> list[Task]:
        found: list[Task] = []
        for spec in layer.get("args", ()):
            if spec[0] == "same":
                found.append((spec[1], spec[2] + index))
            elif spec[0] == "blob":
                found += zip(spec[2][::2], spec[2][1::2], strict=True)
        return found

    # --- data sets

    def publish(self, client: ModelClient, name: str, tasks: list[Task]) -> None:
        """Publish futures in place of what had the name; they may have been released before."""
        groups = sorted({group for group, _ in tasks})
        rows = [[g, gather({index for group, index in tasks if group == g})] for g in groups]
        client.answer = None
        self.say(client.peer, PublishDataset(1, name, b"content", rows, True))
        assert client.answer is not None
        if isinstance(client.answer, Accepted):
            self.datasets[name] = set(tasks)
        else:
            assert "released before" in client.answer.text

    def unpublish(self, client: ModelClient, name: str) -> None:
        client.answer = None
        self.say(client.peer, UnpublishDataset(2, name))
        was_there = self.datasets.pop(name, None) is not None
        assert isinstance(client.answer, Accepted) == was_there

    # --- the oracle

    def compute(self, group: int, index: int, values: list[Any]) -> int:
        return hash((group, index, *values))

    def value(self, task: Task) -> int:
        """Return the right result of a task."""
        return self.compute(*task, [self.value(needed) for needed in self.inputs[task]])

    # --- the end

    def settle(self, rounds: int = 400) -> None:
        """Let everything that is under way come to its end: no more faults."""
        for _ in range(rounds):
            self.place()
            busy = False
            for worker in list(self.workers.values()):
                while worker.inbox:
                    worker.read()
                    busy = True
                for assignment in list(worker.spans):
                    worker.run(assignment, 1 << 30)
                while worker.outbox:
                    busy = True
                    self.say(worker.peer, worker.outbox.popleft())
            self.now += 0.01
            if not busy:
                return
        raise AssertionError("the work does not come to an end")

    def check_end(self) -> None:
        """Every future has a right result where its client was told, or failed with a cause."""
        for client in self.clients.values():
            for task, state in client.futures.items():
                if task[0] in client.refused:
                    continue
                assert state != "pending", f"{task} never came to an end"
                if state[0] == "done":
                    worker = self.workers[state[1]]
                    assert worker.store[task] == self.value(task), f"a wrong result of {task}"
        known = {task for client in self.clients.values() for task in client.futures}
        known |= {task for tasks in self.datasets.values() for task in tasks}
        for worker in self.workers.values():
            assert not worker.spans
            strays = set(worker.store) - known
            assert not strays, f"{strays} are kept for nobody"
