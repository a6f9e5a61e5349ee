"""How many workers there are to be, and which to start or end for that.

Law: decisions only: no process, no clock. A worker that died is replaced, up to REPLACEMENTS times
in REPLACEMENT_S; beyond that nothing is started until somebody scales, and `trouble` says why. A
name is never used twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

REPLACEMENTS = 3
REPLACEMENT_S = 60.0


class Crew:
    """The workers that the launcher of a cluster has started."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.trouble = ""
        self._started = 0
        self._members: list[str] = []
        self._dismissed: set[str] = set()
        self._deaths: deque[float] = deque()

    @property
    def members(self) -> list[str]:
        """Names of the workers that are there to stay, oldest first."""
        return list(self._members)

    def scale(self, wanted: int) -> None:
        """Want this many from now on; old trouble is forgotten."""
        self.wanted = wanted
        self.trouble = ""
        self._deaths.clear()

    def hire(self) -> list[str]:
        """Return the names of workers that must be started now."""
        if self.trouble:
            return []
        names = []
        while len(self._members) < self.wanted:
            self._started += 1
            names.append(f"worker-{self._started}")
            self._members.append(names[-1])
        return names

    def dismiss(self, least_needed: Sequence[str]) -> list[str]:
        """Return the names of workers that must be ended now: first those in `least_needed`, in its
        order, then the youngest."""
        surplus = len(self._members) - self.wanted
        if surplus <= 0:
            return []
        order = [name for name in least_needed if name in self._members]
        order += [name for name in reversed(self._members) if name not in order]
        for name in order[:surplus]:
            self._members.remove(name)
            self._dismissed.add(name)
        return order[:surplus]

    def on_ended(self, name: str, how: str, now: float) -> bool:
        """Take note that a worker's process has ended; True if that was not asked for."""
        if name in self._dismissed:
            self._dismissed.discard(name)
            return False
        if name not in self._members:
            return False
        self._members.remove(name)
        while self._deaths and self._deaths[0] < now - REPLACEMENT_S:
            self._deaths.popleft()
        self._deaths.append(now)
        if len(self._deaths) > REPLACEMENTS:
            self.trouble = (
                f"{len(self._deaths)} workers ended within a minute, the last ({name}) with {how}; "
                "none is started any more until the cluster is scaled or restarted: see its logs"
            )
        return True
