"""Random placement: the baseline that any policy has to beat, and an example of another policy.

It differs from `Placement` in one decision: who gets the next span is drawn among the workers that
have room, whatever they hold. Groups, lengths and room are as there.

Law: chance comes in as an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyroaring import BitMap

from .placement import Placement

if TYPE_CHECKING:
    from .groups import Group
    from .ledger import Ledger
    from .peers import Worker

DRAWS = 8
"""So often is drawn again when a worker has no room; then the first with room is taken."""


class RandomPlacement(Placement):
    """`draw(n)` gives a whole number from 0 to n - 1; the rest as in `Placement`."""

    def __init__(self, draw: Callable[[int], int], **limits: Any) -> None:
        super().__init__(**limits)
        self._draw = draw
        self._workers: list[Worker] = []

    def on_worker_added(self, worker: Worker) -> None:
        """A worker has joined."""
        self._workers.append(worker)
        super().on_worker_added(worker)

    def on_worker_gone(self, worker: Worker) -> None:
        """A worker has left."""
        self._workers.remove(worker)
        super().on_worker_gone(worker)

    def choose(self, ledger: Ledger, group: Group) -> tuple[Worker, BitMap]:
        """Return a worker that has room, drawn, and all ready tasks of a group."""
        for _ in range(DRAWS):
            worker = self._workers[self._draw(len(self._workers))]
            if self.has_room(worker):
                return worker, group.ready
        return self.first_with_room(), group.ready
