"""Who in this process still holds which task, and what the scheduler is told about it.

Law: a task is held while a Future of it, or a Futures that spans it, is alive and not released.
Dropping may happen anywhere, even inside the garbage collector while this very thread has the lock:
so a drop never waits for the lock; when it is taken, the drop is noted and done later.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .runs import RunSet
from .state import GONE, Block, GroupState

if TYPE_CHECKING:
    from ..ids import GroupId


class Holds:
    """The part of a Session that counts holders."""

    lock: threading.Lock
    groups: dict[GroupId, GroupState]
    wake: Callable[[], None] = staticmethod(lambda: None)
    """Set by the shell: something is to be sent, soon but not at once. Called from any thread."""
    urge: Callable[[], None] = staticmethod(lambda: None)
    """Set by the shell: somebody waits, send now what is to be sent. Called from any thread,
    without the lock.
    """
    listen: Callable[[Any, float | None], bool | None] = staticmethod(lambda gate, deadline: None)
    """Set by the shell: take in what comes, in this thread, until a Gate is open or a deadline has
    passed (then False). None: somebody else does it. Called without the lock.
    """
    ring: Callable[[], None] = staticmethod(lambda: None)
    """Set by the shell: a gate is open, let the thread that listens look. From any thread."""
    run_callback: Callable[[Callable[[], object]], None] = staticmethod(lambda call: None)
    """Set by the client: run something of the user's, not on this thread. Called under the lock."""
    refresh: Callable[[], None] = staticmethod(lambda: None)
    """Set by the client: get news for `rows`, if they are old. May wait a moment; called without
    the lock.
    """

    def __init__(self) -> None:
        self.drops: deque[tuple[GroupState, int, int]] = deque()
        self.releasing: dict[GroupId, GroupState] = {}
        self.empty: dict[GroupId, GroupState] = {}
        """Groups that may still grow, of which nobody holds a task at present."""
        self.rows: dict[GroupId, Any] = {}
        """What the latest snapshot says of groups (diagnostics.GroupRow)."""

    # --- for Future and Futures: these take the lock themselves -----------------------------------

    def hold_one(self, group: GroupState, index: int) -> None:
        """There is one more Future of a task."""
        with self.lock:
            counts = group.counts
            counts[index] = counts.get(index, 0) + 1

    def hold_range(self, group: GroupState, start: int, stop: int) -> None:
        """There is one more Futures that spans `[start, stop)`."""
        with self.lock:
            group.ranges.append((start, stop))

    def drop_one(self, group: GroupState, index: int) -> None:
        """There is one Future less of a task. Never waits."""
        if not self.lock.acquire(False):
            self.drops.append((group, index, -1))
            self.wake()
            return
        try:
            self._drop_one(group, index)
        finally:
            self.lock.release()
        if self.releasing:
            self.wake()

    def drop_range(self, group: GroupState, start: int, stop: int) -> None:
        """There is one Futures less that spans `[start, stop)`. Never waits."""
        self.drops.append((group, start, stop))
        self.wake()

    # --- under the lock ---------------------------------------------------------------------------

    def take_drops(self) -> None:
        """Do the drops that were only noted."""
        drops = self.drops
        while drops:
            group, start, stop = drops.popleft()
            if stop < 0:
                self._drop_one(group, start)
            else:
                self._drop_range(group, start, stop)

    def _drop_one(self, group: GroupState, index: int) -> None:
        left = group.counts.pop(index) - 1
        if left:
            group.counts[index] = left
            return
        for start, stop in group.ranges:
            if start <= index < stop:
                return
        self.release(group, index, index + 1)

    def _drop_range(self, group: GroupState, start: int, stop: int) -> None:
        group.ranges.remove((start, stop))
        free = RunSet([start, stop])
        for a, b in group.ranges:
            free.discard(a, b)
        if free and group.counts:
            few = len(group.counts) <= free.count
            for index in list(group.counts) if few else [i for i in group.counts if i in free]:
                free.discard(index, index + 1)
        for a, b in free:
            self.release(group, a, b)

    def release(self, group: GroupState, start: int, stop: int) -> None:
        """Nobody here holds `[start, stop)` any more: forget the results, and tell the scheduler
        soon.
        """
        for a, b in group.held.runs_in(start, stop):
            group.released.add(a, b)
            self._forget_results(group, a, b)
        group.held.discard(start, stop)
        self.releasing[group.id] = group
        if not group.held:
            if group.graph is None:
                self.groups.pop(group.id, None)
            else:
                self.empty[group.id] = group

    def _forget_results(self, group: GroupState, start: int, stop: int) -> None:
        for a, b, block in group.blocks.items_in(start, stop):
            blank(block, a, b)
        group.blocks.clear(start, stop)
        group.hot = None
        group.needed.discard(start, stop)
        group.places.clear(start, stop)


def blank(block: Block, start: int, stop: int) -> None:
    """Let go of single values: the others of the block may live much longer."""
    loaded = block.values
    if loaded is not None:
        for index in range(start - block.start, stop - block.start):
            loaded[index] = GONE
