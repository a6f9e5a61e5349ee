"""What layers in closed form have in common: they count nothing, and answer by their `complete`.

Law: as in layers.py. A layer that keeps something by task (`Graph`) is none of these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

from pyroaring import BitMap

from ..ids import GroupId

SetOf: TypeAlias = Callable[[GroupId], BitMap]
"""Gives a set of tasks of a group, for example those that are done."""


class ClosedForm(ABC):
    """Base of `Each`, `Fold` and `Exchange`."""

    __slots__ = ()

    @abstractmethod
    def complete(self, tasks: BitMap, done: SetOf) -> BitMap:
        """Return those of these tasks whose inputs are all done."""

    @abstractmethod
    def consumers_of(self, group: GroupId, results: BitMap) -> BitMap:
        """Return the tasks here that take any of these results of a group."""

    def on_done(self, group: GroupId, results: BitMap, waiting: BitMap, done: SetOf) -> BitMap:
        """These results are done now. Return the waiting tasks that are complete by that."""
        return self.complete(self.consumers_of(group, results) & waiting, done)

    def on_lost(self, group: GroupId, results: BitMap, waiting: BitMap) -> None:
        """These results are not done any more."""
        return  # nothing is counted here

    def count_again(self, tasks: BitMap, done: SetOf) -> BitMap:
        """These tasks wait again. Return those whose inputs are all done."""
        return self.complete(tasks, done)

    def can_run_again(self, tasks: BitMap) -> BitMap:
        """Return those of these tasks that can be computed once more: all."""
        return tasks

    def bytes_per_task(self) -> float:
        """Return what of the layer travels with a task, in bytes."""
        return 0.0

    def find_local(self, tasks: BitMap, held: SetOf) -> BitMap:
        """Return those of these tasks whose inputs are all held."""
        return self.complete(tasks, held)
