"""Turns snapshots into the text that watchers are sent: once per snapshot and view, however
many look.

Law: runs in threads (columns of a big snapshot take milliseconds), keeps only the latest
snapshot of each cluster.
"""

from __future__ import annotations

import json
import math
from threading import Lock
from typing import Any

from ..engine.diagnostics import views
from ..engine.diagnostics.snapshot import Snapshot
from .entries import count_tasks


def to_json(value: Any) -> str:
    """Return strict JSON: numbers that JSON does not have (NaN, infinities) become null."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


class Renderer:
    """Renders the snapshots of all clusters of this server."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._latest: dict[str, tuple[Snapshot, dict[str, str]]] = {}

    def render(self, snapshot: Snapshot, wanted: tuple[str, ...]) -> str:
        """Return the message for a snapshot and these views:
        ``{"type": "snapshot", "time", "summary", "views": {view: {source: {column: [...]}}}}``."""
        with self._lock:
            known, texts = self._latest.get(snapshot.cluster, (None, {}))
            if known is not snapshot:
                texts = {}
                self._latest[snapshot.cluster] = (snapshot, texts)
            for name in wanted:
                if name not in texts:
                    texts[name] = to_json(views.view_columns(name, snapshot))
            columns = ",".join(f"{json.dumps(name)}:{texts[name]}" for name in wanted)
        head = to_json({"type": "snapshot", "time": snapshot.time, "summary": summary_of(snapshot)})
        return f'{head[:-1]},"views":{{{columns}}}}}'

    def forget(self, cluster: str) -> None:
        """Nobody looks at this cluster any more."""
        with self._lock:
            self._latest.pop(cluster, None)


def summary_of(snapshot: Snapshot) -> dict[str, Any]:
    """Return the cluster in six numbers, by the names that entries.py uses."""
    workers = snapshot.workers
    return {
        "tasks": count_tasks(snapshot.totals),
        "workers": workers.count,
        "slots": workers.slots,
        "busy": workers.busy,
        "memory_bytes": workers.memory_bytes,
        "memory_limit_bytes": workers.memory_limit_bytes,
    }
