"""A pretended scheduler with a real worker process and real executors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil

from cellspan import __version__
from cellspan.engine.executor import values
from cellspan.engine.ids import digest_of
from cellspan.engine.messages import (
    PROTOCOL,
    DefineGroup,
    GetResults,
    Heartbeat,
    Hello,
    Message,
    PutResults,
    ResultsKept,
    ResultsSent,
    RunSpan,
    SpanDone,
    SpanReturned,
    TaskFailed,
    Welcome,
)
from cellspan.engine.transport import Connection, connect, listen

CLUSTER = "0123"
PATIENCE_S = 20.0
M = TypeVar("M", bound=Message)


class Worker:
    """One worker process, seen from its scheduler. `sent`: all that it has said, but heartbeats."""

    def __init__(self, number: int, connection: Connection, info: dict[str, Any]) -> None:
        self.number = number
        self.connection = connection
        self.info = info
        self.sent: list[Message] = []
        self.beats: list[Heartbeat] = []
        self.is_lost = False
        self.changed = asyncio.Event()
        connection.on_messages = self._on_messages
        connection.on_close = self._on_close

    def _on_messages(self, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message, Heartbeat):
                self.beats.append(message)
            else:
                self.sent.append(message)
        self.changed.set()

    def _on_close(self, error: Exception | None) -> None:
        self.is_lost = True
        self.changed.set()

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until a condition on what the worker said holds; return its value."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := condition()):
                self.changed.clear()
                await self.changed.wait()
        return found

    def said(self, kind: type[M]) -> list[M]:
        return [m for m in self.sent if isinstance(m, kind)]

    def reported(self) -> dict[int, Message]:
        """Return what was said of each task, by index (tests use each index once)."""
        found: dict[int, Message] = {}
        for m in self.sent:
            if isinstance(m, SpanDone):
                found.update(dict.fromkeys(range(m.start, m.stop), m))
            elif isinstance(m, TaskFailed):
                found[m.index] = m
            elif isinstance(m, SpanReturned):
                for start, stop in zip(m.runs[::2], m.runs[1::2], strict=True):
                    found.update(dict.fromkeys(range(start, stop), m))
        return found

    def define(
        self, group: int, function: Callable[..., Any], *args: list[Any], n: int = 1 << 20,
        names: list[str] | None = None, blobs: dict[bytes, bytes] | None = None,
    ) -> None:  # fmt: skip
        code = values.dump_function(function)
        specs = list(args) or [["range", 0, 1]]
        layer = {"kind": "each", "n": n, "function": digest_of(code), "args": specs}
        layer["names"] = names or []
        blobs = {digest_of(code): code, **(blobs or {})}
        self.connection.send(DefineGroup(group, f"group {group}", layer, blobs))

    async def run(self, assignment: int, group: int, start: int, stop: int, **more: Any) -> None:
        """Have a span run, and wait until each of its tasks is reported."""
        inline = more.pop("inline", True)
        self.connection.send(RunSpan(assignment, group, start, stop, inline, **more))
        wanted = set(range(start, stop))

        def is_over() -> bool:
            mine = [m for m in self.sent if getattr(m, "assignment", None) == assignment]
            return wanted <= Worker.reported(_View(mine)).keys()  # type: ignore[arg-type]

        await self.until(is_over)

    def results(self) -> dict[int, Any]:
        """Return the results that came inline, by index."""
        return {
            block[0] + i: result
            for done in self.said(SpanDone)
            for block in done.blocks or []
            for i, result in enumerate(values.load_block(block))
        }


class _View:
    def __init__(self, sent: list[Message]) -> None:
        self.sent = sent


class Cluster:
    """Workers by number; the processes that were started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[Worker] = []
        self.processes: list[asyncio.subprocess.Process] = []
        self.address = f"unix://{folder}/s"

    def admit(self, hello: Hello, connection: Connection) -> Welcome:
        assert hello.role == "worker"
        worker = Worker(len(self.workers) + 1, connection, hello.info)
        self.workers.append(worker)
        return Welcome(worker.number, "test", __version__)

    async def add_worker(self, cores: int = 2) -> Worker:
        """Start a worker, and wait until its executors are ready."""
        process = await self.start_process(cores)
        async with asyncio.timeout(PATIENCE_S):
            while len(self.workers) < len(self.processes):
                assert process.returncode is None
                await asyncio.sleep(0.005)
        worker = self.workers[-1]
        await worker.until(lambda: any(beat.stats["executors"] == cores for beat in worker.beats))
        return worker

    async def start_process(self, cores: int, **more: Any) -> asyncio.subprocess.Process:
        """Start the process of a worker. `more`: other settings of its configuration."""
        number = len(self.processes) + 1
        config = {
            "scheduler": self.address,
            "cluster_id": CLUSTER,
            "name": f"worker-{number}",
            "cores": cores,
            "memory_limit_bytes": 1 << 30,
            "listen": f"unix://{self.folder}/{number}",
            "cwd": str(self.folder),
            "interpreter": sys.executable,
            **more,
        }
        path = self.folder / f"{number}.json"
        path.write_text(json.dumps(config))
        command = [sys.executable, "-P", "-m", "cellspan.engine.worker", str(path)]
        process = await asyncio.create_subprocess_exec(
            *command, stderr=asyncio.subprocess.PIPE, start_new_session=True
        )
        self.processes.append(process)
        return process

    async def open_data(self, worker: Worker) -> Data:
        hello = Hello(PROTOCOL, __version__, "peer", CLUSTER)
        connection, _ = await connect(worker.info["address"], hello)
        return Data(connection)


class Data:
    """A connection to a worker's data address."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        connection.on_messages = lambda messages: [self._answers.put_nowait(m) for m in messages]

    async def get(self, group: int, start: int, stop: int, files: bool = False) -> ResultsSent:
        self._connection.send(GetResults(1, group, start, stop, files))
        async with asyncio.timeout(PATIENCE_S):
            answer = await self._answers.get()
        assert isinstance(answer, ResultsSent)
        return answer

    async def put(self, group: int, blocks: list[Any]) -> str | None:
        self._connection.send(PutResults(2, group, blocks))
        async with asyncio.timeout(PATIENCE_S):
            answer = await self._answers.get()
        assert isinstance(answer, ResultsKept)
        return answer.error


@contextlib.asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    """Give a cluster without workers; afterwards none of its processes is left."""
    made = Cluster(folder)
    listener = await listen(made.address, made.admit, cluster=CLUSTER)
    try:
        yield made
    finally:
        listener.close()
        for worker in made.workers:
            worker.connection.close()
        for process in made.processes:
            try:
                async with asyncio.timeout(5):
                    await process.communicate()
            except TimeoutError:
                os.killpg(process.pid, signal.SIGKILL)
                raise


def executors_of(pid: int) -> list[psutil.Process]:
    """Return the executor processes of a worker."""
    return psutil.Process(pid).children()


async def until_gone(processes: list[psutil.Process]) -> None:
    """Wait until processes have ended (a zombie has)."""
    async with asyncio.timeout(PATIENCE_S):
        while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
            await asyncio.sleep(0.01)
