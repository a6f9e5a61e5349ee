"""Connecting and listening.

Law: foreign exceptions of sockets and TLS end here: callers see Refused, ConnectionClosed,
PeerError, or InvalidArgument for an address or credentials that cannot mean anything. There is no
TCP without TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl

from ..errors import ConnectionClosed, InvalidArgument, PeerError, Refused
from ..messages import Hello, Welcome
from .addresses import BACKLOG, Place, bind, name_address, parse_address
from .base import Admit, Connection, Listener
from .credentials import Credentials
from .handshake import HELLO_TIMEOUT_S, Gate, say_hello
from .stream import StreamConnection
from .unix import UnixServer, connect_unix


async def connect(
    address: str, hello: Hello, credentials: Credentials | None = None, timeout_s: float = 10
) -> tuple[Connection, Welcome]:
    """Return a connection that was let in, and the Welcome. Set `on_messages` and `on_close` on it
    next; nothing that arrives before is lost.

    Raises:
        Refused: wrong credentials, wrong cluster or another protocol version; the text says which.
        ConnectionClosed: nobody answers there, or not in time.
        InvalidArgument: no such kind of address, or credentials that cannot be read.
    """
    place = parse_address(address)
    try:
        async with asyncio.timeout(timeout_s):
            connection = await _open(address, place, credentials, timeout_s)
            try:
                is_tls = place.scheme == "tls"
                welcome = await say_hello(connection, hello, can_be_credentials=is_tls)
            except BaseException:
                connection.abort()
                raise
    except TimeoutError as error:
        raise ConnectionClosed(f"no answer from {address} in {timeout_s:g} s") from error
    except PeerError as error:
        raise ConnectionClosed(str(error)) from error
    return connection, welcome


async def _open(
    address: str, place: Place, credentials: Credentials | None, timeout_s: float
) -> Connection:
    if place.scheme == "memory":
        from .memory import connect_memory

        return await connect_memory(address)
    loop = asyncio.get_running_loop()
    is_unix = place.scheme == "unix"

    def make() -> StreamConnection:
        return StreamConnection(address, None, same_user_only=is_unix)

    try:
        if is_unix:
            connection: Connection = await connect_unix(place.path, make)
            return connection
        context = _make_context(address, credentials, is_server=False)
        return (
            await loop.create_connection(
                make, place.host, place.port, ssl=context,
                ssl_handshake_timeout=max(timeout_s, 0.1),
            )
        )[1]  # fmt: skip
    except ssl.SSLError as error:
        raise Refused(
            f"{address} is not of the cluster that these credentials are for "
            f"({error.reason or error}): use its present connection file"
        ) from error
    except TimeoutError:
        raise
    except OSError as error:
        raise ConnectionClosed(f"nobody answers at {address}: {error.strerror or error}") from error


async def listen(
    address: str,
    admit: Admit,
    credentials: Credentials | None = None,
    *,
    cluster: str,
    sock: socket.socket | None = None,
) -> Listener:
    """Listen at `address`; a peer whose Hello is in order and names the cluster id `cluster` is
    shown to `admit`.

    `sock`: a socket that is bound to `address` already (see `bind`), so that peers may be told of
    it beforehand.

    Raises:
        InvalidArgument: no such kind of address, credentials that cannot be read, or no room for
        the path.
        OSError: the address cannot be had.
    """
    place = parse_address(address)
    if place.scheme == "memory":
        from .memory import MemoryListener

        return MemoryListener(address, cluster, admit)
    listener = _StreamListener(address, place, cluster, admit)
    await listener.start(credentials, sock)
    return listener


class _StreamListener(Listener):
    def __init__(self, address: str, place: Place, cluster: str, admit: Admit) -> None:
        super().__init__(address)
        self._place = place
        self._cluster = cluster
        self._admit = admit
        self._accepted = 0
        self._server: asyncio.Server | UnixServer | None = None
        self._inode = 0

    async def start(self, credentials: Credentials | None, sock: socket.socket | None) -> None:
        loop, place = asyncio.get_running_loop(), self._place
        sock = bind(self.address)[0] if sock is None else sock
        if place.scheme == "unix":
            self._inode = os.stat(place.path).st_ino
            self._server = UnixServer(sock, self._make)
            return
        context = _make_context(self.address, credentials, is_server=True)
        self._server = await loop.create_server(
            self._make, sock=sock, backlog=BACKLOG, ssl=context,
            ssl_handshake_timeout=HELLO_TIMEOUT_S,
        )  # fmt: skip
        self.address = name_address(place, sock)

    def _make(self) -> StreamConnection:
        self._accepted += 1
        label = f"{self.address} (accepted {self._accepted})"
        return StreamConnection(
            label,
            lambda connection: _stand_gate(connection, self._cluster, self._admit),
            same_user_only=self._place.scheme == "unix",
        )

    def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        self._server = None
        if self._place.scheme == "unix":  # unless another listener has taken the path meanwhile
            with contextlib.suppress(OSError):
                if os.stat(self._place.path).st_ino == self._inode:
                    os.unlink(self._place.path)


def _stand_gate(connection: Connection, cluster: str, admit: Admit) -> None:
    Gate(connection, cluster, admit)


def _make_context(address: str, credentials: Credentials | None, is_server: bool) -> ssl.SSLContext:
    if credentials is None:
        raise InvalidArgument(f"{address} needs credentials: they are in the connection file")
    from .tls import make_context

    try:
        return make_context(credentials, is_server)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidArgument(f"the credentials for {address} cannot be read: {error}") from error
