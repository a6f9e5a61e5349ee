"""The task graphs of Task Bench: who takes whose results.

After E. Slaughter et al., "Task Bench: A Parameterized Benchmark for Evaluating Parallel Runtime
Performance", SC20, with the defaults of its reference implementation: a graph is `steps` rows of
`width` columns, and a task takes results of the row before its own only.

Law: definitions only, no clock and no system; the same graph for every system.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import NamedTuple

RADIX = 5
"""random_nearest: how many neighbours are candidates, the task's own column included (the paper's
figure)."""
FRACTION = 0.25
"""random_nearest: how likely a candidate is taken. The own column always is."""
PERIOD = 3
"""random_nearest: after so many rows the draws repeat."""


class Graph(NamedTuple):
    """Tasks in an order in which each comes after those that it needs. `tasks`: label (16 bytes:
    row and column) and the indices of the tasks whose results it takes. `sinks`: the tasks whose
    results no task takes: when they are here, all have run."""

    pattern: str
    tasks: list[tuple[bytes, tuple[int, ...]]]
    sinks: list[int]


def _trivial(width: int, row: int, column: int) -> list[int]:
    return []


def _stencil_1d(width: int, row: int, column: int) -> list[int]:
    return [column - 1, column, column + 1]


def _fft(width: int, row: int, column: int) -> list[int]:
    levels = max(1, (width - 1).bit_length())
    reach = 1 << ((row + levels - 1) % levels)
    return [column - reach, column, column + reach]


def _tree(width: int, row: int, column: int) -> list[int]:
    return [column // 2]


def _random_nearest(width: int, row: int, column: int) -> list[int]:
    first, last = column - RADIX // 2, column + (RADIX - 1) // 2
    return [
        near
        for near in range(first, last + 1)
        if near == column or draw(row % PERIOD, near, column) < FRACTION
    ]


PATTERNS: dict[str, Callable[[int, int, int], list[int]]] = {
    "trivial": _trivial,
    "stencil_1d": _stencil_1d,
    "fft": _fft,
    "tree": _tree,
    "random_nearest": _random_nearest,
}
"""From width, row and column to the columns of the row before; what lies outside of it is left
out."""


def draw(*key: int) -> float:
    """Return a number of [0, 1) that depends on whole numbers only, the same in every run."""
    digest = hashlib.blake2b(struct.pack(f"<{len(key)}q", *key), digest_size=8).digest()
    return float(int.from_bytes(digest, "little") / (1 << 64))


def width_at(pattern: str, width: int, row: int) -> int:
    """Return how many columns a row has: a tree doubles from row to row until it is `width` wide,
    and then stays so."""
    return min(width, 1 << min(row, 62)) if pattern == "tree" else width


def inputs_of(pattern: str, width: int, row: int, column: int) -> list[int]:
    """Return the columns of row `row - 1` whose results a task takes, in order."""
    if row == 0:
        return []
    before = width_at(pattern, width, row - 1)
    return [near for near in PATTERNS[pattern](width, row, column) if 0 <= near < before]


def make_graph(pattern: str, width: int, steps: int) -> Graph:
    """Return the graph of a pattern."""
    tasks: list[tuple[bytes, tuple[int, ...]]] = []
    taken: set[int] = set()
    before = 0
    for row in range(steps):
        first = len(tasks)
        for column in range(width_at(pattern, width, row)):
            deps = tuple(before + near for near in inputs_of(pattern, width, row, column))
            taken.update(deps)
            tasks.append((struct.pack("<2q", row, column), deps))
        before = first
    return Graph(pattern, tasks, [index for index in range(len(tasks)) if index not in taken])
