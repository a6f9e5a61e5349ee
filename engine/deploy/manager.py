"""Start, find, list, scale and stop clusters: the one way for panel, magics, `Client`, scripts and
command line.

Law: all that is known of clusters stands in their connection files and in what they answer; nothing
is remembered here. A start that fails leaves nothing. What a killed cluster left behind is removed
by the next `start_cluster`, `list_clusters` or `find_cluster`. All functions block, and may be
called on any thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import (
    CellspanError,
    ClusterDead,
    ClusterExists,
    ClusterNotFound,
    StartFailed,
)
from . import arguments, connection_file, control, folders, leftovers, processes
from .connection_file import ClusterInfo
from .plan import plan_cluster

SCHEDULER_MODULE = "cellspan.engine.deploy.scheduler_main"
SCHEDULER_LOG = "scheduler.log"
TAIL_LINES = 20
END_WAIT_S = 2.0
"""How long a process may take to end that has closed its side of the pipe."""
DEFAULT_NAME = "local"


def start_cluster(
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
    timeout_s: float = 30,
) -> ClusterInfo:
    """Start a cluster on this machine and return when its first worker can run tasks.

    `cores` and `memory` (bytes, or a text like '4GB') are those of each worker; None: all cores,
    and a fair share of the memory. `resources`: what each worker offers to tasks beside that, as
    ``{"GPU": 1, "licence": 2}`` (whole numbers are dealt out one by one); None: its share of the
    GPUs that are found. `lifetime`: 'kernel' (ends with process `owner_pid`, by default
    this one), 'server' (ends with the Jupyter server: `owner_pid`, or the one that this kernel
    belongs to) or 'detached' (ends when stopped, or when it was without clients and work for
    `idle_timeout_s`, by default an hour). `interpreter` runs scheduler, workers and executors;
    None: this one.

    Raises:
        InvalidArgument: an argument cannot mean anything.
        ClusterExists: a live cluster has that name.
        StartFailed: it did not come up; the text has the last lines of its log.
    """
    info = plan_cluster(
        name, workers=workers, cores=cores, memory=memory, resources=resources, lifetime=lifetime,
        idle_timeout_s=idle_timeout_s, listen=listen, interpreter=interpreter,
        owner_pid=owner_pid, kernel_id=kernel_id, cwd=cwd,
    )  # fmt: skip
    leftovers.sweep()
    folder = folders.make_folder(info.id)
    info.folder = str(folder)
    process: subprocess.Popen[bytes] | None = None
    try:
        process = _claim_name(info)
        return _wait_until_running(info, process, timeout_s)
    except BaseException:
        if process is not None:
            _kill_everything(info, 5.0)
            connection_file.remove(info)
        folders.remove_folder(folder)
        raise


def list_clusters() -> list[ClusterInfo]:
    """Return the live clusters of this user, by name. What dead ones left is removed."""
    leftovers.sweep_sometimes()
    found = []
    for path in sorted(connection_file.get_directory().glob("*.json"), key=lambda path: path.stem):
        with contextlib.suppress(ClusterNotFound, ClusterDead):
            info, _ = connection_file.read(path)
            if info.is_alive():
                found.append(info)
            else:
                leftovers.remove(info)
    return found


def find_cluster(name: str) -> ClusterInfo:
    """Return the live cluster of that name.

    Raises:
        ClusterNotFound: there is none; the text lists those that there are.
        ClusterDead: its scheduler is gone, or its connection file is none.
        InvalidArgument: it cannot be a name.
    """
    path = connection_file.get_path(name)
    try:
        info, _ = connection_file.read(path)
    except ClusterNotFound:
        others = [info.name for info in list_clusters()]
        there_are = f"there are: {', '.join(others)}" if others else "there is none at all"
        raise ClusterNotFound(f"no cluster is called {name!r}; {there_are}") from None
    if not info.is_alive():
        leftovers.remove(info)
        raise ClusterDead(
            f"cluster {name!r} is dead: its scheduler (pid {info.pid}) is gone; its connection "
            "file has been removed, the name is free"
        )
    return info


def scale_cluster(name: str, workers: int) -> None:
    """Have so many workers; they come and go afterwards.

    Raises:
        InvalidArgument: not a number of workers.
        ClusterNotFound, ClusterDead: as `find_cluster`.
    """
    arguments.check_workers(workers)
    control.ask_blocking(find_cluster(name), lambda c: c.scale(workers))


def stop_cluster(name: str, timeout_s: float = 10) -> None:
    """End a cluster and return when nothing of it is left. If it does not end in time it is killed.

    Raises:
        ClusterNotFound, ClusterDead: as `find_cluster`.
    """
    info = find_cluster(name)
    by = f"process {os.getpid()} of {_get_user()}"
    deadline = time.monotonic() + timeout_s
    try:
        control.ask_blocking(info, lambda c: c.stop(by), min(timeout_s, 3.0))
    except CellspanError:  # it does not listen any more: the signal says the same
        processes.end_process(info.pid, info.start_time, signal.SIGTERM)
    is_here = info.host == socket.gethostname()
    left_s = max(0.1, deadline - time.monotonic())
    if is_here and not processes.wait_for_end(info.pid, info.start_time, left_s):
        _kill_everything(info, 1.0)
    if is_here:
        leftovers.remove(info)


def cluster_status(name: str) -> dict[str, Any]:
    """Return a cluster's status: the keys of `messages.StatusGiven`, and 'info', its ClusterInfo as
    plain data.

    Raises:
        ClusterNotFound, ClusterDead: as `find_cluster`.
    """
    info = find_cluster(name)
    status = control.ask_blocking(info, lambda c: c.status())
    return {**status, "info": info.to_json()}


def cluster_logs(name: str, source: str | None = None, lines: int = 100) -> list[list[Any]]:
    """Return log entries ``[source, stream, unix time, text]`` of a worker, of 'scheduler', or of
    all.

    Raises:
        ClusterNotFound, ClusterDead: as `find_cluster`.
        ClusterError: there is no such source; the text lists those that there are.
    """
    return control.ask_blocking(find_cluster(name), lambda c: c.logs(source, lines))


# --- the steps of a start -------------------------------------------------------------------------


def _claim_name(info: ClusterInfo) -> subprocess.Popen[bytes]:
    """Start the scheduler's process and put the connection file in place, while nobody else can
    take the name."""
    with connection_file.lock() as directory:
        choose_path(info, directory)
        with open(Path(info.folder) / SCHEDULER_LOG, "ab") as log:
            process = subprocess.Popen(
                # -P: a file of the user's must not stand in for a module of ours.
                [info.interpreter, "-P", "-m", SCHEDULER_MODULE],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                cwd=info.folder, start_new_session=True,
            )  # fmt: skip
        _reap_when_it_ends(process)
        info.pid = process.pid
        info.start_time = processes.find_start_time(process.pid) or 0.0
        try:
            folders.set_holder(Path(info.folder), info.pid, info.start_time)
            connection_file.write(info, None)
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it has died: seen by who waits for it
                process.stdin.write(json.dumps(info.to_json()).encode())
                process.stdin.close()
        except BaseException:
            process.kill()
            raise
    return process


def choose_path(info: ClusterInfo, directory: Path) -> None:
    """Give a planned cluster its name, if it has none, and the path of its connection file; under
    the lock.

    Raises:
        ClusterExists: a live cluster has that name.
    """
    info.name = info.name or _find_free_name(directory)
    path = directory / f"{info.name}.json"
    _refuse_if_taken(path, info.name)
    info.path = str(path)


def _refuse_if_taken(path: Path, name: str) -> None:
    try:
        other, _ = connection_file.read(path)
    except (ClusterNotFound, ClusterDead):
        return  # nothing, or nothing that can be used: it is replaced
    if other.is_alive():
        where = "" if other.host == socket.gethostname() else f" on host {other.host}"
        raise ClusterExists(
            f"a cluster {name!r} is {other.state}{where}: attach to it, stop it first "
            f"(`cellspan cluster stop {name}`), or choose another name"
        )
    leftovers.remove(other)


def _find_free_name(directory: Path) -> str:
    number = 1
    while True:
        name = DEFAULT_NAME if number == 1 else f"{DEFAULT_NAME}-{number}"
        if not (directory / f"{name}.json").exists():
            return name
        number += 1


def _wait_until_running(
    info: ClusterInfo, process: subprocess.Popen[bytes], timeout_s: float
) -> ClusterInfo:
    """Return what the scheduler's process says of itself when its first worker is ready."""
    deadline = time.monotonic() + timeout_s
    assert process.stdout is not None
    said = b""
    with process.stdout as pipe:
        while not said.endswith(b"\n"):
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([pipe], [], [], left_s)[0]:
                raise StartFailed(
                    f"cluster {info.name!r} was not ready in {timeout_s:g} s{_read_logs(info)}"
                )
            chunk = os.read(pipe.fileno(), 65536)
            if not chunk:
                raise StartFailed(
                    f"cluster {info.name!r} did not start: "
                    f"{_describe_end(info.interpreter, process)}{_read_logs(info)}"
                )
            said += chunk
    answer = json.loads(said)
    if answer["state"] != "running":
        raise StartFailed(
            f"cluster {info.name!r} did not start: {answer['reason']}{_read_logs(info)}"
        )
    return ClusterInfo.from_json(answer["info"])


