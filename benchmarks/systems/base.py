"""What a system under test must offer, and what it may leave out.

A method that a system has no counterpart for raises `NotOffered`; the table then shows a dash,
never a guess.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any


def fold_pairs(add: Callable[[Any, Any], Any], leaves: int) -> Any:
    """Submit a binary tree of sums over so many ones (a power of two); return its root."""
    level = [add(1, 0) for _ in range(leaves)]
    while len(level) > 1:
        level = [add(level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


class NotOffered(Exception):
    """The system has nothing that corresponds to this measure."""


class BaseSystem(ABC):
    """A system with `slots` processes that run tasks. Used as a context manager; entering starts
    it.
    """

    slots = 2

    @abstractmethod
    def __enter__(self) -> BaseSystem: ...

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

    @abstractmethod
    def add_tree(self, leaves: int) -> int:
        """Add up `leaves` ones pairwise, each sum a task of its own that takes two results, and
        return the total: ``2 * leaves - 1`` tasks."""

    def first_of_map(self, n: int) -> None:
        """Begin a map of `n` no-ops, wait for the first result, and cancel the rest."""
        raise NotOffered

    def bytes_per_pending(self, n: int, folder: str) -> float:
        """Growth of the scheduler process's memory per pending task, with `n` tasks mapped behind
        busy slots.
        """
        raise NotOffered

    def transfer_s(self, nbytes: int, across: str) -> float:
        """Seconds from submission of a reader until the array is there in another process: of the
        same worker (`across` = 'executors') or of another worker ('workers').
        """
        raise NotOffered
