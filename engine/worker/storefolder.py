"""The folders in which a worker and its executors share large results.

Law: mode 0700, in shared memory where there is room, with another one on disk for what does not fit
any more; all on disk otherwise. The worker holds a lock
on a file in it as long as it lives; a folder whose lock can be had belongs to nobody and is
removed by the next worker that starts (its own executors do it first, unless everything was
killed at once).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
DISK = Path("/var/tmp")
"""Where what does not fit in memory goes, unless TMPDIR names a place: other temporary folders are
often in memory too."""
NEEDED_BYTES = 256 << 20
"""Shared memory with less room than this (containers often have 64 MB) is not used."""
SHARE = 0.9
"""Part of the room that the store may fill."""
_LOCK = "lock"
_NEW = ".cellspan-new-"
_ABANDONED_S = 60.0


@dataclass(slots=True)
class StoreFolder:
    """`limit_bytes`: what fits there when the worker starts. `lock`: an open file, to be kept.
    `spill`: the folder on disk beside one in shared memory, else empty."""

    path: str
    in_memory: bool
    limit_bytes: int
    lock: int
    spill: str = ""
    spill_limit_bytes: int = 0
    spill_lock: int = -1

    def remove(self) -> None:
        """Remove the folders with all that is in them."""
        for path, lock in ((self.path, self.lock), (self.spill, self.spill_lock)):
            if path:
                shutil.rmtree(path, ignore_errors=True)
            if lock >= 0:
                with contextlib.suppress(OSError):
                    os.close(lock)
        self.lock = self.spill_lock = -1


def make_store_folder(memory_limit_bytes: int) -> StoreFolder:
    """Make the folder of a new worker that may use so much memory; sweep up what dead ones have
    left.

    Raises:
        OSError: there is no place for it.
    """
    base, in_memory = _choose_base()
    _sweep(base)
    path, lock = _make_locked(base)
    room = int(_free_bytes(base) * SHARE)
    if not in_memory:
        return StoreFolder(str(path), False, room, lock)
    folder = StoreFolder(str(path), True, min(memory_limit_bytes, room), lock)
    disk = _choose_disk()
    with contextlib.suppress(OSError):  # no disk to write to: then all is in memory
        _sweep(disk)
        spill, folder.spill_lock = _make_locked(disk)
        folder.spill, folder.spill_limit_bytes = str(spill), int(_free_bytes(disk) * SHARE)
    return folder


def _make_locked(base: Path) -> tuple[Path, int]:
    """Make a folder that is locked from the moment at which a sweep can see it: it gets the name
    that sweeps look for when its lock is held."""
    made = Path(tempfile.mkdtemp(prefix=_NEW, dir=base))
    lock = os.open(made / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    path = base / f"cellspan-{os.getuid()}-{made.name.removeprefix(_NEW)}"
    made.rename(path)
    return path, lock


def _choose_base() -> tuple[Path, bool]:
    if os.access(SHARED_MEMORY, os.W_OK | os.X_OK) and _free_bytes(SHARED_MEMORY) >= NEEDED_BYTES:
        return SHARED_MEMORY, True
    return Path(tempfile.gettempdir()), False


def _choose_disk() -> Path:
    if os.environ.get("TMPDIR") or not os.access(DISK, os.W_OK | os.X_OK):
        return Path(tempfile.gettempdir())
    return DISK


def _free_bytes(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def sweep() -> None:
    """Remove the folders of workers of this user that are gone."""
    for base in {SHARED_MEMORY, Path(tempfile.gettempdir()), _choose_disk()}:
        _sweep(base)


def _sweep(base: Path) -> None:
    for path in (*base.glob(f"cellspan-{os.getuid()}-*"), *base.glob(f"{_NEW}*")):
        with contextlib.suppress(OSError):
            if path.name.startswith(_NEW) and time.time() - path.stat().st_mtime < _ABANDONED_S:
                continue  # just being made
            if path.is_dir() and not path.is_symlink() and _is_abandoned(path):
                shutil.rmtree(path, ignore_errors=True)


def _is_abandoned(path: Path) -> bool:
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except (
        FileNotFoundError
    ):  # just being made, or half removed; other folders may share our prefix
        is_old = time.time() - path.stat().st_mtime > _ABANDONED_S
        return is_old and not any(path.iterdir())
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
