"""What the browser is told about a cluster.

Law: an entry is made here and nowhere else, from a connection file's `ClusterInfo`, a
scheduler's status, or a start under way. It holds what a person may see, and never an address,
a path to a socket or a credential. Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from ..engine.deploy.connection_file import ClusterInfo
    from .bodies import StartRequest

Entry: TypeAlias = dict[str, Any]
"""name, id (None while it starts), state ('starting', 'running', 'stopping', 'failed'), reason
(why, or None), workers (alive), wanted (asked for), cores (per worker, None: all), slots (of
all workers), memory_bytes and memory_limit_bytes (of all workers), tasks (done, running,
waiting, failed), lifetime, idle_timeout_s, interpreter, created and version (None while it
starts), answers (whether the scheduler answered lately)."""

NO_TASKS = {"done": 0, "running": 0, "waiting": 0, "failed": 0}


def count_tasks(totals: Mapping[str, Any]) -> dict[str, int]:
    """Fold the counts by state (see diagnostics/snapshot.py) into the four that people look
    for: what is ready still waits for a slot."""
    return {
        "done": int(totals.get("done", 0)),
        "running": int(totals.get("running", 0)),
        "waiting": int(totals.get("waiting", 0)) + int(totals.get("ready", 0)),
        "failed": int(totals.get("failed", 0)),
    }


def entry_of_info(info: ClusterInfo, status: Mapping[str, Any] | None, answers: bool) -> Entry:
    """Return the entry of a cluster that has a connection file; `status` is its scheduler's
    latest, if any."""
    workers = list(status["workers"]) if status else []
    alive = [worker for worker in workers if worker.get("state", "running") == "running"]
    wanted = int(status["wanted"]) if status else info.workers
    state, reason = info.state, info.reason
    if status and state == "running" and status.get("state") not in (None, "running"):
        state, reason = str(status["state"]), status.get("reason") or reason
    return {
        "name": info.name,
        "id": info.id,
        "state": state,
        "reason": reason or None,
        "workers": len(alive),
        "wanted": wanted,
        "cores": info.cores,
        "slots": sum(int(worker.get("slots", 0)) for worker in alive),
        "memory_bytes": sum(
            int((worker.get("stats") or {}).get("memory_bytes", 0)) for worker in alive
        ),
        "memory_limit_bytes": sum(int(worker.get("memory_limit_bytes") or 0) for worker in alive),
        "tasks": count_tasks(status["tasks"]) if status else dict(NO_TASKS),
        "lifetime": info.lifetime,
        "idle_timeout_s": info.idle_timeout_s,
        "interpreter": info.interpreter,
        "created": info.created,
        "version": info.version,
        "answers": answers,
    }


def entry_of_start(name: str, request: StartRequest, state: str, reason: str | None) -> Entry:
    """Return the entry of a cluster that this server is starting, or failed to start."""
    return {
        "name": name,
        "id": None,
        "state": state,
        "reason": reason,
        "workers": 0,
        "wanted": request.workers,
        "cores": request.cores,
        "slots": 0,
        "memory_bytes": 0,
        "memory_limit_bytes": 0,
        "tasks": dict(NO_TASKS),
        "lifetime": request.lifetime,
        "idle_timeout_s": request.idle_timeout_s,
        "interpreter": None,
        "created": None,
        "version": None,
        "answers": True,
    }
