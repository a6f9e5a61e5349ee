"""What deploy tests share: waiting for conditions, and finding what a cluster consists of."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cellspan.engine.deploy import processes
from cellspan.engine.deploy.connection_file import ClusterInfo

TIMEOUT_S = 30.0


def until(condition: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S) -> None:
    """Wait for a condition; fail, saying what was waited for, if it does not come true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not in {timeout_s} s: {what}"
        time.sleep(0.02)


@dataclass
class Remains:
    """Everything of a cluster that must be gone when it is: processes, files, folders."""

    processes: dict[int, float] = field(default_factory=dict)
    paths: set[Path] = field(default_factory=set)

    def add(self, info: ClusterInfo) -> Remains:
        self.paths |= {Path(info.path), Path(info.folder)}
        scheduler = psutil.Process(info.pid)
        for process in [scheduler, *scheduler.children(recursive=True)]:
            start_time = processes.find_start_time(process.pid)
            if start_time is not None:
                self.processes[process.pid] = start_time
                self.paths |= find_stores(process.pid)
        return self

    def find_alive(self) -> list[int]:
        return [pid for pid, start in self.processes.items() if processes.is_alive(pid, start)]

    def find_paths(self) -> list[Path]:
        return [path for path in self.paths if path.exists()]

    def check_gone(self, timeout_s: float = TIMEOUT_S) -> None:
        until(lambda: not self.find_alive(), "all processes have ended", timeout_s)
        until(lambda: not self.find_paths(), f"no files are left of {self.paths}", timeout_s)


def find_stores(pid: int) -> set[Path]:
    """Return the store folders that a worker keeps locked."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if f"/cellspan-{os.getuid()}-" in target and target.endswith("/lock"):
            found.add(Path(target).parent)
    return found


def find_workers(info: ClusterInfo) -> list[psutil.Process]:
    """Return the worker processes of a cluster, oldest first."""
    children = psutil.Process(info.pid).children()
    return sorted(children, key=lambda process: (process.create_time(), process.pid))
