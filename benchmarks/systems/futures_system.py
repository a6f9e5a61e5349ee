"""The standard library's `ProcessPoolExecutor`: no cluster, no scheduler process; the floor to
compare with.
"""

from __future__ import annotations

import concurrent.futures
import platform
import time

from benchmarks import work

from .base import BaseSystem, NotOffered


class System(BaseSystem):
    def __enter__(self) -> System:
        self.pool = concurrent.futures.ProcessPoolExecutor(self.slots)
        list(self.pool.map(work.noop, range(100)))
        return self

    def __exit__(self, *exc: object) -> None:
        self.pool.shutdown()

    def version(self) -> str:
        return platform.python_version()

    def map_noop(self, n: int) -> None:
        assert len(list(self.pool.map(work.noop, range(n), chunksize=100))) == n

    def submit_noop(self, n: int) -> None:
        futures = [self.pool.submit(work.noop, i) for i in range(n)]
        assert len([future.result() for future in futures]) == n

    def round_trip(self) -> None:
        self.pool.submit(work.noop).result()

    def add_tree(self, leaves: int) -> int:
        raise NotOffered  # its tasks cannot take results of others

    def first_of_map(self, n: int) -> None:
        results = self.pool.map(work.noop, range(n), chunksize=100)
        next(results)
        results.close()  # cancels the rest

    def transfer_s(self, nbytes: int, across: str) -> float:
        if across == "workers":
            raise NotOffered
        # Results always pass through this process: there and back is what a user gets.
        start = time.time()
        made = self.pool.submit(work.make_array, nbytes).result()
        half = time.time()
        arrived = self.pool.submit(work.read_array, made).result()[1]
        return arrived - half + (half - start)
