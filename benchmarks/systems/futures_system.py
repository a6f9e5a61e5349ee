"""The standard library's `ProcessPoolExecutor`: no cluster, no scheduler process; the floor to
compare with.
"""

from __future__ import annotations

import concurrent.futures
import platform
from collections.abc import Callable, Mapping
from typing import Any, Self

from benchmarks import work

from .base import BaseSystem


class System(BaseSystem):
    lacks: Mapping[str, str] = {
        "tree": "its tasks cannot take results of others",
        "taskbench": "its tasks cannot take results of others",
        "pending": "there is no scheduler process",
        "pending_graph": "there is no scheduler process",
        "array_workers": "there is one pool of processes",
        "symbolic": "all items and results pass through the client",
    }

    def __enter__(self) -> Self:
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

    def chain(self, fn: Callable[[int], int], n: int, links: int) -> list[int]:
        results = list(range(n))
        for _ in range(links):  # its tasks cannot take results of others: all come here and back
            results = list(self.pool.map(fn, results, chunksize=100))
        return results

    def first_of_map(self, n: int) -> None:
        results: Any = self.pool.map(work.noop, range(n), chunksize=100)  # a generator
        next(results)
        results.close()  # cancels the rest

    def transfer_s(self, nbytes: int, across: str) -> tuple[float, float]:
        # Results always pass through this process: there and back is what a user gets.
        made, start = self.pool.submit(work.make_array_timed, nbytes).result()
        _, arrived, touched = self.pool.submit(work.read_array, made).result()
        return arrived - start, touched - start
