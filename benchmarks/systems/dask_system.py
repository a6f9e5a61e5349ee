"""Dask distributed with its scheduler in a process of its own, one thread per worker process.

The scheduler stands apart (as `dask scheduler` does in production) so that its memory can be read
and the benchmark's own process does not share its interpreter with it; that is the faster of Dask's
two set-ups for these measures.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import psutil

from benchmarks import work
from benchmarks.patterns import Graph

from .base import BaseSystem, fold_pairs
from .dask_graph import make_dask_graph


class System(BaseSystem):
    graph_ways = ("submits", "client.get")
    lacks: Mapping[str, str] = {"symbolic": "its maps are lists of tasks"}

    def __init__(self, workers: int = 2, cores: int = 1) -> None:
        self.workers, self.cores = workers, cores

    @classmethod
    def prepare(cls) -> None:
        import distributed

        assert distributed.Client

    def __enter__(self) -> Self:
        from distributed import Client

        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "scheduler.json")
        self.scheduler = self._spawn(
            "scheduler", "--scheduler-file", path, "--host", "127.0.0.1", "--port", "0",
            "--dashboard-address", "127.0.0.1:0", "--no-dashboard",
        )  # fmt: skip
        self.processes = [self.scheduler] + [
            self._spawn(
                "worker",
                "--scheduler-file",
                path,
                "--nthreads",
                str(self.cores),
                "--host",
                "127.0.0.1",
                "--no-dashboard",
                "--no-nanny",
                "--local-directory",
                self.folder.name,
            )
            for _ in range(self.workers)
        ]
        while not os.path.exists(path):
            time.sleep(0.05)
        self.client = Client(scheduler_file=path, timeout=60)
        self.client.wait_for_workers(self.workers, timeout=60)
        self.client.submit(work.noop).result()
        return self

    def _spawn(self, kind: str, *args: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", kind, *args],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )

    def __exit__(self, *exc: object) -> None:
        self.client.close()
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except (
                subprocess.TimeoutExpired
            ):  # a worker that still runs tasks does not end on SIGTERM
                process.kill()
                process.wait()
        self.folder.cleanup()

    def version(self) -> str:
        import distributed

        return str(distributed.__version__)

    def map_noop(self, n: int) -> None:
        results = self.client.gather(self.client.map(work.noop, range(n), pure=False))
        assert len(results) == n

    def submit_noop(self, n: int) -> None:
        futures = [self.client.submit(work.noop, i, pure=False) for i in range(n)]
        assert len(self.client.gather(futures)) == n

    def round_trip(self) -> None:
        self.client.submit(work.noop, pure=False).result()

    def _add(self, left: object, right: object) -> Any:
        return self.client.submit(work.add, left, right, pure=False)

    def add_tree(self, leaves: int) -> int:
        return int(fold_pairs(self._add, leaves).result())

    def run_graph(self, graph: Graph, spins: int, way: str) -> list[bytes]:
        if way == "client.get":
            return list(self.client.get(*make_dask_graph(graph, spins)))
        futures: list[Any] = []
        for label, deps in graph.tasks:
            inputs = [futures[dep] for dep in deps]
            futures.append(self.client.submit(work.point, spins, label, *inputs, pure=False))
        return list(self.client.gather([futures[index] for index in graph.sinks]))

    def chain(self, fn: Callable[[int], int], n: int, links: int) -> list[int]:
        futures = self.client.map(fn, range(n), pure=False)
        for _ in range(links - 1):
            futures = self.client.map(fn, futures, pure=False)
        return list(self.client.gather(futures))

    def first_of_map(self, n: int) -> None:
        futures = self.client.map(work.noop, range(n), pure=False)
        futures[0].result()
        self.client.cancel(futures)

    def bytes_per_pending(self, n: int, folder: str) -> float:
        return self._grown(lambda: self.client.map(work.noop, range(n), pure=False), n, folder) / n

    def bytes_per_pending_sum(self, leaves: int, folder: str) -> float:
        n = 2 * leaves - 1
        return self._grown(lambda: fold_pairs(self._add, leaves), n, folder) / n

    def _grown(self, submit: Callable[[], Any], n: int, folder: str) -> int:
        """Return by how much the scheduler's memory grows while `n` tasks are pending."""
        path = os.path.join(folder, "go")
        scheduler = psutil.Process(self.scheduler.pid)
        blockers = self.client.map(work.wait_for_file, [path] * self.slots * 4, pure=False)
        before = scheduler.memory_info().rss
        try:
            futures = submit()
            while len(self.client.run_on_scheduler(_count_tasks)) < n:
                time.sleep(0.2)
            grown = scheduler.memory_info().rss - before
            self.client.cancel(futures)
            del futures
        finally:
            open(path, "w").close()
        self.client.gather(blockers)
        return int(grown)

    def transfer_s(self, nbytes: int, across: str) -> tuple[float, float]:
        holder, other = sorted(self.client.scheduler_info()["workers"])[:2]
        made = self.client.submit(work.make_array, nbytes, workers=[holder], pure=False)
        self.client.submit(work.read_array, made, workers=[holder], pure=False).result()
        start = time.time()
        reader = self.client.submit(work.read_array, made, workers=[other], pure=False)
        _, arrived, touched = reader.result()
        return arrived - start, touched - start


def _count_tasks(dask_scheduler: object) -> range:
    return range(len(dask_scheduler.tasks))  # type: ignore[attr-defined]
