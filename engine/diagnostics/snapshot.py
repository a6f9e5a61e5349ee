"""A snapshot: the bounded summary of a whole cluster at one moment, as typed plain data.

Law: its size does not depend on how many tasks, groups and workers there are: at most MAX_GROUPS
rows and one that sums the rest, MAX_WORKERS rows beside quantiles over all, texts clipped, bins
counted; below MAX_JSON_BYTES altogether. It knows no scheduler, client or view. Standard library
only.

Units: times are unix seconds, durations seconds, sizes bytes, rates tasks per second, `cpu` a
fraction of all cores of a machine. In JSON and on the wire, rows stand as columns:
``{"name": [...], "total": [...]}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from ..errors import PeerError

MAX_JSON_BYTES = 100_000
MAX_GROUPS = 100
MAX_WORKERS = 32
MAX_ACTIVE_GROUPS = 12
"""Groups with a row of their own in `Activity`."""

OTHER = -1
"""Group id of a row that sums several groups."""

QUANTILES = (0.1, 0.5, 0.9, 1.0)
CPU_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(slots=True)
class GroupRow:
    """One group, or (`group` == OTHER) all that have no row, summed.

    `waiting`, `ready`, `running`, `done` and `failed` are numbers of tasks; `running` ones fill the
    slots of workers, `ready` ones wait for a slot, with a worker already or not; `done` counts what
    has been computed, also where the result was let go since. `released` tasks are wanted by nobody
    any more; those that were never computed are in no other column. `rate` is of late while the
    group runs, the mean of its life afterwards. `seconds` sums the durations of tasks; `quantiles`
    of them: p10, p50, p90, longest. `error`: the first failure; `warning`: why ready tasks cannot
    be placed; `metadata`: what was said of the group, as JSON that is cut where it is long.
    """

    group: int
    name: str
    client: str
    layer: str
    total: int
    waiting: int
    ready: int
    running: int
    done: int
    failed: int
    released: int
    depth: int
    created: float
    started: float | None
    finished: float | None
    seconds: float
    bytes_held: int
    rate: float
    eta_s: float | None
    quantiles: list[float] | None
    error: str | None
    warning: str | None = None
    metadata: str = ""

    @property
    def dropped(self) -> int:
        """Tasks that were let go before they were computed."""
        known = self.waiting + self.ready + self.running + self.done + self.failed
        return max(0, self.total - known)

    @property
    def unfinished(self) -> int:
        """Tasks still to be computed."""
        return self.waiting + self.ready + self.running


@dataclass(slots=True)
class Activity:
    """Slots busy over time: bin `i` covers ``[start + i * bin_s, start + (i + 1) * bin_s)``.

    `busy[g][i]` is the number of slots that group `ids[g]`, called `groups[g]`, kept busy on
    average; `slots[i]` how many there were. The last group may be OTHER, "other".
    """

    start: float = 0.0
    bin_s: float = 1.0
    ids: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    busy: list[list[float]] = field(default_factory=list)
    slots: list[float] = field(default_factory=list)


@dataclass(slots=True)
class WorkerRow:
    """One worker. `running` and `queued` are numbers of tasks."""

    name: str
    slots: int
    running: int = 0
    queued: int = 0
    cpu: float = 0.0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    store_bytes: int = 0


@dataclass(slots=True)
class Workers:
    """All workers together. `cpu`: least, p25, p50, p75 and most busy worker; empty if there is
    none. `rows`: all of them by name, or the MAX_WORKERS that have the least memory left."""

    count: int = 0
    slots: int = 0
    busy: int = 0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    store_bytes: int = 0
    cpu: list[float] = field(default_factory=list)
    rows: list[WorkerRow] = field(default_factory=list)


@dataclass(slots=True)
class Snapshot:
    """A cluster at one moment. `totals` counts the tasks of all `group_count` groups; its keys are
    total, waiting, ready, running, done, failed and released, as in `GroupRow`."""

    cluster: str
    time: float
    uptime_s: float
    version: str
    totals: dict[str, int]
    group_count: int = 0
    groups: list[GroupRow] = field(default_factory=list)
    workers: Workers = field(default_factory=Workers)
    activity: Activity = field(default_factory=Activity)

    def to_wire(self) -> dict[str, Any]:
        """Return it as plain data: dicts, lists, strings and numbers."""
        workers: dict[str, Any] = _to_dict(self.workers)
        workers["rows"] = _to_columns(WorkerRow, self.workers.rows)
        return {
            **_to_dict(self),
            "totals": dict(self.totals),
            "groups": _to_columns(GroupRow, self.groups),
            "workers": workers,
            "activity": _to_dict(self.activity),
        }

    def to_json(self) -> str:
        """Return it as JSON in UTF-8 characters, below MAX_JSON_BYTES when encoded."""
        return json.dumps(
            self.to_wire(), ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Snapshot:
        """Return the snapshot that `to_wire` made plain. Fields it does not know are passed over.

        Raises:
            PeerError: it is not what `to_wire` makes.
        """
        try:
            values = _known(cls, wire)
            workers = _known(Workers, wire["workers"])
            workers["rows"] = _from_columns(WorkerRow, workers["rows"])
            values["totals"] = dict(wire["totals"])
            values["groups"] = _from_columns(GroupRow, wire["groups"])
            values["workers"] = Workers(**workers)
            values["activity"] = _activity_from(wire["activity"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise PeerError(f"a snapshot that cannot be read: {error!r}") from error

    @classmethod
    def from_json(cls, text: str) -> Snapshot:
        """Return the snapshot that `to_json` wrote.

        Raises:
            PeerError: it is not what `to_json` writes.
        """
        try:
            wire = json.loads(text)
        except ValueError as error:
            raise PeerError(f"a snapshot that is not JSON: {error}") from error
        if not isinstance(wire, dict):
            raise PeerError("a snapshot that is not a JSON object")
        return cls.from_wire(wire)


_Row = TypeVar("_Row", GroupRow, WorkerRow)


def _to_dict(value: Snapshot | Workers | Activity) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in fields(value)}


def _to_columns(cls: type[GroupRow] | type[WorkerRow], rows: Sequence[Any]) -> dict[str, Any]:
    return {f.name: [getattr(row, f.name) for row in rows] for f in fields(cls)}


def _known(cls: type[Any], wire: Mapping[str, Any]) -> dict[str, Any]:
    return {f.name: wire[f.name] for f in fields(cls)}


def _from_columns(cls: type[_Row], columns: Mapping[str, Any]) -> list[_Row]:
    names = [f.name for f in fields(cls)]
    rows = zip(*(columns[name] for name in names), strict=True)
    return [cls(**dict(zip(names, row, strict=True))) for row in rows]


def _activity_from(wire: Mapping[str, Any]) -> Activity:
    activity = Activity(**_known(Activity, wire))
    if not len(activity.ids) == len(activity.groups) == len(activity.busy):
        raise ValueError("activity: not one row for each group")
    if any(len(row) != len(activity.slots) for row in activity.busy):
        raise ValueError("activity: rows of different lengths")
    return activity
