"""The worker's shell: sockets, processes, timers around the core.

Law: decides nothing about tasks. Messages and news of executors go to the core as they come; its
effects are carried out at once, its messages leave once per turn of the loop. When the connection
to the scheduler is lost, or on SIGTERM, the worker ends, and leaves no process, file or socket
behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import signal
import socket
import time
from functools import partial
from typing import Any

from ..errors import CellspanError, ConnectionClosed, PeerError
from ..executor.files import map_parts
from ..executor.values import Part
from ..messages import (
    PROTOCOL,
    EndWorker,
    GetLogs,
    GetResults,
    GetShards,
    Heartbeat,
    Hello,
    LogsGiven,
    Message,
    PutResults,
    PutShards,
    ResultsKept,
    ResultsSent,
    Turned,
    Welcome,
)
from ..transport import (
    Connection,
    Credentials,
    Listener,
    calm_garbage_collector,
    connect,
    is_turn_over,
    listen,
)
from .config import WorkerConfig
from .core import WorkerCore
from .death import Death
from .effects import (
    Cut,
    Fetch,
    FetchShards,
    Kill,
    PushShards,
    ReadPage,
    Revoke,
    SendFrame,
    Spawn,
    Spill,
    Unlink,
)
from .executors import Executors, Listeners
from .fetch import BlockWriter, Fetcher
from .logs import Logs
from .parcels import Pusher, collect
from .runs import pairs
from .spilling import Spiller, unlink
from .stats import Usage
from .store import Store
from .storefolder import StoreFolder, make_store_folder

logger = logging.getLogger("cellspan.worker")

HEARTBEAT_S = 1.0
CUT_WAIT_S = 0.001
"""Between writing a cut and reading the page: far longer than a processor keeps a store to
itself."""
STORE_SHARE = 0.7
"""Part of a worker's memory that results may fill."""
MAX_START_FAILURES = 5


