"""Ray, started locally with one CPU per slot."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from benchmarks import work
from benchmarks.patterns import Graph

from .base import BaseSystem, fold_pairs


class System(BaseSystem):
    graph_ways = ("submits",)
    lacks: Mapping[str, str] = {
        "first": "it has no map: a million submissions would come first",
        "pending": "no scheduler process keeps pending tasks: they are with who submitted them",
        "pending_graph": "no scheduler process keeps pending tasks: they are with who submitted "
        "them",
        "array_workers": "one machine is one node: its processes share one object store",
        "symbolic": "it has no map",
    }

    @classmethod
    def prepare(cls) -> None:
        import ray

        assert ray.init

    def __enter__(self) -> Self:
        import ray

        os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        self.ray = ray
        ray.init(
            num_cpus=self.slots,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=2 << 30,
            runtime_env={"env_vars": {"PYTHONPATH": os.getcwd()}},
        )
        self.noop = ray.remote(work.noop)
        self.make_array = ray.remote(work.make_array)
        self.read_array = ray.remote(work.read_array)
        self.add = ray.remote(work.add)
        self.point = ray.remote(work.point)
        ray.get([self.noop.remote() for _ in range(100)])
        return self

    def __exit__(self, *exc: object) -> None:
        self.ray.shutdown()

    def version(self) -> str:
        return str(self.ray.__version__)

    def map_noop(self, n: int) -> None:
        self.submit_noop(n)  # Ray has no map of tasks

    def submit_noop(self, n: int) -> None:
        assert len(self.ray.get([self.noop.remote(i) for i in range(n)])) == n

    def round_trip(self) -> None:
        self.ray.get(self.noop.remote())

    def add_tree(self, leaves: int) -> int:
        return int(self.ray.get(fold_pairs(self.add.remote, leaves)))

    def run_graph(self, graph: Graph, spins: int, way: str) -> list[bytes]:
        refs: list[Any] = []
        for label, deps in graph.tasks:
            refs.append(self.point.remote(spins, label, *[refs[dep] for dep in deps]))
        return list(self.ray.get([refs[index] for index in graph.sinks]))

    def chain(self, fn: Callable[[int], int], n: int, links: int) -> list[int]:
        task = self.ray.remote(fn)
        refs = list(range(n))
        for _ in range(links):
            refs = [task.remote(ref) for ref in refs]
        return list(self.ray.get(refs))

    def transfer_s(self, nbytes: int, across: str) -> tuple[float, float]:
        made = self.make_array.remote(nbytes)
        maker = self.ray.get(self.read_array.remote(made))[0]
        while True:
            start = time.time()
            readers = [self.read_array.remote(made, 0.2) for _ in range(2)]
            arrivals = [
                (arrived - start, touched - start)
                for pid, arrived, touched in self.ray.get(readers)
                if pid != maker
            ]
            if arrivals:
                return min(arrivals)
