"""Questions to a cluster without a Client: what the panel's server, the magics and the command line
ask.

Law: one connection, only questions about the cluster as a whole; it does not count as a client, so
that looking at a cluster does not keep it alive. The blocking face runs the same code on a thread
of its own, whatever loop the caller has.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from ..diagnostics.snapshot import Snapshot
from ..errors import ClusterDead, ClusterError, ConnectionClosed
from ..messages import (
    PROTOCOL,
    Accepted,
    Declined,
    GetLogs,
    GetStatus,
    Hello,
    LogsGiven,
    Message,
    RestartWorkers,
    ScaleCluster,
    SnapshotTaken,
    StatusGiven,
    StopCluster,
    WatchCluster,
)
from ..transport import Connection, connect
from .connection_file import ClusterInfo

T = TypeVar("T")


class ControlConnection:
    """A connection that asks. Use ``async with control.open(info) as connection``."""

    def __init__(self, info: ClusterInfo, timeout_s: float) -> None:
        self.info = info
        self._timeout_s = timeout_s
        self._connection: Connection | None = None
        self._last_request = 0
        self._answers: dict[int, asyncio.Future[Message]] = {}
        self._snapshots: asyncio.Queue[Snapshot | Exception] = asyncio.Queue(maxsize=2)
        self._watch = 0

    async def __aenter__(self) -> ControlConnection:
        info = self.info
        if not info.address:
            raise ClusterError(f"cluster {info.name!r} is just starting; try again in a moment")
        hello = Hello(
            PROTOCOL, info.version, "client", info.id,
            {"name": f"control {os.getpid()}", "pid": os.getpid(), "control": True},
        )  # fmt: skip
        try:
            self._connection, _ = await connect(
                info.address, hello, info.get_credentials(), self._timeout_s
            )
        except ConnectionClosed as error:
            raise ClusterDead(f"cluster {info.name!r} does not answer: {error}") from error
        self._connection.on_close = self._on_close
        self._connection.on_messages = self._on_messages
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; open questions fail."""
        if self._connection is not None:
            self._connection.close()
            await self._connection.closed()

    async def ask(self, question: Any) -> Message:
        """Send a question (its `request` is set here) and return the answer.

        Raises:
            ClusterError: it was declined; the text says why.
            ConnectionClosed: the connection ended before the answer.
        """
        connection = self._get_connection()
        self._last_request += 1
        question.request = self._last_request
        answer = asyncio.get_running_loop().create_future()
        self._answers[question.request] = answer
        try:
            connection.send(question)
            async with asyncio.timeout(self._timeout_s):
                found: Message = await answer
        except TimeoutError as error:
            raise ClusterError(
                f"cluster {self.info.name!r} did not answer in {self._timeout_s:g} s"
            ) from error
        finally:
            del self._answers[question.request]
        if isinstance(found, Declined):
            raise ClusterError(found.text)
        return found

    async def status(self) -> dict[str, Any]:
        """Return the cluster's status (see `StatusGiven`)."""
        answer = await self.ask(GetStatus(0))
        assert isinstance(answer, StatusGiven)
        return answer.status

    async def logs(self, source: str | None = None, lines: int = 100) -> list[list[Any]]:
        """Return log entries, ``[source, stream, unix time, text]`` each, in order of time."""
        answer = await self.ask(GetLogs(0, source, lines))
        assert isinstance(answer, LogsGiven)
        return answer.entries

    async def scale(self, workers: int) -> None:
        """Have so many workers; they come and go afterwards."""
        await self.ask(ScaleCluster(0, workers))

    async def stop(self, by: str) -> None:
        """End the cluster; returns when it has begun to end."""
        answer = await self.ask(StopCluster(0, by))
        assert isinstance(answer, Accepted)

    async def restart(self) -> None:
        """Forget all groups and restart all executors; returns when they are back."""
        await self.ask(RestartWorkers(0))

    async def watch(self, interval_s: float = 0.5) -> AsyncIterator[Snapshot]:
        """Yield a snapshot now and then every `interval_s`; what is not taken in time is left out.

        Raises:
            ConnectionClosed: the cluster has ended.
            ClusterError: it has failed.
        """
        connection = self._get_connection()
        self._last_request += 1
        self._watch = self._last_request
        connection.send(WatchCluster(self._watch, interval_s))
        try:
            while True:
                found = await self._snapshots.get()
                if isinstance(found, Exception):
                    raise found
                yield found
        finally:
            self._watch = 0
            if not connection.is_closing:
                connection.send(WatchCluster(0, 0))

    def _get_connection(self) -> Connection:
        if self._connection is None:
            raise ConnectionClosed("the connection is not open yet: use `async with`")
        return self._connection

    def _on_messages(self, messages: list[Message]) -> None:
        for message in messages:
            number = getattr(message, "request", None)
            if number == self._watch and isinstance(message, SnapshotTaken):
                self._push(Snapshot.from_wire(message.snapshot))
            elif number == self._watch and isinstance(message, Declined):
                self._push(ClusterError(message.text))
            elif number in self._answers and not self._answers[number].done():
                self._answers[number].set_result(message)

    def _on_close(self, error: Exception | None) -> None:
        because = f": {error}" if error is not None else ""
        closed = ConnectionClosed(f"cluster {self.info.name!r} closed the connection{because}")
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(closed)
        self._push(closed)

    def _push(self, item: Snapshot | Exception) -> None:
        if self._snapshots.full():
            self._snapshots.get_nowait()  # the newest counts
        self._snapshots.put_nowait(item)


def open(info: ClusterInfo, timeout_s: float = 10) -> ControlConnection:
    """Return a connection to be entered.

    Entering raises ClusterDead (nobody answers), Refused (wrong credentials, wrong cluster).
    """
    return ControlConnection(info, timeout_s)


def ask_blocking(
    info: ClusterInfo,
    question: Callable[[ControlConnection], Coroutine[Any, Any, T]],
    timeout_s: float = 10,
) -> T:
    """Connect, ask, and return the answer, from a thread that may or may not run a loop."""

    async def run() -> T:
        async with open(info, timeout_s) as connection:
            return await question(connection)

    return run_apart(run)


def run_apart(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end on a thread and a loop of its own, and return what it returns."""
    done: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            done.append(asyncio.run(make()))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="cellspan-control", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]
