"""Which executor runs what: cuts queued spans into pieces and keeps every executor fed.

Law: an executor has at most one piece to run and one to run next, so no slot waits for a round
trip; what is queued behind a slow piece is taken away again as soon as another executor has
nothing to do. Decides on pieces only: what becomes of tasks that cannot be run goes through the
ledger.
"""

from __future__ import annotations

from collections import deque

from ..messages import Runs
from ..resources import Grant, Offer
from . import runs as runs_
from .assignments import Assignment, Needs
from .effects import Cut, Effect, Kill, Revoke, Spawn
from .fetchplan import missing_of, rows_of
from .groups import Groups
from .ledger import Ledger
from .limited import Limited
from .slots import Piece, Slot
from .store import Store, StoredBlock

CUT_AFTER_S = 0.025
"""A piece that has run this long is cut short if another executor has nothing to do."""


class Dispatcher:
    """Executors by number, and the assignments that are ready to run, first come first."""

    def __init__(
        self,
        slots: int,
        groups: Groups,
        store: Store,
        ledger: Ledger,
        effects: list[Effect],
        offer: Offer,
    ) -> None:
        self.slots: dict[int, Slot] = {}
        self._groups = groups
        self._store = store
        self._ledger = ledger
        self._effects = effects
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
        for slot in self.slots.values():
            slot.running = slot.queued = None

    # --- feeding -------------------------------------------------------------------------------

    def add(self, assignment: Assignment) -> None:
        """An assignment has all its inputs here."""
        if assignment.group.is_limited:
            self._limited.add(assignment)
        else:
            self._ready.append(assignment)

    def put_back(self, assignment: Assignment, runs: Runs) -> None:
        """Tasks were not begun after all: queue them again, unless they are being taken back."""
        runs = self._ledger.collect(assignment, runs)
        if runs:
            assignment.put_back(runs)
            if assignment.group.is_limited:
                self._limited.add(assignment)
            elif assignment not in self._ready:
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
        start, stop = assignment.take(group.pick_length(assignment.queued, len(self.slots)))
        if self._groups.find(group.group) is not group:
            # forgotten by the scheduler while we still had tasks of it, which it wants no more
            self._ledger.give_back(assignment, [start, stop], "the group is forgotten")
            return None
        needs = assignment.needs(start, stop)
        lost = self.find_lost(needs)
        if lost:
            missing = rows_of(lost, self._ledger.worker)
            self._ledger.give_back(assignment, [start, stop], "inputs are gone from here", missing)
            return None
        self._pieces += 1
        piece = Piece(self._pieces, assignment, start, stop, now)
        definition = slot.define(group, self._groups.blobs)
        if definition is not None:
            self._effects.append(definition)
        frame = slot.compose(piece, self._find_blocks(needs), group.get_chunk)
        if grant:
            frame.header["resources"] = grant
        self._effects.append(frame)
        if slot.running is None:
            slot.running = piece
        else:
            slot.queued = piece
        return piece

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

    # --- an even load --------------------------------------------------------------------------

    def _idle(self) -> int:
        return sum(slot.is_open and slot.running is None for slot in self.slots.values())

    def _steal(self) -> None:
        """A piece waits behind another while an executor has nothing to do: try to get it back."""
        idle = self._idle()
        for slot in self.slots.values():
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
                self.put_back(piece.assignment, [piece.start, piece.stop])
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
        if not self._idle():
            return []
        return [
            slot
            for slot in self.slots.values()
            if slot.running is not None
            and not slot.is_doomed
            and not slot.running.is_disputed
            and slot.running.stop - slot.running.at > 1
        ]

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
        rest = [begun + 1, piece.stop]
        piece.stop = begun + 1
        if begun == piece.at:
            piece.assignment.group.learn_slow(now - piece.began)
        if rest[0] < rest[1]:
            self.put_back(piece.assignment, rest)
        for taking in self._ledger.takings:
            if number not in taking.waits:
                continue
            if taking.message.kill and runs_.intersect(taking.message.runs, begun, begun + 1):
                self.kill(slot)  # it waits for the death
            else:
                taking.waits.discard(number)
        self._ledger.answer()
