"""A client against a scripted scheduler and worker, in one process: what goes wrong on the way."""

from __future__ import annotations

import asyncio
import itertools
import pickle
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from cellspan.engine.client import Client, Future, fetching, wait
from cellspan.engine.client import client as client_module
from cellspan.engine.client.target import Target
from cellspan.engine.errors import ClusterError, ConnectionClosed, DataLost, Refused, StoreFull
from cellspan.engine.messages import (
    AddressFound,
    Declined,
    ExtendGroup,
    GetAddress,
    GetResults,
    GetStatus,
    Hello,
    Message,
    PickWorkers,
    PutResults,
    ResultsKept,
    ResultsSent,
    StatusGiven,
    SubmitGroup,
    TasksDone,
    Turned,
    WantResults,
    Welcome,
    WorkersPicked,
)
from cellspan.engine.transport import Connection, Listener, listen

CLUSTER = "cluster-id"
WORKER = 50
WAIT_S = 10.0
numbers = itertools.count()


class Script:
    """The other side: keeps all messages, and answers by `answers`."""

    def __init__(self, name: str) -> None:
        self.address = f"memory://{name}-{next(numbers)}"
        self.got: list[Message] = []
        self.connections: list[Connection] = []
        self.answers: dict[type[Message], Callable[[Any], Message | None]] = {}
        self.turns_away = ""
        self._listener: Listener
        self._arrived = asyncio.Event()

    async def start(self) -> None:
        self._listener = await listen(self.address, self._admit, cluster=CLUSTER)

    def _admit(self, hello: Hello, connection: Connection) -> Welcome | Turned:
        if self.turns_away:
            return Turned(self.turns_away)
        connection.on_messages = lambda messages: self._on_messages(connection, messages)
        self.connections.append(connection)
        return Welcome(7, "scripted", "1")

    def _on_messages(self, connection: Connection, messages: list[Message]) -> None:
        for message in messages:
            self.got.append(message)
            answer = self.answers.get(type(message), lambda message: None)(message)
            if answer is not None:
                connection.send(answer)
        self._arrived.set()

    def send(self, message: Message) -> None:
        self.connections[-1].send(message)

    async def find(self, kind: type[Message], count: int = 1) -> Any:
        """Wait for the `count`-th message of a kind."""
        async with asyncio.timeout(WAIT_S):
            while len(found := [m for m in self.got if type(m) is kind]) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return found[count - 1]

    def close(self) -> None:
        self._listener.close()
        for connection in self.connections:
            connection.close()


Body = Callable[[Client, Script, Script], Awaitable[None]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[Body], None]:
    """Run a test's body with a client, its scheduler, and a worker that is known to that."""

    async def run(body: Body) -> None:
        scheduler, worker = Script("scheduler"), Script("worker")
        await scheduler.start()
        await worker.start()
        scheduler.answers[GetAddress] = lambda m: AddressFound(m.request, m.worker, worker.address)
        monkeypatch.setattr(
            client_module, "resolve", lambda *where: Target(scheduler.address, CLUSTER, None)
        )
        try:
            async with Client("it", asynchronous=True) as client:
                await body(client, scheduler, worker)
        finally:
            scheduler.close()
            worker.close()

    def play(body: Body) -> None:
        asyncio.run(run(body))

    return play


def block(start: int, *values: Any) -> list[Any]:
    return [start, start + len(values), False, [pickle.dumps(list(values), 5)]]


async def ended(work: Coroutine[Any, Any, Any]) -> BaseException | None:
    """How something ends: its exception."""
    return (await asyncio.gather(work, return_exceptions=True))[0]


def test_a_burst_of_submits_is_one_message(play: Callable[[Body], None]) -> None:
    async def body(client: Client, scheduler: Script, worker: Script) -> None:
        futures = [client.submit(abs, -i) for i in range(5000)]
        more = await scheduler.find(ExtendGroup)
        assert more.count == 5000
        scheduler.send(TasksDone(more.group, 0, 5000, WORKER, [block(0, *range(5000))]))
        assert await client.gather(futures, timeout=WAIT_S) == list(range(5000))
        assert not [m for m in scheduler.got if isinstance(m, WantResults)]

    play(body)


