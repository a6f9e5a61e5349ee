"""What the scheduler tells about itself: snapshots and status.

Law: reads only. Cost follows the number of groups and workers, never the number of tasks.
"""

from __future__ import annotations

from typing import Any

from ..diagnostics.building import build_snapshot
from ..diagnostics.counters import STATES
from ..diagnostics.snapshot import Snapshot, WorkerRow
from ..messages import GetHolders, GetMetadata, HoldersGiven, MetadataGiven
from .ledger import Ledger
from .peers import Client, Worker
from .runs import runs_of, tasks_of


def build(
    ledger: Ledger, cluster: str, version: str, started: float, now: float, epoch: float
) -> Snapshot:
    """Return the bounded summary of all there is."""
    for group in ledger.groups.values():
        if group.restriction is not None:
            trouble = ledger.placement.restrictions.find_trouble(group, ledger.workers.values())
            group.counters.warning = trouble
    groups = [group.counters for group in ledger.groups.values()]
    return build_snapshot(
        cluster=cluster,
        version=version,
        now=now,
        uptime_s=now - started,
        groups=[*ledger.finished, *groups],
        workers=[_row_of(worker) for worker in ledger.workers.values()],
        activity=ledger.activity,
        epoch=epoch,
    )


def _row_of(worker: Worker) -> WorkerRow:
    stats = worker.stats
    running = min(worker.tasks, worker.slots)
    return WorkerRow(
        name=worker.name,
        slots=worker.slots,
        running=running,
        queued=worker.tasks - running,
        cpu=stats.get("cpu", 0.0),
        memory_bytes=int(stats.get("memory_bytes", 0)),
        memory_limit_bytes=worker.memory_limit_bytes,
        store_bytes=int(stats.get("store_bytes", 0)),
    )


def describe(ledger: Ledger) -> dict[str, Any]:
    """Return workers, tasks by state, and the number of clients and groups."""
    tasks = dict.fromkeys(STATES, 0)
    for group in ledger.groups.values():
        for state, members in group.sets.items():
            tasks[state] += len(members)
    return {
        "workers": [describe_worker(worker) for worker in ledger.workers.values()],
        "tasks": tasks,
        "clients": len(ledger.clients),
        "groups": len(ledger.groups),
    }


def find_holders(ledger: Ledger, client: Client, message: GetHolders) -> None:
    """Answer who has which results, one row for each group and worker."""
    if message.tasks is None:
        asked = {number: group.done for number, group in ledger.groups.items()}
    else:
        asked = tasks_of(message.tasks, "GetHolders")
    rows: list[list[Any]] = []
    for number, tasks in asked.items():
        group = ledger.groups.get(number)
        if group is None:
            continue  # released
        count = len(group.done)
        each = group.bytes_of(count) / count if count else 0.0
        for peer, held in group.holders.items():
            found = runs_of(held & tasks)
            if found:
                rows.append([number, group.name, ledger.workers[peer].name, found, each])
    ledger.outbox.send(client.peer, HoldersGiven(message.request, rows))


def give_metadata(ledger: Ledger, client: Client, message: GetMetadata) -> None:
    """Answer what was said of groups when they were submitted."""
    found = []
    for number in message.groups:
        group = ledger.groups.get(number)
        found.append(group.counters.metadata if group is not None else {})
    ledger.outbox.send(client.peer, MetadataGiven(message.request, found))


def describe_worker(worker: Worker) -> dict[str, Any]:
    """Return what the status says of a worker: who it is, and what it has to do."""
    running = min(worker.tasks, worker.slots)
    return {
        "id": worker.peer,
        "name": worker.name,
        "state": "running",
        "reason": "",
        "slots": worker.slots,
        "host": worker.host,
        "pid": worker.info.get("pid"),
        "address": worker.address,
        "memory_limit_bytes": worker.memory_limit_bytes,
        "joined": worker.joined,
        "running": running,
        "queued": worker.tasks - running,
        "resources": dict(worker.resources),
        "expected_s": round(worker.load_s / worker.slots, 3),
        "stats": dict(worker.stats),
    }
