"""What transport tests share: an echo server, and one way to run a test on a loop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

from cellspan.engine.messages import PROTOCOL, Hello, Message, Turned, Welcome
from cellspan.engine.transport import Connection, Credentials, connect, listen

CLUSTER = "c1"
TIMEOUT_S = 20


@dataclasses.dataclass
class Carrier:
    address: str
    server: Credentials | None = None
    client: Credentials | None = None


def hello(**changes: Any) -> Hello:
    values: dict[str, Any] = {
        "protocol": PROTOCOL, "version": "0", "role": "client", "cluster": CLUSTER, "info": {},
    }  # fmt: skip
    return Hello(**{**values, **changes})


class Server:
    """Echoes, and keeps what it saw."""

    def __init__(self) -> None:
        self.address = ""
        self.connections: list[Connection] = []
        self.hellos: list[Hello] = []
        self.closed: list[Exception | None] = []
        self.turn: Callable[[Hello], Turned | None] = lambda hello: None
        self.on_messages: Callable[[Connection, list[Message]], None] = echo

    def admit(self, hello: Hello, connection: Connection) -> Welcome | Turned:
        self.hellos.append(hello)
        turned = self.turn(hello)
        if turned is not None:
            return turned
        connection.on_messages = lambda messages: self.on_messages(connection, messages)
        connection.on_close = self.closed.append
        self.connections.append(connection)
        return Welcome(len(self.connections), "name", "0")


def echo(connection: Connection, messages: list[Message]) -> None:
    for message in messages:
        connection.send(message)


@contextlib.asynccontextmanager
async def serving(address: str, credentials: Credentials | None = None) -> AsyncIterator[Server]:
    server = Server()
    listener = await listen(address, server.admit, credentials, cluster=CLUSTER)
    server.address = listener.address
    try:
        yield server
    finally:
        listener.close()
        for connection in server.connections:
            connection.abort()
            await connection.closed()


class Peer:
    """A connected client that collects what it is sent."""

    def __init__(self, connection: Connection, welcome: Welcome) -> None:
        self.connection = connection
        self.welcome = welcome
        self.messages: list[Message] = []
        self.batches: list[int] = []
        self._came = asyncio.Event()
        connection.on_messages = self._take

    def _take(self, messages: list[Message]) -> None:
        self.messages += messages
        self.batches.append(len(messages))
        self._came.set()

    async def receive(self, count: int) -> list[Message]:
        while len(self.messages) < count:
            self._came.clear()
            await self._came.wait()
        return self.messages


@contextlib.asynccontextmanager
async def connected(server: Server, credentials: Credentials | None = None) -> AsyncIterator[Peer]:
    connection, welcome = await connect(server.address, hello(), credentials)
    try:
        yield Peer(connection, welcome)
    finally:
        connection.abort()
        await connection.closed()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until the condition holds."""
    while not condition():
        await asyncio.sleep(0.001)


def run(coroutine: Any) -> Any:
    """Run a test's coroutine; it fails if it takes longer than TIMEOUT_S."""

    async def limited() -> Any:
        async with asyncio.timeout(TIMEOUT_S):
            return await coroutine

    return asyncio.run(limited())
