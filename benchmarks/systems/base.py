"""What a system under test must offer, and what it may leave out.

What a system has no counterpart for stands in its `lacks`, with the reason in words: the table then
shows a dash, never a guess.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

from benchmarks.patterns import Graph


def fold_pairs(add: Callable[[Any, Any], Any], leaves: int) -> Any:
    """Submit a binary tree of sums over so many ones (a power of two); return its root."""
    level = [add(1, 0) for _ in range(leaves)]
    while len(level) > 1:
        level = [add(level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


class BaseSystem(ABC):
    """A system with `slots` processes that run tasks. Used as a context manager; entering starts
    it.
    """

    slots = 2
    graph_ways: tuple[str, ...] = ()
    """The ways in which it takes a graph whose tasks depend on each other, as users would."""

    lacks: Mapping[str, str] = {}
    """Jobs (catalogue.py) that cannot be run on it, and why. The methods that only these need are
    not there."""

    @classmethod
    def prepare(cls) -> None:
        """Import what starting it needs, so that the start can be timed without."""
        return

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(self, *exc: object) -> None: ...

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def map_noop(self, n: int) -> None:
        """Run `n` no-ops as one map and bring all results here."""

    @abstractmethod
    def submit_noop(self, n: int) -> None:
        """Submit `n` no-ops one by one and bring all results here."""

    @abstractmethod
    def round_trip(self) -> None:
        """Submit one no-op and wait for its result."""

    def add_tree(self, leaves: int) -> int:
        """Add up `leaves` ones pairwise, each sum a task of its own that takes two results, and
        return the total: ``2 * leaves - 1`` tasks."""
        raise NotImplementedError

    def run_graph(self, graph: Graph, spins: int, way: str) -> list[bytes]:
        """Run all tasks of a graph, `work.point(spins, label, *inputs)`, and return the results of
        its sinks."""
        raise NotImplementedError

    @abstractmethod
    def chain(self, fn: Callable[[int], int], n: int, links: int) -> list[int]:
        """Map a function over ``range(n)``, then over the results, and so on, `links` times in all;
        keep the last futures only, and return their results."""

    def first_of_map(self, n: int) -> None:
        """Begin a map of `n` no-ops, wait for the first result, and cancel the rest."""
        raise NotImplementedError

    def bytes_per_pending(self, n: int, folder: str) -> float:
        """Growth of the scheduler process's memory per pending task, with `n` tasks mapped behind
        busy slots.
        """
        raise NotImplementedError

    def bytes_per_pending_sum(self, leaves: int, folder: str) -> float:
        """The same per task of a tree of sums (`add_tree`) behind busy slots."""
        raise NotImplementedError

    def transfer_s(self, nbytes: int, across: str) -> tuple[float, float]:
        """Seconds from submission of a reader until the array is there in another process, and
        until it has touched every page: of the same worker (`across` = 'executors') or of another
        worker ('workers').
        """
        raise NotImplementedError
