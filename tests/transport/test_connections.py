"""Connections of every carrier: what is sent arrives, in order, in few frames, and both sides hear
of the end."""

from __future__ import annotations

import asyncio
import logging
import os

import pytest

from cellspan.engine.errors import ConnectionClosed, PeerError
from cellspan.engine.messages import Heartbeat, Message, PutResults, ReleaseTasks, Welcome
from cellspan.engine.transport import Connection, connect, listen

from .support import Carrier, Server, connected, hello, run, serving, until


def test_welcome_and_info(carrier: Carrier) -> None:
    async def check() -> None:
        async with serving(carrier.address, carrier.server) as server:
            connection, welcome = await connect(
                server.address, hello(info={"name": "ann", "pid": 7}), carrier.client
            )
            assert welcome == Welcome(1, "name", "0")
            assert server.connections[0].peer_info == {"name": "ann", "pid": 7}
            assert connection.is_local == (not carrier.address.startswith("tls"))
            connection.close()
            await connection.closed()

    run(check())


def test_round_trip_of_large_and_small(carrier: Carrier) -> None:
    async def check() -> None:
        big = os.urandom(3_000_000)
        parts = [b"", b"x", big[:4096], big[:70_000], memoryview(big), bytearray(big[:2_000_000])]
        message = PutResults(1, 2, [[0, 1, True, parts]])
        async with (
            serving(carrier.address, carrier.server) as server,
            connected(server, carrier.client) as peer,
        ):
            for _ in range(3):
                peer.connection.send(message)
                peer.connection.send(ReleaseTasks(5, [1, 2]))
                await peer.connection.drain()
            found = await peer.receive(6)
            assert found == [message, ReleaseTasks(5, [1, 2])] * 3
            assert peer.connection.backlog_bytes == 0

    run(check())


def test_many_in_order_and_coalesced(carrier: Carrier) -> None:
    async def check() -> None:
        async with (
            serving(carrier.address, carrier.server) as server,
            connected(server, carrier.client) as peer,
        ):
            count = 40_000
            for number in range(count):
                peer.connection.send(ReleaseTasks(number, []))
            found = await peer.receive(count)
            assert [m.group for m in found] == list(range(count))  # type: ignore[attr-defined]
            assert len(peer.batches) < 40

    run(check())


def test_sent_while_admitting_follows_the_welcome(carrier: Carrier) -> None:
    async def check() -> None:
        def admit(_: object, connection: Connection) -> Welcome:
            connection.send(Heartbeat({"a": 1.0}))
            connection.on_close = lambda error: None
            held.append(connection)
            return Welcome(1, "name", "0")

        held: list[Connection] = []
        listener = await listen(carrier.address, admit, carrier.server, cluster="c1")
        connection, _ = await connect(listener.address, hello(), carrier.client)
        held[0].send(Heartbeat({"b": 2.0}))
        await asyncio.sleep(0)
        found: list[Message] = []
        connection.on_messages = found.extend  # set late: what came before is kept
        await until(lambda: len(found) == 2)
        assert found == [Heartbeat({"a": 1.0}), Heartbeat({"b": 2.0})]
        listener.close()
        for one in (connection, *held):
            one.abort()
            await one.closed()

    run(check())


def test_flush_writes_at_once_and_close_sends_the_rest(carrier: Carrier) -> None:
    async def check() -> None:
        async with serving(carrier.address, carrier.server) as server:
            got: list[Message] = []
            server.on_messages = lambda connection, messages: got.extend(messages)
            async with connected(server, carrier.client) as peer:
                peer.connection.send(ReleaseTasks(1, []))
                peer.connection.flush()
                peer.connection.send(PutResults(1, 1, [[0, 1, True, [bytes(2_000_000)]]]))
                peer.connection.close()
                await peer.connection.closed()
                await until(lambda: server.closed)
                assert [type(m) for m in got] == [ReleaseTasks, PutResults]
                assert server.closed == [None]

    run(check())


def test_send_now_writes_at_once_and_after_what_is_queued(carrier: Carrier) -> None:
    async def check() -> None:
        async with (
            serving(carrier.address, carrier.server) as server,
            connected(server, carrier.client) as peer,
        ):
            peer.connection.send(ReleaseTasks(1, []))
            peer.connection.send_now([ReleaseTasks(2, []), ReleaseTasks(3, [])])
            peer.connection.send(ReleaseTasks(4, []))
            found = await peer.receive(4)
            assert [m.group for m in found] == [1, 2, 3, 4]  # type: ignore[attr-defined]
            peer.connection.close()
            with pytest.raises(ConnectionClosed):
                peer.connection.send_now([ReleaseTasks(5, [])])

    run(check())


