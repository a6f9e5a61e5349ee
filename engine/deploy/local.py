"""LocalCluster: a cluster on this machine as an object.

Law: a thin face over the manager. The cluster itself lives in processes of its own; this object
only knows its name.
"""

from __future__ import annotations

import atexit
import contextlib
import html
import os
import signal
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from ..errors import ClusterDead, ClusterError, ClusterNotFound
from . import leftovers, manager, processes
from .connection_file import ClusterInfo


class LocalCluster:
    """A scheduler and workers on this machine.

    Args:
        workers: worker processes, each like a machine of its own.
        cores: cores of each worker, an executor for each; None: all that this machine (or
        container) gives us.
        memory: memory of each worker, in bytes or as a text like '4GB'; None: a fair share of what
        there is.
        name: how it is found, listed and stopped; None: 'local', or 'local-2', ...
        listen: 'unix', or 'tcp' for TLS on this machine's address.
        lifetime: 'kernel' (ends with this process), 'server' (with the Jupyter server), or
        'detached'.
        resources: what each worker offers to tasks beside cores and memory, like ``{"GPU": 1}``;
        None: its share of the GPUs that are found.

    Further keyword arguments are those of `deploy.manager.start_cluster`.

    Raises:
        InvalidArgument, ClusterExists, StartFailed: as `start_cluster`.
    """

    def __init__(
        self,
        workers: int = 1,
        cores: int | None = None,
        memory: int | str | None = None,
        name: str | None = None,
        listen: str = "unix",
        lifetime: str = "kernel",
        resources: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self._info = manager.start_cluster(
            name, workers=workers, cores=cores, memory=memory, listen=listen, lifetime=lifetime,
            resources=resources, **options,
        )  # fmt: skip
        if lifetime == "kernel":  # its lease would end it too, but a moment after we are gone
            atexit.register(_end_at_exit, self._info, os.getpid())

    @property
    def info(self) -> ClusterInfo:
        """What it is and where, as when it was started."""
        return self._info

    @property
    def name(self) -> str:
        return self._info.name

    @property
    def address(self) -> str:
        """Where its scheduler listens."""
        return self._info.address

    def scale(self, workers: int) -> None:
        """Have so many workers; they come and go afterwards.

        Raises:
            InvalidArgument: not a number of workers.
        """
        self._check_same()
        manager.scale_cluster(self.name, workers)

    def status(self) -> dict[str, Any]:
        """Return the state, the workers and the numbers of tasks (the keys of
        `messages.StatusGiven`)."""
        self._check_same()
        return manager.cluster_status(self.name)

    def logs(self, source: str | None = None, lines: int = 100) -> list[list[Any]]:
        """Return log entries ``[source, stream, unix time, text]`` of a worker, of 'scheduler', or
        of all."""
        self._check_same()
        return manager.cluster_logs(self.name, source, lines)

    def stop(self, timeout_s: float = 10) -> None:
        """End the cluster, and return when nothing of it is left. It may have ended already."""
        with contextlib.suppress(ClusterNotFound, ClusterDead):
            if manager.find_cluster(self.name).id == self._info.id:
                manager.stop_cluster(self.name, timeout_s)

    close = stop

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _check_same(self) -> None:
        if manager.find_cluster(self.name).id != self._info.id:
            raise ClusterDead(f"this cluster has ended; another one is called {self.name!r} by now")

    def _find_status(self) -> dict[str, Any]:
        try:
            return self.status()
        except ClusterError:
            return {"state": "stopped", "workers": [], "wanted": 0, "tasks": {}}

    def __repr__(self) -> str:
        status = self._find_status()
        return f"<LocalCluster {self.name!r}: {describe(status)}>"

    def _repr_html_(self) -> str:
        status = self._find_status()
        return render_html(self._info, status)


def describe(status: dict[str, Any]) -> str:
    """Return a status in one line."""
    if status["state"] != "running":
        reason = f": {status['reason']}" if status.get("reason") else ""
        return f"{status['state']}{reason}"
    workers = status["workers"]
    slots = sum(worker["slots"] for worker in workers)
    memory = sum(worker["memory_limit_bytes"] for worker in workers)
    return (
        f"running, {count(len(workers), 'worker')}, {count(slots, 'core')}, {format_bytes(memory)}"
    )


def count(number: int, noun: str) -> str:
    """Return a number of things for people: '1 worker', '2 workers'."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_bytes(size: float) -> str:
    """Return a size for people: '3.9 GB'."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def render_html(info: ClusterInfo, status: dict[str, Any]) -> str:
    """Return a table of a cluster in the colours of the notebook's theme."""
    tasks = status.get("tasks", {})
    rows = [
        ("State", describe(status)),
        ("Tasks", ", ".join(f"{tasks.get(k, 0):,} {k}" for k in ("running", "done", "failed"))),
        ("Lifetime", info.lifetime),
        ("Scheduler", f"pid {info.pid}, {info.address}"),
    ]
    cells = "".join(
        '<tr><th style="text-align:left;padding:2px 12px 2px 0;color:var(--jp-ui-font-color2)">'
        f'{html.escape(label)}</th><td style="text-align:left;padding:2px 0">'
        f"{html.escape(value)}</td></tr>"
        for label, value in rows
    )
    return (
        '<div style="border:1px solid var(--jp-border-color2);border-radius:4px;padding:8px 12px;'
        "display:inline-block;background:var(--jp-layout-color1);color:var(--jp-ui-font-color1);"
        'font-family:var(--jp-ui-font-family)">'
        f"<b>Cluster {html.escape(info.name)}</b>"
        f'<table style="margin:4px 0 0;background:none">{cells}</table></div>'
    )


def _end_at_exit(info: ClusterInfo, starter_pid: int) -> None:
    """End a cluster while the interpreter is closing: no thread and no connection can be made any
    more."""
    if os.getpid() == starter_pid:  # not in a fork of it
        processes.end_process(info.pid, info.start_time, signal.SIGTERM)
        processes.wait_for_end(info.pid, info.start_time, 5)
        leftovers.remove(info)
