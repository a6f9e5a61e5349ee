"""The worker's picture of one executor: its pieces, and what it was told and sent.

Law: an executor keeps exactly what this picture says, because only the worker decides what it
drops. At most one piece runs and one is queued behind it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

from ..executor.values import Part, nbytes_of, unpack
from ..ids import Digest, GroupId
from ..messages import Blob, Runs
from . import runs as runs_
from .assignments import Assignment, WorkGroup
from .effects import SendFrame
from .store import StoredBlock

KNOWN_BYTES = 64 << 20
KNOWN_COUNT = 4096
"""Chunks and blocks that an executor keeps at most: bytes that were sent, and number."""


class Link(NamedTuple):
    """Tasks that follow those of a piece, one each: task `i` of the piece is followed by task
    `i + shift` of an assignment of another group, which takes its result (or that of the link
    before).
    """

    assignment: Assignment
    shift: int


class Piece:
    """A stretch of an assignment on one executor, with the tasks of others that follow its tasks.
    `at`: tasks before it were reported. `began`: when it was (as far as the worker can know) begun;
    meaningless while it is queued. `is_disputed`: we have tried to get it, or its rest, back."""

    __slots__ = (
        "assignment", "at", "began", "is_chained", "is_disputed", "links", "number", "start", "stop"
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        assignment: Assignment,
        start: int,
        stop: int,
        now: float,
        links: list[Link],
    ) -> None:
        self.links = links
        self.number = number
        self.assignment = assignment
        self.start = start
        self.stop = stop
        self.at = start
        self.began = now
        self.is_disputed = False
        self.is_chained = False

    def strands(self) -> list[Link]:
        """Return its own assignment and those of its links, in the order in which they run."""
        return [Link(self.assignment, 0), *self.links]

    def keeps(self, at: int) -> bool:
        """Return whether the results of a strand are kept; else they only go from hand to hand."""
        return at == len(self.links) or not self.strands()[at].assignment.passing

    def covers(self, assignment: Assignment, runs: Runs, at: int) -> bool:
        """Return whether tasks of an assignment are in it, from `at` of its own on."""
        return any(
            strand is assignment and runs_.intersect(runs, at + shift, self.stop + shift)
            for strand, shift in self.strands()
        )


class Slot:
    """One executor."""

    def __init__(self, executor: int) -> None:
        self.executor = executor
        self.is_ready = False
        self.is_doomed = False
        """We have asked for its death: nobody is to blame for it."""
        self.running: Piece | None = None
        self.queued: Piece | None = None
        self._groups: dict[GroupId, list[Digest]] = {}
        self._known: OrderedDict[int, int] = OrderedDict()
        self._known_bytes = 0

    @property
    def is_open(self) -> bool:
        """Can it be given work?"""
        return self.is_ready and not self.is_doomed

    def pieces(self) -> list[Piece]:
        """Return the running and the queued piece, as far as there are any."""
        return [piece for piece in (self.running, self.queued) if piece is not None]

    def define(self, group: WorkGroup, blobs: dict[Digest, Blob]) -> SendFrame | None:
        """Return the frame that tells the executor of a group, None if it knows it."""
        if group.group in self._groups:
            return None
        known = {digest for digests in self._groups.values() for digest in digests}
        new = [digest for digest in group.digests if digest not in known]
        self._groups[group.group] = group.digests
        header = {
            "do": "define",
            "group": group.group,
            "name": group.name,
            "layer": group.wire_layer(),
            "digests": [digest.hex() for digest in group.digests],
            "new": [digest.hex() for digest in new],
        }
        return SendFrame(self.executor, header, [blobs[digest] for digest in new], 0)

    def forget(self, group: GroupId) -> list[SendFrame]:
        """Return the frame that makes the executor forget a group, none if it does not know it."""
        if self._groups.pop(group, None) is None:
            return []
        return [SendFrame(self.executor, {"do": "forget", "group": group}, [], 0)]

    def forget_things(self, numbers: set[int]) -> list[SendFrame]:
        """Return the frame that makes the executor drop blocks or chunks, none if it has none."""
        gone = [number for number in numbers if number in self._known]
        if not gone:
            return []
        for number in gone:
            self._known_bytes -= self._known.pop(number)
        return [SendFrame(self.executor, {"do": "drop", "drop": gone}, [], 0)]

    def compose(self, piece: Piece, blocks: list[StoredBlock]) -> SendFrame:
        """Return the frame that has the executor run a piece, with all that it lacks for it."""
        things: list[list[Any]] = []
        buffers: list[Part] = []
        used: set[int] = set()
        rows: list[dict[str, Any]] = []
        for assignment, shift in piece.strands():
            chunks: list[list[int]] = []
            group = assignment.group
            for position, chunk in assignment.chunks(piece.start + shift, piece.stop + shift):
                number, blob = group.get_chunk(position, chunk)
                chunks.append([position, chunk, number])
                used.add(number)
                if self._note(number, nbytes_of(blob)):
                    parts = unpack(blob)
                    things.append([number, 0, 0, 0, True, len(parts), None, []])
                    buffers += parts
            rows.append({"group": group.group, "chunks": chunks})
        for block in blocks:
            used.add(block.number)
            if self._note(block.number, block.nbytes if block.path is None else 0):
                things.append(_describe(block))
                if block.path is None:
                    buffers += block.parts
        header: dict[str, Any] = {
            "do": "run",
            "piece": piece.number,
            "start": piece.start,
            "stop": piece.stop,
            "things": things,
            "drop": self._make_room(used),
            "blocks": [block.number for block in blocks],
            **rows[0],
        }
        assignment = piece.assignment
        if piece.links:
            for at, row in enumerate(rows):
                row["shift"] = piece.strands()[at].shift
                row["keep"] = piece.keeps(at)
            header["keep"] = rows[0]["keep"]
            header["links"] = rows[1:]
        elif assignment.group.kind == "graph":
            payload, header["lengths"] = assignment.payload(piece.start, piece.stop)
            header["nested"] = bool(blocks) or piece.is_chained
            header["chained"] = piece.is_chained
            buffers.append(payload)
        return SendFrame(self.executor, header, buffers, piece.number)

    def _note(self, number: int, nbytes: int) -> bool:
        """Note that a thing is used; True if it must be sent."""
        if number in self._known:
            self._known.move_to_end(number)
            return False
        self._known[number] = nbytes
        self._known_bytes += nbytes
        return True

    def _make_room(self, used: set[int]) -> list[int]:
        """Choose what the executor drops before the piece: the longest unused, but nothing that
        the piece uses."""
        dropped: list[int] = []
        while self._known_bytes > KNOWN_BYTES or len(self._known) > KNOWN_COUNT:
            number = next(iter(self._known))
            if number in used:
                break  # all that is older than what this piece uses is gone
            self._known_bytes -= self._known.pop(number)
            dropped.append(number)
        return dropped


def _describe(block: StoredBlock) -> list[Any]:
    count = len(block.parts) if block.path is None else 0
    return [
        block.number,
        block.group,
        block.start,
        block.stop,
        block.single,
        count,
        block.path,
        block.places,
        *([] if (shards := block.shards()) is None else [shards]),
    ]
