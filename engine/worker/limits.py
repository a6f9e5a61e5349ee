"""How many cores and how much memory we may use: what the machine has, cut down to what a
container or job gives.

Law: reads only, never fails: what cannot be found out is not a limit. Linux control groups (both
versions) are looked at from our own group up to the root; elsewhere only the machine counts.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

PROC_CGROUP = Path("/proc/self/cgroup")
CGROUP_ROOT = Path("/sys/fs/cgroup")
DEVICES = Path("/dev")
NO_LIMIT = 1 << 60
"""Version 1 says 'no limit' with a number near 2**63."""


def detect_cores() -> int:
    """Return the cores that we may use, at least 1."""
    try:
        cores: float = len(os.sched_getaffinity(0))  # type: ignore[attr-defined,unused-ignore]
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    for folder in _folders("cpu"):
        quota = _read_quota(folder)
        if quota is not None:
            cores = min(cores, quota)
    return max(1, math.ceil(cores))


def detect_memory_bytes() -> int:
    """Return the memory that we may use, in bytes."""
    memory: int = psutil.virtual_memory().total
    for folder in _folders("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _read_number(folder / name)
            if limit is not None and 0 < limit < NO_LIMIT:
                memory = min(memory, limit)
    return memory


def detect_gpus() -> list[int | str]:
    """Return the names of the NVIDIA devices that we may use, as CUDA_VISIBLE_DEVICES names them:
    what that variable says, else those that the system has. No library is loaded for it.
    """
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is not None:
        names = [name.strip() for name in said.split(",") if name.strip()]
        # As CUDA itself does: what cannot be a device ends the list.
        stop = next((i for i, name in enumerate(names) if name.startswith("-")), len(names))
        return [int(name) if name.isdigit() else name for name in dict.fromkeys(names[:stop])]
    devices = (path.name.removeprefix("nvidia") for path in DEVICES.glob("nvidia[0-9]*"))
    return sorted(int(number) for number in devices if number.isdigit())


def count_oom_kills() -> int:
    """Return how many processes the system has killed in our control group for want of memory, 0
    if unknown."""
    for folder in _folders("memory"):
        for name in ("memory.events", "memory.oom_control"):
            for line in _read(folder / name).splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill" and value.isdigit():
                    return int(value)
    return 0


def _folders(controller: str) -> Iterator[Path]:
    """Give the folders of our control group and of those above it, for both versions."""
    for line in _read(PROC_CGROUP).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        root = CGROUP_ROOT / controller if controllers else CGROUP_ROOT
        steps = [part for part in path.split("/") if part and part != ".."]
        for depth in range(len(steps), -1, -1):
            yield root.joinpath(*steps[:depth])


def _read_quota(folder: Path) -> float | None:
    """Return the cores that a control group gives, None if it sets no limit."""
    words = _read(folder / "cpu.max").split()
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
        return int(words[0]) / max(1, int(words[1]))
    quota = _read_number(folder / "cpu.cfs_quota_us")
    period = _read_number(folder / "cpu.cfs_period_us")
    if quota is not None and period is not None and quota > 0 and period > 0:
        return quota / period
    return None


def _read_number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
