"""cellspan, as a user starts it: `LocalCluster` and `Client`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Self

import psutil

from benchmarks import work
from benchmarks.patterns import Graph

from .base import BaseSystem, fold_pairs
from .dask_graph import make_dask_graph

SETTLED_S = 60.0


class System(BaseSystem):
    graph_ways = ("submits", "client.get")

    def __init__(self, workers: int = 1, cores: int = 2) -> None:
        self.workers, self.cores = workers, cores

    @classmethod
    def prepare(cls) -> None:
        import cellspan

        for name in ("Client", "LocalCluster"):
            getattr(cellspan, name)

    def __enter__(self) -> Self:
        from cellspan import Client, LocalCluster

        self.cluster = LocalCluster(workers=self.workers, cores=self.cores)
        self.client = Client(self.cluster)
        self.client.submit(work.noop).result(timeout=60)
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.close()
        self.cluster.close()

    def version(self) -> str:
        import cellspan

        return cellspan.__version__

    def map_noop(self, n: int) -> None:
        results = self.client.gather(self.client.map(work.noop, range(n)))
        assert len(results) == n

    def submit_noop(self, n: int) -> None:
        futures = [self.client.submit(work.noop, i) for i in range(n)]
        assert len(self.client.gather(futures)) == n

    def round_trip(self) -> None:
        self.client.submit(work.noop).result()

    def add_tree(self, leaves: int) -> int:
        return int(fold_pairs(lambda a, b: self.client.submit(work.add, a, b), leaves).result())

    def run_graph(self, graph: Graph, spins: int, way: str) -> list[bytes]:
        if way == "client.get":
            return list(self.client.get(*make_dask_graph(graph, spins)))
        futures: list[Any] = []
        for label, deps in graph.tasks:
            inputs = [futures[dep] for dep in deps]
            futures.append(self.client.submit(work.point, spins, label, *inputs))
        return list(self.client.gather([futures[index] for index in graph.sinks]))

    def chain(self, fn: Callable[[int], int], n: int, links: int) -> list[int]:
        futures = self.client.map(fn, range(n))
        for _ in range(links - 1):
            futures = self.client.map(fn, futures)
        return list(self.client.gather(futures))

    def first_of_map(self, n: int) -> None:
        futures = self.client.map(work.noop, range(n))
        futures[0].result()
        futures.cancel(force=False)

    def bytes_per_pending(self, n: int, folder: str) -> float:
        # Literal items would count as the user's data, so the tasks are mapped over a range.
        return self._grown(lambda: self.client.map(work.noop, range(n)), n, folder) / n

    def bytes_per_pending_sum(self, leaves: int, folder: str) -> float:
        def submit() -> Any:
            return fold_pairs(lambda a, b: self.client.submit(work.add, a, b), leaves)

        n = 2 * leaves - 1
        return self._grown(submit, n, folder) / n

    def _grown(self, submit: Callable[[], Any], n: int, folder: str) -> int:
        """Return by how much the scheduler's memory grows while `n` tasks are pending."""
        path = os.path.join(folder, "go")
        scheduler = psutil.Process(self.cluster.info.pid)
        blockers = self.client.map(work.wait_for_file, [path] * self.slots * 4)
        try:
            self._await(lambda totals: totals.get("running", 0) >= self.slots)
            before = scheduler.memory_info().rss
            futures = submit()
            self._await(lambda t: t.get("ready", 0) + t.get("waiting", 0) >= n * 0.99)
            grown = scheduler.memory_info().rss - before
            futures.cancel(force=False)
        finally:
            open(path, "w").close()
        self.client.gather(blockers)
        return int(grown)

    def _await(self, is_so: Callable[[dict[str, int]], bool]) -> None:
        """Wait until something is so with the numbers of tasks of the whole cluster."""
        end = time.monotonic() + SETTLED_S
        while not is_so(totals := self.client.snapshot().totals):
            assert time.monotonic() < end, f"not so within {SETTLED_S:.0f} s: {totals}"
            time.sleep(0.05)

    def transfer_s(self, nbytes: int, across: str) -> tuple[float, float]:
        if across == "workers":  # left to itself the reader would go where the array is
            made = self.client.submit(work.make_array, nbytes)
            maker = self.client.submit(work.read_array, made).result()[0]
            (holder,) = self.client.who_has(made)[made]
            (reader,) = {worker["name"] for worker in self.client.status()["workers"]} - {holder}
            start = time.time()
            future = self.client.submit(work.read_array, made, workers=reader)
            pid, arrived, touched = future.result()
            assert pid != maker
            return arrived - start, touched - start
        while True:
            made = self.client.submit(work.make_array, nbytes)
            maker = self.client.submit(work.read_array, made).result()[0]
            start = time.time()
            readers = [self.client.submit(work.read_array, made, 0.2 + i * 0.001) for i in range(2)]
            arrivals = [
                (arrived - start, touched - start)
                for pid, arrived, touched in self.client.gather(readers)
                if pid != maker
            ]
            if arrivals:
                return min(arrivals)
