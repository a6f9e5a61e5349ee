"""The clusters of this user, as this server sees them, and what can be done to them.

Law: everything that blocks (the manager of engine/deploy) runs in threads of this object; its
own methods belong to the event loop. The manager's connection files are the truth; the only
state kept here is what they cannot say: starts under way, starts that failed (until dismissed),
and stops under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..engine.deploy import manager
from ..engine.errors import CellspanError, ClusterExists, ClusterNotFound
from .bodies import StartRequest
from .entries import Entry, entry_of_info, entry_of_start
from .looking import Lookout
from .rendering import Renderer

if TYPE_CHECKING:
    from logging import Logger

Result = TypeVar("Result")


@dataclass
class Start:
    """A start under way, or one that failed. `is_unwanted`: stop the cluster as soon as it is
    up."""

    request: StartRequest
    state: str = "starting"
    reason: str | None = None
    is_unwanted: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What a cluster is started with that comes from this server and not from the request."""

    interpreter: str | None
    owner_pid: int | None
    cwd: str | None


class ClusterService:
    """One per server; `close` ends all that it began (and no cluster)."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="cellspan")
        self._starts: dict[str, Start] = {}
        self._stopping: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._naming = asyncio.Lock()
        self.renderer = Renderer()
        self.lookout = Lookout(partial(self.run, manager.list_clusters), self.entries, log)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run something that blocks, or takes more than a millisecond, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    # --- seeing

    def entries(self) -> list[Entry]:
        """Return the list as it is known now, by name."""
        found: dict[str, Entry] = {
            name: entry_of_start(name, start.request, start.state, start.reason)
            for name, start in self._starts.items()
        }
        for name, info in self.lookout.infos.items():
            start = self._starts.get(name)
            if start is not None and start.state != "failed":
                continue  # its start is not over yet
            feed = self.lookout.feed_of(name)
            status, answers = (feed.status, feed.answers) if feed else (None, True)
            found[name] = entry_of_info(info, status, answers)
        for name in self._stopping & found.keys():
            found[name]["state"] = "stopping"
        return [found[name] for name in sorted(found)]

    async def current(self) -> list[Entry]:
        """Return the list after a fresh look."""
        await self.lookout.look_closely()
        return self.entries()

    async def get(self, name: str) -> Entry:
        """Return one entry after a fresh look. Raises ClusterNotFound."""
        entries = await self.current()
        for entry in entries:
            if entry["name"] == name:
                return entry
        names = ", ".join(entry["name"] for entry in entries)
        raise ClusterNotFound(f"There is no cluster named '{name}': there are {names or 'none'}.")

    async def logs(self, name: str, source: str | None, lines: int) -> list[list[Any]]:
        """Return the newest log lines: ``[source, stream, unix time, text]`` each. Raises
        ClusterNotFound."""
        await self.get(name)
        ask = partial(manager.cluster_logs, name, source=source, lines=lines)
        return [list(entry) for entry in await self.run(ask)]

    # --- doing

    async def start(self, request: StartRequest, around: Surroundings) -> Entry:
        """Begin to start a cluster and return its entry, in state 'starting'. Raises ClusterExists.

        Whether it comes up shows in the list.
        """
        async with self._naming:
            await self.lookout.look()
            going = {name for name, start in self._starts.items() if start.state != "failed"}
            taken = going | self.lookout.infos.keys()
            name = request.name or next(name for name in _names() if name not in taken)
            if name in taken:
                raise ClusterExists(f"There is a cluster named '{name}' already.")
            self._starts[name] = start = Start(request)
        task = asyncio.create_task(self._see_through(name, start, around))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.lookout.touch()
        return entry_of_start(name, request, start.state, None)

    async def _see_through(self, name: str, start: Start, around: Surroundings) -> None:
        request = start.request
        begin = partial(
            manager.start_cluster,
            name,
            workers=request.workers,
            cores=request.cores,
            memory=request.memory_bytes,
            lifetime=request.lifetime,
            idle_timeout_s=request.idle_timeout_s,
            interpreter=around.interpreter,
            owner_pid=around.owner_pid,
            kernel_id=request.kernel_id,
            cwd=around.cwd,
        )
        try:
            await self.run(begin)
        except Exception as error:
            if not isinstance(error, CellspanError):
                self._log.exception("cellspan: starting cluster %s failed", name)
            start.state, start.reason = "failed", str(error) or type(error).__name__
        await self.lookout.look()
        if start.state != "failed":
            del self._starts[name]
            if start.is_unwanted:
                await self.stop(name)
        elif start.is_unwanted:
            del self._starts[name]
        self.lookout.touch()

    async def scale(self, name: str, workers: int) -> Entry:
        """Have this many workers. Raises ClusterNotFound and what the manager raises."""
        await self.get(name)
        await self.run(partial(manager.scale_cluster, name, workers))
        return {**await self.get(name), "wanted": workers}

    async def stop(self, name: str) -> None:
        """Stop a cluster, dismiss one that failed to start, or give up one that is starting.

        Returns when it is stopped. Raises ClusterNotFound and what the manager raises.
        """
        start = self._starts.get(name)
        if start is not None:
            self.lookout.touch()
            if start.state != "failed":
                start.is_unwanted, start.state = True, "stopping"
                return
            del self._starts[name]
            if name not in self.lookout.infos:
                return
        await self.get(name)
        self._stopping.add(name)
        self.lookout.touch()
        try:
            await self.run(partial(manager.stop_cluster, name))
        finally:
            self._stopping.discard(name)
            self.lookout.touch()

    async def close(self) -> None:
        """End all watching. Clusters are left alone: those of lifetime 'server' end by their
        own lease."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.lookout.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _names() -> Iterator[str]:
    """Free, readable names for clusters that nobody named."""
    yield "local"
    number = 2
    while True:
        yield f"local-{number}"
        number += 1
