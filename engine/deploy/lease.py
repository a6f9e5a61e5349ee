"""How long a cluster lives.

Law: a cluster of lifetime 'kernel' or 'server' lives as long as the process that it belongs to, a
detached one until it was idle for its time-out; an idle time-out may be given to any. Nothing is
asked of the owner: it may be killed.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import processes

CHECK_S = 0.5


@dataclass(frozen=True, slots=True)
class Lease:
    """`owner_pid` is None for a detached cluster; `idle_timeout_s` is None for none."""

    lifetime: str
    owner_pid: int | None
    owner_start_time: float | None
    idle_timeout_s: float | None

    def find_end(self, idle_s: float) -> str | None:
        """Return why the cluster is to end now, or None."""
        if self.owner_pid is not None and not processes.is_alive(
            self.owner_pid, self.owner_start_time or 0.0
        ):
            owner = "the Jupyter server" if self.lifetime == "server" else "the process"
            return f"{owner} that it belongs to (pid {self.owner_pid}) has ended"
        if self.idle_timeout_s is not None and idle_s >= self.idle_timeout_s:
            return f"idle for {idle_s:.0f} s"
        return None
