"""What one client knows of one group: which tasks it holds, which are done, where, and what came of
them.

Law: data and its own bookkeeping only. Nothing here sends, waits, locks or unpickles under a lock:
`Block.load` is called by whoever wants a value, on that thread. A task is *done* when a worker has
its result, *here* when this process has it. A value that is here stays good, even if its worker is
lost afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import TaskError
from ..executor import values
from ..ids import GroupId, PeerId
from ..messages import Blob, Failure
from .runs import RunMap, RunSet

if TYPE_CHECKING:
    from .session import Session

Call = Callable[[], None]
GONE = object()
"""Stands in a block for a value that was let go of."""


class Waiter(Protocol):
    """Somebody who wants to hear what becomes of a group's tasks. Called under the session's lock:
    never blocks.
    """

    def on_finished(self, group: GroupState, start: int, stop: int, failed: bool) -> None:
        """Tasks are done or have failed."""

    def on_here(self, group: GroupState, start: int, stop: int) -> None:
        """The results of tasks have come to this process."""

    def on_closed(self) -> None:
        """The connection is gone: nothing more will be heard."""


class Block:
    """Results of a run of tasks, unpickled at the first use of one of them."""

    __slots__ = ("error", "parts", "single", "start", "stop", "values")

    def __init__(self, start: int, stop: int, single: bool, parts: list[Blob]) -> None:
        self.start = start
        self.stop = stop
        self.single = single
        self.parts: list[Blob] | None = parts
        self.values: list[Any] | None = None
        self.error: Exception | None = None

    def load(self) -> list[Any]:
        """Return the results of `[start, stop)`.

        Raises:
            TaskError: they cannot be unpickled in this process.
        """
        loaded = self.values
        if loaded is not None:
            return loaded
        parts = self.parts
        if self.error is not None or parts is None:
            raise self.error or TaskError("the results of this block are gone")
        try:
            # Bytes from inside a header are immutable: arrays on them would be read-only.
            buffers = [bytearray(p) if type(p) is bytes else p for p in parts[1:]]
            loaded = values.load_block([self.start, self.stop, self.single, [parts[0], *buffers]])
            if len(loaded) != self.stop - self.start:
                raise ValueError(f"{len(loaded)} results for {self.stop - self.start} tasks")
        except Exception as error:
            self.error = TaskError(
                f"a result came, but cannot be unpickled here: {type(error).__name__}: {error}. "
                "Import or define in this process what the result is made of"
            )
            self.error.__cause__ = error
            raise self.error from error
        self.values = loaded
        self.parts = None  # whatever the values still need of it, they refer to themselves
        return loaded


class FailedTasks:
    """Why some tasks have no result; the exception is made once, when it is asked for."""

    __slots__ = ("exception", "failure", "index")

    def __init__(self, failure: Failure, index: int) -> None:
        self.failure = failure
        self.index = index
        self.exception: BaseException | None = None

    @property
    def is_cancelled(self) -> bool:
        return self.failure.get("kind") == "cancelled"


class OpenGraph:
    """The part of a growing group that is not sent yet, and whether it may still grow.

    `calls` holds (payload, dependencies) of tasks from index `first` on. A task exists by being in
    it, so that an interrupt (Ctrl-C comes between any two steps) never leaves half a task.
    """

    __slots__ = ("calls", "first", "key", "last_size")

    def __init__(self, key: Any) -> None:
        self.key = key
        self.first = 0
        self.calls: list[tuple[Blob, Sequence[tuple[int, int]]]] = []
        self.last_size = -1

    @property
    def size(self) -> int:
        """The number of tasks of the group, sent or not."""
        return self.first + len(self.calls)


class GroupState:
    """One group as this client sees it."""

    __slots__ = (
        "ahead", "blocks", "counts", "done", "failed", "fetching", "graph", "held", "hot", "id",
        "is_map", "misses", "n", "name", "needed", "on_finish", "on_here", "places", "pushed",
        "ranges", "released", "session", "stale_cancels", "unconfirmed", "waiters",
    )  # fmt: skip

    def __init__(self, session: Session, group: GroupId, name: str, n: int) -> None:
        self.session = session
        self.id = group
        self.name = name
        self.n = n
        self.is_map = False
        self.graph: OpenGraph | None = None
        self.held = RunSet()
        """What the scheduler believes that we hold."""
        self.released = RunSet()
        """What it is to be told that we hold no more."""
        self.counts: dict[int, int] = {}
        """How many single Futures there are of a task, for those that have any."""
        self.ranges: list[tuple[int, int]] = []
        """What Futures (of many tasks) hold."""
        self.done = RunSet()
        self.places: RunMap[PeerId] = RunMap()
        self.failed: RunMap[FailedTasks] = RunMap()
        self.blocks: RunMap[Block] = RunMap()
        self.hot: Block | None = None
        """The block that was used last, so that reading in order finds the next result at once."""
        self.pushed = RunSet()
        """Tasks whose small results the scheduler pushes to us."""
        self.needed = RunSet()
        """Tasks whose results somebody wants here: fetched as soon as they are done."""
        self.fetching = RunSet()
        self.ahead = 1
        """How many results to fetch at once; grows as they turn out to be small."""
        self.misses = 0
        self.unconfirmed = RunSet()
        """Tasks cancelled here, of which the scheduler has not said so yet."""
        self.stale_cancels = RunSet()
        """Tasks cancelled and then retried here: one late word of the cancelling is to be ignored.
        """
        self.on_finish: dict[int, list[Call]] = {}
        self.on_here: dict[int, list[Call]] = {}
        self.waiters: list[Waiter] = []

    def __repr__(self) -> str:
        return f"<group {self.name} {self.id:x}: {self.done.count}+{self.failed.count} of {self.n}>"

    # --- what is known ----------------------------------------------------------------------------

    def is_finished(self, index: int) -> bool:
        """Tell whether a task is done or has failed."""
        return index in self.done or index in self.failed

    def count_finished(self, start: int, stop: int) -> int:
        """Return how many tasks of `[start, stop)` are done or have failed."""
        return self.done.count_in(start, stop) + sum(
            b - a for a, b, _ in self.failed.items_in(start, stop)
        )

    def unfinished_in(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the runs of `[start, stop)` that are neither done nor failed."""
        return [gap for a, b in self.done.gaps_in(start, stop) for gap in self.failed.gaps_in(a, b)]

    def awaited_in(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the runs of `[start, stop)` that are neither here nor failed."""
        return [
            gap for a, b in self.blocks.gaps_in(start, stop) for gap in self.failed.gaps_in(a, b)
        ]

    def find_block(self, index: int) -> Block | None:
        """Return the block that holds the result of a task, None if it is not here; it is the hot
        one afterwards.
        """
        block = self.blocks.find(index)
        if block is not None:
            self.hot = block
        return block

    # --- telling those who wait -------------------------------------------------------------------

    def tell_finished(self, start: int, stop: int, failed: bool) -> None:
        """Tell whoever waits that tasks are done, or failed."""
        if self.on_finish:
            _call_all(_pop_range(self.on_finish, start, stop))
        if failed and self.on_here:
            _call_all(_pop_range(self.on_here, start, stop))
        for waiter in tuple(self.waiters):
            waiter.on_finished(self, start, stop, failed)

    def tell_here(self, start: int, stop: int) -> None:
        """Tell whoever waits that results are here."""
        if self.on_here:
            _call_all(_pop_range(self.on_here, start, stop))
        for waiter in tuple(self.waiters):
            waiter.on_here(self, start, stop)

    def tell_closed(self) -> None:
        """Tell everybody who waits that there is nothing to wait for any more."""
        for table in (self.on_finish, self.on_here):
            calls = [call for row in table.values() for call in row]
            table.clear()
            _call_all(calls)
        for waiter in tuple(self.waiters):
            waiter.on_closed()


def _pop_range(table: dict[int, list[Call]], start: int, stop: int) -> Iterable[Call]:
    if stop - start <= len(table):
        rows = [table.pop(index, ()) for index in range(start, stop)]
    else:
        rows = [table.pop(index) for index in [k for k in table if start <= k < stop]]
    return [call for row in rows for call in row]


def _call_all(calls: Iterable[Call]) -> None:
    for call in calls:
        call()
