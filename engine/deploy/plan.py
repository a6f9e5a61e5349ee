"""What a cluster is to be, from what a user asked for and what this machine has.

Law: everything is checked and filled in here, before a process or a file exists.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidArgument
from ..resources import Unit
from . import arguments, connection_file, processes
from .connection_file import ClusterInfo


def plan_cluster(
    name: str | None = None,
    *,
    workers: int = 1,
    cores: int | None = None,
    memory: int | str | None = None,
    resources: Mapping[str, Any] | str | None = None,
    lifetime: str = "kernel",
    idle_timeout_s: float | None = None,
    listen: str = "unix",
    interpreter: str | None = None,
    owner_pid: int | None = None,
    kernel_id: str | None = None,
    cwd: str | None = None,
) -> ClusterInfo:
    """Return a cluster that does not exist yet; without a name if none was given (see
    `manager.start_cluster`).

    Raises:
        InvalidArgument: an argument cannot mean anything.
    """
    arguments.check_workers(workers)
    lifetime = arguments.check_lifetime(lifetime)
    owner = _choose_owner(lifetime, owner_pid)
    return ClusterInfo(
        name="" if name is None else connection_file.check_name(name),
        id=secrets.token_hex(8),
        host=socket.gethostname(),
        listen=arguments.check_listen(listen),
        lifetime=lifetime,
        idle_timeout_s=arguments.check_idle_timeout(idle_timeout_s, lifetime),
        workers=workers,
        cores=detect_cores() if cores is None else arguments.check_cores(cores),
        memory_bytes=detect_memory(workers) if memory is None else arguments.parse_memory(memory),
        resources=None if resources is None else arguments.check_resources(resources),
        gpus=detect_gpus(),
        interpreter=_check_interpreter(interpreter),
        cwd=_check_cwd(cwd),
        kernel_id=kernel_id,
        owner_pid=None if owner is None else owner[0],
        owner_start_time=None if owner is None else owner[1],
        created=time.time(),
        version=get_version(),
    )


def detect_cores() -> int:
    """Return the cores that this machine, or the container we are in, gives us."""
    from ..worker import limits

    return limits.detect_cores()


def detect_memory(workers: int) -> int:
    """Return a worker's fair share, in bytes, of the memory that we may use."""
    from ..worker import limits

    return max(arguments.MIN_MEMORY_BYTES, limits.detect_memory_bytes() // workers)


def detect_gpus() -> list[Unit]:
    """Return the names of the GPUs that we may use."""
    from ..worker import limits

    return limits.detect_gpus()


def get_version() -> str:
    """Return the version of cellspan."""
    from cellspan._version import __version__

    return __version__


def _choose_owner(lifetime: str, owner_pid: int | None) -> tuple[int, float] | None:
    if lifetime == "detached":
        return None
    if owner_pid is None:
        owner_pid = os.getpid()
        if lifetime == "server":
            parent = os.environ.get("JPY_PARENT_PID", "")
            if not parent.isdigit():
                raise InvalidArgument(
                    "lifetime='server': this process was not started by a Jupyter server; give "
                    "owner_pid, or another lifetime"
                )
            owner_pid = int(parent)
    start_time = processes.find_start_time(owner_pid)
    if start_time is None:
        raise InvalidArgument(f"owner_pid={owner_pid}: there is no such process")
    return owner_pid, start_time


def _check_interpreter(interpreter: str | None) -> str:
    chosen = interpreter or sys.executable
    if not os.path.isabs(chosen) or not os.path.isfile(chosen) or not os.access(chosen, os.X_OK):
        raise InvalidArgument(
            f"interpreter={chosen!r}: give the absolute path of a Python interpreter"
        )
    return chosen


def _check_cwd(cwd: str | None) -> str:
    try:
        chosen = os.path.abspath(cwd) if cwd else os.getcwd()
    except OSError:  # this process's own folder has been removed
        chosen = "/"
    if not os.path.isdir(chosen):
        raise InvalidArgument(f"cwd={cwd!r}: there is no such folder")
    return chosen
