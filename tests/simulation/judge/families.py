"""The families of graphs, each made by a function of a size and a seed.

`scale` multiplies the number of tasks; `grain_s` is the mean duration of a task.

Law: the same arguments give the same problem, on every machine.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator, default_rng

from .problem import Dep, Floats, Machine, Network, Problem, Sizes, Work

MB = 1_000_000


def _even(rng: Generator, n: int, mean_s: float) -> Floats:
    """Durations as of one function on like inputs: within about a third of their mean."""
    return rng.lognormal(-0.045, 0.3, n) * mean_s


def _sizes(n: int, nbytes: int) -> Sizes:
    return np.full(n, nbytes, np.int64)


def machines(count: int, slots: int = 2, hosts_per_rack: int = 1 << 30) -> list[Machine]:
    """Return like workers, one on each host."""
    return [Machine(slots, 1.0, f"s/r{i // hosts_per_rack}/h{i}") for i in range(count)]


def make_map(scale: float, grain_s: float, seed: int) -> Problem:
    """A map whose tasks take about the same time."""
    rng = default_rng(seed)
    n = int(2000 * scale)
    return Problem("map", [Work("map", _even(rng, n, grain_s), _sizes(n, 1000))], machines(16))


def make_skewed(scale: float, grain_s: float, seed: int) -> Problem:
    """A map in which few tasks have most of the work: lognormal, sigma 1.5."""
    rng = default_rng(seed)
    n = int(10_000 * max(1.0, scale))  # fewer tasks leave no time to make up for the longest
    durations = np.minimum(rng.lognormal(-1.125, 1.5, n), 40.0) * grain_s
    work = Work("skewed", durations, _sizes(n, 1000))
    return Problem("skewed durations", [work], machines(16), is_large=True)


def make_ramp(scale: float, grain_s: float, seed: int) -> Problem:
    """A map whose tasks take longer and longer, so that what was learned is never quite right."""
    rng = default_rng(seed)
    n = int(4000 * scale)
    durations = _even(rng, n, grain_s) * np.linspace(0.1, 1.9, n)
    return Problem("growing durations", [Work("ramp", durations, _sizes(n, 1000))], machines(16),
                   is_large=True)  # fmt: skip


def make_late(scale: float, grain_s: float, seed: int) -> Problem:
    """A map of short tasks, the last of which are a hundred times longer, without a warning."""
    rng = default_rng(seed)
    n = int(4000 * scale)
    durations = _even(rng, n, grain_s)
    durations[: n - n // 10] /= 10.0
    durations[n - n // 10 :] *= 10.0
    return Problem("long tasks last", [Work("late", durations, _sizes(n, 1000))], machines(16),
                   is_large=True)  # fmt: skip


def make_tree(scale: float, grain_s: float, seed: int) -> Problem:
    """A map and a symbolic fold of its results, two at a time."""
    rng = default_rng(seed)
    leaves = max(2, int(1024 * scale))
    n, below = 0, leaves
    while not n or below > 1:
        below = -(-below // 2)
        n += below
    works = [
        Work("leaves", _even(rng, leaves, grain_s), _sizes(leaves, MB)),
        Work("tree", _even(rng, n, grain_s), _sizes(n, MB), fold=(1, 0, leaves, 2)),
    ]
    return Problem("tree", works, machines(16))


def _steps(
    name: str,
    rng: Generator,
    width: int,
    steps: int,
    grain_s: float,
    nbytes: int,
    taken: Callable[[int, int], list[int]],
) -> Work:
    """One graph of `steps` rows; task i of row t takes those of row t - 1 that `taken` names."""
    edges: list[list[Dep]] = []
    for step in range(steps):
        for i in range(width):
            below = taken(step, i) if step else []
            edges.append([(1, (step - 1) * width + j) for j in below])
    n = width * steps
    return Work(name, _even(rng, n, grain_s), _sizes(n, nbytes), edges=edges)


def make_stencil(scale: float, grain_s: float, seed: int) -> Problem:
    """A stencil in one dimension: each task takes three neighbours of the step before."""
    rng = default_rng(seed)
    width, steps = 64, max(2, int(30 * scale))

    def taken(step: int, i: int) -> list[int]:
        return [j for j in (i - 1, i, i + 1) if 0 <= j < width]

    work = _steps("stencil", rng, width, steps, grain_s, MB, taken)
    return Problem("stencil", [work], machines(16))


def make_fft(scale: float, grain_s: float, seed: int) -> Problem:
    """Butterflies: each task takes its own place and the one that is 2^k away."""
    rng = default_rng(seed)
    levels = max(2, round(8 + np.log2(scale)))
    width = 1 << levels

    def taken(step: int, i: int) -> list[int]:
        return sorted({i, i ^ (1 << (step - 1))})

    work = _steps("fft", rng, width, levels + 1, grain_s, MB, taken)
    return Problem("fft", [work], machines(16))


def make_nearest(scale: float, grain_s: float, seed: int) -> Problem:
    """Each task takes a random part of the neighbours within a distance of 5."""
    rng = default_rng(seed)
    width, steps = 64, max(2, int(30 * scale))
    chosen = rng.random((steps, width, 11)) < 0.3

    def taken(step: int, i: int) -> list[int]:
        return [
            i + d - 5
            for d in range(11)
            if 0 <= i + d - 5 < width and (chosen[step, i, d] or d == 5)
        ]

    work = _steps("nearest", rng, width, steps, grain_s, MB // 4, taken)
    return Problem("random nearest", [work], machines(16))


def make_hourglass(scale: float, grain_s: float, seed: int) -> Problem:
    """Wide, then narrow, then wide, four times: few tasks take many results, many take few."""
    rng = default_rng(seed)
    wide, narrow = max(16, int(256 * scale)), 8
    edges: list[list[Dep]] = []
    last: list[int] = []
    for _ in range(4):
        first = len(edges)
        edges += [[(1, last[i % narrow])] if last else [] for i in range(wide)]
        per = wide // narrow
        last = list(range(len(edges), len(edges) + narrow))
        edges += [[(1, first + k * per + j) for j in range(per)] for k in range(narrow)]
    n = len(edges)
    work = Work("hourglass", _even(rng, n, grain_s), _sizes(n, MB // 4), edges=edges)
    return Problem("wide, then narrow", [work], machines(16))


def make_small_groups(scale: float, grain_s: float, seed: int) -> Problem:
    """Many small groups: pairs of maps, the second over the first."""
    rng = default_rng(seed)
    works: list[Work] = []
    for k in range(int(120 * scale)):
        n = int(rng.integers(3, 10))
        works.append(Work(f"first-{k}", _even(rng, n, grain_s), _sizes(n, MB // 4)))
        taken = [(len(works), 0)]
        works.append(Work(f"second-{k}", _even(rng, n, grain_s), _sizes(n, 1000), same=taken))
    return Problem("many small groups", works, machines(16))


def make_chain(scale: float, grain_s: float, seed: int) -> Problem:
    """Maps over maps, five deep."""
    rng = default_rng(seed)
    n = int(400 * scale)
    works = [Work("0", _even(rng, n, grain_s), _sizes(n, MB))]
    for link in range(1, 5):
        works.append(Work(str(link), _even(rng, n, grain_s), _sizes(n, MB), same=[(link, 0)]))
    return Problem("chain of maps", works, machines(16))


def make_fragmented(scale: float, grain_s: float, seed: int) -> Problem:
    """A map of short tasks over a skewed one: what is ready lies in many small runs."""
    rng = default_rng(seed)
    n = int(8000 * scale)
    first = rng.lognormal(-0.5, 1.0, n) * grain_s / 4
    works = [
        Work("first", first, _sizes(n, 20_000)),
        Work("second", _even(rng, n, grain_s / 4), _sizes(n, 1000), same=[(1, 0)]),
    ]
    return Problem("fragmented maps", works, machines(16))


def make_mixed(scale: float, grain_s: float, seed: int) -> Problem:
    """Results from 1 kB to 30 MB; each task of a second map takes one and a neighbour's."""
    rng = default_rng(seed)
    n = int(800 * scale)
    sizes = np.exp(rng.uniform(np.log(1e3), np.log(3e7), n + 1)).astype(np.int64)
    works = [
        Work("make", _even(rng, n + 1, grain_s), sizes),
        Work("take", _even(rng, n, 2 * grain_s), _sizes(n, 1000), same=[(1, 0), (1, 1)]),
    ]
    return Problem("mixed result sizes", works, machines(16))


