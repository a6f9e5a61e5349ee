"""Questions about the cluster as a whole: status, logs, snapshots, scaling, stopping.

Law: any client may ask; every question is answered by its number, with `Declined` and a sentence
where it cannot be carried out. A snapshot is built at most twice a second, and more seldom where
the cluster is so large that it would take more than its share of time; once for all who watch, and
not at all if nobody does.
"""

from __future__ import annotations

import contextlib
import logging
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ConnectionClosed, PeerError
from ..messages import (
    Accepted,
    Declined,
    ExecutorsRestarted,
    GetLogs,
    GetStatus,
    LogsGiven,
    Message,
    RestartExecutors,
    RestartWorkers,
    ScaleCluster,
    SnapshotTaken,
    StatusGiven,
    StopCluster,
    WatchCluster,
)
from .sessions import Session

if TYPE_CHECKING:
    from .server import SchedulerServer

logger = logging.getLogger("cellspan.scheduler")

QUESTIONS = {
    GetStatus, GetLogs, LogsGiven, ScaleCluster, StopCluster, RestartWorkers, ExecutorsRestarted,
    WatchCluster,
}  # fmt: skip
"""What the desk takes; the rest is the core's."""

SNAPSHOT_S = 0.5
SNAPSHOT_SHARE = 0.01
"""What of the scheduler's time may go into snapshots."""
WORKERS_ANSWER_S = 2.0
RESTART_S = 30.0
MAX_LINES = 10_000
MAX_WORKERS = 1000
BACKLOG_BYTES = 4 << 20
"""A watcher that has not taken so much gets no further snapshot until it has."""


class Timer(Protocol):
    """What the server's `call_later` gives."""

    def cancel(self) -> None: ...


@dataclass(slots=True, eq=False)
class _Watcher:
    session: Session
    request: int
    interval_s: float
    due: float


@dataclass(slots=True, eq=False)
class _Poll:
    """A question passed on to workers: `finish` is called once, with what came in time."""

    waiting: set[int]
    finish: Callable[[list[list[Any]]], None]
    timer: Timer
    entries: list[list[Any]] = field(default_factory=list)


