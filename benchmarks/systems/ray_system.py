"""Ray, started locally with one CPU per slot."""

from __future__ import annotations

import os
import time

from benchmarks import work

from .base import BaseSystem, NotOffered, fold_pairs


class System(BaseSystem):
    def __enter__(self) -> System:
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
        ray.get([self.noop.remote() for _ in range(100)])
        return self

    def __exit__(self, *exc: object) -> None:
        self.ray.shutdown()

    def version(self) -> str:
        return self.ray.__version__

    def map_noop(self, n: int) -> None:
        self.submit_noop(n)  # Ray has no map of tasks

    def submit_noop(self, n: int) -> None:
        assert len(self.ray.get([self.noop.remote(i) for i in range(n)])) == n

    def round_trip(self) -> None:
        self.ray.get(self.noop.remote())

    def add_tree(self, leaves: int) -> int:
        return int(self.ray.get(fold_pairs(self.add.remote, leaves)))

    def first_of_map(self, n: int) -> None:
        raise NotOffered  # no map: a million submissions come before the first can be asked for

    def transfer_s(self, nbytes: int, across: str) -> float:
        if across == "workers":
            raise NotOffered  # one machine is one node: its processes share one object store
        made = self.make_array.remote(nbytes)
        maker = self.ray.get(self.read_array.remote(made))[0]
        while True:
            start = time.time()
            readers = [self.read_array.remote(made, 0.2) for _ in range(2)]
            arrivals = [t - start for pid, t in self.ray.get(readers) if pid != maker]
            if arrivals:
                return min(arrivals)
