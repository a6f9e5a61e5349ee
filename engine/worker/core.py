"""The worker's decisions: spans in, pieces to executors, news to the scheduler.

Law: no asyncio, sockets, threads, clock or randomness; `now` comes in. Every task of every
assignment is reported exactly once: done, failed, or returned. Methods change state and leave
effects (effects.py) and messages; the shell takes and performs them. User values are opaque here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import PeerError, StoreFull
from ..executor.values import Part
from ..ids import AssignmentId, GroupId, PeerId
from ..messages import (
    DataStored,
    DefineGroup,
    ExecutorsRestarted,
    Failure,
    ForgetGroup,
    FreeResults,
    Message,
    PlanExchange,
    RestartExecutors,
    RunSpan,
    TakeBack,
)
from ..resources import Offer
from .assignments import Assignment
from .deadlines import Deadlines
from .death import Death
from .dispatcher import Dispatcher
from .effects import Effect, Fetch, Revoke, Spill, Unlink
from .fetchplan import FetchPlan, rows_of
from .groups import Groups
from .intake import Intake
from .ledger import Ledger
from .shards import ShardDesk
from .shardwork import ShardWork
from .slots import Slot
from .store import Store, StoredBlock

HOLD_S = 0.005
"""So long a report may be held that nobody waits for..."""
BACKLOG_S = 0.010
"""...while at least so much work for each executor is here: the scheduler has time to send more."""


class WorkerCore(ShardWork):
    """State and decisions of one worker."""

    def __init__(
        self,
        worker: PeerId,
        name: str,
        slots: int,
        store: Store,
        resources: Offer | None = None,
    ) -> None:
        """`resources`: what it deals out to tasks."""
        self.name = name
        self.store = store
        self._effects: list[Effect] = []
        self._groups = Groups()
        self._ledger = Ledger(worker)
        self._plan = FetchPlan()
        self._restarts: list[int] = []
        self._desk = ShardDesk(worker, store, self._groups)
        self._dispatcher = Dispatcher(
            slots, self._groups, store, self._desk, self._ledger, self._effects, resources or {}
        )
        self._deadlines = Deadlines(self._dispatcher, self._effects, name)
        self._intake = Intake(
            name, store, self._desk, self._ledger, self._dispatcher, self._effects
        )

    # --- for the shell -------------------------------------------------------------------------

    def set_worker(self, worker: PeerId) -> None:
        """Our own number, as the scheduler's `Welcome` says it."""
        self._ledger.worker = self._desk.worker = worker

    def take_sends(self) -> list[Message]:
        """Return the messages for the scheduler since the last call."""
        return self._ledger.take_sends()

    def take_effects(self) -> list[Effect]:
        """Return the effects to be performed since the last call."""
        effects = self._effects[:]
        self._effects.clear()
        return effects

    @property
    def running(self) -> int:
        """Tasks that are running now: one per busy executor."""
        return sum(slot.running is not None for slot in self.slots)

    @property
    def slots(self) -> Iterable[Slot]:
        """The executors."""
        return self._dispatcher.slots.values()

    @property
    def assignments(self) -> dict[AssignmentId, Assignment]:
        """The spans that are not wholly reported."""
        return self._ledger.assignments

    def next_wakeup(self) -> float | None:
        """Return when `on_timer` wants to be called, if at all."""
        due, held = self._dispatcher.next_wakeup(), self._ledger.outbox.held_until
        if self._deadlines.is_used:
            look = self._deadlines.next_wakeup()
            due = look if due is None or (look is not None and look < due) else due
        return held if due is None or (held is not None and held < due) else due

    def on_timer(self, now: float) -> None:
        """The time that `next_wakeup` gave has come."""
        outbox = self._ledger.outbox
        if outbox.held_until is not None and now >= outbox.held_until:
            outbox.held_until = None
        self._dispatcher.on_timer(now)
        self._deadlines.on_timer(now)

    def dispatch(self, now: float) -> None:
        """Give executors what they can do; to be called after every batch of messages."""
        self._dispatcher.dispatch(now)

    def handle(self, message: Message) -> None:
        """Take a message of the scheduler.

        Raises:
            PeerError: the message makes no sense; nothing is changed.
        """
        match message:
            case RunSpan():
                self._run_span(message)
            case FreeResults():
                self.store.free(message.group, message.runs)
                self._desk.free(message.group, message.runs)
                self._sweep()
            case PlanExchange():
                self._desk.plan(message)
            case DefineGroup():
                self._groups.define(message)
                self._deadlines.is_used |= "timeout" in message.options
            case ForgetGroup():
                self._forget(message.group)
            case TakeBack():
                self._take_back(message)
            case RestartExecutors():
                self._restart_all(message.request)
            case _:
                raise PeerError(f"a worker does not take {type(message).__name__}")

    def _forget(self, number: GroupId) -> None:
        group = self._groups.forget(number)
        self._dispatcher.waiting.forget_group(number)
        if group is None:
            return
        self._desk.forget(number)
        self._sweep()
        things = {thing for thing, _ in group.chunks.values()}
        for slot in self.slots:
            self._effects += slot.forget(number)
            self._effects += slot.forget_things(things)

    def _sweep(self) -> None:
        """Have everybody let go of what the store let go of."""
        paths, numbers = self.store.take_doomed()
        if paths:
            self._effects.append(Unlink(paths))
        for block in self.store.take_spills():
            self._effects.append(Spill(block.number, block.path, block.parts))
        if numbers:
            gone = set(numbers)
            for slot in self.slots:
                self._effects += slot.forget_things(gone)

    # --- spans and their inputs ----------------------------------------------------------------

    def _run_span(self, message: RunSpan) -> None:
        group = self._groups.find(message.group)
        if group is None:
            raise PeerError(f"a span of group {message.group:x}, which was not defined")
        if message.assignment in self.assignments or message.start >= message.stop:
            raise PeerError(f"assignment {message.assignment} came twice, or is empty")
        if message.start < group.splits < message.stop:
            raise PeerError(f"assignment {message.assignment} has both splits and merges")
        assignment = Assignment(message, group)
        new = {(position, chunk): blob for position, chunk, blob in message.chunks}
        wanted = assignment.chunks(message.start, message.stop)
        if any(key not in group.chunks and key not in new for key in wanted):
            raise PeerError(f"assignment {message.assignment} lacks chunks of its items")
        for key, blob in new.items():
            group.chunks[key] = self.store.next_number(), blob
        needs = assignment.needs(message.start, message.stop)
        if assignment.is_merge:
            self._ledger.add(assignment)
            self._effects += self._desk.request(assignment, message.holders)
            if not assignment.pulls:
                self._run_merges(assignment, None)
            return
        fetches, lost = self._plan.request(assignment, needs, message.holders, self.store)
        self._effects += fetches
        self._ledger.add(assignment)
        if lost and not self._ledger.expected.has(lost):
            self._return_all(assignment, "inputs are not here", rows_of(lost, self._ledger.worker))
        elif not assignment.fetches:
            self._dispatcher.add(assignment)

    def on_fetched(self, number: int, blocks: list[StoredBlock], now: float) -> None:
        """Take what a fetch brought; it may be less than was asked for."""
        entry = self._plan.take(number)
        if entry is None:
            # its assignments were dropped by a restart: what came is not wanted any more
            self._effects.append(Unlink([b.path for b in blocks if b.path is not None]))
            return
        fetch, waiting = entry
        full: StoreFull | None = None
        for block in blocks:
            start, stop = max(block.start, fetch.start), min(block.stop, fetch.stop)
            try:
                is_all = len(blocks) == 1
                self._keep(block, start, max(start, stop), fetch if is_all else None, now)
            except StoreFull as error:
                full = error
        for assignment in waiting:
            self._after_fetch(assignment, fetch.worker, full)
        self._sweep()
        self._dispatcher.dispatch(now)

    def on_fetch_failed(self, number: int, reason: str, now: float) -> None:
        """A fetch brought nothing, after all attempts."""
        entry = self._plan.take(number)
        if entry is None:  # dropped by a restart
            return
        fetch, waiting = entry
        missing = rows_of({fetch.group: [fetch.start, fetch.stop]}, fetch.worker)
        for assignment in waiting:
            self._return_all(assignment, f"an input could not be fetched: {reason}", missing)
        self._dispatcher.dispatch(now)

    def _after_fetch(self, assignment: Assignment, worker: PeerId, full: StoreFull | None) -> None:
        if full is not None:
            self._plan.abandon(assignment)
            self._fail_full(assignment, full)
        elif not assignment.fetches:
            needs = assignment.needs(assignment.start, assignment.stop)
            lost = self._dispatcher.find_lost(needs)
            if lost and not self._ledger.expected.has(lost):
                self._return_all(assignment, "an input was not there", rows_of(lost, worker))
            else:
                self._dispatcher.add(assignment)

    def _fail_full(self, assignment: Assignment, full: StoreFull) -> None:
        failure: Failure = {"kind": "store", "text": str(full), "worker": self.name}
        runs = assignment.drop_unbegun([assignment.start, assignment.stop])
        self._ledger.fail_all(assignment, runs, failure)

    def _return_all(self, assignment: Assignment, reason: str, missing: list[list[int]]) -> None:
        self._plan.abandon(assignment)
        runs = assignment.drop_unbegun([assignment.start, assignment.stop])
        self._ledger.give_back(assignment, runs, reason, missing)

    def put(self, blocks: list[StoredBlock]) -> str | None:
        """Keep scattered data; return None, or why it cannot be kept."""
        try:
            for block in blocks:
                self._keep(block, block.start, block.stop)
        except StoreFull as error:
            return str(error)
        finally:
            self._sweep()
        return None

    def _keep(
        self,
        block: StoredBlock,
        start: int,
        stop: int,
        fetch: Fetch | None = None,
        now: float = 0.0,
    ) -> None:
        """Store a copy that came from elsewhere, and say so; `fetch`: the one that brought it, and
        nothing beside it."""
        if self.store.add(block, start, stop):
            nbytes = block.nbytes * (stop - start) // (block.stop - block.start)
            source, seconds = 0, 0.0
            if fetch and fetch.began and stop - start == block.stop - block.start:
                source, seconds = fetch.worker, now - fetch.began
            self._ledger.tell(DataStored(block.group, start, stop, nbytes, source, seconds))
            self._dispatcher.on_stored(block.group, start, stop)

    # --- executors -----------------------------------------------------------------------------

    def on_executor_ready(self, executor: int, now: float) -> None:
        """An executor is up."""
        slot = self._dispatcher.slots.get(executor)
        if slot is None or slot.is_doomed:
            return  # it is to be killed
        slot.is_ready = True
        if self._restarts and all(s.is_open for s in self.slots):
            for request in self._restarts:  # it may have been asked again before it was done
                self._ledger.tell(ExecutorsRestarted(request))
            self._restarts.clear()
        self._dispatcher.dispatch(now)

    def on_revoked(self, executor: int, number: int, taken: bool, now: float) -> None:
        """Answer to `Revoke`: with `taken` the executor will never run the piece, without it has
        begun it."""
        self._dispatcher.on_revoked(executor, number, taken)
        self._dispatcher.dispatch(now)

    def on_cut(
        self, executor: int, number: int, page_piece: int, page_index: int, now: float
    ) -> None:
        """Answer to `Cut`: what the executor's page says now."""
        self._dispatcher.on_cut(executor, number, page_piece, page_index, now)
        self._dispatcher.dispatch(now)

    def on_page(
        self, executor: int, number: int, page_piece: int, page_index: int, now: float
    ) -> None:
        """Answer to `ReadPage`: what the executor's page says now."""
        self._deadlines.on_page(executor, number, page_piece, page_index, now)

    def on_report(
        self, executor: int, header: dict[str, Any], buffers: list[Part], now: float
    ) -> None:
        """Take an executor's report on its running piece."""
        slot = self._dispatcher.slots.get(executor)
        if slot is None or slot.running is None:
            return  # dropped by a restart
        self._intake.take(slot, slot.running, header, buffers, now)
        self._sweep()
        self._dispatcher.dispatch(now)
        outbox = self._ledger.outbox
        if self._dispatcher.has_backlog(BACKLOG_S):
            outbox.hold(now + HOLD_S)
        else:
            outbox.held_until = None

    def on_executor_died(self, executor: int, death: Death, now: float) -> None:
        """An executor has ended, and all that it sent before was taken."""
        slot = self._dispatcher.slots.pop(executor, None)
        if slot is None:
            return
        self._dispatcher.replace(slot)
        if slot.queued is not None:
            self._dispatcher.put_back_piece(slot.queued, slot.queued.start, slot.queued.stop)
        piece = slot.running
        if piece is not None and piece.at < piece.stop:
            overdue = self._deadlines.find_overdue(slot, death.page_piece, death.page_index)
            if overdue is not None:
                index, seconds, failure = overdue
                self._ledger.fail(piece.assignment, index, seconds, failure)
                if piece.at < index:
                    self._dispatcher.put_back_piece(piece, piece.at, index)
                piece.at = index + 1
            if piece.at == piece.stop:
                pass  # nothing is left of it
            elif slot.is_doomed:
                self._dispatcher.put_back_piece(piece, piece.at, piece.stop)
            else:
                self._intake.blame(piece, death)
        for some in slot.pieces():
            self._ledger.settle(some.number)
        self._dispatcher.dispatch(now)

    # --- taking back ---------------------------------------------------------------------------

    def _take_back(self, message: TakeBack) -> None:
        begun = self._ledger.begin_taking(message)
        if begun is None:
            return
        taking, assignment = begun
        for slot in self.slots:
            for piece in slot.pieces():
                if piece.covers(assignment, message.runs, piece.at):
                    taking.waits.add(piece.number)
                    if piece is slot.running:
                        self._dispatcher.cut(slot)
                    else:
                        piece.is_disputed = True
                        self._effects.append(Revoke(slot.executor, piece.number))
        if assignment.fetches and not assignment.queued and not assignment.awaiting:
            self._plan.abandon(assignment)
        if assignment.pulls and not assignment.queued:
            self._desk.abandon(assignment)
        self._ledger.answer()

    def _restart_all(self, request: int) -> None:
        self._restarts.append(request)
        self._ledger.clear()
        self._plan.clear()
        self._desk.clear()
        self._groups.clear()
        self._dispatcher.clear()
        self.store.clear()
        self._sweep()
        for slot in self.slots:
            self._dispatcher.kill(slot)
