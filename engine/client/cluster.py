"""The client's questions about the cluster as a whole: status, logs, snapshots, scaling, restart.

Law: each goes over the client's own connection and has a face for threads and one for coroutines.
Callbacks that watch run in the client's callback thread (or on the loop of an asynchronous client),
never on the connection's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from ..diagnostics.snapshot import Snapshot
from ..errors import ConnectionClosed, InvalidArgument
from ..messages import (
    GetLogs,
    GetStatus,
    RestartWorkers,
    ScaleCluster,
    StopCluster,
    WatchCluster,
)
from .link import Link, logger
from .session import Session
from .waiting import check_timeout

FRESH_S = 0.5
"""A snapshot of this age is good enough for `Futures.progress`."""
REFRESH_S = 1.0
DEFAULT_TIMEOUT_S = 30.0


class LogEntry(NamedTuple):
    """One line of a log. `time` in unix seconds; `stream` is 'stdout', 'stderr' or 'log'."""

    source: str
    stream: str
    time: float
    text: str

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.time).strftime("%H:%M:%S")
        return f"{when} {self.source} {self.stream}: {self.text}"


class Asking:
    """What the parts of Client that ask the scheduler have in common."""

    asynchronous: bool
    name: str
    _link: Link

    @property
    def session(self) -> Session:
        """The state of the client's protocol."""
        raise NotImplementedError

    def _ask(
        self,
        make: Callable[[int], Any],
        take: Callable[[Any], Any],
        timeout: float | None,
        what: str,
    ) -> Any:
        timeout = check_timeout(timeout)
        self.session.check_open()
        work = self._ask_and_take(make, take)
        if not self.asynchronous:
            return self._link.run(work, timeout, what)
        return in_time(work, timeout, what)

    async def _ask_and_take(self, make: Callable[[int], Any], take: Callable[[Any], Any]) -> Any:
        return take(await self._link.ask(make))


