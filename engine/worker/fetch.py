"""Getting results from other workers.

Law: one connection per worker, kept; a few requests at a time on each; a lost connection is tried
again once. A result that lies in a file of this host is linked into our own store folder (or
copied, where links do not reach), so it lives as long as we want; one that comes over the wire
becomes a file here if it is large: on disk, when memory is full.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
from collections.abc import Awaitable, Callable, Iterable
from itertools import count
from typing import TypeVar

from ..errors import CellspanError, ConnectionClosed, PeerError
from ..executor.files import MIN_FILE_BYTES, write_parts
from ..executor.values import Part, block_nbytes, nbytes_of
from ..ids import GroupId
from ..messages import (
    Block,
    BlockFile,
    GetResults,
    GetShards,
    Hello,
    Message,
    PutShards,
    ResultsKept,
    ResultsSent,
    Runs,
)
from ..transport import Connection, Credentials, connect
from .effects import Fetch, FetchShards
from .shards import Parcel
from .store import StoredBlock

Taken = TypeVar("Taken")
Answer = TypeVar("Answer", bound=Message)

ATTEMPTS = 2
RETRY_S = 0.1
REQUESTS_PER_PEER = 8


class BlockWriter:
    """Makes blocks of what came from elsewhere: files where they are large, in the store folder, or
    in the `spill` folder on disk (if there is one) while `is_over` says that memory is full.
    """

    def __init__(
        self, store: str, spill: str = "", is_over: Callable[[], bool] = lambda: False
    ) -> None:
        self._store = store
        self._spill = spill
        self._is_over = is_over
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
        path, places = await self._write(parts)
        return StoredBlock(group, start, stop, single, [], path, places)

    async def take_file(self, group: GroupId, file: BlockFile) -> StoredBlock:
        """Return a block that lies in another worker's file.

        Raises:
            OSError: the file is gone, or there is no room for a copy.
        """
        start, stop, single, theirs, places = file
        path, _ = await self._link(theirs)
        return StoredBlock(group, start, stop, single, [], path, list(places))

    async def take_shards(
        self, group: GroupId, start: int, stop: int, blocks: list[Block], files: list[BlockFile]
    ) -> list[Parcel]:
        """Return the shards of outputs `[start, stop)` that came in blocks as one parcel, and those
        in files, which have the shards of all outputs, as one each.

        Raises:
            OSError: as `take_block` and `take_file`; nothing is left behind.
        """
        parcels: list[Parcel] = []
        try:
            if blocks:
                splits = [block[0] for block in blocks]
                parts = [part for block in blocks for part in block[3]]
                if sum(map(nbytes_of, parts)) < MIN_FILE_BYTES:
                    parts = [bytes(part) for part in parts]
                    parcels.append(Parcel(group, splits, start, stop, parts))
                else:
                    path, places = await self._write(parts)
                    parcels.append(Parcel(group, splits, start, stop, [], path, places))
            for split, _, _, theirs, places in files:
                path, is_link = await self._link(theirs)
                outputs = places[1] // 8 - 1  # as many as its table has room for
                parcel = Parcel(group, [split], 0, outputs, [], path, list(places))
                if is_link:
                    parcel.nbytes = 0  # its maker counts it, as long as the split is wanted
                parcels.append(parcel)
        except BaseException:
            _remove(parcels)
            raise
        return parcels

    async def _write(self, parts: list[Part]) -> tuple[str, list[int]]:
        path = self._next_path(self._spill if self._spill and self._is_over() else self._store)
        try:
            return path, await asyncio.to_thread(write_parts, path, parts)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._spill:
                raise
        path = self._next_path(self._spill)
        return path, await asyncio.to_thread(write_parts, path, parts)

    async def _link(self, theirs: str) -> tuple[str, bool]:
        """Return the path of our own link to a file, and True, or of a copy, and False."""
        theirs = os.path.realpath(theirs)  # it may have been moved to disk
        for folder in filter(None, (self._store, self._spill)):
            path = self._next_path(folder)
            try:
                os.link(theirs, path)
            except FileNotFoundError:
                raise
            except OSError:  # another file system, or no hard links there
                continue
            if os.path.islink(path):  # it was moved to disk just now: this is no link to the file
                os.unlink(path)
                raise FileNotFoundError(theirs)
            return path, True
        path = self._next_path(self._spill if self._spill and self._is_over() else self._store)
        await asyncio.to_thread(shutil.copyfile, theirs, path)
        return path, False

    def _next_path(self, folder: str) -> str:
        return f"{folder}/w-{next(self._numbers)}"


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
        self._peers: dict[str, asyncio.Task[Peer]] = {}
        self._gates: dict[str, asyncio.Semaphore] = {}

    async def fetch(self, fetch: Fetch) -> list[StoredBlock]:
        """Return what of the asked results is there: whole blocks that overlap the range.

        Raises:
            CellspanError: the other worker cannot be reached.
            OSError: there is no room here.
        """

        async def take(peer: Peer, files: bool) -> list[StoredBlock]:
            answer = await peer.ask_results(fetch.group, fetch.start, fetch.stop, files)
            blocks: list[StoredBlock] = []
            try:
                for block in answer.blocks:
                    blocks.append(await self._writer.take_block(fetch.group, block))
                for file in answer.files:
                    blocks.append(await self._writer.take_file(fetch.group, file))
            except BaseException:
                _remove(blocks)
                raise
            return blocks

        return await self._try(fetch.address, take)

    async def fetch_shards(self, fetch: FetchShards) -> list[Parcel]:
        """Return the shards of what of the asked splits is there. Raises: as `fetch`."""

        async def take(peer: Peer, files: bool) -> list[Parcel]:
            group, start, stop = fetch.group, fetch.start, fetch.stop
            answer = await peer.ask_shards(group, fetch.runs, start, stop, files)
            return await self._writer.take_shards(group, start, stop, answer.blocks, answer.files)

        return await self._try(fetch.address, take)

    async def _try(self, address: str, take: Callable[[Peer, bool], Awaitable[Taken]]) -> Taken:
        gate = self._gates.setdefault(address, asyncio.Semaphore(REQUESTS_PER_PEER))
        async with gate:
            for attempt in range(ATTEMPTS):
                try:
                    return await take(await self.get_peer(address), attempt == 0)
                except (ConnectionClosed, FileNotFoundError):
                    # a file that was there a moment ago is gone: ask once more, for the bytes
                    # this time
                    if attempt + 1 == ATTEMPTS:
                        raise
                    await asyncio.sleep(RETRY_S)
        raise AssertionError("unreachable")

    async def get_peer(self, address: str) -> Peer:
        """Return the connection to the worker at an address.

        Raises:
            CellspanError: it cannot be reached.
        """
        task = self._peers.get(address)
        if task is None or (task.done() and not _is_usable(task)):
            task = asyncio.get_running_loop().create_task(self._connect(address))
            self._peers[address] = task
        return await asyncio.shield(task)

    async def _connect(self, address: str) -> Peer:
        connection, _ = await connect(address, self._make_hello(), self._credentials)
        return Peer(connection)

    def close(self) -> None:
        """Close all connections."""
        for task in self._peers.values():
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result().connection.close()
            else:
                task.cancel()
        self._peers.clear()


def _remove(blocks: Iterable[StoredBlock]) -> None:
    """Remove the files of blocks that were made and are not wanted after all."""
    for block in blocks:
        if block.path is not None:
            with contextlib.suppress(OSError):
                os.unlink(block.path)


def _check(answer: Message, kind: type[Answer]) -> Answer:
    if not isinstance(answer, kind):
        raise PeerError(f"a worker answered with {type(answer).__name__}")
    return answer


def _is_usable(task: asyncio.Task[Peer]) -> bool:
    return not task.cancelled() and task.exception() is None and task.result().is_open


class Peer:
    """One connection and the questions on it that are not answered yet."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.is_open = True
        self._requests = count(1)
        self._answers: dict[int, asyncio.Future[Message]] = {}
        connection.on_messages = self._on_messages
        connection.on_close = self._on_close

    async def ask_results(self, group: GroupId, start: int, stop: int, files: bool) -> ResultsSent:
        """Return the answer to `GetResults`.

        Raises:
            CellspanError: the connection is lost.
        """
        wants_files = files and self.connection.is_local
        request = next(self._requests)
        answer = await self._ask(request, GetResults(request, group, start, stop, wants_files))
        return _check(answer, ResultsSent)

    async def ask_shards(
        self, group: GroupId, runs: Runs, start: int, stop: int, files: bool
    ) -> ResultsSent:
        """Return the answer to `GetShards`. Raises: as `ask_results`."""
        wants_files = files and self.connection.is_local
        request = next(self._requests)
        message = GetShards(request, group, runs, start, stop, wants_files)
        return _check(await self._ask(request, message), ResultsSent)

    async def put_shards(
        self, group: GroupId, start: int, stop: int, blocks: list[Block], files: list[BlockFile]
    ) -> ResultsKept:
        """Return the answer to `PutShards`. Raises: as `ask_results`."""
        request = next(self._requests)
        message = PutShards(request, group, start, stop, blocks, files)
        return _check(await self._ask(request, message), ResultsKept)

    async def _ask(self, request: int, message: Message) -> Message:
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._answers[request] = answer
        try:
            self.connection.send(message)
            return await answer
        finally:
            self._answers.pop(request, None)

    def _on_messages(self, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message, ResultsSent | ResultsKept):
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
