"""A simulated client: it speaks the protocol, mirrors what it is told, and checks every word of it.

Law: it believes nothing that the truth contradicts: each result is compared with the oracle's, each
failure must be explained, and news must fit what was told before.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cellspan.engine.ids import make_group_id
from cellspan.engine.messages import (
    AddressFound,
    Block,
    CancelTasks,
    CloseGroup,
    Failure,
    GetAddress,
    GroupRefused,
    HoldTasks,
    Message,
    PickWorkers,
    ReleaseTasks,
    RetryTasks,
    TasksDone,
    TasksFailed,
    TasksReopened,
    WantResults,
    WorkersPicked,
)

from .network import Link
from .sim_worker import SimWorker
from .truth import Truth
from .world import World

PENDING, DONE, FAILED = 0, 1, 2
FETCH_LATENCY_S = 4e-4
FETCH_AGAIN_S = 0.02
FETCH_TASKS = 10_000


class Mirror:
    """What a client knows of one group: columns with a row per task."""

    def __init__(self, group: int, kind: str, *, adopted: bool = False) -> None:
        self.group = group
        self.kind = kind
        self.adopted = adopted
        self.is_open = kind == "graph" and not adopted
        self.held: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.wanted: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.has: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.fetching: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.state: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self.where: NDArray[np.int32] = np.zeros(0, np.int32)
        self.wants_all = False
        self.failures: dict[int, Failure] = {}

    @property
    def n(self) -> int:
        """Return the number of tasks."""
        return len(self.held)

    def grow(self, count: int) -> None:
        """Hold so many tasks more."""
        self.held = np.concatenate([self.held, np.ones(count, np.bool_)])
        self.wanted = np.concatenate([self.wanted, np.full(count, self.wants_all)])
        self.has = np.concatenate([self.has, np.zeros(count, np.bool_)])
        self.fetching = np.concatenate([self.fetching, np.zeros(count, np.bool_)])
        self.state = np.concatenate([self.state, np.zeros(count, np.uint8)])
        self.where = np.concatenate([self.where, np.zeros(count, np.int32)])

    def is_settled(self) -> bool:
        """Return whether every held task is finished, and its result here if it is wanted."""
        if (self.held & (self.state == PENDING)).any():
            return False
        return not (self.held & self.wanted & (self.state == DONE) & ~self.has).any()

    def describe(self) -> str:
        """Return what is not settled."""
        pending = np.nonzero(self.held & (self.state == PENDING))[0]
        lacking = np.nonzero(self.held & self.wanted & (self.state == DONE) & ~self.has)[0]
        return (
            f"{self.group:x} {self.kind}: {len(pending)} of {self.n} pending {pending[:8]}, "
            f"{len(lacking)} not here {lacking[:8]}"
        )


class SimClient:
    """One client session."""

    def __init__(
        self,
        world: World,
        truth: Truth,
        peer: int,
        find_worker: Callable[[str], SimWorker | None],
    ) -> None:
        self.world = world
        self.truth = truth
        self.peer = peer
        self.name = f"c{peer}"
        self.find_worker = find_worker
        self.link: Link | None = None
        self.is_gone = False
        self.groups: dict[int, Mirror] = {}
        self.checked = 0
        self._out: list[Message] = []
        self._addresses: dict[int, str] = {}
        self._asked: dict[int, int] = {}
        self._picks: dict[int, Mirror] = {}
        self._serial = 0
        self._request = 0

    # --- saying -----------------------------------------------------------------------------------

    def say(self, *messages: Message) -> None:
        """Send messages with what else is said in this turn."""
        self._out += messages

    def flush(self) -> None:
        """Send what was said."""
        if self._out and self.link is not None and not self.is_gone:
            self.link.send(1, self._out)
        self._out = []

    def next_group(self) -> int:
        """Return a new group id."""
        self._serial += 1
        return make_group_id(self.peer, self._serial)

    def next_request(self) -> int:
        """Return a new request number."""
        self._request += 1
        return self._request

    def release(self, mirror: Mirror, start: int, stop: int) -> None:
        """Hold these tasks no more."""
        mirror.held[start:stop] = False
        self.truth.groups[mirror.group].was_let_go = True
        self.say(ReleaseTasks(mirror.group, [start, stop]))

    def want(self, mirror: Mirror, start: int, stop: int) -> None:
        """Want results of tasks here."""
        mirror.wanted[start:stop] = True
        self.say(WantResults(mirror.group, [start, stop]))
        self.pump(mirror)

    def cancel(self, mirror: Mirror, start: int, stop: int) -> None:
        """Cancel tasks."""
        self.truth.groups[mirror.group].cancelled[start:stop] = True
        self.say(CancelTasks(mirror.group, [start, stop], self.name))

    def retry(self, mirror: Mirror, start: int, stop: int) -> None:
        """Run failed tasks again."""
        self.say(RetryTasks(mirror.group, [start, stop]))

    def adopt(self, group: int, kind: str, first: int = 0) -> None:
        """Hold the tasks from `first` on of a group that another client made."""
        mirror = self.groups[group] = Mirror(group, kind, adopted=True)
        mirror.wants_all = True
        mirror.grow(len(self.truth.groups[group].values))
        mirror.held[:first] = False
        runs = [first, mirror.n]
        self.say(HoldTasks(group, runs), WantResults(group, runs))

    def close_graph(self, mirror: Mirror) -> None:
        """Append no more to a graph."""
        mirror.is_open = False
        self.say(CloseGroup(mirror.group))

    def put(self, mirror: Mirror, *, broadcast: bool) -> None:
        """Ask where to put scattered data; the answer is acted upon."""
        request = self.next_request()
        self._picks[request] = mirror
        self.say(PickWorkers(request, mirror.group, [8] * mirror.n, broadcast))

    def leave(self, *, in_order: bool) -> None:
        """Disconnect: closing the link, or by its breaking."""
        self.flush()
        self.is_gone = True
        for group in self.groups:
            self.truth.groups[group].was_let_go = True
        assert self.link is not None
        if in_order:
            self.link.close(1, f"{self.name} leaves")
        else:
            self.link.cut(f"{self.name} died")

    # --- hearing ----------------------------------------------------------------------------------

    def on_messages(self, messages: list[Message]) -> None:
        """Take a batch from the scheduler."""
        if self.is_gone:
            return
        dirty: dict[int, Mirror] = {}
        for message in messages:
            match message:
                case TasksDone():
                    mirror = self._on_done(message)
                    if mirror is not None:
                        dirty[mirror.group] = mirror
                case TasksFailed():
                    self._on_failed(message)
                case TasksReopened():
                    self._on_reopened(message)
                case WorkersPicked():
                    self._on_picked(message)
                case AddressFound():
                    self._on_address(message)
                    dirty |= self.groups
                case GroupRefused():
                    self._on_refused(message)
                case _:
                    raise self.world.fail(f"{self.name} got {message!r:.300}")
        for mirror in dirty.values():
            self.pump(mirror)
        self.flush()

    def _on_done(self, message: TasksDone) -> Mirror | None:
        mirror = self.groups[message.group]
        start, stop = message.start, message.stop
        held = mirror.held[start:stop]
        if (held & (mirror.state[start:stop] == FAILED)).any():
            raise self.world.fail(f"{self.name}: {message!r:.200} of failed tasks")
        mirror.state[start:stop] = DONE
        mirror.where[start:stop] = message.worker
        if message.blocks:
            self.take_blocks(mirror, message.blocks)
            if (held & ~mirror.has[start:stop]).any():
                raise self.world.fail(f"{self.name}: the blocks of {message!r:.200} lack some")
        lacking = held & mirror.wanted[start:stop] & ~mirror.has[start:stop]
        return mirror if lacking.any() else None

    def take_blocks(self, mirror: Mirror, blocks: list[Block]) -> None:
        """Compare results with the oracle's, and keep in mind that they are here."""
        for start, stop, single, parts in blocks:
            values = np.frombuffer(parts[0], np.uint64)
            function = self.truth.groups[mirror.group].function
            padding = sum(map(len, parts[1:]))
            if function is not None and padding != (function.nbytes - 8) * (stop - start):
                raise self.world.fail(f"{self.name}: a block with {padding} bytes of padding")
            if len(values) != stop - start or single != (stop - start == 1):
                raise self.world.fail(f"{self.name}: [{start},{stop}) has {len(values)} results")
            wrong = self.truth.check_values(mirror.group, start, values)
            if wrong:
                raise self.world.fail(f"{self.name}: {wrong}")
            self.checked += len(values)
            mirror.has[start:stop] = True

    def _on_failed(self, message: TasksFailed) -> None:
        mirror = self.groups[message.group]
        failure = message.failure
        for start, stop in zip(message.runs[::2], message.runs[1::2], strict=True):
            for index in range(start, stop):
                if not mirror.held[index]:
                    continue
                is_expected = failure["kind"] == "lost" or self.truth.restarts
                if mirror.state[index] != PENDING and not is_expected:
                    raise self.world.fail(f"{self.name}: [{index}] of {message!r:.300} twice")
                is_gone = mirror.adopted and failure["kind"] == "lost" and "origin" not in failure
                wrong = None if is_gone else self.truth.check_failure(mirror.group, index, failure)
                if wrong:
                    raise self.world.fail(f"{self.name}: {wrong}")
                mirror.failures[index] = failure
            mirror.state[start:stop] = FAILED

    def _on_refused(self, message: GroupRefused) -> None:
        """Right only when a restart has swept away what it depends on."""
        mirror = self.groups[message.group]
        if not self.truth.restarts or not message.text:
            raise self.world.fail(f"{self.name}: group {message.group:x}: {message.text}")
        mirror.state[:] = FAILED
        mirror.is_open = False

    def _on_reopened(self, message: TasksReopened) -> None:
        mirror = self.groups[message.group]
        for start, stop in zip(message.runs[::2], message.runs[1::2], strict=True):
            if (mirror.held[start:stop] & (mirror.state[start:stop] == PENDING)).any():
                raise self.world.fail(f"{self.name}: {message!r:.300} of pending tasks")
            mirror.state[start:stop] = PENDING

    # --- fetching ---------------------------------------------------------------------------------

    def pump(self, mirror: Mirror) -> None:
        """Fetch what is wanted, done and neither here nor on its way."""
        mask = mirror.held & mirror.wanted & ~mirror.has & ~mirror.fetching
        mask &= mirror.state == DONE
        found = np.nonzero(mask)[0]
        if not len(found):
            return
        where = mirror.where[found]
        breaks = np.nonzero((np.diff(found) != 1) | (np.diff(where) != 0))[0] + 1
        for run in np.split(found, breaks):
            worker = int(mirror.where[run[0]])
            for first in range(int(run[0]), int(run[-1]) + 1, FETCH_TASKS):
                self._fetch(mirror, worker, first, min(int(run[-1]) + 1, first + FETCH_TASKS))

    def _fetch(self, mirror: Mirror, worker: int, start: int, stop: int) -> None:
        if worker not in self._addresses:
            if worker not in self._asked.values():
                request = self.next_request()
                self._asked[request] = worker
                self.say(GetAddress(request, worker))
            return
        mirror.fetching[start:stop] = True
        label = f"{self.name} asks w{worker} for {mirror.group:x}[{start},{stop})"
        self.world.after(FETCH_LATENCY_S, label, self._ask, mirror, worker, start, stop)

    def _on_address(self, message: AddressFound) -> None:
        worker = self._asked.pop(message.request)
        if message.address is not None:
            self._addresses[worker] = message.address

    def _ask(self, mirror: Mirror, worker: int, start: int, stop: int) -> None:
        other = self.find_worker(self._addresses[worker])
        blocks: list[Block] = []
        if other is not None and not other.is_dead:
            blocks = other.serve(mirror.group, start, stop)
        label = f"{self.name} gets {mirror.group:x}[{start},{stop}) in {len(blocks)} blocks"
        self.world.after(FETCH_LATENCY_S, label, self._on_blocks, mirror, start, stop, blocks)

    def _on_blocks(self, mirror: Mirror, start: int, stop: int, blocks: list[Block]) -> None:
        if self.is_gone:
            return
        self.take_blocks(mirror, blocks)
        if mirror.has[start:stop].all():
            mirror.fetching[start:stop] = False
        else:  # the worker is gone, or has not got it any more: hear first what is to be heard
            label = f"{self.name} tries again"
            self.world.after(FETCH_AGAIN_S, label, self._fetch_again, mirror, start, stop)

    def _fetch_again(self, mirror: Mirror, start: int, stop: int) -> None:
        mirror.fetching[start:stop] = False
        self.pump(mirror)
        self.flush()

    # --- scattering -------------------------------------------------------------------------------

    def _on_picked(self, message: WorkersPicked) -> None:
        mirror = self._picks.pop(message.request)
        covered = 0
        for start, stop, worker, address in sorted(message.places):
            covered = max(covered, stop) if start <= covered else -1
            label = f"{self.name} puts {mirror.group:x}[{start},{stop}) on w{worker}"
            self.world.after(
                FETCH_LATENCY_S, label, self._put_on, mirror, start, stop, address
            )  # fmt: skip
        if covered != mirror.n:
            raise self.world.fail(f"{self.name}: {message!r} for {mirror.n} results")

    def _put_on(self, mirror: Mirror, start: int, stop: int, address: str) -> None:
        worker = self.find_worker(address)
        if worker is None or worker.is_dead or self.is_gone:
            return
        values = self.truth.groups[mirror.group].values
        blocks: list[Block] = [
            [i, i + 1, True, [values[i : i + 1].tobytes()]] for i in range(start, stop)
        ]
        error = worker.put(mirror.group, blocks)
        if error is not None and not self.truth.small_stores:
            raise self.world.fail(f"{worker.name} keeps no data: {error}")
        if error is not None:  # `scatter` raises, and its caller gets no futures
            self.release(mirror, 0, mirror.n)
            self.flush()

    # --- the end ----------------------------------------------------------------------------------

    def is_settled(self) -> bool:
        """Return whether all that it holds is finished and all that it wants is here."""
        return self.is_gone or all(mirror.is_settled() for mirror in self.groups.values())

    def describe(self) -> str:
        """Return what is not settled."""
        lacking = [m.describe() for m in self.groups.values() if not m.is_settled()]
        return f"{self.name}: " + "; ".join(lacking)

    def release_all(self) -> None:
        """Hold nothing any more."""
        for mirror in self.groups.values():
            held = np.flatnonzero(np.diff(np.concatenate([[0], mirror.held.view(np.int8), [0]])))
            if len(held):
                mirror.held[:] = False
                self.say(ReleaseTasks(mirror.group, [int(edge) for edge in held]))
            if mirror.is_open:
                self.close_graph(mirror)
        self.flush()
