"""The light worker beside the real worker core: the same maps on both, their makespans compared.

The real one runs in the simulation of the folder above: its core with executors, pieces queued
behind others, values and frames. Without faults and jitter, with the same durations and latencies.

Law: compares; what is compared is made elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import scenario, work
from .problem import Machine, Problem, Work
from .run import run

CASES = ((2000, 0.02, 1), (2000, 0.02, 3), (8000, 0.002, 1), (4000, 0.005, 3), (20_000, 0.0005, 1))
"""Tasks per map, their mean duration in seconds, and how many maps, each over the last."""
WORKERS = scenario.SMALL_WORKERS + 4  # fewer would have different numbers of slots
SLOTS = 2
SEED = 1


@dataclass(frozen=True)
class Pair:
    """Seconds until all was done with real worker cores, and with light ones."""

    tasks: int
    mean_s: float
    maps: int
    real_s: float
    light_s: float

    @property
    def ratio(self) -> float:
        """Return the light time as a part of the real one."""
        return self.light_s / self.real_s


def compare(tasks: int, mean_s: float, maps: int) -> Pair:
    """Run maps on both."""
    outcome = scenario.run_plain(SEED, WORKERS, tasks, slots=SLOTS, mean_s=mean_s, chain=maps)
    works = []
    for link in range(maps):
        durations = work.durations(work.Function(link + 1, mean_s), 0, tasks)
        sizes = np.full(tasks, 8, np.int64)
        same = [(link, 0)] if link else []
        works.append(Work(str(link), np.asarray(durations, float), sizes, same=same))
    machines = [Machine(SLOTS, 1.0, f"h{i}") for i in range(WORKERS)]
    light = run(Problem("map", works, machines))
    return Pair(tasks, mean_s, maps, outcome.seconds - scenario.READY_S, light.seconds)
