"""Which processes are alive, told apart from others that got the same number later.

Law: a process is a pid and a start time; a pid alone proves nothing. A zombie is dead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def find_start_time(pid: int) -> float | None:
    """Return when the process started, or None if it is not alive. For comparison only: the zero
    point is the system's own (on Linux the boot, because a date of the start moves whenever the
    clock is set).
    """
    if pid <= 0:
        return None
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except FileNotFoundError:
        if os.path.exists("/proc/self/stat"):
            return None
        return _find_by_psutil(pid)
    except OSError:
        return None
    # The command's name is in brackets and may hold anything, brackets too.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19]) / _TICKS_PER_S


def _find_by_psutil(pid: int) -> float | None:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.create_time()
    except psutil.Error:
        return None


def is_alive(pid: int, start_time: float) -> bool:
    """Tell whether that very process is alive."""
    found = find_start_time(pid)
    return found is not None and abs(found - start_time) < 0.05


def end_process(pid: int, start_time: float, number: int = signal.SIGKILL) -> None:
    """Send a signal to that very process, if it is alive."""
    if is_alive(pid, start_time):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def wait_for_end(pid: int, start_time: float, timeout_s: float) -> bool:
    """Return True once that process is gone, False after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while is_alive(pid, start_time):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)  # it need not be our child, so there is nothing to wait on
    return True


def set_title(title: str) -> None:
    """Say in `ps` what this process is, where that can be done."""
    try:
        from setproctitle import setproctitle
    except ImportError:
        return
    setproctitle(title)
