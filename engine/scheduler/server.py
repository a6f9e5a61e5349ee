"""The scheduler's shell: sockets, timers and processes around the core.

Law: nothing is decided here about groups and tasks. Messages go to the core as they arrive, `place`
runs once per turn of the loop after all of them, and what the core wants sent is sent. A peer that
breaks the protocol loses its connection, nothing else happens. A fault of the core itself ends all
work: the cluster stands as failed and says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from ..errors import ConnectionClosed, PeerError
from ..ids import MAX_SESSIONS, PeerId
from ..messages import EndWorker, Heartbeat, Hello, Message, ReleaseTasks, Turned, Welcome
from ..transport import Connection, Credentials, Listener, is_turn_over, listen
from .core import SchedulerCore
from .crew import Crew
from .desk import QUESTIONS, Desk, Timer
from .dump import dump
from .logbook import Logbook
from .sessions import GIVEN_UP_S, Session

logger = logging.getLogger("cellspan.scheduler")

TICK_S = 0.25
WORKERS_END_S = 3.0
SLOW_TURN_S = 0.5
LEFTOVER_S = 0.002
"""So long may wait what nobody waits for: results that are to be freed."""


class Launcher(Protocol):
    """What starts and ends worker processes. It decides nothing."""

    def launch(self, name: str) -> None: ...

    def find_ended(self) -> list[tuple[str, str]]:
        """Return the workers whose processes have ended since the last call, and how: 'exit code
        1', 'signal 9'."""
        ...

    def find_how_ended(self, name: str) -> str | None:
        """Return how that worker's process has ended, waiting a moment if it is just ending; None
        if it lives or is not ours."""
        ...

    def end(self, name: str) -> None:
        """Ask a worker's process to end; it is killed if it does not within a few seconds."""
        ...

    def end_all(self) -> None:
        """End all worker processes, and return when they are gone."""
        ...

    def read_log(self, name: str, lines: int) -> list[list[Any]]:
        """Return the last lines that a worker's process wrote, as entries of `LogsGiven`."""
        ...


@dataclass(slots=True)
class ClusterFacts:
    """What the scheduler says about the cluster. Times in unix seconds."""

    name: str
    id: str
    version: str
    lifetime: str
    created: float


@dataclass(slots=True)
class State:
    """The cluster's state: 'starting', 'running', 'failed' or 'stopping'. `tell` is called on every
    change."""

    tell: Callable[[str, str], None]
    name: str = "starting"
    reason: str = ""
    is_broken: bool = False
    seen: list[str] = field(default_factory=list)

    def become(self, name: str, reason: str = "") -> None:
        if (name, reason) != (self.name, self.reason):
            self.name, self.reason = name, reason
            self.tell(name, reason)


