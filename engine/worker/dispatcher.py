"""Which executor runs what: cuts queued spans into pieces and keeps every executor fed.

Law: an executor has at most one piece to run and one to run next, so no slot waits for a round
trip; what is queued behind a slow piece is taken away again as soon as another executor has
nothing to do. Decides on pieces only: what becomes of tasks that cannot be run goes through the
ledger.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from ..ids import GroupId
from ..messages import Runs
from ..resources import Grant, Offer
from . import runs as runs_
from .assignments import Assignment, Needs, pick_length
from .effects import Cut, Effect, Kill, Revoke, Spawn
from .fetchplan import missing_of, rows_of
from .groups import Groups
from .ledger import Ledger
from .limited import Limited
from .shards import ShardDesk
from .slots import Link, Piece, Slot
from .store import Store, StoredBlock
from .waiting import Waiting

CUT_AFTER_S = 0.025
"""A piece that has run this long is cut short if another executor has nothing to do."""

LOOK_AT = 32
"""So many assignments are looked at to see whether there is much to do."""

MAX_LINKS = 64
"""Tasks that follow a task in the same piece, at most."""


class Dispatcher:
    """Executors by number, and the assignments that are ready to run, first come first."""

    def __init__(
        self,
        slots: int,
        groups: Groups,
        store: Store,
        desk: ShardDesk,
        ledger: Ledger,
        effects: list[Effect],
        offer: Offer,
    ) -> None:
        self.slots: dict[int, Slot] = {}
        self._desk = desk
        self._groups = groups
        self._store = store
        self._ledger = ledger
        self._effects = effects
        self.waiting = Waiting(store)
        self._ready: deque[Assignment] = deque()
        self._limited = Limited(offer)
        self._pieces = 0
        self._executors = 0
        for _ in range(slots):
            self.spawn()

    def spawn(self) -> None:
        """Have an executor started."""
        self._executors += 1
        self.slots[self._executors] = Slot(self._executors)
        self._effects.append(Spawn(self._executors))

    def replace(self, gone: Slot) -> None:
        """Have an executor started in the place of one that has ended."""
        self.spawn()
        self._limited.on_replaced(gone, self._executors)

    def kill(self, slot: Slot) -> None:
        """Have an executor killed: nobody will be blamed."""
        if not slot.is_doomed:
            slot.is_doomed = True
            self._effects.append(Kill(slot.executor))

    def clear(self) -> None:
        """Forget all work."""
        self._ready.clear()
        self._limited.clear()
        self.waiting.clear()
        for slot in self.slots.values():
            slot.running = slot.queued = None

    # --- feeding -------------------------------------------------------------------------------

    def add(self, assignment: Assignment) -> None:
        """An assignment has all inputs here, but those that are being computed here."""
        if not assignment.is_merge:
            self.waiting.admit(assignment)
        if assignment.queued:
            self._enqueue(assignment)

    def _enqueue(self, assignment: Assignment) -> None:
        if assignment.group.is_limited:
            self._limited.add(assignment)
        else:
            assignment.is_ready = True
            self._ready.append(assignment)

    def on_stored(self, group: GroupId, start: int, stop: int) -> None:
        """Results have come to be here: what waited for them can run. It takes its place behind
        what is ready, so that more of it comes together meanwhile.
        """
        for assignment, runs in self.waiting.on_stored(group, start, stop):
            assignment.put_back(runs)
            if not assignment.is_ready:
                assignment.is_ready = True
                self._ready.append(assignment)

    def put_back(self, assignment: Assignment, runs: Runs) -> None:
        """Tasks were not begun after all: queue them again, unless they are being taken back."""
        runs = self._ledger.collect(assignment, runs)
        if runs:
            assignment.put_back(runs)
            self._push(assignment)

    def _push(self, assignment: Assignment) -> None:
        if assignment.group.is_limited:
            self._limited.add(assignment)
        elif not assignment.is_ready:
            assignment.is_ready = True
            self._ready.appendleft(assignment)

    def dispatch(self, now: float) -> None:
        """Give every executor a piece to run and one to run next, as far as there is work."""
        if self._limited.is_used:
            self._limited.dispatch(
                self.slots,
                self._pick_slot,
                lambda assignment, slot, grant: self._begin(assignment, slot, now, grant),
            )
        while self._ready:
            assignment = self._ready[0]
            if not assignment.queued:
                assignment.is_ready = False
                self._ready.popleft()
                continue
            slot = self._pick_slot()
            if slot is None:
                return
            self._begin(assignment, slot, now)
        self._steal()

    def _pick_slot(self) -> Slot | None:
        spare: Slot | None = None
        for slot in self.slots.values():
            if slot.is_open and slot.queued is None:
                if slot.running is None:
                    return slot
                spare = spare or slot
        return spare

    def _begin(
        self, assignment: Assignment, slot: Slot, now: float, grant: Grant | None = None
    ) -> Piece | None:
        group = assignment.group
        links = self._find_links(assignment)
        groups = [group, *(link.assignment.group for link in links)]
        length = pick_length(groups, assignment.queued, len(self.slots))
        start, stop = assignment.take(self.waiting.limit(assignment, links, length))
        begun = stop
        if group.kind == "graph" and assignment.awaiting:
            length = pick_length(groups, stop - start + len(assignment.awaiting), 1)
            stop = self.waiting.lengthen(assignment, start, stop, length)
        if self._groups.find(group.group) is not group:
            # forgotten by the scheduler while we still had tasks of it, which it wants no more
            self._ledger.give_back(assignment, [start, stop], "the group is forgotten")
            return None
        own = [start, stop] if stop > begun else []
        missing, found = self._find_inputs(assignment, start, stop, own)
        if missing:
            self._ledger.give_back(assignment, [start, stop], "inputs are gone from here", missing)
            return None
        self.waiting.take(links, start, stop)
        blocks = dict.fromkeys(found)
        taken = {group.group}
        for link in links:
            more = link.assignment.needs(start + link.shift, stop + link.shift)
            new = {number: runs for number, runs in more.items() if number not in taken}
            blocks.update(dict.fromkeys(self._find_blocks(new)))
            taken = {link.assignment.group.group}
        self._pieces += 1
        piece = Piece(self._pieces, assignment, start, stop, now, links)
        piece.is_chained = stop > begun
        for each in groups:
            definition = slot.define(each, self._groups.blobs)
            if definition is not None:
                self._effects.append(definition)
        frame = slot.compose(piece, list(blocks))
        if grant:
            frame.header["resources"] = grant
        frame.header["spill"] = self._store.is_over
        self._effects.append(frame)
        if slot.running is None:
            slot.running = piece
        else:
            slot.queued = piece
        return piece

    def _find_links(self, assignment: Assignment) -> list[Link]:
        """Return what can follow the next tasks of an assignment in the same piece."""
        links: list[Link] = []
        last = Link(assignment, 0)
        start, _ = assignment.queue[0]
        while len(links) < MAX_LINKS:
            found = self.waiting.find_follower(last, start)
            if found is None or self._groups.find(found.assignment.group.group) is None:
                break
            links.append(found)
            last = found
        return links

    def put_back_piece(self, piece: Piece, start: int, stop: int) -> None:
        """Tasks of a piece were not begun after all, and what follows them neither."""
        for assignment, shift in piece.links:
            self.wait_again(assignment, [start + shift, stop + shift])
        if piece.is_chained:
            self.wait_again(piece.assignment, [start, stop])
        else:
            self.put_back(piece.assignment, [start, stop])

    def wait_again(self, assignment: Assignment, runs: Runs) -> None:
        """Tasks that were to follow others wait for their inputs if they are not here, unless they
        are being taken back.
        """
        runs = self.waiting.put_back(assignment, self._ledger.collect(assignment, runs))
        if runs:
            assignment.put_back(runs)
            self._push(assignment)

    def _find_inputs(
        self, assignment: Assignment, start: int, stop: int, own: Runs
    ) -> tuple[list[list[int]], list[StoredBlock]]:
        """Return what is missing of the inputs of tasks `[start, stop)`, as `SpanReturned` has it,
        and the blocks that they are in if nothing is. `own`: tasks of the group that are in the
        same piece."""
        if assignment.is_merge:
            lost = self._desk.missing(assignment, start, stop)
            if lost:
                return self._desk.blame(assignment, lost), []
            return [], self._desk.find(assignment, start, stop)
        needs = assignment.needs(start, stop)
        if own:
            group = assignment.group.group
            needs[group] = runs_.split(needs[group], own)[1]
        gone = self.find_lost(needs)
        if gone:
            return rows_of(gone, self._ledger.worker), []
        return [], self._find_blocks(needs)

    def find_lost(self, needs: Needs) -> Needs:
        """Return those of the needed results that are not in the store."""
        found = {group: missing_of(self._store, group, runs) for group, runs in needs.items()}
        return {group: runs for group, runs in found.items() if runs}

    def _find_blocks(self, needs: Needs) -> list[StoredBlock]:
        return list(
            dict.fromkeys(
                block
                for group, runs in needs.items()
                for start, stop in runs_.pairs(runs)
                for block in self._store.find(group, start, stop)
            )
        )

    def has_backlog(self, seconds: float) -> bool:
        """Tell whether every executor is busy, and at least so much work for each of them is here,
        be it that it waits for results of what runs."""
        if any(slot.running is None for slot in self.slots.values()):
            return False
        limit_s = seconds * len(self.slots)
        for assignment in islice(self._ledger.assignments.values(), LOOK_AT):
            count = assignment.queued + len(assignment.awaiting)
            limit_s -= count * (assignment.group.mean_s or 0.0)
            if limit_s <= 0:
                return True
        return False

    # --- an even load --------------------------------------------------------------------------

    def _idle(self) -> int:
        return sum(slot.is_open and slot.running is None for slot in self.slots.values())

    def _steal(self) -> None:
        """A piece waits behind another while an executor has nothing to do: try to get it back."""
        waiting = [slot for slot in self.slots.values() if slot.queued is not None]
        idle = self._idle() if waiting else 0
        for slot in waiting:
            if not idle:
                return
            queued = slot.queued
            if queued is not None and not queued.is_disputed and not queued.assignment.group.once:
                queued.is_disputed = True
                self._effects.append(Revoke(slot.executor, queued.number))
                idle -= 1

    def on_revoked(self, executor: int, number: int, taken: bool) -> None:
        """Answer to `Revoke`: with `taken` the executor will never run the piece."""
        slot = self.slots.get(executor)
        if slot is None or not taken:
            return  # it is dead, which settled the piece, or it has begun the piece
        for piece in slot.pieces():
            if piece.number == number:
                # also the running piece may come back, if it was sent a moment ago
                if piece is slot.running:
                    self.promote(slot, piece.began)
                else:
                    slot.queued = None
                self._limited.on_taken(slot, piece)
                self.put_back_piece(piece, piece.start, piece.stop)
                self._ledger.settle(number)

    def promote(self, slot: Slot, now: float) -> None:
        """The running piece is over: the one behind it runs now."""
        slot.running, slot.queued = slot.queued, None
        if slot.running is not None:
            slot.running.began = now
            slot.running.is_disputed = False
            if self._ledger.waits_for(slot.running.number):
                self.cut(slot)

    def next_wakeup(self) -> float | None:
        """Return when a piece has to be cut short, if any."""
        due = [slot.running.began + CUT_AFTER_S for slot in self._cuttable() if slot.running]
        return min(due) if due else None

    def on_timer(self, now: float) -> None:
        """Cut short the pieces that run long while an executor has nothing to do."""
        for slot in self._cuttable():
            if slot.running is not None and now >= slot.running.began + CUT_AFTER_S:
                self.cut(slot)

    def _cuttable(self) -> list[Slot]:
        found = [
            slot
            for slot in self.slots.values()
            if slot.running is not None
            and not slot.is_doomed
            and not slot.running.is_disputed
            and slot.running.stop - slot.running.at > 1
        ]
        return found if found and self._idle() else []

    def cut(self, slot: Slot) -> None:
        """Have the running piece begin no more tasks."""
        assert slot.running is not None
        slot.running.is_disputed = True
        self._effects.append(Cut(slot.executor, slot.running.number))

    def on_cut(
        self, executor: int, number: int, page_piece: int, page_index: int, now: float
    ) -> None:
        """Answer to `Cut`: no task after `page_index` will be begun, if the page speaks of this
        piece."""
        slot = self.slots.get(executor)
        piece = slot.running if slot is not None else None
        if slot is None or piece is None or piece.number != number or page_piece != number:
            return  # over (its report came, or is on its way), or it stops before its first task
        begun = min(max(page_index, piece.at), piece.stop - 1)
        end, piece.stop = piece.stop, begun + 1
        if begun == piece.at:
            piece.assignment.group.learn_slow(now - piece.began)
        if piece.stop < end:
            self.put_back_piece(piece, piece.stop, end)
        for taking in self._ledger.takings:
            if number not in taking.waits:
                continue
            taken = self._ledger.assignments.get(taking.message.assignment)
            if taking.message.kill and taken and piece.covers(taken, taking.message.runs, begun):
                self.kill(slot)  # it waits for the death
            else:
                taking.waits.discard(number)
        self._ledger.answer()