def test_send_after_close_is_refused(carrier: Carrier) -> None:
    async def check() -> None:
        async with (
            serving(carrier.address, carrier.server) as server,
            connected(server, carrier.client) as peer,
        ):
            ends: list[Exception | None] = []
            peer.connection.on_close = ends.append
            server.connections[0].close()
            await peer.connection.closed()
            with pytest.raises(ConnectionClosed):
                peer.connection.send(ReleaseTasks(1, []))
            with pytest.raises(ConnectionClosed):
                await peer.connection.drain()
            assert ends == [None]

    run(check())


def test_on_close_set_late_is_called(carrier: Carrier) -> None:
    async def check() -> None:
        async with (
            serving(carrier.address, carrier.server) as server,
            connected(server, carrier.client) as peer,
        ):
            server.connections[0].abort()
            await peer.connection.closed()
            ends: list[Exception | None] = []
            peer.connection.on_close = ends.append
            await until(lambda: ends)

    run(check())


@pytest.mark.parametrize("error", [PeerError("bad group"), ZeroDivisionError()])
def test_an_error_of_the_owner_ends_only_that_connection(
    carrier: Carrier, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_on_release(connection: Connection, messages: list[Message]) -> None:
        if isinstance(messages[0], ReleaseTasks):
            raise error
        connection.send(messages[0])

    async def check() -> None:
        async with serving(carrier.address, carrier.server) as server:
            server.on_messages = fail_on_release
            async with (
                connected(server, carrier.client) as bad,
                connected(server, carrier.client) as good,
            ):
                bad.connection.send(ReleaseTasks(1, []))
                await bad.connection.closed()
                assert server.closed == [error]
                good.connection.send(Heartbeat({}))
                assert await good.receive(1) == [Heartbeat({})]

    with caplog.at_level(logging.WARNING, "cellspan.transport"):
        run(check())
    assert len(caplog.records) == 1


def test_backlog_of_a_peer_that_does_not_read(carrier: Carrier) -> None:
    if carrier.address.startswith("memory"):
        pytest.skip("memory has no peer that does not read")

    async def check() -> None:
        async with (
            serving(carrier.address, carrier.server) as server,
            connected(server, carrier.client) as peer,
        ):
            peer.connection._transport.pause_reading()  # type: ignore[attr-defined]
            there = server.connections[0]
            there.send(PutResults(1, 1, [[0, 1, True, [bytes(30_000_000)]]]))
            there.flush()
            assert there.backlog_bytes > 20_000_000
            drained = asyncio.ensure_future(there.drain())
            await asyncio.sleep(0)
            assert not drained.done()
            peer.connection._transport.resume_reading()  # type: ignore[attr-defined]
            await drained
            assert there.backlog_bytes < 2_000_000
            assert len(await peer.receive(1)) == 1

    run(check())


def test_many_connections_at_once(carrier: Carrier) -> None:
    async def check() -> None:
        async with serving(carrier.address, carrier.server) as server:
            opened = await asyncio.gather(
                *(connect(server.address, hello(), carrier.client) for _ in range(30))
            )
            assert sorted(welcome.peer for _, welcome in opened) == list(range(1, 31))
            for connection, _ in opened:
                connection.close()
            await until(lambda: len(server.closed) == 30)

    run(check())


def test_closing_the_listener_leaves_connections_and_no_socket(carrier: Carrier) -> None:
    async def check() -> None:
        server = Server()
        listener = await listen(carrier.address, server.admit, carrier.server, cluster="c1")
        server.address = listener.address
        async with connected(server, carrier.client) as peer:
            listener.close()
            peer.connection.send(Heartbeat({}))
            assert await peer.receive(1) == [Heartbeat({})]
            with pytest.raises(ConnectionClosed):
                await connect(listener.address, hello(), carrier.client, timeout_s=5)
            if listener.address.startswith("unix"):
                assert not os.path.exists(listener.address.removeprefix("unix://"))
        server.connections[0].abort()
        await server.connections[0].closed()

    run(check())
