"""What a worker and its executors use of the machine: the numbers of a heartbeat.

Law: reading a process that has just ended is no error. Memory shared between executors (the
store) is not counted once for each of them.
"""

from __future__ import annotations

import os
import time

import psutil


class Usage:
    """Processor time and memory of this process and of the executors."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._processes: dict[int, psutil.Process] = {}
        self._cpu_s: dict[int, float] = {}
        self._read_at = time.monotonic()

    def read(self, pids: list[int]) -> tuple[float, int]:
        """Return the processor time since the last call, as a fraction of all slots, and memory
        in bytes."""
        now = time.monotonic()
        passed, self._read_at = max(1e-3, now - self._read_at), now
        used, memory = 0.0, 0
        wanted = {os.getpid(), *pids}
        for pid in wanted:
            try:
                process = self._processes.get(pid) or psutil.Process(pid)
                self._processes[pid] = process
                with process.oneshot():
                    times = process.cpu_times()
                    info = process.memory_info()
            except psutil.Error:
                continue
            total = times.user + times.system
            used += max(0.0, total - self._cpu_s.get(pid, total))
            self._cpu_s[pid] = total
            memory += info.rss - getattr(info, "shared", 0)
        for pid in self._processes.keys() - wanted:
            del self._processes[pid]
            self._cpu_s.pop(pid, None)
        return min(1.0, used / passed / self._slots), memory
