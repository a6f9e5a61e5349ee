"""The private folder of each cluster: its sockets, its log files, the configurations of its
workers.

Law: everything of a cluster but its connection file lies in one folder of mode 0700, whose path is
short enough for a socket. The folder names the process it belongs to, so what a killed cluster left
behind can be told from what is in use, and is removed. A folder of another user, or a link in its
place, is never used.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

from ..errors import StartFailed
from . import processes

HOLDER = "holder.json"
SOCKET = "scheduler.sock"
_LONGEST_SOCKET = "/0123456789abcdef/worker-1000.sock"
_PATH_LIMIT = 100
_ABANDONED_S = 60.0
"""A folder without a holder is one that is being made, unless it is older than this."""


def get_base_folder() -> Path:
    """Return the folder of all clusters of this user, made if it was not there.

    Raises:
        StartFailed: it cannot be had, or is not ours.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and os.access(runtime, os.W_OK) and _is_short(Path(runtime) / "cellspan"):
        base = Path(runtime) / "cellspan"
    else:
        base = Path(tempfile.gettempdir()) / f"cellspan-{os.getuid()}"
        if not _is_short(base):
            base = Path("/tmp") / f"cellspan-{os.getuid()}"
    try:
        base.mkdir(mode=0o700, exist_ok=True)
        found = os.lstat(base)
    except OSError as error:
        raise StartFailed(f"no folder for sockets: {error}; set XDG_RUNTIME_DIR") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StartFailed(
            f"{base} is not a folder of yours; remove it, or set XDG_RUNTIME_DIR to one that is"
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        os.chmod(base, 0o700)
    return base


def _is_short(base: Path) -> bool:
    return len(os.fsencode(base)) + len(_LONGEST_SOCKET) <= _PATH_LIMIT


def make_folder(cluster_id: str) -> Path:
    """Make the folder of a new cluster, held by this process until `set_holder` says otherwise."""
    folder = get_base_folder() / cluster_id
    folder.mkdir(mode=0o700)
    pid = os.getpid()
    set_holder(folder, pid, processes.find_start_time(pid) or 0.0)
    return folder


def set_holder(folder: Path, pid: int, start_time: float) -> None:
    """Write down which process the folder belongs to."""
    fresh = folder / (HOLDER + ".new")
    fresh.write_text(json.dumps({"pid": pid, "start_time": start_time}))
    os.replace(fresh, folder / HOLDER)


def remove_folder(folder: str | Path) -> None:
    """Remove a cluster's folder; it may be gone already."""
    if os.path.basename(folder):
        shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Remove the folders whose process is dead."""
    with contextlib.suppress(OSError, StartFailed):
        for folder in get_base_folder().iterdir():
            if _is_left_over(folder):
                remove_folder(folder)


def _is_left_over(folder: Path) -> bool:
    try:
        holder = json.loads((folder / HOLDER).read_text())
        return not processes.is_alive(int(holder["pid"]), float(holder["start_time"]))
    except (OSError, ValueError, KeyError, TypeError):
        try:
            return time.time() - folder.stat().st_mtime > _ABANDONED_S
        except OSError:
            return False


def read_tail(path: str | Path, lines: int) -> list[str]:
    """Return the last lines of a log file, none if there is no such file."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 400 * lines))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
