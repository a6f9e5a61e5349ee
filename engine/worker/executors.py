"""The executor processes of a worker: start them, talk to them, see them end.

Law: no decision about tasks. Executors are spawned (never forked with our threads), each as the
leader of a process group of its own, so that what its tasks have started ends with it. What one
has sent before it died is heard before its death is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..executor.loop import Settings
from ..executor.values import Part
from . import limits
from .channel import Channel
from .death import Death
from .logs import Logs
from .storefolder import StoreFolder

logger = logging.getLogger("cellspan.worker")

LOG_TAIL = 20
SLOWEST_RESTART_S = 5.0
_READ_BYTES = 1 << 16
_FOLDER = str(Path(__file__).resolve().parent.parent / "executor")
# Loads the executor's folder alone, under a name of its own: the interpreter may be of an
# environment without cellspan.
_BOOTSTRAP = """\
import importlib.util, sys
spec = importlib.util.spec_from_file_location(
    "cellspan_executor", sys.argv[1] + "/__init__.py", submodule_search_locations=[sys.argv[1]])
sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
del importlib, spec, module
from cellspan_executor.loop import main
main(sys.argv[2])
"""
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(slots=True)
class Listeners:
    """Whom the executors' news goes to. `on_read`: all that came at once was told."""

    on_ready: Callable[[int], None]
    on_report: Callable[[int, dict[str, Any], list[Part]], None]
    on_died: Callable[[int, Death], None]
    on_read: Callable[[], None]


class _Executor:
    """One process with its line and its outputs."""

    def __init__(self, number: int, process: subprocess.Popen[bytes], channel: Channel) -> None:
        self.number = number
        self.process = process
        self.channel = channel
        self.outputs: dict[int, str] = {}
        self.pidfd = -1
        self.is_ready = False
        self.oom_kills = limits.count_oom_kills()