class Desk:
    """Answers for one server."""

    def __init__(self, server: SchedulerServer) -> None:
        self._server = server
        self._watchers: dict[int, _Watcher] = {}
        self._timer: Timer | None = None
        self._snapshot: tuple[float, dict[str, Any]] | None = None
        self._fresh_s = 0.0
        self._polls: dict[int, _Poll] = {}
        self._last_poll = 0

    def take(self, session: Session, message: Message, now: float) -> None:
        """Answer a message whose class is in QUESTIONS.

        Raises:
            PeerError: the peer is not one that may send it.
        """
        if isinstance(message, LogsGiven | ExecutorsRestarted):
            if session.role != "worker":
                raise PeerError(f"a {type(message).__name__} from a client")
            entries = message.entries if isinstance(message, LogsGiven) else []
            self._on_answer(session, message.request, entries)
        elif session.role == "worker":
            raise PeerError(f"a {type(message).__name__} from a worker")
        elif isinstance(message, GetStatus):
            _say(session, StatusGiven(message.request, self._make_status(now)))
        elif isinstance(message, GetLogs):
            self._get_logs(session, message)
        elif isinstance(message, WatchCluster):
            self._watch(session, message, now)
        elif isinstance(message, ScaleCluster):
            self._scale(session, message)
        elif isinstance(message, StopCluster):
            _say(session, Accepted(message.request))
            self._server.stop(f"stopped by {message.by or session.name}")
        elif isinstance(message, RestartWorkers):
            self._restart(session, message)

    def forget(self, session: Session) -> None:
        """A session has ended."""
        self._watchers.pop(session.peer, None)
        for number in [n for n, poll in self._polls.items() if session.peer in poll.waiting]:
            self._drop_from_poll(number, session.peer)

    def close(self) -> None:
        """Answer no more."""
        self._watchers.clear()
        for poll in self._polls.values():
            poll.timer.cancel()
        self._polls.clear()
        if self._timer is not None:
            self._timer.cancel()

    # --- status and scale -------------------------------------------------------------------------

    def _make_status(self, now: float) -> dict[str, Any]:
        server = self._server
        snapshot = {} if server.state.is_broken else self._take_snapshot(now)
        workers = [session.to_status(now) for session in server.workers]
        here = {worker["name"] for worker in workers}
        workers += [
            {"id": 0, "name": name, "state": "starting", "reason": "", "slots": 0,
             "resources": {}, "memory_limit_bytes": 0, "pid": 0, "host": "", "version": "",
             "python": "", "stats": {}}
            for name in server.crew.members if name not in here
        ]  # fmt: skip
        return {
            "state": server.state.name,
            "reason": server.state.reason,
            "name": server.facts.name,
            "version": server.facts.version,
            "python": platform.python_version(),
            "workers": workers,
            "wanted": server.crew.wanted,
            "tasks": dict(snapshot.get("totals", {})),
            "clients": len(server.clients),
            "lifetime": server.facts.lifetime,
            "uptime_s": round(server.uptime_s, 3),
            "idle_s": 0.0 if server.idle_since is None else round(now - server.idle_since, 3),
        }

    def _scale(self, session: Session, message: ScaleCluster) -> None:
        if not 1 <= message.workers <= MAX_WORKERS:
            text = (
                f"workers={message.workers}: a cluster has 1 to {MAX_WORKERS} workers; to have "
                "none, stop the cluster"
            )
            _say(session, Declined(message.request, text))
        elif self._server.state.is_broken:
            text = f"the cluster has failed ({self._server.state.reason}): stop it, start another"
            _say(session, Declined(message.request, text))
        else:
            logger.info("%s wants %d workers", session.name, message.workers)
            self._server.scale(message.workers)
            _say(session, Accepted(message.request))

    # --- questions that workers answer ------------------------------------------------------------

    def _get_logs(self, session: Session, message: GetLogs) -> None:
        source, book = message.source, self._server.logbook
        lines = max(1, min(message.lines, MAX_LINES))
        # A source may be one executor of a worker: 'worker-1/0'.
        owner = None if source is None else source.split("/")[0]
        asked = [s for s in self._server.workers if owner in (None, s.name)]
        known = [s.name for s in self._server.workers]
        if owner is not None and not asked and not book.knows(owner):
            text = f"there is no log of {source!r}; there are: {', '.join(['scheduler', *known])}"
            _say(session, Declined(message.request, text))
            return
        kept = book.read(owner, lines)

        def finish(entries: list[list[Any]]) -> None:
            chosen = [e for e in entries if source in (None, owner) or e[0] == source]
            found = sorted(kept + chosen, key=lambda entry: float(entry[2]))
            _say(session, LogsGiven(message.request, found))

        self._ask(asked, lambda n: GetLogs(n, source, lines), WORKERS_ANSWER_S, finish)

    def _restart(self, session: Session, message: RestartWorkers) -> None:
        server = self._server
        if server.state.is_broken:
            _say(
                session, Declined(message.request, f"the cluster has failed: {server.state.reason}")
            )
            return
        logger.info("%s restarts all workers", session.name)
        server.restart(f"the cluster was restarted by {session.name}")

        def finish(entries: list[list[Any]]) -> None:
            server.on_restarted()
            _say(session, Accepted(message.request))

        self._ask(server.workers, RestartExecutors, RESTART_S, finish)

    def _ask(
        self,
        sessions: list[Session],
        make: Callable[[int], Message],
        timeout_s: float,
        finish: Callable[[list[list[Any]]], None],
    ) -> None:
        self._server.turn_now()  # a question never overtakes what its client asked for before
        self._last_poll += 1
        number = self._last_poll
        waiting = set()
        for session in sessions:
            if _say(session, make(number)):
                waiting.add(session.peer)
        if not waiting:
            finish([])
            return
        timer = self._server.call_later(timeout_s, self._finish_poll, number)
        self._polls[number] = _Poll(waiting, finish, timer)

    def _on_answer(self, session: Session, number: int, entries: list[list[Any]]) -> None:
        poll = self._polls.get(number)
        if poll is None or session.peer not in poll.waiting:
            return  # it came too late: the question was answered without it
        poll.entries += [entry for entry in entries if _is_entry(entry)]
        self._drop_from_poll(number, session.peer)

    def _drop_from_poll(self, number: int, peer: int) -> None:
        poll = self._polls[number]
        poll.waiting.discard(peer)
        if not poll.waiting:
            self._finish_poll(number)

    def _finish_poll(self, number: int) -> None:
        poll = self._polls.pop(number)
        poll.timer.cancel()
        poll.finish(poll.entries)

    # --- snapshots --------------------------------------------------------------------------------

    def _watch(self, session: Session, message: WatchCluster, now: float) -> None:
        self._watchers.pop(session.peer, None)
        if self._server.state.is_broken:
            text = f"the cluster has failed: {self._server.state.reason}"
            _say(session, Declined(message.request, text))
            return
        _say(session, SnapshotTaken(message.request, self._take_snapshot(now)))
        if message.interval_s > 0:
            interval_s = max(SNAPSHOT_S, message.interval_s)
            self._watchers[session.peer] = _Watcher(
                session, message.request, interval_s, now + interval_s
            )
            if self._timer is None:
                self._timer = self._server.call_later(SNAPSHOT_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if not self._watchers or self._server.state.is_broken:
            return
        self._timer = self._server.call_later(SNAPSHOT_S, self._on_timer)
        now = self._server.now()
        for watcher in self._watchers.values():
            # The timer may come a little early for one that is due now.
            is_due = now >= watcher.due - SNAPSHOT_S / 4
            if is_due and watcher.session.connection.backlog_bytes < BACKLOG_BYTES:
                watcher.due = now + watcher.interval_s
                _say(watcher.session, SnapshotTaken(watcher.request, self._take_snapshot(now)))

    def _take_snapshot(self, now: float) -> dict[str, Any]:
        if self._snapshot is None or now - self._snapshot[0] >= self._fresh_s:
            began_s = self._server.spent_s()
            self._snapshot = (now, self._server.take_snapshot(now))
            self._fresh_s = 0.75 * find_interval_s(self._server.spent_s() - began_s)
        return self._snapshot[1]


def find_interval_s(cost_s: float) -> float:
    """Return how far snapshots are apart at least, if one takes so many seconds of processor time:
    the larger the cluster, the farther.
    """
    return max(SNAPSHOT_S, cost_s / SNAPSHOT_SHARE)


def _say(session: Session, message: Message) -> bool:
    with contextlib.suppress(ConnectionClosed):
        session.connection.send(message)
        return True
    return False  # it has gone meanwhile


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 4
        and isinstance(entry[2], int | float)
        and isinstance(entry[3], str)
    )
