"""The numbers that name things on the wire.

Law: a group id is chosen by the client that submits the group, without asking anyone, so that a
submission needs no round trip; it is unique in a cluster because it carries the session number that
the scheduler gave that client. Nothing else may be read out of an id.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

PeerId: TypeAlias = int
"""A client session or a worker, numbered by the scheduler when it says `Welcome`; never used twice.
"""

GroupId: TypeAlias = int
"""``session << 32 | serial``: below 2**63, so that it fits a signed 64-bit column."""

AssignmentId: TypeAlias = int
"""One handing-out of one span to one worker: the attempt number of design.md 4.3. Never used twice.
"""

Digest: TypeAlias = bytes
"""The content hash of a blob: 16 bytes."""

MAX_SESSIONS = 1 << 31
MAX_TASKS = 1 << 32
"""Tasks of one group: indices are unsigned 32-bit numbers (the range of a compressed bitmap)."""


@dataclass(frozen=True, order=True, slots=True)
class TaskId:
    """One task: its group and its index in it."""

    group: GroupId
    index: int

    def __str__(self) -> str:
        return f"{self.group:x}[{self.index}]"


def make_group_id(session: PeerId, serial: int) -> GroupId:
    """Return the id of the `serial`-th group of a session."""
    return session << 32 | serial


def get_session(group: GroupId) -> PeerId:
    """Return the session whose client made the group id."""
    return group >> 32


def digest_of(*parts: bytes | bytearray | memoryview) -> Digest:
    """Return the content hash (BLAKE2b, 128 bits) of the parts laid end to end."""
    state = blake2b(digest_size=16)
    for part in parts:
        state.update(part)
    return state.digest()
