"""Who comes in, and how the two sides find out.

Law: a listener gives nothing to a peer before a valid Hello, takes no more than HELLO_LIMIT_BYTES
from it and waits no longer than HELLO_TIMEOUT_S. Everything that is wrong ends that one connection,
with one log line.
"""

from __future__ import annotations

import asyncio

from ..codec import MAX_BUFFERS, MAX_HEADER_BYTES
from ..errors import CellspanError, ConnectionClosed, PeerError, Refused
from ..messages import PROTOCOL, Hello, Message, Turned, Welcome
from .base import Admit, Connection, logger

HELLO_LIMIT_BYTES = 64 << 10
HELLO_TIMEOUT_S = 5.0
ROLES = ("client", "worker", "peer")


class Gate:
    """Stands before one accepted connection until its Hello is judged."""

    def __init__(self, connection: Connection, cluster: str, admit: Admit) -> None:
        self._connection = connection
        self._cluster = cluster
        self._admit = admit
        connection.reader.header_limit_bytes = HELLO_LIMIT_BYTES
        connection.reader.max_buffers = 0
        connection.on_messages = self._on_first
        connection.on_close = self._on_close
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HELLO_TIMEOUT_S, self._on_silence)

    def _on_silence(self) -> None:
        logger.warning("%s: no Hello in %g s", self._connection.label, HELLO_TIMEOUT_S)
        self._connection.abort(PeerError("no Hello in time"))

    def _on_close(self, error: Exception | None) -> None:
        self._timer.cancel()

    def _on_first(self, messages: list[Message]) -> None:
        connection, hello = self._connection, messages[0]
        if type(hello) is not Hello or len(messages) > 1:
            raise PeerError(f"a {type(hello).__name__} before the welcome")
        self._timer.cancel()
        connection.on_messages = None
        connection.on_close = None
        connection.peer_info = hello.info
        answer = self._judge(hello)
        if connection.is_closing:
            return
        if isinstance(answer, Turned):
            logger.warning("%s: turned away: %s", connection.label, answer.reason)
            connection.on_messages = connection.on_close = None
            connection.send_first(answer)
            connection.close()
            return
        connection.reader.header_limit_bytes = MAX_HEADER_BYTES
        connection.reader.max_buffers = MAX_BUFFERS
        connection.send_first(answer)

    def _judge(self, hello: Hello) -> Welcome | Turned:
        if hello.protocol != PROTOCOL:
            return Turned(
                f"this side speaks protocol {PROTOCOL}, the other protocol {hello.protocol} "
                f"(cellspan {hello.version}): install the same version of cellspan on both"
            )
        if hello.cluster != self._cluster:
            return Turned("this is another cluster than the one that was asked for")
        if hello.role not in ROLES:
            return Turned(f"there is no role {hello.role!r}")
        return self._admit(hello, self._connection)


async def say_hello(connection: Connection, hello: Hello, can_be_credentials: bool) -> Welcome:
    """Send `hello` and return the Welcome.

    Raises:
        Refused: the other side turned us away.
        ConnectionClosed: it closed the connection without a word.
        PeerError: it answered something else.
    """
    answered: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def on_first(messages: list[Message]) -> None:
        connection.on_messages = None
        connection.keep(messages[1:])
        if not answered.done():
            answered.set_result(messages[0])

    def on_close(error: Exception | None) -> None:
        if not answered.done():
            answered.set_exception(_why_no_answer(connection, error, can_be_credentials))

    connection.on_messages = on_first
    connection.on_close = on_close
    connection.send(hello)
    connection.flush()
    try:
        answer = await answered
    finally:
        connection.on_close = None
    if isinstance(answer, Welcome):
        return answer
    connection.abort()
    if isinstance(answer, Turned):
        raise Refused(f"{connection.label} does not let us in: {answer.reason}")
    raise PeerError(f"{connection.label} answered Hello with {type(answer).__name__}")


def _why_no_answer(
    connection: Connection, error: Exception | None, can_be_credentials: bool
) -> CellspanError:
    because = f" ({error})" if error is not None else ""
    if can_be_credentials:
        return Refused(
            f"{connection.label} closed the connection before letting us in{because}: "
            "the credentials are not of this cluster; use its present connection file"
        )
    return ConnectionClosed(
        f"{connection.label} closed the connection before letting us in{because}"
    )
