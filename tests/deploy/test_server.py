"""The scheduler's shell around the real core, with peers in memory and a launcher that starts
nothing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cellspan.engine.deploy import control
from cellspan.engine.deploy.connection_file import ClusterInfo
from cellspan.engine.errors import ClusterError, ConnectionClosed, Refused
from cellspan.engine.messages import (
    PROTOCOL,
    EndWorker,
    ExecutorsRestarted,
    GetLogs,
    GetStatus,
    Heartbeat,
    Hello,
    LogsGiven,
    Message,
    ReleaseTasks,
    RestartExecutors,
    RunSpan,
    SpanDone,
    StatusGiven,
    SubmitGroup,
    TasksDone,
    Turned,
    WatchCluster,
)
from cellspan.engine.scheduler import desk, server, sessions
from cellspan.engine.scheduler.core import SchedulerCore
from cellspan.engine.scheduler.crew import Crew
from cellspan.engine.scheduler.logbook import GONE_LINES, Logbook
from cellspan.engine.scheduler.server import ClusterFacts, SchedulerServer
from cellspan.engine.transport import Connection, connect

ADDRESS = "memory://scheduler"


class FakeLauncher:
    def __init__(self) -> None:
        self.launched: list[str] = []
        self.ended: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.all_ended = False

    def launch(self, name: str) -> None:
        self.launched.append(name)

    def find_ended(self) -> list[tuple[str, str]]:
        ended, self.ended = self.ended, []
        return ended

    def find_how_ended(self, name: str) -> str | None:
        return next((how for other, how in self.ended if other == name), None)

    def end(self, name: str) -> None:
        self.asked.append(name)

    def end_all(self) -> None:
        self.all_ended = True

    def read_log(self, name: str, lines: int) -> list[list[Any]]:
        return [[name, "log", 1.0, f"last words of {name}"]]


class Peer:
    """A client or worker that keeps what it is sent."""

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.got: list[Message] = []
        connection.on_messages = self.got.extend

    def find(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.got if isinstance(message, kind)]

    async def receive(self, kind: type[Any], count: int = 1) -> Any:
        await until(lambda: len(self.find(kind)) >= count)
        return self.find(kind)[count - 1]


class House:
    """A server, and peers that join it."""

    def __init__(self, workers: int = 1) -> None:
        self.launcher = FakeLauncher()
        self.states: list[tuple[str, str]] = []
        self.crew = Crew(workers)
        self.core = SchedulerCore(cluster="house", version="0", validate=True)
        facts = ClusterFacts("house", "id", "0", "kernel", 0.0)
        self.server = SchedulerServer(
            self.core, self.launcher, self.crew, facts, Logbook(),
            lambda state, reason: self.states.append((state, reason)),
        )  # fmt: skip
        self.peers: list[Peer] = []
        self.info = ClusterInfo("house", "id", addresses={"scheduler": ADDRESS})

    async def join(self, role: str, **info: Any) -> Peer:
        hello = Hello(PROTOCOL, "0", role, "id", info)
        connection, welcome = await connect(ADDRESS, hello)
        self.peers.append(Peer(connection, welcome.peer))
        return self.peers[-1]

    async def add_worker(self, name: str = "worker-1", executors: float = 1.0) -> Peer:
        worker = await self.join(
            "worker", name=name, slots=1, memory_limit_bytes=10**9, address="memory://w",
            host="h", pid=1, topology="/h", python="3", version="0", executors=1,
        )  # fmt: skip
        worker.connection.send(Heartbeat({"executors": executors, "running": 0.0}))
        return worker


@contextlib.asynccontextmanager
async def living(workers: int = 1) -> AsyncIterator[House]:
    house = House(workers)
    await house.server.start(ADDRESS, None)
    try:
        yield house
    finally:
        house.server.stop("the test is over")
        for peer in house.peers:
            peer.connection.close()
        await house.server.stopped


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def run(coroutine: Any) -> None:
    async def limited() -> None:
        async with asyncio.timeout(15):
            await coroutine

    asyncio.run(limited())


def submit(group: int, count: int = 4) -> SubmitGroup:
    layer = {"kind": "each", "n": count, "function": b"f" * 16, "args": [["range", 0, 1]],
             "names": []}  # fmt: skip
    return SubmitGroup(group, "g", layer, {b"f" * 16: b"code"}, {}, True)


def test_starting_running_stopping() -> None:
    async def check() -> None:
        async with living(workers=2) as house:
            assert house.launcher.launched == ["worker-1", "worker-2"]
            assert house.states == []
            await house.add_worker(executors=0.0)
            assert house.states == []
            await house.add_worker("worker-2")
            await until(lambda: house.states)
            assert house.states == [("running", "")]
        assert house.states[-1] == ("stopping", "the test is over")
        assert house.launcher.all_ended

    run(check())


def test_work_passes_through() -> None:
    async def check() -> None:
        async with living() as house:
            worker = await house.add_worker()
            client = await house.join("client", name="ann")
            group = client.number << 32 | 1
            client.connection.send(submit(group, 3))
            done = 0
            for number in itertools.count(1):
                span = await worker.receive(RunSpan, number)
                size = span.stop - span.start
                worker.connection.send(
                    SpanDone(
                        span.assignment, group, span.start, span.stop, 10, 0.1, [0, size], None
                    )
                )
                done += size
                if done == 3:
                    break
            await until(lambda: sum(m.stop - m.start for m in client.find(TasksDone)) == 3)

    run(check())


def test_one_place_per_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        async with living() as house:
            clients = [await house.join("client", name=str(n)) for n in range(20)]
            calls: list[float] = []
            place = house.core.place
            monkeypatch.setattr(house.core, "place", lambda now: (calls.append(now), place(now)))
            for client in clients:
                for serial in range(10):
                    client.connection.send(submit(client.number << 32 | serial))
                client.connection.flush()
            await until(lambda: house.core.snapshot(0).totals["total"] == 20 * 10 * 4)
            await asyncio.sleep(0)
            assert 1 <= len(calls) <= 3

    run(check())


def test_a_peer_that_breaks_the_protocol_goes_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with living() as house:
            worker = await house.add_worker()
            good = await house.join("client", name="good")
            for nonsense in (ReleaseTasks(1, [5, 3]), Heartbeat({}), LogsGiven(1, [])):
                bad = await house.join("client", name="bad")
                bad.connection.send(nonsense)
                await bad.connection.closed()
            for nonsense in (submit(1), GetStatus(1)):
                bad = await house.add_worker("bad")
                bad.connection.send(nonsense)
                await bad.connection.closed()
            spy = await house.join("client", control=True)
            spy.connection.send(submit(spy.number << 32))
            await spy.connection.closed()
            good.connection.send(GetStatus(7))
            status = (await good.receive(StatusGiven)).status
            assert [w["name"] for w in status["workers"]] == ["worker-1"]
            assert status["clients"] == 1 and status["state"] == "running"
            assert not worker.connection.is_closing

    with caplog.at_level(logging.WARNING, "cellspan.transport"):
        run(check())
    assert len(caplog.records) == 6


@pytest.mark.parametrize("info", [{}, {"slots": 0, "address": "a"}, {"slots": 1}])
def test_a_worker_that_says_nonsense_is_turned_away(info: dict[str, Any]) -> None:
    async def check() -> None:
        async with living() as house:
            with pytest.raises(Refused):
                await house.join("worker", **info)
            with pytest.raises(Refused, match="from workers"):
                await house.join("peer")

    run(check())


def test_a_fault_of_the_core_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def check() -> None:
        async with living() as house:
            worker = await house.add_worker()
            client = await house.join("client", name="ann")
            await until(lambda: house.states)
            client.connection.send(submit(client.number << 32, 7))
            await worker.receive(RunSpan)

            def fail(*args: Any) -> None:
                raise AssertionError("two and two are five")

            monkeypatch.setattr(house.core, "handle", fail)
            client.connection.send(ReleaseTasks(1, []))
            turned = await client.receive(Turned)
            assert "two and two are five" in turned.reason
            await client.connection.closed()
            assert "five" in (await worker.receive(EndWorker)).reason
            assert house.states[-1][0] == "failed" and "five" in house.states[-1][1]
            with pytest.raises(Refused, match="five"):
                await house.join("client", name="late")
            async with control.open(house.info) as asker:
                status = await asker.status()
                assert status["state"] == "failed" and "five" in status["reason"]
                assert await asker.logs("scheduler") is not None
                with pytest.raises(ClusterError, match="stop it"):
                    await asker.scale(2)
                with pytest.raises(ClusterError, match="failed"):
                    async for _ in asker.watch():
                        pass

    with caplog.at_level(logging.CRITICAL):
        run(check())
    assert "two and two are five" in caplog.text
    assert "ReleaseTasks(group=1" in caplog.text  # the message that it stumbled over
    for told in ("client 2 'ann'", "worker 1 'worker-1': 1 slots", "each n=7", "assignment 1:"):
        assert told in caplog.text


def test_a_lost_worker_is_replaced() -> None:
    async def check() -> None:
        async with living() as house:
            worker = await house.add_worker()
            house.launcher.ended.append(("worker-1", "signal 9"))
            worker.connection.abort()
            await until(lambda: house.launcher.launched == ["worker-1", "worker-2"])
            assert house.server.logbook.read("worker-1", 5)[0][3] == "last words of worker-1"

    run(check())


def test_a_dead_process_ends_its_session() -> None:
    async def check() -> None:
        async with living() as house:
            worker = await house.add_worker()  # its connection stays open: the network is gone
            house.launcher.ended.append(("worker-1", "signal 9"))
            await worker.connection.closed()
            await until(lambda: not house.server.workers)

    run(check())


def test_a_silent_worker_is_shown_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SILENT_S", 0.05)
    monkeypatch.setattr(server, "TICK_S", 0.02)
    monkeypatch.setattr(server, "GIVEN_UP_S", 0.5)

    async def check() -> None:
        async with living() as house:
            worker = await house.add_worker()
            async with control.open(house.info) as asker:
                while (await asker.status())["workers"][0]["state"] != "silent":
                    await asyncio.sleep(0.01)
                assert "no heartbeat" in (await asker.status())["workers"][0]["reason"]
            assert not worker.connection.is_closing
            await worker.connection.closed()

    run(check())


def test_scaling_down_ends_the_idle_one() -> None:
    async def check() -> None:
        async with living(workers=2) as house:
            busy = await house.add_worker("worker-1")
            idle = await house.add_worker("worker-2")
            busy.connection.send(Heartbeat({"executors": 1.0, "running": 1.0}))
            async with control.open(house.info) as asker:
                await until(lambda: any(s.stats.get("running") for s in house.server.workers))
                await asker.scale(1)
                await idle.receive(EndWorker)
                await idle.connection.closed()
                assert house.launcher.asked == ["worker-2"]
                assert [w["name"] for w in (await asker.status())["workers"]] == ["worker-1"]
                for wrong in (0, -1, 10**6):
                    with pytest.raises(ClusterError, match="1 to 1000"):
                        await asker.scale(wrong)

    run(check())


def test_logs_come_from_workers_and_of_the_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "WORKERS_ANSWER_S", 0.2)

    async def check() -> None:
        async with living(workers=2) as house:
            house.server.logbook.keep("worker-0", [["worker-0", "log", 1.0, "the dead"]])
            worker = await house.add_worker("worker-1")
            await house.add_worker("worker-2")  # does not answer

            def answer(messages: list[Message]) -> None:
                for message in messages:
                    if isinstance(message, GetLogs):
                        entries = [["worker-1/0", "stdout", 2.0, "hello"], ["odd"]]
                        worker.connection.send(LogsGiven(message.request, entries))

            worker.connection.on_messages = answer
            async with control.open(house.info) as asker:
                assert [e[3] for e in await asker.logs()] == ["the dead", "hello"]
                assert [e[3] for e in await asker.logs("worker-1")] == ["hello"]
                assert [e[3] for e in await asker.logs("worker-1/0")] == ["hello"]
                assert [e[3] for e in await asker.logs("worker-0")] == ["the dead"]

    run(check())


def test_snapshots_are_made_once_for_all_and_only_for_somebody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(desk, "SNAPSHOT_S", 0.1)

    async def check() -> None:
        async with living() as house:
            made: list[float] = []
            snapshot = house.core.snapshot
            monkeypatch.setattr(
                house.core, "snapshot", lambda now: (made.append(now), snapshot(now))[1]
            )
            async with contextlib.AsyncExitStack() as stack:
                streams = []
                for _ in range(5):
                    asker = await stack.enter_async_context(control.open(house.info))
                    streams.append(asker.watch(0.1))
                for _ in range(4):
                    for stream in streams:
                        assert (await anext(stream)).cluster == "house"
                assert len(made) <= 5
                for stream in streams:
                    await stream.aclose()
            await until(lambda: not house.server.sessions)
            await until(lambda: house.server._desk._timer is None)

    run(check())


def test_watching_ends_on_zero() -> None:
    async def check() -> None:
        async with living() as house:
            client = await house.join("client", name="ann")
            client.connection.send(WatchCluster(3, 0.5))
            client.connection.send(WatchCluster(4, 0))
            await until(lambda: len(client.got) == 2)
            assert [m.request for m in client.got] == [3, 4]  # type: ignore[attr-defined]
            assert house.server._desk._watchers == {}

    run(check())


def test_restart_is_answered_when_all_are_back() -> None:
    async def check() -> None:
        async with living() as house:
            worker = await house.add_worker()
            client = await house.join("client", name="ann")
            group = client.number << 32
            client.connection.send(submit(group))
            await worker.receive(RunSpan)
            async with control.open(house.info) as asker:
                restarted = asyncio.ensure_future(asker.restart())
                question = await worker.receive(RestartExecutors)
                assert not restarted.done()
                worker.connection.send(ExecutorsRestarted(question.request))
                await restarted
            assert house.core.snapshot(0).totals["running"] == 0

    run(check())


def test_stop_by_a_client_ends_all_connections() -> None:
    async def check() -> None:
        async with living() as house:
            worker = await house.add_worker()
            client = await house.join("client", name="ann")
            async with control.open(house.info) as asker:
                await asker.stop("ann")
                await worker.receive(EndWorker)
                with pytest.raises((Refused, ConnectionClosed)):
                    await house.join("client", name="late")
                worker.connection.close()
                await client.connection.closed()
                await house.server.stopped
            assert house.states[-1] == ("stopping", "stopped by ann")

    run(check())


def test_idle_means_no_client_and_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TICK_S", 0.01)

    async def check() -> None:
        async with living() as house:
            await until(lambda: house.server.idle_since is not None)
            client = await house.join("client", name="ann")
            await until(lambda: house.server.idle_since is None)
            client.connection.close()
            await until(lambda: house.server.idle_since is not None)
            async with control.open(house.info):
                assert house.server.idle_since is not None

    run(check())


def test_the_logbook_is_bounded() -> None:
    book = Logbook()
    for number in range(100):
        book.keep(f"w{number}", [[f"w{number}", "log", 0.0, str(n)] for n in range(1000)])
    entries = book.read(None, 10**6)
    assert len(entries) == 20 * GONE_LINES
    assert not book.knows("w0") and book.knows("w99") and book.knows("scheduler")
