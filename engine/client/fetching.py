"""Results that come straight from workers, and data that goes straight to them.

Law: on the loop only. At most REQUESTS questions to a worker at a time, each of a bounded size, so
neither side's memory is taken by one big answer. Large results of a worker on this host come as
names of files and are mapped, not copied. A result that is not where it should be is asked for
again; the scheduler knows where it is now.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import mmap
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import CellspanError, ConnectionClosed, DataLost, StoreFull
from ..ids import GroupId, PeerId
from ..messages import (
    PROTOCOL,
    Block,
    BlockFile,
    GetAddress,
    GetResults,
    Hello,
    Message,
    PutResults,
    ResultsKept,
    ResultsSent,
)
from ..transport import Connection, Credentials, connect
from .session import AHEAD_TASKS, Fetch

if TYPE_CHECKING:
    from .link import Link

logger = logging.getLogger("cellspan.client")

REQUESTS = 4
FETCH_BYTES = 8 << 20
"""Aim of one answer's size."""
FIRST_TASKS = 256
"""So many results are asked for at once while their size is unknown, if all are wanted anyway."""
RETRY_S = 0.05
CONNECT_S = 10.0


class Fetcher:
    """All data connections of one client."""

    def __init__(self, link: Link, credentials: Credentials | None, is_local: bool) -> None:
        self._link = link
        self._credentials = credentials
        self._is_local = is_local
        self._sources: dict[PeerId, _Source] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, fetches: Iterable[Fetch]) -> None:
        """Get these results; the session is told."""
        for fetch in fetches:
            source = self._sources.get(fetch.worker)
            if source is None:
                source = self._sources[fetch.worker] = _Source(fetch.worker)
            source.queue.append(fetch)
            if source.running < REQUESTS:
                source.running += 1
                task = asyncio.get_running_loop().create_task(self._work(source))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def put(self, worker: PeerId, address: str, group: GroupId, blocks: list[Block]) -> None:
        """Put blocks into a worker's store, and return when they are there.

        Raises:
            StoreFull: the worker has no room.
            ConnectionClosed: it is gone.
        """
        source = self._sources.setdefault(worker, _Source(worker))
        channel = await self._open(source, address)
        kept = await channel.ask(lambda number: PutResults(number, group, blocks))
        if kept.error is not None:
            raise StoreFull(kept.error)

    def close(self) -> list[Connection]:
        """End all fetches, and begin to end the connections, which are returned."""
        for task in self._tasks:
            task.cancel()
        channels = [source.channel for source in self._sources.values()]
        self._sources.clear()
        connections = [channel.connection for channel in channels if channel is not None]
        for connection in connections:
            connection.close()
        return connections

    async def _work(self, source: _Source) -> None:
        try:
            while source.queue:
                fetch = self._cut(source)
                why = ""
                blocks: list[Block] = []
                try:
                    blocks = await self._get(source, fetch)
                except (CellspanError, OSError) as error:
                    why = str(error)
                    if source.channel is not None and source.channel.connection.is_closing:
                        source.channel = None
                await self._take(fetch, blocks, why)
        finally:
            source.running -= 1

    def _cut(self, source: _Source) -> Fetch:
        """Take from the queue what one request should ask for."""
        fetch = source.queue.popleft()
        group = fetch.group
        limit = max(group.ahead, FIRST_TASKS if group.ahead == 1 else 1)
        if fetch.stop - fetch.start > limit:
            middle = fetch.start + limit
            source.queue.appendleft(fetch._replace(start=middle))
            fetch = fetch._replace(stop=middle)
        return fetch

    async def _get(self, source: _Source, fetch: Fetch) -> list[Block]:
        channel = await self._open(source, None)
        sent = await channel.ask(
            lambda number: GetResults(
                number, fetch.group.id, fetch.start, fetch.stop, channel.connection.is_local
            )
        )
        return [*sent.blocks, *(block for file in sent.files if (block := _map_file(file)))]

    async def _take(self, fetch: Fetch, blocks: list[Block], why: str) -> None:
        session, group = self._link.session, fetch.group
        with session.lock:
            missing = session.fetched(fetch, blocks)
            misses = group.misses
            if blocks:
                count = sum(block[1] - block[0] for block in blocks)
                nbytes = sum(len(part) for block in blocks for part in block[3])
                group.ahead = max(1, min(AHEAD_TASKS, FETCH_BYTES * count // (nbytes + 1)))
        if missing:
            if misses > 1:  # the scheduler may not know yet: give it time
                await asyncio.sleep(RETRY_S * 2 ** min(misses, 4))
            with session.lock:
                session.ask_again(
                    fetch, missing, why or f"worker {fetch.worker} does not have it any more"
                )
            self._link.urge()

    async def _open(self, source: _Source, address: str | None) -> _Channel:
        if source.channel is not None and not source.channel.connection.is_closing:
            return source.channel
        async with source.opening:
            if source.channel is not None and not source.channel.connection.is_closing:
                return source.channel
            if address is None:
                found = await self._link.ask(lambda number: GetAddress(number, source.worker))
                address = found.address
                if address is None:
                    raise DataLost(f"worker {source.worker} is gone")
            from cellspan._version import __version__

            session = self._link.session
            info = {"name": session.client, "pid": os.getpid()}
            hello = Hello(PROTOCOL, __version__, "peer", session.cluster_id, info)
            connection, _ = await connect(address, hello, self._credentials, CONNECT_S)
            source.channel = _Channel(connection)
            return source.channel


class _Source:
    """What is to be fetched from one worker, and how it is reached."""

    def __init__(self, worker: PeerId) -> None:
        self.worker = worker
        self.queue: deque[Fetch] = deque()
        self.running = 0
        self.channel: _Channel | None = None
        self.opening = asyncio.Lock()


class _Channel:
    """Questions and answers over one data connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        connection.on_close = self._on_close
        connection.on_messages = self._on_messages

    async def ask(self, make: Callable[[int], Message]) -> Any:
        """Send a question and return its answer. Raises: ConnectionClosed."""
        number = next(self._numbers)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self.connection.send(make(number))
            await self.connection.drain()
            return await future
        finally:
            self._asked.pop(number, None)

    def _on_messages(self, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message, ResultsSent | ResultsKept):
                future = self._asked.get(message.request)
                if future is not None and not future.done():
                    future.set_result(message)
            else:
                logger.warning("a %s from a worker, unasked", type(message).__name__)

    def _on_close(self, error: Exception | None) -> None:
        for future in self._asked.values():
            if not future.done():
                reason = f": {error}" if error is not None else ""
                future.set_exception(ConnectionClosed(f"the worker's connection ended{reason}"))


def _map_file(file: BlockFile) -> Sequence[Any] | None:
    """Return the block that lies in a file of this host, None if it is gone.

    The mapping is private: arrays on it can be written to, and nobody else sees that.
    """
    start, stop, single, path, places = file
    try:
        with open(path, "rb") as opened:
            view = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY))
    except (OSError, ValueError) as error:
        logger.debug("%s cannot be mapped: %s", path, error)
        return None
    pairs = zip(places[::2], places[1::2], strict=True)
    return [start, stop, single, [view[at : at + length] for at, length in pairs]]
