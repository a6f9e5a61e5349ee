"""Connections inside one process, for tests: no socket, but the same frames.

Law: everything goes through the codec as on a wire, and arrives in a later turn of the loop, in
order.
"""

from __future__ import annotations

import asyncio

from ..errors import ConnectionClosed, PeerError
from ..messages import Blob
from .base import Admit, Connection, Listener
from .handshake import Gate

_listeners: dict[str, MemoryListener] = {}


class MemoryConnection(Connection):
    """One end of a pair."""

    def __init__(self, label: str) -> None:
        super().__init__(label, is_local=True)
        self.other: MemoryConnection | None = None
        self._underway_bytes = 0

    @property
    def backlog_bytes(self) -> int:
        return self._underway_bytes

    def _write(self, parts: list[Blob]) -> None:
        data = b"".join(parts)
        self._underway_bytes += len(data)
        self._loop.call_soon(self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        self._underway_bytes -= len(data)
        self._wake_drainers()
        other = self.other
        if other is None or other.is_closing:
            return
        try:
            frames = other.reader.feed(data)
        except PeerError as error:
            other._drop(error)
            return
        other._take_frames(frames)

    def _end(self) -> None:
        self._loop.call_soon(self._part)

    def _break(self) -> None:
        self._loop.call_soon(self._part)

    def _part(self) -> None:
        self._was_lost(None)
        if self.other is not None:
            self.other._was_lost(None)


class MemoryListener(Listener):
    """Registered by name while it is open."""

    def __init__(self, address: str, cluster: str, admit: Admit) -> None:
        super().__init__(address)
        if address in _listeners:
            raise OSError(f"{address} is in use")
        self._cluster = cluster
        self._admit = admit
        _listeners[address] = self

    def accept(self, other: MemoryConnection) -> None:
        connection = MemoryConnection(f"{self.address} (accepted)")
        connection.other, other.other = other, connection
        Gate(connection, self._cluster, self._admit)

    def close(self) -> None:
        _listeners.pop(self.address, None)


async def connect_memory(address: str) -> MemoryConnection:
    """Return a connection to the listener of that name in this process.

    Raises:
        ConnectionClosed: there is none.
    """
    await asyncio.sleep(0)
    listener = _listeners.get(address)
    if listener is None:
        raise ConnectionClosed(f"nobody listens at {address}")
    connection = MemoryConnection(address)
    listener.accept(connection)
    return connection
