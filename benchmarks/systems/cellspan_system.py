"""cellspan, as a user starts it: `LocalCluster` and `Client`."""

from __future__ import annotations

import os
import time

import psutil

from benchmarks import work

from .base import BaseSystem, fold_pairs


class System(BaseSystem):
    def __init__(self, workers: int = 1, cores: int = 2) -> None:
        self.workers, self.cores = workers, cores

    def __enter__(self) -> System:
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

    def first_of_map(self, n: int) -> None:
        futures = self.client.map(work.noop, range(n))
        futures[0].result()
        futures.cancel(force=False)

    def bytes_per_pending(self, n: int, folder: str) -> float:
        path = os.path.join(folder, "go")
        scheduler = psutil.Process(self.cluster.info.pid)
        blockers = self.client.map(work.wait_for_file, [path] * self.slots * 4)
        before = scheduler.memory_info().rss
        # Literal items would count as the user's data, so the tasks are mapped over a range.
        futures = self.client.map(work.noop, range(n))
        while self.client.snapshot().totals.get("ready", 0) < n * 0.99:
            time.sleep(0.05)
        grown = scheduler.memory_info().rss - before
        open(path, "w").close()
        self.client.gather(blockers)
        self.client.gather(futures)
        return grown / n

    def transfer_s(self, nbytes: int, across: str) -> float:
        made = self.client.submit(work.make_array, nbytes)
        maker = self.client.submit(work.read_array, made).result()[0]
        while True:
            start = time.time()
            readers = [self.client.submit(work.read_array, made, 0.2 + i * 0.001) for i in range(2)]
            arrivals = [t - start for pid, t in self.client.gather(readers) if pid != maker]
            if arrivals:
                return min(arrivals)
            made = self.client.submit(work.make_array, nbytes)
            maker = self.client.submit(work.read_array, made).result()[0]