class SchedulerServer:
    """One cluster's scheduler. `stopped` is done when the cluster has ended."""

    def __init__(
        self,
        core: SchedulerCore,
        launcher: Launcher,
        crew: Crew,
        facts: ClusterFacts,
        logbook: Logbook,
        on_state: Callable[[str, str], None],
    ) -> None:
        self.core = core
        self.launcher = launcher
        self.crew = crew
        self.facts = facts
        self.logbook = logbook
        self.state = State(on_state)
        self.sessions: dict[PeerId, Session] = {}
        self.stopped: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.idle_since: float | None = None
        self._loop = asyncio.get_running_loop()
        self._epoch = time.time() - time.monotonic()  # unix time that never jumps
        self._started = self.now()
        self._last_peer = 0
        self._listener: Listener | None = None
        self._desk = Desk(self)
        self._turn_is_due = False
        self._wakeup: asyncio.TimerHandle | None = None
        self._leftover: asyncio.TimerHandle | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._stopping: asyncio.Task[None] | None = None

    def now(self) -> float:
        """Return the unix time, in seconds."""
        return self._epoch + time.monotonic()

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Have something called after a delay, for rooms that know no loop."""
        return self._loop.call_later(delay_s, callback, *args)

    @property
    def uptime_s(self) -> float:
        return self.now() - self._started

    @property
    def workers(self) -> list[Session]:
        return [s for s in self.sessions.values() if s.role == "worker"]

    @property
    def clients(self) -> list[Session]:
        return [s for s in self.sessions.values() if s.role == "client" and not s.is_control]

    async def start(self, address: str, credentials: Credentials | None, sock: Any = None) -> str:
        """Listen, start the workers, and return the address with the real port."""
        self._listener = await listen(
            address, self._admit, credentials, cluster=self.facts.id, sock=sock
        )
        self.staff()
        self._on_tick()
        return self._listener.address

    # --- peers ------------------------------------------------------------------------------------

    def _admit(self, hello: Hello, connection: Connection) -> Welcome | Turned:
        is_control = hello.role == "client" and hello.info.get("control") is True
        if hello.role == "peer":
            return Turned("data is fetched from workers, not from the scheduler")
        if self._stopping is not None:
            return Turned("the cluster is stopping")
        if self.state.is_broken and not is_control:
            return Turned(f"the cluster has failed: {self.state.reason}")
        name = hello.info.get("name")
        if hello.role == "worker" and any(s.name == name for s in self.workers):
            return Turned(f"there is a worker {name!r} already; give this one another name")
        now = self.now()
        self._last_peer += 1
        if self._last_peer >= MAX_SESSIONS:
            return Turned("the cluster has no session numbers left; restart it")
        session = Session(self._last_peer, hello.role, connection, hello.info, now, now, is_control)
        try:
            if hello.role == "worker":
                self.core.add_worker(session.peer, hello.info, now)
            elif not is_control:
                self.core.add_client(session.peer, hello.info, now)
        except PeerError as error:
            return Turned(str(error))
        self.sessions[session.peer] = session
        connection.on_messages = partial(self._on_messages, session)
        connection.on_close = partial(self._on_close, session)
        level = logging.DEBUG if is_control else logging.INFO
        logger.log(level, "%s has come (session %d)", session.name, session.peer)
        self.turn_soon()
        return Welcome(session.peer, self.facts.name, self.facts.version)

    def _on_messages(self, session: Session, messages: list[Message]) -> None:
        session.last_heard = now = self.now()
        is_alone = is_turn_over(self._loop)
        end = len(messages)
        if is_alone and end > 1:
            # What a client lets go of stands last, and is let go after the rest is on its way.
            while end and type(messages[end - 1]) is ReleaseTasks:
                end -= 1
        for at, message in enumerate(messages):
            if at == end and at:
                self._turn()
            if not self._handle(session, message, now):
                return
        if is_alone and end:
            if end == len(messages):
                self._turn()
            else:
                self._turn_later()
        else:
            self.turn_soon()

    def _handle(self, session: Session, message: Message, now: float) -> bool:
        """Take in one message; False if the core is at fault, and all is over."""
        if type(message) is Heartbeat and session.role == "worker":
            session.stats = message.stats
            if self.state.name != "running":
                self._show_state()
        if type(message) in QUESTIONS:
            self._desk.take(session, message, now)
        elif session.is_control:
            raise PeerError(f"a {type(message).__name__} from a control connection")
        elif not self.state.is_broken:
            try:
                self.core.handle(session.peer, message, now)
            except PeerError:
                raise  # the connection is dropped by the transport, and `_on_close` is told
            except Exception as error:
                logger.critical("at fault while handling, from %s: %.2000r", session.name, message)
                self._break_down(error)
                return False
        return True

    def _on_close(self, session: Session, error: Exception | None) -> None:
        if self.sessions.pop(session.peer, None) is None:
            return
        self._desk.forget(session)
        reason = str(error) if error is not None else "its connection was closed"
        level = logging.DEBUG if session.is_control else logging.INFO
        logger.log(level, "%s has gone (session %d): %s", session.name, session.peer, reason)
        if session.is_control or self.state.is_broken:
            return
        now = self.now()
        try:
            if session.role == "worker":
                how = self.launcher.find_how_ended(session.name)
                if how is not None:
                    reason = f"its process ended with {how}"
                text = f"worker {session.name!r} was lost: {reason}"
                self.core.remove_worker(session.peer, text, now, expected=session.is_leaving)
                self._loop.call_soon(self._look_after_processes)
            else:
                self.core.remove_client(session.peer, now)
        except Exception as fault:
            self._break_down(fault)
            return
        self._show_state()
        self.turn_soon()

    def dismiss(self, session: Session, reason: str) -> None:
        """Let a worker go: its tasks go elsewhere, its process ends."""
        session.is_leaving = True
        with contextlib.suppress(ConnectionClosed):
            session.connection.send(EndWorker(reason))
        session.connection.close()

    # --- turns ------------------------------------------------------------------------------------

    def take_snapshot(self, now: float) -> dict[str, Any]:
        """Return a snapshot in wire form."""
        return self.core.snapshot(now).to_wire()

    def restart(self, reason: str) -> None:
        """Forget all groups; the workers' executors are the desk's to restart."""
        self.core.forget_everything(self.now(), reason)
        self._turn()

    def turn_now(self) -> None:
        """Have all that was decided so far carried out, before something else is sent."""
        self._turn()

    def on_restarted(self) -> None:
        """All workers have restarted their executors, or were waited for long enough."""
        self.core.on_restarted(self.now())
        self.turn_soon()

    def turn_soon(self) -> None:
        """Have the core place and the effects carried out, once all messages of this turn are
        handled."""
        if not self._turn_is_due and not self.state.is_broken:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn_later(self) -> None:
        """Have what is not urgent carried out with the next turn, or in a moment."""
        if self._leftover is None:
            self._leftover = self._loop.call_later(LEFTOVER_S, self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        if self._leftover is not None:
            self._leftover.cancel()
            self._leftover = None
        if self.state.is_broken:
            return
        now = self.now()
        try:
            self.core.place(now)
            sends = self.core.take_sends()
            wakeup = self.core.next_wakeup(now)
        except Exception as error:
            self._break_down(error)
            return
        batches: dict[PeerId, list[Message]] = {}
        for peer, message in sends:
            batches.setdefault(peer, []).append(message)
        # To clients first: somebody may wait there, while workers have work.
        for peer in sorted(batches, key=self._is_worker) if len(batches) > 1 else batches:
            session, messages = self.sessions.get(peer), batches[peer]
            # Who has gone in this very turn gets nothing; the core hears of it by `_on_close`.
            if session is not None and not session.connection.is_closing:
                session.connection.send_now(messages)
        if self._wakeup is not None:
            self._wakeup.cancel()
            self._wakeup = None
        if wakeup is not None:
            self._wakeup = self._loop.call_later(max(0.0, wakeup - now), self._turn)
        took_s = self.now() - now
        if took_s > SLOW_TURN_S:
            logger.warning("a turn of the scheduler took %.2f s", took_s)

    def _is_worker(self, peer: PeerId) -> bool:
        session = self.sessions.get(peer)
        return session is not None and session.role == "worker"

    def _break_down(self, error: Exception) -> None:
        """The core is at fault: nothing that it says can be trusted any more."""
        if self.state.is_broken:
            return
        self.state.is_broken = True
        reason = f"internal error: {error!r}"
        logger.critical("the scheduler has failed: %s", reason, exc_info=error)
        logger.critical("state of the scheduler:\n%s", dump(self.core))
        self.crew.scale(0)
        for session in list(self.sessions.values()):
            if session.role == "worker":
                self.dismiss(session, reason)
            elif not session.is_control:
                with contextlib.suppress(ConnectionClosed):
                    session.connection.send(Turned(f"the cluster has failed: {reason}"))
                session.connection.close()
        self.state.become("failed", reason)

    # --- workers ----------------------------------------------------------------------------------

    def scale(self, workers: int) -> None:
        """Have so many workers."""
        self.crew.scale(workers)
        self.staff()
        self.state.tell(self.state.name, self.state.reason)

    def staff(self) -> None:
        """Start and end workers until there are as many as are wanted."""
        if self._stopping is not None:
            return
        for name in self.crew.hire():
            logger.info("starting %s", name)
            try:
                self.launcher.launch(name)
            except OSError as error:
                logger.exception("%s cannot be started", name)
                self.crew.on_ended(name, str(error), self.now())
        here = {s.name: s for s in self.workers}
        absent = [name for name in self.crew.members if name not in here]
        emptiest = sorted(here.values(), key=lambda s: s.stats.get("store_bytes", 0))
        idle = [s.name for s in emptiest if not s.stats.get("running")]
        for name in self.crew.dismiss([*reversed(absent), *idle]):
            logger.info("ending %s", name)
            if name in here:
                self.dismiss(here[name], "the cluster was scaled down")
            self.launcher.end(name)
        self._show_state()

    def _look_after_processes(self) -> None:
        for name, how in self.launcher.find_ended():
            was_needed = self.crew.on_ended(name, how, self.now())
            self.logbook.keep(name, self.launcher.read_log(name, 100))
            if was_needed and self._stopping is None:
                logger.warning("%s has ended with %s", name, how)
                for session in self.workers:
                    if session.name == name:
                        session.connection.abort(ConnectionClosed(f"its process ended with {how}"))
        self.staff()

    def _show_state(self) -> None:
        if self.state.is_broken or self._stopping is not None:
            return
        if not self.crew.wanted or any(s.stats.get("executors") for s in self.workers):
            self.state.become("running", self.crew.trouble)
        elif self.crew.trouble and not self.workers:
            self.state.become("failed", self.crew.trouble)

    # --- time -------------------------------------------------------------------------------------

    def _on_tick(self) -> None:
        self._tick = self._loop.call_later(TICK_S, self._on_tick)
        now = self.now()
        self._look_after_processes()
        for session in self.workers:
            if now - session.last_heard > GIVEN_UP_S:
                session.connection.abort(
                    ConnectionClosed(f"no heartbeat for {now - session.last_heard:.0f} s")
                )
        if not self.state.is_broken and not self.core.is_idle:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = now

    # --- the end ----------------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """End the cluster: workers, then scheduler. `stopped` is done when it has ended."""
        if self._stopping is None:
            logger.info("stopping: %s", reason)
            self._stopping = self._loop.create_task(self._stop(reason))

    async def _stop(self, reason: str) -> None:
        self.state.become("stopping", reason)
        if self._listener is not None:
            self._listener.close()
        for timer in (self._tick, self._wakeup, self._leftover):
            if timer is not None:
                timer.cancel()
        workers = self.workers
        for session in workers:
            session.is_leaving = True
            with contextlib.suppress(ConnectionClosed):
                session.connection.send(EndWorker(reason))
        leaving = [self._loop.create_task(s.connection.closed()) for s in workers]
        if leaving:
            await asyncio.wait(leaving, timeout=WORKERS_END_S)
        await self._loop.run_in_executor(None, self.launcher.end_all)
        self._desk.close()
        for session in list(self.sessions.values()):
            session.connection.close()
        await asyncio.sleep(0)
        if not self.stopped.done():
            self.stopped.set_result(reason)