def _describe_end(interpreter: str, process: subprocess.Popen[bytes]) -> str:
    """Return how a scheduler's process came to its end, which has said nothing of why."""
    try:
        code = process.wait(END_WAIT_S)
    except subprocess.TimeoutExpired:  # it has closed its side, but goes on
        return f"{interpreter} runs, but does not answer"
    if code >= 0:
        return f"{interpreter} ended with exit code {code}"
    try:
        return f"{interpreter} was killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"{interpreter} was killed by signal {-code}"


def _read_logs(info: ClusterInfo) -> str:
    """Return the last lines of the logs that there are, to be appended to a message."""
    text = ""
    for path in sorted(Path(info.folder).glob("*.log"), reverse=True):
        lines = folders.read_tail(path, TAIL_LINES)
        if lines:
            text += f"\n--- last lines of {path.name} ---\n" + "\n".join(lines)
    return text


def _reap_when_it_ends(process: subprocess.Popen[bytes]) -> None:
    """Wait for our child on a thread, so that it is no zombie however long this process lives."""
    thread = threading.Thread(target=process.wait, name="cellspan-reaper", daemon=True)
    thread.start()


def _kill_everything(info: ClusterInfo, grace_s: float) -> None:
    """Kill the scheduler; its workers end when their connection does, their executors with them."""
    processes.end_process(info.pid, info.start_time, signal.SIGTERM)
    if not processes.wait_for_end(info.pid, info.start_time, grace_s):
        processes.end_process(info.pid, info.start_time)
        processes.wait_for_end(info.pid, info.start_time, 2)


def _get_user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