class Executors:
    """All executors of one worker, by number."""

    def __init__(
        self,
        name: str,
        interpreter: str,
        cwd: str,
        folder: StoreFolder,
        logs: Logs,
        listeners: Listeners,
    ) -> None:
        self._name = name
        self._interpreter = interpreter
        self._cwd = cwd
        self._folder = folder
        self._logs = logs
        self._listeners = listeners
        self._loop = asyncio.get_running_loop()
        self._alive: dict[int, _Executor] = {}
        self._delayed: dict[int, asyncio.TimerHandle] = {}
        self._failures = 0
        self._is_closed = False

    @property
    def failures(self) -> int:
        """How many executors in a row have ended before they were ready."""
        return self._failures

    @property
    def pids(self) -> list[int]:
        """Process ids of the living ones."""
        return [executor.process.pid for executor in self._alive.values()]

    @property
    def ready_count(self) -> int:
        """How many can take work."""
        return sum(executor.is_ready for executor in self._alive.values())

    # --- what the core asks for ------------------------------------------------------------------

    def spawn(self, number: int) -> None:
        """Start an executor; later, when the last ones did not come up."""
        if not self._failures:
            self._spawn_now(number)
            return
        delay = min(SLOWEST_RESTART_S, 0.05 * 2**self._failures)
        self._delayed[number] = self._loop.call_later(delay, self._spawn_now, number)

    def send(self, number: int, header: dict[str, Any], buffers: list[Part], token: int) -> None:
        """Send a frame to an executor; nothing happens if it is gone."""
        executor = self._alive.get(number)
        if executor is not None:
            executor.channel.send(header, buffers, token)

    def take_tokens(self, number: int) -> list[int]:
        """Take back all pieces that an executor has not claimed; return their numbers."""
        executor = self._alive.get(number)
        return executor.channel.take_tokens() if executor is not None else []

    def write_cut(self, number: int, piece: int) -> None:
        """Have an executor begin no more tasks of a piece."""
        executor = self._alive.get(number)
        if executor is not None:
            executor.channel.write_cut(piece)

    def read_page(self, number: int) -> tuple[int, int]:
        """Return (piece, task) that an executor says to run; (0, 0) if it is gone."""
        executor = self._alive.get(number)
        return executor.channel.read_page() if executor is not None else (0, 0)

    def kill(self, number: int) -> None:
        """Kill an executor with all that its tasks have started; its death is told as any other."""
        executor = self._alive.get(number)
        if executor is not None:
            _kill_group(executor.process)
        elif number in self._delayed:
            self._delayed.pop(number).cancel()
            death = Death(0, 0, None, "SIGKILL", False, [])
            self._loop.call_soon(self._listeners.on_died, number, death)

    def close(self) -> None:
        """Kill all and wait for their end; nothing is told any more."""
        self._is_closed = True
        for timer in self._delayed.values():
            timer.cancel()
        for executor in self._alive.values():
            _kill_group(executor.process)
        for executor in self._alive.values():
            executor.process.wait()
            self._close_watched(executor)
            executor.channel.close()
        self._alive.clear()

    # --- starting --------------------------------------------------------------------------------

    def _spawn_now(self, number: int) -> None:
        self._delayed.pop(number, None)
        channel = Channel(
            self._loop,
            self._folder.path,
            lambda header, buffers: self._on_frame(number, header, buffers),
            self._listeners.on_read,
        )
        sock, page, tokens, lifeline = channel.child_fds
        settings = Settings(
            f"{self._name}/{number}", f"x{number}", sock, page, tokens, lifeline,
            self._folder.path, self._folder.spill,
        )  # fmt: skip
        outputs = os.pipe(), os.pipe()
        command = [self._interpreter, "-c", _BOOTSTRAP, _FOLDER, json.dumps(asdict(settings))]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=outputs[0][1],
                stderr=outputs[1][1],
                cwd=self._cwd,
                env=_environment(),
                pass_fds=channel.child_fds,
                process_group=0,
            )
        except OSError as error:
            logger.error("an executor cannot be started: %s", error)
            for fd in (outputs[0][0], outputs[1][0]):
                os.close(fd)
            channel.close()
            self._failures += 1
            death = Death(0, 0, None, None, False, [str(error)])
            self._loop.call_soon(self._listeners.on_died, number, death)
            return
        finally:
            channel.forget_child()
            os.close(outputs[0][1])
            os.close(outputs[1][1])
        executor = _Executor(number, process, channel)
        self._alive[number] = executor
        for (fd, _), stream in zip(outputs, ("stdout", "stderr"), strict=True):
            os.set_blocking(fd, False)
            executor.outputs[fd] = stream
            self._loop.add_reader(fd, self._read_output, executor, fd)
        self._watch(executor)

    def _on_frame(self, number: int, header: dict[str, Any], buffers: list[Part]) -> None:
        if "ready" in header:
            self._alive[number].is_ready = True
            self._failures = 0
            self._listeners.on_ready(number)
        else:
            self._listeners.on_report(number, header, buffers)

    def _read_output(self, executor: _Executor, fd: int) -> bool:
        try:
            data = os.read(fd, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        if not data:
            self._loop.remove_reader(fd)
            return False
        self._logs.feed(executor.number, executor.outputs[fd], data, time.time())
        return True

    # --- ending ----------------------------------------------------------------------------------

    def _watch(self, executor: _Executor) -> None:
        """Have `_on_exit` called when the process ends."""
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                executor.pidfd = os.pidfd_open(executor.process.pid)
                self._loop.add_reader(executor.pidfd, self._on_exit, executor)
                return

        def wait() -> None:
            executor.process.wait()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
                self._loop.call_soon_threadsafe(self._on_exit, executor)

        threading.Thread(target=wait, daemon=True, name="executor-watch").start()

    def _on_exit(self, executor: _Executor) -> None:
        if self._is_closed:
            return
        code = executor.process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(executor.process.pid, signal.SIGKILL)  # what its tasks have left running
        executor.channel.drain()
        for fd in list(executor.outputs):
            while self._read_output(executor, fd):
                pass
        self._logs.end(executor.number, time.time())
        page = executor.channel.read_page()
        del self._alive[executor.number]
        self._close_watched(executor)
        executor.channel.close()
        if not executor.is_ready:
            self._failures += 1
        self._listeners.on_died(executor.number, self._describe(executor, code, page))

    def _describe(self, executor: _Executor, code: int, page: tuple[int, int]) -> Death:
        name = None
        if code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = str(-code)
        oom = code == -signal.SIGKILL and limits.count_oom_kills() > executor.oom_kills
        tail = self._logs.tail(executor.number, LOG_TAIL)
        return Death(*page, code if code >= 0 else None, name, oom, tail)

    def _close_watched(self, executor: _Executor) -> None:
        for fd in executor.outputs:
            self._loop.remove_reader(fd)
            os.close(fd)
        executor.outputs.clear()
        if executor.pidfd >= 0:
            self._loop.remove_reader(executor.pidfd)
            os.close(executor.pidfd)
            executor.pidfd = -1


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    environment["PYTHONUNBUFFERED"] = "1"
    environment.pop(
        "PYTHONSAFEPATH", None
    )  # modules next to the notebook are found, as in its kernel
    for name in _ONE_THREAD:
        environment.setdefault(name, "1")
    return environment
