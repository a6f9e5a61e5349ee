"""Starting and ending worker processes on this machine.

Law: processes only, no decision (scheduler/crew.py). What is started is ended: `end_all` returns
when none is left. Everything that a worker is told stands in a file of mode 0600 in the cluster's
folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..resources import GPU, Offer, Unit
from ..transport.credentials import Credentials
from .connection_file import write_private
from .folders import read_tail

WORKER_MODULE = "cellspan.engine.worker"
END_S = 3.0
KILL_S = 2.0
EXITING_S = 0.02


@dataclass(slots=True)
class LaunchSpec:
    """What all workers of one cluster have in common. `listen` has `{name}` in it where paths must
    differ. `resources`: of each worker; None: its share of `devices`, the GPUs of this machine,
    which
    are dealt out among `workers` workers."""

    scheduler: str
    cluster_id: str
    cluster_name: str
    cores: int
    memory_limit_bytes: int
    listen: str
    folder: str
    cwd: str
    interpreter: str
    credentials: Credentials | None = None
    resources: Offer | None = None
    devices: list[Unit] = field(default_factory=list)
    workers: int = 1


class LocalLauncher:
    """Starts each worker as a child of this process."""

    def __init__(self, spec: LaunchSpec) -> None:
        self._spec = spec
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._deadlines: dict[str, float] = {}
        self._credentials_paths = _write_credentials(spec)
        self._devices = list(spec.devices)
        self._dealt: dict[str, list[Unit]] = {}

    def launch(self, name: str) -> None:
        """Start a worker.

        Raises:
            OSError: it cannot be started.
        """
        spec, folder = self._spec, Path(self._spec.folder)
        config = {
            "scheduler": spec.scheduler,
            "cluster_id": spec.cluster_id,
            "cluster_name": spec.cluster_name,
            "name": name,
            "cores": spec.cores,
            "memory_limit_bytes": spec.memory_limit_bytes,
            "listen": spec.listen.format(name=name),
            "folder": spec.folder,
            "cwd": spec.cwd,
            "interpreter": spec.interpreter,
            "credentials": self._credentials_paths,
            "resources": self._deal(name),
        }
        path = folder / f"{name}.json"
        write_private(path, json.dumps(config))
        with open(folder / f"{name}.log", "ab") as log:
            self._processes[name] = subprocess.Popen(
                # -P: a file of the user's must not stand in for a module of ours.
                [sys.executable, "-P", "-m", WORKER_MODULE, str(path)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
            )  # fmt: skip

    def _deal(self, name: str) -> Offer:
        """Return what a worker offers. Of this machine's GPUs no two workers have the same, as long
        as there are enough for what was asked for.
        """
        offer: Offer = dict(self._spec.resources or {})
        wanted: Any = offer.get(GPU, 0)
        if self._spec.resources is None:
            wanted = -(-len(self._spec.devices) // max(1, self._spec.workers))
            wanted = min(wanted, len(self._devices))
        if isinstance(wanted, int) and 0 < wanted <= len(self._devices):
            offer[GPU] = self._dealt[name] = self._devices[:wanted]
            del self._devices[:wanted]
        return offer

    def find_ended(self) -> list[tuple[str, str]]:
        """Return the workers whose processes have ended since the last call, and how."""
        now = time.monotonic()
        for name in [n for n, deadline in self._deadlines.items() if deadline < now]:
            del self._deadlines[name]
            self._processes[name].kill()
        ended = []
        for name, process in list(self._processes.items()):
            code = process.poll()
            if code is not None:
                del self._processes[name]
                self._deadlines.pop(name, None)
                self._clean_up(name)
                ended.append((name, describe_exit(code)))
        return ended

    def find_how_ended(self, name: str) -> str | None:
        """Return how that worker's process has ended, waiting a moment if it is just ending (its
        connection is closed a little before it can be asked); None if it lives or is not ours."""
        process = self._processes.get(name)
        if process is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return describe_exit(process.wait(EXITING_S))
        return None

    def end(self, name: str) -> None:
        """Ask a worker to end; `find_ended` kills it if it has not within END_S."""
        process = self._processes.get(name)
        if process is not None and name not in self._deadlines:
            self._deadlines[name] = time.monotonic() + END_S
            process.terminate()

    def end_all(self) -> None:
        """End all workers, and return when they are gone."""
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + END_S
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        for name, process in self._processes.items():
            if process.poll() is None:
                process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(KILL_S)
            self._clean_up(name)
        self._processes.clear()
        self._deadlines.clear()

    def read_log(self, name: str, lines: int) -> list[list[Any]]:
        """Return the last lines that a worker's process wrote, as entries of `LogsGiven`."""
        path = Path(self._spec.folder) / f"{name}.log"
        try:
            written = path.stat().st_mtime
        except OSError:
            return []
        return [[name, "log", written, text] for text in read_tail(path, lines)]

    def _clean_up(self, name: str) -> None:
        self._devices = self._dealt.pop(name, []) + self._devices
        for ending in (".json", ".sock"):
            with contextlib.suppress(OSError):
                os.unlink(Path(self._spec.folder) / f"{name}{ending}")


def _write_credentials(spec: LaunchSpec) -> dict[str, str] | None:
    if spec.credentials is None:
        return None
    paths = {}
    for part in ("ca", "cert", "key"):
        path = Path(spec.folder) / f"worker-{part}.pem"
        write_private(path, getattr(spec.credentials, part))
        paths[part] = str(path)
    return paths


def describe_exit(code: int) -> str:
    """Return how a process ended, for people."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"signal {-code}"
