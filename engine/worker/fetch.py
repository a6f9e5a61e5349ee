"""Getting results from other workers.

Law: one connection per worker, kept; a few requests at a time on each; a lost connection is tried
again once. A result that lies in a file of this host is linked into our own store folder (or
copied, where links do not reach), so it lives as long as we want; one that comes over the wire
becomes a file here if it is large.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable
from itertools import count

from ..errors import CellspanError, ConnectionClosed
from ..executor.files import MIN_FILE_BYTES, write_parts
from ..executor.values import block_nbytes
from ..ids import GroupId
from ..messages import Block, BlockFile, GetResults, Hello, Message, ResultsSent
from ..transport import Connection, Credentials, connect
from .effects import Fetch
from .store import StoredBlock

ATTEMPTS = 2
RETRY_S = 0.1
REQUESTS_PER_PEER = 8


class BlockWriter:
    """Makes blocks of what came from elsewhere: files of the store folder where they are large."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._numbers = count(1)

    async def take_block(self, group: GroupId, block: Block) -> StoredBlock:
        """Return a block that came in a message.

        Raises:
            OSError: no room for its file.
        """
        start, stop, single, parts = block
        if block_nbytes(block) < MIN_FILE_BYTES:
            # own copies: these are views of a whole frame, which would stay as long as the
            # smallest of them
            return StoredBlock(group, start, stop, single, [bytes(part) for part in parts])
        path = self._next_path()
        places = await asyncio.to_thread(write_parts, path, parts)
        return StoredBlock(group, start, stop, single, [], path, places)

    async def take_file(self, group: GroupId, file: BlockFile) -> StoredBlock:
        """Return a block that lies in another worker's file.

        Raises:
            OSError: the file is gone, or there is no room for a copy.
        """
        start, stop, single, theirs, places = file
        path = self._next_path()
        try:
            os.link(theirs, path)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or no hard links there
            await asyncio.to_thread(shutil.copyfile, theirs, path)
        return StoredBlock(group, start, stop, single, [], path, list(places))

    def _next_path(self) -> str:
        return f"{self._store}/w-{next(self._numbers)}"


class Fetcher:
    """Connections to the workers that we have fetched from, by address."""

    def __init__(
        self,
        make_hello: Callable[[], Hello],
        credentials: Credentials | None,
        writer: BlockWriter,
    ) -> None:
        self._make_hello = make_hello
        self._credentials = credentials
        self._writer = writer
        self._peers: dict[str, asyncio.Task[_Peer]] = {}
        self._gates: dict[str, asyncio.Semaphore] = {}

    async def fetch(self, fetch: Fetch) -> list[StoredBlock]:
        """Return what of the asked results is there: whole blocks that overlap the range.

        Raises:
            CellspanError: the other worker cannot be reached.
            OSError: there is no room here.
        """
        gate = self._gates.setdefault(fetch.address, asyncio.Semaphore(REQUESTS_PER_PEER))
        async with gate:
            for attempt in range(ATTEMPTS):
                try:
                    return await self._try(fetch, files=attempt == 0)
                except (ConnectionClosed, FileNotFoundError):
                    # a file that was there a moment ago is gone: ask once more, for the bytes
                    # this time
                    if attempt + 1 == ATTEMPTS:
                        raise
                    await asyncio.sleep(RETRY_S)
        raise AssertionError("unreachable")

    async def _try(self, fetch: Fetch, files: bool) -> list[StoredBlock]:
        peer = await self._get_peer(fetch.address)
        answer = await peer.ask(fetch.group, fetch.start, fetch.stop, files)
        blocks: list[StoredBlock] = []
        try:
            for block in answer.blocks:
                blocks.append(await self._writer.take_block(fetch.group, block))
            for file in answer.files:
                blocks.append(await self._writer.take_file(fetch.group, file))
        except BaseException:
            for made in blocks:
                if made.path is not None:
                    with contextlib.suppress(OSError):
                        os.unlink(made.path)
            raise
        return blocks

    async def _get_peer(self, address: str) -> _Peer:
        task = self._peers.get(address)
        if task is None or (task.done() and not _is_usable(task)):
            task = asyncio.get_running_loop().create_task(self._connect(address))
            self._peers[address] = task
        return await asyncio.shield(task)

    async def _connect(self, address: str) -> _Peer:
        connection, _ = await connect(address, self._make_hello(), self._credentials)
        return _Peer(connection)

    def close(self) -> None:
        """Close all connections."""
        for task in self._peers.values():
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result().connection.close()
            else:
                task.cancel()
        self._peers.clear()


def _is_usable(task: asyncio.Task[_Peer]) -> bool:
    return not task.cancelled() and task.exception() is None and task.result().is_open


class _Peer:
    """One connection and the questions on it that are not answered yet."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.is_open = True
        self._requests = count(1)
        self._answers: dict[int, asyncio.Future[ResultsSent]] = {}
        connection.on_messages = self._on_messages
        connection.on_close = self._on_close

    async def ask(self, group: GroupId, start: int, stop: int, files: bool) -> ResultsSent:
        """Return the answer to `GetResults`.

        Raises:
            CellspanError: the connection is lost.
        """
        request = next(self._requests)
        answer = asyncio.get_running_loop().create_future()
        self._answers[request] = answer
        try:
            wants_files = files and self.connection.is_local
            self.connection.send(GetResults(request, group, start, stop, wants_files))
            result: ResultsSent = await answer
            return result
        finally:
            self._answers.pop(request, None)

    def _on_messages(self, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message, ResultsSent):
                answer = self._answers.get(message.request)
                if answer is not None and not answer.done():
                    answer.set_result(message)

    def _on_close(self, error: Exception | None) -> None:
        self.is_open = False
        reason = (
            error
            if isinstance(error, CellspanError)
            else ConnectionClosed(f"the connection to a worker was lost: {error or 'it closed it'}")
        )
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(reason)