def test_results_are_fetched_and_refetched(play: Callable[[Body], None]) -> None:
    async def body(client: Client, scheduler: Script, worker: Script) -> None:
        futures = client.map(abs, range(20_000), name="many")
        group = (await scheduler.find(SubmitGroup)).group
        scheduler.send(TasksDone(group, 0, 20_000, WORKER, None))
        forgets = [True, True]

        def give(asked: GetResults) -> ResultsSent:
            if forgets:
                forgets.pop()
                return ResultsSent(asked.request, [], [])
            return ResultsSent(
                asked.request, [block(asked.start, *range(asked.start, asked.stop))], []
            )

        worker.answers[GetResults] = give
        scheduler.answers[WantResults] = lambda m: TasksDone(
            group, m.runs[0], m.runs[-1], WORKER, None
        )
        assert await client.gather(futures, timeout=WAIT_S) == list(range(20_000))
        asked = [m for m in worker.got if isinstance(m, GetResults)]
        assert asked[0].stop - asked[0].start < 1000, "unknown sizes are asked for in small runs"
        assert len(asked) < 40, "small results in large ones"

    play(body)


def test_a_worker_that_is_gone_loses_results_in_the_end(
    play: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "RETRY_S", 0.001)

    async def body(client: Client, scheduler: Script, worker: Script) -> None:
        future = client.submit(abs, -1)
        group = (await scheduler.find(ExtendGroup)).group
        scheduler.answers[GetAddress] = lambda m: AddressFound(m.request, m.worker, None)
        scheduler.answers[WantResults] = lambda m: TasksDone(group, 0, 1, WORKER, None)
        scheduler.send(TasksDone(group, 0, 1, WORKER, None))
        error = await ended(future.result(timeout=60))
        assert isinstance(error, DataLost) and "worker 50 is gone" in str(error)

    play(body)


def test_a_lost_connection_ends_everything_with_its_reason(play: Callable[[Body], None]) -> None:
    async def body(client: Client, scheduler: Script, worker: Script) -> None:
        future = client.submit(abs, -1)
        await scheduler.find(ExtendGroup)
        results = asyncio.gather(
            ended(future.result()), ended(client.gather([future])), ended(client.status())
        )
        await scheduler.find(GetStatus)
        scheduler.send(Turned("the cluster has failed: no workers"))
        scheduler.connections[0].close()
        for error in await results:
            assert isinstance(error, ConnectionClosed)
            assert "cluster 'scripted'" in str(error) and "no workers" in str(error)
        with pytest.raises(ConnectionClosed, match="no workers"):
            client.submit(abs, 1)
        done, not_done = await wait([future], timeout=1)
        assert not not_done and done == {future}

    play(body)


def test_closing_sends_what_was_submitted_before(play: Callable[[Body], None]) -> None:
    async def body(client: Client, scheduler: Script, worker: Script) -> None:
        client.submit(abs, -1)
        await client.close()
        await scheduler.find(ExtendGroup)

    play(body)


def test_questions_that_are_declined(play: Callable[[Body], None]) -> None:
    async def body(client: Client, scheduler: Script, worker: Script) -> None:
        scheduler.answers[GetStatus] = lambda m: Declined(m.request, "not now")
        with pytest.raises(ClusterError, match="not now"):
            await client.status()
        scheduler.answers[GetStatus] = lambda m: None
        with pytest.raises(TimeoutError, match=r"the cluster's status: no answer in 0\.05 s"):
            await client.status(timeout=0.05)
        scheduler.answers[GetStatus] = lambda m: StatusGiven(m.request, {"state": "running"})
        assert await client.status() == {"state": "running"}

    play(body)


def test_scatter_into_a_full_store(play: Callable[[Body], None]) -> None:
    async def body(client: Client, scheduler: Script, worker: Script) -> None:
        places = [[0, 1, WORKER, worker.address]]
        scheduler.answers[PickWorkers] = lambda m: WorkersPicked(m.request, places)
        worker.answers[PutResults] = lambda m: ResultsKept(m.request, "no room for 3 bytes")
        with pytest.raises(StoreFull, match="no room for 3 bytes"):
            await client.scatter("abc")
        worker.answers[PutResults] = lambda m: ResultsKept(m.request, None)
        future = await client.scatter("abc")
        assert isinstance(future, Future) and future.name == "scatter[0]"
        put = await worker.find(PutResults, 2)
        assert pickle.loads(put.blocks[0][3][0]) == "abc"
        scheduler.answers[PickWorkers] = lambda m: None
        with pytest.raises(TimeoutError, match="scatter of 1 items"):
            await client.scatter("abc", timeout=0.05)

    play(body)


def test_a_client_that_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        scheduler = Script("scheduler")
        await scheduler.start()
        scheduler.turns_away = "the cluster is stopping"
        where = Target(scheduler.address, CLUSTER, None)
        monkeypatch.setattr(client_module, "resolve", lambda *_: where)
        client = Client("it", asynchronous=True)
        with pytest.raises(ConnectionClosed, match="not connected"):
            client.submit(abs, 1)
        with pytest.raises(Refused, match="the cluster is stopping"):
            await client
        scheduler.close()

    asyncio.run(main())
