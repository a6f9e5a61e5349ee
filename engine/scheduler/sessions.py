"""Who is connected to the scheduler.

Law: a session is one connection of one client or worker, with a number that is never used twice.
This module keeps what the shell must know of it; what a peer holds or runs is the core's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..ids import PeerId
from ..transport import Connection

SILENT_S = 5.0
"""A worker without a heartbeat for so long is shown as silent; it keeps its tasks."""
GIVEN_UP_S = 60.0
"""A worker without a heartbeat for so long, its connection still open, is given up."""


@dataclass(slots=True, eq=False)
class Session:
    """One peer. `is_control`: it only asks about the cluster as a whole and submits nothing."""

    peer: PeerId
    role: str
    connection: Connection
    info: dict[str, Any]
    joined: float
    last_heard: float
    is_control: bool = False
    is_leaving: bool = False
    stats: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.info.get("name") or f"{self.role} {self.peer}")

    def to_status(self, now: float) -> dict[str, Any]:
        """Return a worker's entry in a status."""
        silent_s = now - self.last_heard
        state, reason = "running", ""
        if self.is_leaving:
            state = "leaving"
        elif not self.stats.get("executors"):
            state = "starting"
        elif silent_s > SILENT_S:
            state, reason = "silent", f"no heartbeat for {silent_s:.0f} s"
        return {
            "id": self.peer,
            "name": self.name,
            "state": state,
            "reason": reason,
            "slots": self.info.get("slots", 0),
            "resources": self.info.get("resources") or {},
            "memory_limit_bytes": self.info.get("memory_limit_bytes", 0),
            "pid": self.info.get("pid", 0),
            "host": self.info.get("host", ""),
            "version": self.info.get("version", ""),
            "python": self.info.get("python", ""),
            "stats": dict(self.stats),
        }
