"""Three maps of n tasks, each over the results of the one before, and the sum of the last: what is
submitted, at three sizes, to show what does not grow with n.

Law: every size has a cluster of its own, so that no memory of the run before is counted; only the
root's future is kept, and its value is checked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil

from cellspan.engine.codec import encode

from . import work

SIZES = (100_000, 1_000_000, 10_000_000)
MAPS = 3
LOOK_S = 0.02
TIMEOUT_S = 240.0


class Peak:
    """Watches the memory of a process in a thread while it is entered: `grown_bytes` is by how much
    it was larger than at first, at most."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._first = self._process.memory_info().rss
        self.grown_bytes = 0

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_S):
            grown = self._process.memory_info().rss - self._first
            self.grown_bytes = max(self.grown_bytes, grown)


class Counted:
    """Counts the bytes of what a client's session gives to be sent to the scheduler."""

    def __init__(self, client: Any) -> None:
        self.nbytes = 0
        self._take_sends = client.session.take_sends
        client.session.take_sends = self._count

    def _count(self, **options: Any) -> list[Any]:
        messages: list[Any] = self._take_sends(**options)
        if messages:
            self.nbytes += sum(map(len, encode(messages)))
        return messages


def submit(client: Any, n: int) -> Any:
    """Return the future of the sum."""
    futures: Any = range(n)
    for _ in range(MAPS):
        futures = client.map(work.increment, futures)
    return client.reduce(work.add, futures)


def measure_size(system_type: Any, n: int) -> dict[str, Any]:
    """Run one size on a new cluster; return its figures: bytes and seconds."""
    with system_type() as system:
        client = system.client
        assert submit(client, 1000).result(timeout=60) == sum(range(MAPS, 1000 + MAPS))
        counted = Counted(client)
        with Peak(system.cluster.info.pid) as peak:
            start = time.perf_counter()
            root = submit(client, n)
            submitted = time.perf_counter()
            value = root.result(timeout=TIMEOUT_S)
            ended = time.perf_counter()
        assert value == n * (n - 1) // 2 + MAPS * n, f"a wrong sum: {value}"
        assert counted.nbytes > 0, "the client's writing is not seen any more"
        return {
            "wire_bytes": counted.nbytes,
            "client_s": submitted - start,
            "scheduler_bytes": peak.grown_bytes,
            "end_to_end_s": ended - start,
        }


def measure(system_type: Any, sizes: tuple[int, ...] = SIZES) -> Iterator[dict[str, Any]]:
    """Yield three rows, each the figure of the largest size over that of the smallest, with the
    figures of all sizes."""
    found = [{"n": n, **measure_size(system_type, n)} for n in sizes]
    first, last = found[0], found[-1]
    tasks = (MAPS + 1 / 7) * (last["n"] - first["n"])
    yield {
        "measure": "symbolic_wire",
        "value": last["wire_bytes"] / first["wire_bytes"],
        "unit": "x",
        "n": last["n"],
        "samples": found,
    }
    yield {
        "measure": "symbolic_client",
        "value": last["client_s"],
        "unit": "s",
        "n": last["n"],
    }
    yield {
        "measure": "symbolic_memory",
        "value": (last["scheduler_bytes"] - first["scheduler_bytes"]) / tasks,
        "unit": "B/task",
        "n": last["n"],
    }
