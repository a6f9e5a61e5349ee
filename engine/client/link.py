"""The shell around a session: its connection, and the event loop that it lives on.

Law: the connection is touched on the loop only, but for `send_here` and a `Listening`, which are
made for other threads (direct.py); the session under its lock only. What is to be sent is taken and
sent under `_sending`, so nothing overtakes. User threads leave their actions in the session and
wake the loop at most once per turn; a burst of submits is sent about a thousand times a second,
unless somebody waits, who urges. Nothing of users runs on the loop: callbacks have a thread of
their own (`Callbacks`).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import logging
import queue
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from ..errors import ClusterError, ConnectionClosed, InvalidArgument
from ..messages import (
    Accepted,
    AddressFound,
    DatasetGiven,
    DatasetsListed,
    Declined,
    Hello,
    HoldersGiven,
    LogsGiven,
    Message,
    MetadataGiven,
    SnapshotTaken,
    StatusGiven,
    Turned,
    WorkersPicked,
)
from ..transport import Connection, Credentials, connect
from ..transport.stream import StreamConnection
from .direct import Direct, Shield
from .fetching import Fetcher
from .session import Session

logger = logging.getLogger("cellspan.client")

R = TypeVar("R")
BURST_S = 0.001
"""In a burst of submits they are sent so often."""
SPOKEN_S = 0.002
"""So often while threads of users send themselves: the loop has only leftovers to send then."""
IDLE_S = 30.0
"""An open group that nobody holds any more is ended after about this time."""

HELD_TURNS = 5
"""What is let go of meanwhile is told every so many of these turns."""

_ANSWERS = (
    Accepted, AddressFound, DatasetGiven, DatasetsListed, Declined, HoldersGiven, LogsGiven,
    MetadataGiven, SnapshotTaken, StatusGiven, WorkersPicked,
)  # fmt: skip


class Link:
    """One connection to one scheduler, on one loop (`run_loop` starts it in a thread)."""

    def __init__(self, is_async: bool) -> None:
        self.is_async = is_async
        self.session: Session
        self.on_snapshot: Callable[[dict[str, Any]], None] | None = None
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None
        self._connection: Connection
        self._fetcher: Fetcher
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Message]] = {}
        self._is_due = False
        """A turn will come soon enough for what is not urgent."""
        self._is_urged = False
        """A turn will come at once."""
        self._sending = threading.Lock()
        """Held from taking what is to be sent until it is on its way: nothing overtakes."""
        self._speak: Callable[[list[Message]], None] | None = None
        """Sends from any thread, where the connection can be shared."""
        self._look: Callable[[], None] = lambda: None
        self._held_turns = 0
        self._spoken = False
        """A thread has sent since the last turn."""
        self._next: asyncio.TimerHandle | None = None
        """The next turn that comes by itself."""
        self._idle_timer: asyncio.TimerHandle | None = None
        self._why = ""
        self._when_abandoned: Callable[[], object] | None = None
        self._ending: asyncio.Task[None] | None = None

    # --- beginning and end ------------------------------------------------------------------------

    def run_loop(self) -> None:
        """Start a loop in a daemon thread."""
        ready = threading.Event()

        def run() -> None:
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            self._loop = loop
            loop.call_soon(ready.set)
            try:
                loop.run_forever()
            finally:
                tasks = asyncio.all_tasks(loop)
                for task in tasks:
                    task.cancel()
                loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
                loop.close()

        self._thread = threading.Thread(target=run, name="cellspan client", daemon=True)
        self._thread.start()
        ready.wait()

    def is_own_thread(self) -> bool:
        """Tell whether this is the thread of the loop that `run_loop` started."""
        return threading.current_thread() is self._thread

    def end_loop(self) -> None:
        """End the loop's thread, if it is ours."""
        thread = self._thread
        if thread is None:
            return
        with contextlib.suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._loop.stop)
        if thread is not threading.current_thread():
            thread.join(timeout=5)

    async def open(
        self,
        address: str,
        cluster_id: str,
        credentials: Credentials | None,
        info: dict[str, Any],
        timeout_s: float,
    ) -> None:
        """Connect. Raises what `transport.connect` raises."""
        from cellspan._version import __version__

        from ..messages import PROTOCOL

        self._loop = asyncio.get_running_loop()
        hello = Hello(PROTOCOL, __version__, "client", cluster_id, info)
        connection, welcome = await connect(address, hello, credentials, timeout_s)
        session = Session(welcome.peer, cluster_id, welcome.cluster, info["name"])
        session.is_async = self.is_async
        session.wake, session.urge = self.wake, self.urge
        self.session = session
        self._connection = connection
        if not self.is_async and isinstance(connection, StreamConnection):
            self._share(session, connection)
        self._fetcher = Fetcher(self, credentials, connection.is_local)
        connection.on_close = self._on_close
        connection.on_messages = self._on_messages

    def _share(self, session: Session, connection: StreamConnection) -> None:
        listening = connection.share()
        if listening is not None:
            self._speak = connection.send_here
            direct = Direct(listening, self._take, lambda: self._next is not None)
            self._look = direct.look
            session.listen, session.ring = direct.listen, direct.ring

    async def shut(self, why: str) -> None:
        """Send what is to be sent, and close the connection in order."""
        self._why = why
        self._turn_whole()
        with self.session.lock:
            self.session.close(ConnectionClosed(why))
        self._fail_asked(ConnectionClosed(why))
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        ending = [self._connection, *self._fetcher.close()]
        self._connection.close()
        await asyncio.gather(*(connection.closed() for connection in ending))

    def abandon(self, then: Callable[[], object]) -> None:
        """Nobody will submit any more: end with the last future, and call `then`. For a loop of our
        own; from any thread, also from the garbage collector.
        """
        self._when_abandoned = then
        self.wake()

    async def _end_abandoned(self, then: Callable[[], object]) -> None:
        await self.shut("its client object is gone")
        then()
        self._loop.stop()

    def _on_close(self, error: Exception | None) -> None:
        session = self.session
        if session.closed is None:
            reason = (
                self._why or f"the scheduler of cluster {session.cluster!r} closed the connection"
            )
            if error is not None:
                reason = f"the connection to cluster {session.cluster!r} was lost ({error})"
            gone = ConnectionClosed(
                f"{reason}: its tasks and results are out of reach. See `cellspan cluster list`, "
                "then make a new Client"
            )
            gone.__cause__ = error
            with session.lock:
                session.close(gone)
        self._fail_asked(session.closed or ConnectionClosed("closed"))
        self._fetcher.close()

    def _fail_asked(self, error: Exception) -> None:
        asked, self._asked = self._asked, {}
        for future in asked.values():
            if not future.done():
                future.set_exception(ConnectionClosed(str(error)))

    # --- waking: from any thread ------------------------------------------------------------------

    def wake(self) -> None:
        """Something is to be sent, soon."""
        if not self._is_due:
            self._is_due = True
            self.call(self._turn)

    def urge(self) -> None:
        """Somebody waits: send what is to be sent now."""
        if self._is_urged or not self.session.has_sends():
            return
        if self._speak is not None:
            with Shield():
                self._spoken = self._send(self._speak, releases=False)
            if not self.session.has_sends():
                return  # else there is something to fetch
        self._is_due = self._is_urged = True
        self.call(self._turn)

    def call(self, function: Callable[[], object]) -> None:
        """Call a function on the loop, soon."""
        with contextlib.suppress(RuntimeError):  # the loop has ended: nothing can be sent any more
            if self.is_async:
                try:
                    if asyncio.get_running_loop() is self._loop:
                        self._loop.call_soon(function)
                        return
                except RuntimeError:
                    pass
            self._loop.call_soon_threadsafe(function)

    # --- turns: on the loop -----------------------------------------------------------------------

    def _turn(self) -> None:
        session = self.session
        self._is_urged = False
        spoken, self._spoken = self._spoken, False
        # While users' threads send one thing after the other, what they let go of is told now and
        # then; the last turn tells what is left.
        self._held_turns = self._held_turns + 1 if spoken else 0
        releases = self._held_turns % HELD_TURNS == 0
        is_idle = not self._send(self._connection.send_now, releases) and not spoken
        with session.lock:
            fetches = session.take_fetches()
            is_idle = is_idle and not fetches
            if is_idle:
                self._is_due = False
            watch = self._idle_timer is None and bool(session.empty)
            is_unused = len(session.groups) == len(session.empty)
        if watch:
            self._idle_timer = self._loop.call_later(IDLE_S, self._close_idle)
        if self._when_abandoned is not None and is_unused:
            then, self._when_abandoned = self._when_abandoned, None
            self._ending = self._loop.create_task(self._end_abandoned(then))
        if is_idle:
            return
        if self._next is None:  # `_is_due` stays: more is likely to come
            self._next = self._loop.call_later(SPOKEN_S if spoken else BURST_S, self._on_tick)
        if fetches:
            self._fetcher.start(fetches)

    def _turn_whole(self) -> None:
        """A turn that sends all there is."""
        self._spoken = False
        self._turn()

    def _on_tick(self) -> None:
        self._next = None
        self._turn()
        self._look()

    def _send(self, send: Callable[[list[Message]], None], releases: bool) -> bool:
        """Send what is to be sent, in the order in which it was left; tell whether it was anything.
        In any thread that may use `send`."""
        with self._sending:
            with self.session.lock:
                out = self.session.take_sends(releases=releases)
            if out and not self._connection.is_closing:
                send(out)
        return bool(out)

    def _close_idle(self) -> None:
        self._idle_timer = None
        with self.session.lock:
            left = self.session.close_idle()
        if left:
            self._idle_timer = self._loop.call_later(IDLE_S, self._close_idle)
        self.wake()

    def _on_messages(self, messages: list[Message]) -> None:
        answers, is_due = self._handle(messages)
        for answer in answers:
            self._on_answer(answer)
        if is_due:
            self._turn()

    def _take(self, messages: list[Message]) -> None:
        """`_on_messages`, in a thread of a user's."""
        answers, is_due = self._handle(messages)
        for answer in answers:
            self.call(partial(self._on_answer, answer))
        if is_due:
            self._is_due = self._is_urged = True
            self.call(self._turn)

    def _handle(self, messages: list[Message]) -> tuple[list[Message], bool]:
        """Tell the session; return what is not for it, and whether it has something to do now."""
        session = self.session
        answers = []
        with session.lock:
            for message in messages:
                if not session.handle(message):
                    answers.append(message)
            return answers, bool(session.fetches or session.out)

    def _on_answer(self, message: Message) -> None:
        if isinstance(message, Turned):
            self._why = f"cluster {self.session.cluster!r} turned us away: {message.reason}"
            return
        if not isinstance(message, _ANSWERS):
            logger.warning("a %s from the scheduler, unasked", type(message).__name__)
            return
        future = self._asked.pop(message.request, None)
        if future is not None and not future.done():
            future.set_result(message)
        if isinstance(message, SnapshotTaken) and self.on_snapshot is not None:
            self.on_snapshot(message.snapshot)

    # --- questions: on the loop -------------------------------------------------------------------

    async def ask(self, make: Callable[[int], Message]) -> Any:
        """Send the question that `make` makes of a request number, and return the answer.

        Raises:
            ClusterError: the scheduler declined; the text is its own.
            ConnectionClosed: the connection ended.
        """
        with self.session.lock:
            self.session.check_open()
        self._turn_whole()  # what was submitted, and what was let go of, before goes first
        number = next(self._numbers)
        future = self._asked[number] = self._loop.create_future()
        try:
            self._connection.send(make(number))
            answer = await future
        finally:
            self._asked.pop(number, None)
        if isinstance(answer, Declined):
            raise ClusterError(answer.text)
        return answer

    async def put(self, worker: int, address: str, group: int, blocks: list[Any]) -> None:
        """Put blocks of results into a worker's store. Raises: as `Fetcher.put`."""
        await self._fetcher.put(worker, address, group, blocks)

    def run(self, coroutine: Coroutine[Any, Any, R], timeout_s: float | None, what: str) -> R:
        """Run a coroutine on the loop and wait for it in this thread.

        Raises:
            TimeoutError: it took longer; the text says `what` was waited for.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise InvalidArgument(f"cannot wait for {what} on the client's own thread")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError:
            if future.done():  # the coroutine's own
                raise
            future.cancel()
            raise TimeoutError(f"{what}: no answer in {timeout_s:g} s") from None
        except BaseException:
            future.cancel()
            raise


class Callbacks:
    """Runs callbacks of users one after the other, in a thread that starts with the first."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def add(self, function: Callable[[], object]) -> None:
        """Run a function soon. What it raises is logged."""
        self._queue.put(function)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._run, name="cellspan callbacks", daemon=True
                    )
                    self._thread.start()

    def close(self) -> None:
        """End the thread after what is queued."""
        if self._thread is not None:
            self._queue.put(None)
            if self._thread is not threading.current_thread():
                self._thread.join(timeout=2)

    def _run(self) -> None:
        while (function := self._queue.get()) is not None:
            try:
                function()
            except Exception:
                logger.exception("a callback raised an exception")
            del function  # until the next one comes it would keep alive what it was called with
