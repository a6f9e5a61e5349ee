"""The numbers that name things on the wire.

Law: a group id is chosen by the client that submits the group, without asking anyone, so that a
submission needs no round trip; it is unique in a cluster because it carries the session number that
the scheduler gave that client, or, with the flag of shared work, a hash of what is computed.
Nothing else may be read out of an id.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

PeerId: TypeAlias = int
"""A client session or a worker, numbered by the scheduler when it says `Welcome`; never used twice.
"""

GroupId: TypeAlias = int
"""``session << 32 | serial``, or of shared work the flag and 52 bits of a hash: below 2**63, so
that it fits a signed 64-bit column.
"""

AssignmentId: TypeAlias = int
"""One handing-out of one span to one worker: the attempt number of design.md 4.3. Never used twice.
"""

Digest: TypeAlias = bytes
"""The content hash of a blob: 16 bytes."""

MAX_SESSIONS = 1 << 30
SHARED_FLAG = 1 << 62
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


def make_shared_id(content: Digest) -> GroupId:
    """Return the id of the group that computes this content, whoever submits it.

    52 bits of the digest, placed so that a double holds the id exactly: browsers keep it.
    """
    return SHARED_FLAG | (int.from_bytes(content[:8], "big") >> 12) << 10


def is_shared(group: GroupId) -> bool:
    """Tell whether a group id was made from content."""
    return bool(group & SHARED_FLAG)


def get_session(group: GroupId) -> PeerId:
    """Return the session whose client made the group id; of shared work no session's number."""
    return group >> 32


def digest_of(*parts: bytes | bytearray | memoryview) -> Digest:
    """Return the content hash (BLAKE2b, 128 bits) of the parts laid end to end."""
    state = blake2b(digest_size=16)
    for part in parts:
        state.update(part)
    return state.digest()
