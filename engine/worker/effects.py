"""What the core asks of its shell, each a small named class.

Law: data only. The shell performs effects in order and answers those that have an answer through
the core's `on_...` method that is named here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from ..executor.values import Part
from ..ids import GroupId, PeerId
from ..messages import Runs


@dataclass(slots=True)
class SendFrame:
    """Write a frame to an executor; if it carries a piece (`token` is not 0), write the piece's
    token first."""

    executor: int
    header: dict[str, Any]
    buffers: list[Part]
    token: int


@dataclass(slots=True)
class Revoke:
    """Try to read the token of a queued piece back, now. Answer: `on_revoked`."""

    executor: int
    piece: int


@dataclass(slots=True)
class Cut:
    """Write the piece to the executor's cut word, wait CUT_WAIT_S, read its page. Answer:
    `on_cut`."""

    executor: int
    piece: int


@dataclass(slots=True)
class ReadPage:
    """Read the page of an executor that runs this piece. Answer: `on_page`."""

    executor: int
    piece: int


@dataclass(slots=True)
class Kill:
    """Kill an executor. Answer: `on_executor_died`, as for any death."""

    executor: int


@dataclass(slots=True)
class Spawn:
    """Start an executor under a new number. Answer: `on_executor_ready` or `on_executor_died`."""

    executor: int


@dataclass(slots=True)
class Fetch:
    """Get results from another worker. Answer: `on_fetched` or `on_fetch_failed`. `began`: when it
    was begun, as whoever does it notes it."""

    number: int
    worker: PeerId
    address: str
    group: GroupId
    start: int
    stop: int
    began: float = 0.0


@dataclass(slots=True)
class FetchShards:
    """Get the shards of outputs `[start, stop)` of the splits in `runs` from another worker, as far
    as it has them. Answer: `on_shards`, with nothing if it cannot be reached."""

    number: int
    worker: PeerId
    address: str
    group: GroupId
    runs: Runs
    start: int
    stop: int


@dataclass(slots=True)
class PushShards:
    """Send a worker the shards of outputs `[start, stop)` of a split in the store, with others for
    it, when there is time. No answer."""

    address: str
    group: GroupId
    split: int
    start: int
    stop: int


@dataclass(slots=True)
class Spill:
    """Move a block of the store to disk. Answer: `on_spilled`."""

    number: int
    path: str | None
    parts: list[Part]


@dataclass(slots=True)
class Unlink:
    """Remove files of the store folder."""

    paths: list[str]


Effect: TypeAlias = (
    SendFrame
    | Revoke
    | Cut
    | ReadPage
    | Kill
    | Spawn
    | Fetch
    | FetchShards
    | PushShards
    | Spill
    | Unlink
)