def _uneven(rng: Generator) -> list[Machine]:
    speeds = [0.5, 1.0, 1.0, 2.0]
    return [Machine(1 + i % 4, speeds[i * 7 % 4], f"s/r/h{i}") for i in range(13)]


def make_heterogeneous_map(scale: float, grain_s: float, seed: int) -> Problem:
    """A map on workers of 1 to 4 slots, half, once and twice as fast."""
    rng = default_rng(seed)
    n = int(2000 * scale)
    work = Work("map", _even(rng, n, grain_s), _sizes(n, 1000))
    return Problem("heterogeneous, map", [work], _uneven(rng))


def make_heterogeneous_steps(scale: float, grain_s: float, seed: int) -> Problem:
    """A stencil on such workers."""
    problem = make_stencil(scale, grain_s, seed)
    return Problem("heterogeneous, stencil", problem.works, _uneven(default_rng(seed)))


def make_racks(scale: float, grain_s: float, seed: int) -> Problem:
    """A chain and a tree of large results on four racks with slow lines between them."""
    rng = default_rng(seed)
    n = int(512 * scale)
    works = [
        Work("make", _even(rng, n, grain_s), _sizes(n, 4 * MB)),
        Work("pair", _even(rng, n // 2, grain_s), _sizes(n // 2, 4 * MB), edges=[
            [(1, 2 * i), (1, 2 * i + 1)] for i in range(n // 2)
        ]),
        Work("next", _even(rng, n // 2, grain_s), _sizes(n // 2, 4 * MB), same=[(2, 0)]),
    ]  # fmt: skip
    network = Network(bandwidth=(4e9, 1e9, 1e8, 5e7), latency_s=(50e-6, 200e-6, 2e-3, 5e-3))
    return Problem("racks", works, machines(16, 2, 4), network)


def make_large_map(scale: float, grain_s: float, seed: int) -> Problem:
    """A map on five hundred workers."""
    rng = default_rng(seed)
    n = int(60_000 * scale)
    work = Work("map", _even(rng, n, grain_s), _sizes(n, 1000))
    return Problem("map, 500 workers", [work], machines(500), is_large=True)


FAMILIES: list[Callable[[float, float, int], Problem]] = [
    make_map, make_skewed, make_ramp, make_late, make_tree, make_stencil, make_fft, make_nearest,
    make_hourglass, make_small_groups, make_chain, make_fragmented, make_mixed,
    make_heterogeneous_map, make_heterogeneous_steps, make_racks, make_large_map,
]  # fmt: skip
