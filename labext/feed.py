"""One control connection to one running cluster, shared by everybody in this server who looks
at it.

Law: a feed only asks; it starts, scales and stops nothing. It belongs to the event loop and
never blocks it. It ends by itself when its scheduler goes; whoever made it (service.py) makes
another one if the cluster comes back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from ..engine.deploy import control
from ..engine.diagnostics.snapshot import Snapshot
from ..engine.errors import CellspanError

if TYPE_CHECKING:
    from logging import Logger

    from ..engine.deploy.connection_file import ClusterInfo

STATUS_INTERVAL_S = 0.5
SNAPSHOT_INTERVAL_S = 0.5
ANSWER_TIMEOUT_S = 3.0


class ClusterFeed:
    """Keeps the latest status of a cluster, and its latest snapshot while someone wants snapshots.

    `on_snapshot(snapshot)` is called with each snapshot, in the event loop.
    """

    def __init__(
        self,
        info: ClusterInfo,
        on_snapshot: Callable[[Snapshot], None],
        log: Logger,
    ) -> None:
        self.info = info
        self.status: dict[str, Any] | None = None
        self.answers = True
        self.snapshot: Snapshot | None = None
        self._on_snapshot = on_snapshot
        self._log = log
        self._wanted = asyncio.Event()
        self._asked = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"cellspan feed {info.name}")

    @property
    def has_ended(self) -> bool:
        return self._task.done()

    def want_snapshots(self, wanted: bool) -> None:
        """Ask for snapshots from now on, or no longer."""
        if wanted:
            self._wanted.set()
        else:
            self._wanted.clear()
            self.snapshot = None

    async def first_status(self, timeout_s: float) -> None:
        """Wait until the scheduler was asked once, at most `timeout_s`."""
        try:
            await asyncio.wait_for(self._asked.wait(), timeout_s)
        except TimeoutError:
            self.answers = False

    async def close(self) -> None:
        """End the connection; returns when nothing is left of it."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            async with control.open(self.info) as connection, asyncio.TaskGroup() as group:
                group.create_task(self._ask(connection))
                group.create_task(self._watch(connection))
        except* (CellspanError, OSError) as errors:
            self._log.debug("cellspan: feed of %s ended: %s", self.info.name, errors.exceptions[0])
        finally:
            self._asked.set()

    async def _ask(self, connection: control.ControlConnection) -> None:
        while True:
            begun = time.monotonic()
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    self.status = await connection.status()
                self.answers = True
            except TimeoutError:
                self.answers = False
            self._asked.set()
            await asyncio.sleep(max(0.0, begun + STATUS_INTERVAL_S - time.monotonic()))

    async def _watch(self, connection: control.ControlConnection) -> None:
        while True:
            await self._wanted.wait()
            watch = cast("AsyncGenerator[Snapshot]", connection.watch(SNAPSHOT_INTERVAL_S))
            async with aclosing(watch) as snapshots:
                async for snapshot in snapshots:
                    if not self._wanted.is_set():
                        break
                    self.snapshot = snapshot
                    self._on_snapshot(snapshot)
