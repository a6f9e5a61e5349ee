"""A connection that threads listen and speak on, beside its loop."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cellspan.engine.messages import Heartbeat, Message, PutResults
from cellspan.engine.transport.sharing import CAN_SHARE, Listening
from cellspan.engine.transport.stream import StreamConnection

from .support import Peer, connected, run, serving, until

pytestmark = pytest.mark.skipif(not CAN_SHARE, reason="threads cannot listen on this system")


@pytest.fixture
def address() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="cs-") as folder:
        yield f"unix://{folder}/s"


def share(peer: Peer) -> tuple[StreamConnection, Listening]:
    connection = peer.connection
    assert isinstance(connection, StreamConnection)
    listening = connection.share()
    assert listening is not None
    return connection, listening


def ask(connection: StreamConnection, listening: Listening, message: Message) -> list[Message]:
    """Send a message from this thread, and hear the answer here."""
    assert listening.begin()
    found: list[Message] = []
    try:
        connection.send_here([message])
        while not found:
            readable, _ = listening.wait(10_000)
            assert readable
            found += listening.read() or []
    finally:
        listening.end(keep=False)
    return found


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.to_thread(function, *args)


def test_a_thread_asks_and_hears_and_the_loop_hears_the_rest(address: str) -> None:
    async def check() -> None:
        async with serving(address) as server, connected(server) as peer:
            connection, listening = share(peer)
            for at in range(20):
                beat = Heartbeat({"at": float(at)})
                assert await in_thread(ask, connection, listening, beat) == [beat]
            assert not peer.messages, "the loop kept its hands off"
            await in_thread(connection.send_here, [Heartbeat({})])
            assert await peer.receive(1) == [Heartbeat({})], "nobody else listens: the loop does"

    run(check())


def test_order_is_kept_when_the_socket_is_full_and_the_loop_sends_too(address: str) -> None:
    async def check() -> None:
        async with serving(address) as server, connected(server) as peer:
            connection, _ = share(peer)
            there = server.connections[0]
            got: list[Message] = []
            there.on_messages = got.extend
            there._transport.pause_reading()  # type: ignore[attr-defined]

            def speak() -> None:
                for at in range(400):
                    connection.send_here([Heartbeat({"at": float(at), "x" * 3000: 0.0})])

            await in_thread(speak)
            assert connection.backlog_bytes > 100_000
            connection.send(PutResults(1, 1, [[0, 1, True, [bytes(1_000_000)]]]))
            await in_thread(connection.send_here, [Heartbeat({"at": 400.0})])
            there._transport.resume_reading()  # type: ignore[attr-defined]
            await until(lambda: len(got) == 402)
            beats = [m.stats["at"] for m in got if isinstance(m, Heartbeat)]
            assert beats == [float(at) for at in range(401)]
            assert isinstance(got[400], PutResults)

    run(check())


def test_one_listens_at_a_time_and_a_bell_ends_the_wait(address: str) -> None:
    async def check() -> None:
        async with serving(address) as server, connected(server) as peer:
            _, listening = share(peer)
            begun, heard = threading.Event(), []

            def wait() -> None:
                assert listening.begin()
                begun.set()
                heard.append(listening.wait(None))
                listening.end(keep=False)

            waiter = threading.Thread(target=wait)
            waiter.start()
            await in_thread(begun.wait, 10)
            assert not listening.begin()
            await in_thread(listening.ring)
            await in_thread(waiter.join, 10)
            assert heard == [(False, True)]

    run(check())


def test_who_comes_back_soon_keeps_the_loop_out_until_it_is_given_back(address: str) -> None:
    async def check() -> None:
        async with serving(address) as server, connected(server) as peer:
            _, listening = share(peer)

            def listen_briefly() -> None:
                assert listening.begin()
                listening.end(keep=True)

            await in_thread(listen_briefly)
            there = server.connections[0]
            there.send(Heartbeat({}))
            there.flush()
            await asyncio.sleep(0)
            await in_thread(lambda: None)  # the loop turns, and is told of nothing
            assert not peer.messages
            listening.give_back()
            assert await peer.receive(1) == [Heartbeat({})]

    run(check())


def test_an_end_is_left_to_the_loop(address: str) -> None:
    async def check() -> None:
        async with serving(address) as server, connected(server) as peer:
            _, listening = share(peer)
            closed: list[Exception | None] = []
            peer.connection.on_close = closed.append

            def wait() -> list[Message] | None:
                assert listening.begin()
                try:
                    listening.wait(10_000)
                    return listening.read()
                finally:
                    listening.end(keep=False)

            reading = asyncio.ensure_future(in_thread(wait))
            server.connections[0].abort()
            assert await reading is None
            await until(lambda: closed)
            assert not listening.begin(), "there is nothing to listen to any more"

    run(check())


def test_broken_frames_end_the_connection(address: str) -> None:
    async def check() -> None:
        async with serving(address) as server, connected(server) as peer:
            _, listening = share(peer)
            closed: list[Exception | None] = []
            peer.connection.on_close = closed.append
            server.connections[0]._transport.write(b"\xff" * 100)  # type: ignore[attr-defined]

            def read() -> list[Message] | None:
                assert listening.begin()
                try:
                    listening.wait(10_000)
                    return listening.read()
                finally:
                    listening.end(keep=False)

            assert await in_thread(read) is None
            await until(lambda: closed)
            assert "frame" in str(closed[0])

    run(check())
