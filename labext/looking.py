"""Looks at the clusters for everybody who looks through this server: once for all of them, and
only while they look.

Law: belongs to the event loop; only reads. One loop reads the connection files (in a thread)
and has one feed per running cluster; listeners are told the list when it changed, viewers of a
cluster get each of its snapshots. What the list says is composed elsewhere (service.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from ..engine.deploy.connection_file import ClusterInfo
from ..engine.diagnostics.snapshot import Snapshot
from .entries import Entry
from .feed import ClusterFeed

if TYPE_CHECKING:
    from logging import Logger

LOOK_INTERVAL_S = 0.5
FIRST_STATUS_S = 1.0
LINGER_S = 5.0
"""How long feeds are kept after the last look, so that polling does not connect anew each time."""


class Lookout:
    """Keeps `infos` (by name) and `feeds` (by cluster id) in step with the world while somebody
    looks.

    `read()` returns the infos of all live clusters; `compose()` the list for the listeners.

    """

    def __init__(
        self,
        read: Callable[[], Awaitable[list[ClusterInfo]]],
        compose: Callable[[], list[Entry]],
        log: Logger,
    ) -> None:
        self.infos: dict[str, ClusterInfo] = {}
        self.feeds: dict[str, ClusterFeed] = {}
        self._read = read
        self._compose = compose
        self._log = log
        self._listeners: set[Callable[[list[Entry]], None]] = set()
        self._viewers: dict[str, set[Callable[[Snapshot], None]]] = {}
        self._told: list[Entry] | None = None
        self._touched = 0.0
        self._turn = asyncio.Lock()
        self._hurry = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def listen(self, listener: Callable[[list[Entry]], None]) -> Callable[[], None]:
        """Call `listener` with the list soon and then whenever it changes; return what ends
        that."""
        self._listeners.add(listener)
        self._told = None
        self.touch()
        return partial(self._listeners.discard, listener)

    def view(self, name: str, viewer: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Call `viewer` with each snapshot of the cluster that has this name, whenever there is
        one; return what ends that. The cluster may come later, or go and come back under its
        name."""
        self._viewers.setdefault(name, set()).add(viewer)
        feed = self.feed_of(name)
        if feed is not None:
            feed.want_snapshots(True)
            if feed.snapshot is not None:
                viewer(feed.snapshot)
        self.touch()
        return partial(self._unview, name, viewer)

    def _unview(self, name: str, viewer: Callable[[Snapshot], None]) -> None:
        viewers = self._viewers.get(name, set())
        viewers.discard(viewer)
        if viewers:
            return
        self._viewers.pop(name, None)
        feed = self.feed_of(name)
        if feed is not None:
            feed.want_snapshots(False)

    def feed_of(self, name: str) -> ClusterFeed | None:
        """Return the feed of the running cluster of this name, if there is one."""
        info = self.infos.get(name)
        return self.feeds.get(info.id) if info else None

    def touch(self) -> None:
        """Something may have changed, or somebody looks: look and tell soon, and for a while."""
        self._touched = time.monotonic()
        self._hurry.set()
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._run(), name="cellspan lookout")

    async def look(self) -> None:
        """Look now: read the connection files, and have a feed for every cluster that runs."""
        async with self._turn:
            self.infos = {info.name: info for info in await self._read()}
            running = {info.id: info for info in self.infos.values() if info.state == "running"}
            for key, feed in list(self.feeds.items()):
                if key not in running or feed.has_ended:
                    del self.feeds[key]
                    await feed.close()
            for key, info in running.items():
                if key not in self.feeds:
                    self.feeds[key] = ClusterFeed(info, partial(self._show, info.name), self._log)
                    self.feeds[key].want_snapshots(info.name in self._viewers)

    async def look_closely(self) -> None:
        """Look now, and wait a moment for the first answers of schedulers that are new."""
        await self.look()
        self.touch()
        await self._hear_new_ones()

    async def _hear_new_ones(self) -> None:
        new = [feed for feed in self.feeds.values() if feed.status is None and feed.answers]
        await asyncio.gather(*(feed.first_status(FIRST_STATUS_S) for feed in new))

    async def _run(self) -> None:
        """Look and tell, at most every `LOOK_INTERVAL_S`, until nobody has looked for a while."""
        while self._listeners or self._viewers or time.monotonic() < self._touched + LINGER_S:
            self._hurry.clear()
            try:
                await self.look()
                await self._hear_new_ones()
                self._tell()
            except Exception:
                self._log.exception("cellspan: looking at the clusters failed; trying again")
            await asyncio.sleep(LOOK_INTERVAL_S)
        async with self._turn:
            await self._close_feeds()

    def _show(self, name: str, snapshot: Snapshot) -> None:
        for viewer in tuple(self._viewers.get(name, ())):
            viewer(snapshot)

    def _tell(self) -> None:
        entries = self._compose()
        if entries != self._told and self._listeners:
            self._told = entries
            for listener in tuple(self._listeners):
                listener(entries)

    async def _close_feeds(self) -> None:
        feeds, self.feeds = self.feeds, {}
        await asyncio.gather(*(feed.close() for feed in feeds.values()))

    async def close(self) -> None:
        """End the loop and all feeds."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await self._close_feeds()