class WorkerServer:
    """One worker. `ended` is done, with the reason, when it has to end."""

    def __init__(self, config: WorkerConfig, folder: StoreFolder) -> None:
        self.config = config
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._folder = folder
        limit = int(config.memory_limit_bytes * STORE_SHARE)
        store = Store(
            min(limit, folder.limit_bytes) if folder.in_memory else folder.limit_bytes,
            folder.spill_limit_bytes,
            folder.spill,
        )
        self._resources = config.find_resources()
        self.core = WorkerCore(0, config.name, config.cores, store, self._resources)
        self._logs = Logs(config.name)
        self._executors = Executors(
            config.name,
            config.interpreter,
            config.cwd,
            folder,
            self._logs,
            Listeners(self._on_ready, self._on_report, self._on_died, self._end_turn),
        )
        self._credentials: Credentials | None = config.read_credentials()
        self._writer = BlockWriter(folder.path, folder.spill, lambda: store.is_over)
        self._fetcher = Fetcher(partial(self._hello, "peer"), self._credentials, self._writer)
        self._pusher = Pusher(self._fetcher, store)
        self._spiller = Spiller(self.core, folder.spill)
        self._usage = Usage(config.cores)
        self._scheduler: Connection | None = None
        self._listener: Listener | None = None
        self._turn_is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._heart: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the executors, serve data, and join the cluster.

        Raises:
            CellspanError: the scheduler cannot be reached, or does not let us in.
            OSError: the data address cannot be had.
        """
        self._perform()
        config = self.config
        self._listener = await listen(
            config.listen, self._admit, self._credentials, cluster=config.cluster_id
        )
        hello = self._hello("worker", self._describe(self._listener.address))
        connection, welcome = await connect(config.scheduler, hello, self._credentials)
        self.core.set_worker(welcome.peer)
        self._scheduler = connection
        connection.on_close = self._on_scheduler_lost
        connection.on_messages = self._on_scheduler_messages
        self._beat()
        self._turn_soon()

    async def close(self) -> None:
        """End everything: executors, connections, the store folder."""
        for timer in (self._heart, self._timer):
            if timer is not None:
                timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        self._executors.close()
        self._pusher.close()
        self._fetcher.close()
        if self._listener is not None:
            self._listener.close()
        self._folder.remove()
        if self._scheduler is not None:
            self._scheduler.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._scheduler.closed()

    def end(self, reason: str) -> None:
        """Have the worker end."""
        if not self.ended.done():
            self.ended.set_result(reason)

    def _hello(self, role: str, info: dict[str, Any] | None = None) -> Hello:
        return Hello(PROTOCOL, _version(), role, self.config.cluster_id, info or {})

    def _describe(self, address: str) -> dict[str, Any]:
        config = self.config
        return {
            "name": config.name,
            "slots": config.cores,
            "memory_limit_bytes": config.memory_limit_bytes,
            "address": address,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "topology": f"{config.topology}/{socket.gethostname()}",
            "python": platform.python_version(),
            "version": _version(),
            "executors": config.cores,
            "resources": self._resources,
        }

    # --- the scheduler ---------------------------------------------------------------------------

    def _on_scheduler_messages(self, messages: list[Message]) -> None:
        for message in messages:
            match message:
                case EndWorker():
                    self.end(message.reason)
                case GetLogs():
                    self._send(LogsGiven(message.request, self._logs.read(message.lines)))
                case _:
                    self.core.handle(message)
        self.core.dispatch(self._loop.time())
        self._perform()

    def _on_scheduler_lost(self, error: Exception | None) -> None:
        self.end(f"the scheduler is gone: {error or 'it closed the connection'}")

    def _send(self, message: Message) -> None:
        if self._scheduler is not None:
            with contextlib.suppress(ConnectionClosed):  # then `_on_scheduler_lost` is on its way
                self._scheduler.send(message)

    def _beat(self) -> None:
        if self._heart is not None:
            self._heart.cancel()
        self._heart = self._loop.call_later(HEARTBEAT_S, self._beat)
        cpu, memory = self._usage.read(self._executors.pids)
        stats = {
            "cpu": cpu,
            "memory_bytes": float(
                memory + (self.core.store.nbytes if self._folder.in_memory else 0)
            ),
            "store_bytes": float(self.core.store.nbytes),
            "disk_bytes": float(self.core.store.disk_nbytes),
            "executors": float(self._executors.ready_count),
            "running": float(self.core.running),
        }
        self._send(Heartbeat(stats))

    # --- turns -----------------------------------------------------------------------------------

    def _turn_soon(self) -> None:
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        scheduler = self._scheduler
        if scheduler is not None:
            sends = self.core.take_sends()
            if sends and not scheduler.is_closing:  # else `_on_scheduler_lost` is on its way
                scheduler.send_now(sends)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wakeup = self.core.next_wakeup()
        if wakeup is not None:
            self._timer = self._loop.call_at(wakeup, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.core.on_timer(self._loop.time())
        self._perform()

    def _end_turn(self) -> None:
        """Have the messages leave, now if nothing else is to happen in this turn of the loop."""
        if is_turn_over(self._loop):
            self._turn()
        else:
            self._turn_soon()

    def _perform(self) -> None:
        """Carry out what the core wants done, and end the turn."""
        self._carry_out()
        self._end_turn()

    def _carry_out(self) -> None:
        """Carry out what the core wants done, until it wants nothing more."""
        while effects := self.core.take_effects():
            for effect in effects:
                match effect:
                    case SendFrame():
                        self._executors.send(
                            effect.executor, effect.header, effect.buffers, effect.token
                        )
                    case Revoke():
                        self._revoke(effect)
                    case Cut():
                        self._executors.write_cut(effect.executor, effect.piece)
                        self._loop.call_later(CUT_WAIT_S, self._after_cut, effect)
                    case ReadPage():
                        page = self._executors.read_page(effect.executor)
                        now = self._loop.time()
                        self.core.on_page(effect.executor, effect.piece, *page, now)
                    case Kill():
                        self._executors.kill(effect.executor)
                    case Spawn():
                        self._executors.spawn(effect.executor)
                    case Fetch():
                        self._run(self._fetch(effect))
                    case FetchShards():
                        self._run(self._fetch_shards(effect))
                    case PushShards():
                        self._pusher.add(effect)
                    case Spill():
                        self._run(self._spill(effect))
                    case Unlink():
                        unlink(effect.paths)

    def _revoke(self, effect: Revoke) -> None:
        taken = self._executors.take_tokens(effect.executor)
        now = self._loop.time()
        for number in taken:
            self.core.on_revoked(effect.executor, number, True, now)
        if effect.piece not in taken:
            self.core.on_revoked(effect.executor, effect.piece, False, now)

    def _after_cut(self, effect: Cut) -> None:
        page_piece, page_index = self._executors.read_page(effect.executor)
        now = self._loop.time()
        self.core.on_cut(effect.executor, effect.piece, page_piece, page_index, now)
        self._perform()

    def _run(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- executors -------------------------------------------------------------------------------

    def _on_ready(self, executor: int) -> None:
        self.core.on_executor_ready(executor, self._loop.time())
        self._perform()
        if self._scheduler is not None:
            self._beat()  # a cluster is running when an executor is: say so at once

    def _on_report(self, executor: int, header: dict[str, Any], buffers: list[Part]) -> None:
        self.core.on_report(executor, header, buffers, self._loop.time())
        self._carry_out()  # and `_end_turn` when all reports of this arrival are in

    def _on_died(self, executor: int, death: Death) -> None:
        logger.warning("executor %d has ended: %s", executor, death.signal or death.exit_code)
        if self._executors.failures >= MAX_START_FAILURES:
            words = "\n".join(death.log)
            self.end(f"executors do not start; the last words of the last one:\n{words}")
            return
        self.core.on_executor_died(executor, death, self._loop.time())
        self._perform()

    # --- data ------------------------------------------------------------------------------------

    def _admit(self, hello: Hello, connection: Connection) -> Welcome | Turned:
        if hello.role not in ("peer", "client"):
            return Turned("this is a worker's data address: only data is given here")
        connection.on_messages = partial(self._on_data_messages, connection)
        return Welcome(0, self.config.cluster_name, _version())

    def _on_data_messages(self, connection: Connection, messages: list[Message]) -> None:
        for message in messages:
            match message:
                case GetResults():
                    connection.send(self._get_results(message, connection.is_local))
                case PutResults():
                    self._run(self._put_results(message, connection))
                case GetShards():
                    connection.send(self._get_shards(message, connection.is_local))
                case PutShards():
                    self._run(self._put_shards(message, connection))
                case _:
                    raise PeerError(f"a worker's data address takes no {type(message).__name__}")

    def _get_results(self, message: GetResults, is_local: bool) -> ResultsSent:
        answer = ResultsSent(message.request, [], [])
        for block in self.core.store.find(message.group, message.start, message.stop):
            if block.path is None:
                answer.blocks.append(block.to_block())
            elif message.files and is_local:
                answer.files.append(block.to_file())
            else:
                with contextlib.suppress(OSError):  # somebody removed it: then it is not here
                    parts = map_parts(block.path, block.places)
                    answer.blocks.append([block.start, block.stop, block.single, parts])
        return answer

    async def _put_results(self, message: PutResults, connection: Connection) -> None:
        error: str | None
        try:
            blocks = [await self._writer.take_block(message.group, b) for b in message.blocks]
            error = self.core.put(blocks)
            self._perform()
        except OSError as failure:
            error = f"no room for the data on {self.config.name}: {failure}"
        # the scheduler has to hear of the data before the client can speak of it
        self._turn()
        with contextlib.suppress(ConnectionClosed):
            connection.send(ResultsKept(message.request, error))

    async def _fetch(self, fetch: Fetch) -> None:
        fetch.began = self._loop.time()
        try:
            blocks = await self._fetcher.fetch(fetch)
        except (CellspanError, OSError) as error:
            self.core.on_fetch_failed(fetch.number, str(error), self._loop.time())
        else:
            self.core.on_fetched(fetch.number, blocks, self._loop.time())
        self._perform()

    def _get_shards(self, message: GetShards, is_local: bool) -> ResultsSent:
        splits = (i for a, b in pairs(message.runs) for i in range(a, b))
        start, stop, files = message.start, message.stop, message.files and is_local
        blocks, named = collect(self.core.store, message.group, splits, start, stop, files)
        return ResultsSent(message.request, blocks, named)

    async def _put_shards(self, message: PutShards, connection: Connection) -> None:
        error: str | None
        files = message.files if connection.is_local else []
        try:
            parcels = await self._writer.take_shards(
                message.group, message.start, message.stop, message.blocks, files
            )
            error = self.core.put_shards(parcels)
            self._perform()
        except OSError as failure:  # it will be asked for, in case
            error = f"no room for shards on {self.config.name}: {failure}"
        with contextlib.suppress(ConnectionClosed):
            connection.send(ResultsKept(message.request, error))

    async def _fetch_shards(self, fetch: FetchShards) -> None:
        try:
            parcels = await self._fetcher.fetch_shards(fetch)
        except (CellspanError, OSError) as error:
            logger.warning("shards could not be fetched from %s: %s", fetch.address, error)
            parcels = []
        self.core.on_shards(fetch.number, parcels, self._loop.time())
        self._perform()

    async def _spill(self, effect: Spill) -> None:
        await self._spiller.move(effect)
        self._perform()


def _version() -> str:
    from cellspan._version import __version__

    return __version__


async def _serve(config: WorkerConfig, folder: StoreFolder) -> str:
    server = WorkerServer(config, folder)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.end, f"{number.name} came")
    try:
        await server.start()
        calm_garbage_collector()
        return await server.ended
    finally:
        await server.close()


def run_worker(config: WorkerConfig) -> str:
    """Be a worker until the cluster ends; return why it ended.

    Raises:
        CellspanError: the scheduler cannot be reached, or does not let us in.
        OSError: no folder, or no address to serve data at.
    """
    with contextlib.suppress(ImportError):
        from setproctitle import setproctitle

        setproctitle(f"cellspan worker {config.name}")
    started = time.monotonic()
    folder = make_store_folder(config.memory_limit_bytes)
    try:
        reason = asyncio.run(_serve(config, folder))
    finally:
        folder.remove()
    logger.info("%s has ended after %.1f s: %s", config.name, time.monotonic() - started, reason)
    return reason
