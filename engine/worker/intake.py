"""What executors report of their pieces: results, failures, what was not begun; and whom to blame
when one dies.

Law: each task of a piece, and each that was to follow it, leaves this file in one way: done,
failed, returned, queued again or waiting again. Blocks are stored before their tasks are told to be
done.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from ..errors import StoreFull
from ..executor.values import SHARDS, Part
from ..messages import Failure, Runs
from . import runs as runs_
from .assignments import Assignment
from .death import Death, describe
from .dispatcher import Dispatcher
from .effects import Effect
from .ledger import Ledger
from .shards import ShardDesk
from .slots import Piece, Slot
from .store import Store, StoredBlock


class Intake:
    """Takes the reports in."""

    def __init__(
        self,
        name: str,
        store: Store,
        desk: ShardDesk,
        ledger: Ledger,
        dispatcher: Dispatcher,
        effects: list[Effect],
    ) -> None:
        """`name`: of the worker, as failures tell it."""
        self._name = name
        self._store = store
        self._desk = desk
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._effects = effects

    def take(
        self, slot: Slot, piece: Piece, header: dict[str, Any], buffers: list[Part], now: float
    ) -> None:
        """Take a report on the piece that an executor runs."""
        assert piece.number == header["piece"] and piece.at == header["start"], header
        start, piece.at = piece.at, header["stop"]
        if "links" in header:
            self._take_chain(piece, start, header, buffers)
        else:
            if piece.at > start:
                piece.assignment.group.learn(piece.at - start, header["elapsed"])
            self._take_blocks(piece.assignment, header, buffers)
            self._take_failures(piece.assignment, header["failed"], buffers)
        if header["over"]:
            self._dispatcher.promote(slot, now)
            if "unlinked" in header:
                for strand, _ in piece.strands():
                    strand.group.is_unlinked = True
            if piece.at < piece.stop:
                self._take_rest(piece, header["gone"])
            self._ledger.settle(piece.number)

    def _take_chain(
        self, piece: Piece, start: int, header: dict[str, Any], buffers: list[Part]
    ) -> None:
        """Take what came of the tasks of a piece from `start` on, and of those that followed."""
        total_s = sum(part["seconds"] for part in header["links"]) or 1.0
        raised, last = header["raised"], piece.at - 1
        for at, (assignment, shift) in enumerate(piece.strands()):
            part = header["links"][at]
            if piece.at > start:
                share = part["seconds"] / total_s
                assignment.group.learn(piece.at - start, header["elapsed"] * share)
            if piece.keeps(at):
                self._take_blocks(assignment, part, buffers)
            else:
                stop = piece.at if raised is None else last
                if start < stop:
                    run = start + shift, stop + shift
                    self._ledger.passed(assignment, *run, part["seconds"], part["times"])
            self._take_failures(assignment, part["failed"], buffers)
        for at, (assignment, shift) in enumerate(piece.strands() if raised is not None else ()):
            runs = [last + shift, last + shift + 1]
            if at > raised:
                self._dispatcher.wait_again(assignment, runs)
            elif at < raised and not piece.keeps(at):
                self._ledger.give_back(assignment, runs, "what it was passed on to failed")

    def _take_rest(self, piece: Piece, gone: list[int] | None) -> None:
        if gone is None:
            self._dispatcher.put_back_piece(piece, piece.at, piece.stop)
        else:
            self._desk.lose(*gone)
            missing = [[*gone, self._ledger.worker]]
            self._return_piece(piece, [piece.at, piece.stop], "an input is gone from here", missing)

    def _return_piece(
        self, piece: Piece, runs: Runs, reason: str, missing: list[list[int]] | None = None
    ) -> None:
        """Return tasks of a piece; what was to follow them waits until it is taken back."""
        for (assignment, shift), (start, stop) in product(piece.links, runs_.pairs(runs)):
            self._dispatcher.wait_again(assignment, [start + shift, stop + shift])
        self._ledger.give_back(piece.assignment, runs, reason, missing)

    def _take_blocks(
        self, assignment: Assignment, header: dict[str, Any], buffers: list[Part]
    ) -> None:
        group = assignment.group.group
        seconds, times = header["seconds"], header["times"]
        used = 0
        for start, stop, single, *rest in header["blocks"]:
            if len(rest) == 1:
                parts = buffers[used : used + rest[0]]
                used += rest[0]
                block = StoredBlock(group, start, stop, single, parts)
            else:
                block = StoredBlock(group, start, stop, single, [], rest[0], rest[1])
            try:
                self._store.add(block, start, stop)
            except StoreFull as error:
                failure: Failure = {"kind": "store", "text": str(error), "worker": self._name}
                self._ledger.fail_all(assignment, [start, stop], failure)
                continue
            self._ledger.done(assignment, block, seconds, times)
            self._dispatcher.on_stored(group, start, stop)
            if block.single == SHARDS:
                self._effects += self._desk.push(block)
            seconds, times = 0.0, []
        del buffers[:used]

    def _take_failures(
        self, assignment: Assignment, reports: list[dict[str, Any]], buffers: list[Part]
    ) -> None:
        for report in reports:
            failure: Failure = {k: report[k] for k in ("kind", "text", "traceback") if k in report}
            failure["worker"] = self._name
            if report.get("exception"):
                failure["exception"] = buffers.pop(0)
            index = report["index"]
            for i in range(index, report.get("stop", index + 1)):
                self._ledger.fail(assignment, i, report["seconds"], failure)

    def blame(self, piece: Piece, death: Death) -> None:
        """Fail the task that ran when its executor died, return the others of the piece. In a chain
        it is not known which one ran: they are run again one by one.
        """
        assignment, rest = piece.assignment, [piece.at, piece.stop]
        what = f"signal {death.signal}" if death.signal else f"exit code {death.exit_code}"
        if death.page_piece == piece.number:
            index = min(max(death.page_index, piece.at), piece.stop - 1)
            if piece.links:
                for strand, shift in piece.strands():
                    strand.alone.add(index + shift)
                self._dispatcher.put_back_piece(piece, piece.at, piece.stop)
                return
            failure = describe(assignment.group.name, index, what, death, self._name)
            self._ledger.fail(assignment, index, 0.0, failure)
            _, rest = runs_.split(rest, [index, index + 1])
        self._return_piece(piece, rest, f"their executor died ({what})")