class ClusterQuestions(Asking):
    """The part of Client that speaks of the cluster, not of tasks."""

    _watchers: tuple[tuple[Callable[[Snapshot], object], float], ...] = ()
    _news_time = -1e9
    _is_refreshing = False

    def status(self, *, timeout: float | None = DEFAULT_TIMEOUT_S) -> Any:
        """Return state, workers, tasks by state, and more: the keys of `messages.StatusGiven`.

        Raises:
            TimeoutError: no answer in `timeout` seconds.
            ConnectionClosed: the cluster is out of reach.
        """
        return self._ask(GetStatus, lambda answer: answer.status, timeout, "the cluster's status")

    def logs(
        self,
        source: str | None = None,
        lines: int = 100,
        *,
        timeout: float | None = DEFAULT_TIMEOUT_S,
    ) -> Any:
        """Return the newest `lines` that tasks printed and processes logged, as a list of LogEntry
        in order of time.

        `source`: a worker's name, 'scheduler', or None for all; workers that are gone are included.

        Raises:
            ClusterError: there is no such source; the text lists those that there are.
            TimeoutError, ConnectionClosed: as `status`.
        """
        if not isinstance(lines, int) or lines < 1:
            raise InvalidArgument(f"lines is a number from 1 on, not {lines!r}")
        return self._ask(
            lambda number: GetLogs(number, source, lines),
            lambda answer: [LogEntry(*entry) for entry in answer.entries],
            timeout,
            "the cluster's logs",
        )

    def snapshot(self, *, timeout: float | None = DEFAULT_TIMEOUT_S) -> Any:
        """Return a Snapshot: the bounded summary of the whole cluster at this moment.

        Raises: as `status`.
        """

        def take(answer: Any) -> Snapshot:
            self._resume_watch()
            return Snapshot.from_wire(answer.snapshot)

        return self._ask(lambda number: WatchCluster(number, 0), take, timeout, "a snapshot")

    def scale(self, workers: int, *, timeout: float | None = DEFAULT_TIMEOUT_S) -> Any:
        """Have so many workers. Returns at once; they come and go afterwards.

        Raises:
            InvalidArgument: not a number from 1 on.
            ClusterError: the cluster cannot.
        """
        if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
            raise InvalidArgument(
                f"workers is a whole number from 1 on, not {workers!r}; to have none, stop the "
                "cluster"
            )
        return self._ask(
            lambda number: ScaleCluster(number, workers), lambda _: None, timeout, "scaling"
        )

    def restart(self, *, timeout: float | None = 60.0) -> Any:
        """Forget all groups of all clients and restart all executors; return when they are back.

        Futures whose results are not here yet end as cancelled.

        Raises: as `status`.
        """

        def finish(answer: Any) -> None:
            session = self.session
            with session.lock:
                session.forget_all(f"the cluster was restarted by {self.name}")

        return self._ask(RestartWorkers, finish, timeout, "the restart of all workers")

    def shutdown(self, *, timeout: float | None = DEFAULT_TIMEOUT_S) -> Any:
        """End the cluster, for all its clients.

        Raises: as `status`.
        """
        return self._ask(
            lambda number: StopCluster(number, self.name),
            lambda _: None,
            timeout,
            "the cluster's end",
        )

    def watch(
        self, callback: Callable[[Snapshot], object], interval_s: float = 1.0
    ) -> Callable[[], None]:
        """Call `callback(snapshot)` about every `interval_s` seconds (at least 0.5), until the
        function that is returned here is called. What it raises is logged.

        Raises:
            InvalidArgument: no such interval. ConnectionClosed: the cluster is out of reach.
        """
        if not isinstance(interval_s, int | float) or not 0 < interval_s <= 86_400:
            raise InvalidArgument(f"interval_s is a number of seconds, not {interval_s!r}")
        session = self.session
        session.check_open()
        entry = (callback, float(interval_s))
        with session.lock:
            self._watchers = (*self._watchers, entry)
        self._resume_watch()

        def stop() -> None:
            with session.lock:
                self._watchers = tuple(e for e in self._watchers if e is not entry)
                is_last = not self._watchers
            if session.closed is None and is_last:
                self._send_watch(0)
            elif session.closed is None:
                self._resume_watch()

        return stop

    # --- inside -----------------------------------------------------------------------------------

    def _resume_watch(self) -> None:
        """Have the scheduler send snapshots as often as the most curious watcher wants: asking for
        one ends that.
        """
        watchers = self._watchers
        if watchers:
            self._send_watch(min(interval for _, interval in watchers))

    def _send_watch(self, interval_s: float) -> None:
        with self.session.lock:
            if self.session.closed is None:
                self.session.out.append(WatchCluster(0, interval_s))
        self.session.wake()

    def _on_snapshot(self, wire: dict[str, Any]) -> None:
        """A snapshot came. On the loop."""
        snapshot = Snapshot.from_wire(wire)
        self._news_time = time.monotonic()
        self.session.rows = {row.group: row for row in snapshot.groups}
        for callback, _ in self._watchers:
            self.session.run_callback(partial(_call_logged, callback, snapshot))

    def _refresh(self) -> None:
        """Get a snapshot if the latest is old; wait for it where that may be."""
        if time.monotonic() - self._news_time < FRESH_S or self._is_refreshing:
            return
        if self.asynchronous or self._link.is_own_thread():
            self._send_watch(0)
            self._resume_watch()
            return
        self._is_refreshing = True
        try:
            self.snapshot(timeout=REFRESH_S)
        except (TimeoutError, ConnectionClosed):
            pass  # what is known stays good enough
        finally:
            self._is_refreshing = False


async def in_time(work: Coroutine[Any, Any, Any], timeout: float | None, what: str) -> Any:
    """Return what a coroutine returns. Raises: TimeoutError that says `what` was waited for."""
    try:
        async with asyncio.timeout(timeout):
            return await work
    except TimeoutError:
        raise TimeoutError(f"{what}: no answer in {timeout:g} s") from None


def _call_logged(callback: Callable[[Snapshot], object], snapshot: Snapshot) -> None:
    try:
        callback(snapshot)
    except Exception:
        logger.exception("a callback that watches the cluster raised an exception")
