"""A diagnostic view in a notebook's output.

Law: the output carries one custom MIME type: which cluster, which view, and the picture at this
moment with its data. Where our front end is (Lab, Notebook 7) it draws the picture and keeps it
live over its own websocket, so a busy kernel holds up nothing and no kernel is needed to read a
saved notebook; other front ends show the static table that goes along. This module sends no updates
and draws nothing by itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cellspan.engine.deploy import control
from cellspan.engine.diagnostics.views import get_view, view_item

from .formats import format_count
from .outputs import show_bundle
from .progress_draw import draw_html, draw_lines
from .progress_rows import Row, bound_rows

if TYPE_CHECKING:
    from cellspan.engine.deploy.connection_file import ClusterInfo
    from cellspan.engine.diagnostics.snapshot import GroupRow, Snapshot

VIEW_MIME = "application/vnd.cellspan.view.v1+json"


def show_view(info: ClusterInfo, name: str) -> None:
    """Display a view of a cluster below the running cell.

    Raises:
        InvalidArgument: there is no view of that name.
        ClusterDead: the cluster does not answer.
    """
    get_view(name)  # before anybody is asked
    show_bundle(view_bundle(info, name, take_snapshot(info)))


def take_snapshot(info: ClusterInfo) -> Snapshot:
    """Return how a cluster is now."""

    async def take_first(connection: control.ControlConnection) -> Snapshot:
        async for snapshot in connection.watch():
            return snapshot
        raise AssertionError("a watch ends by an error")

    return control.ask_blocking(info, take_first)


def view_bundle(info: ClusterInfo, name: str, snapshot: Snapshot) -> dict[str, Any]:
    """Return the output's MIME bundle."""
    view = get_view(name)
    rows = bound_rows([row_of(group) for group in snapshot.groups])
    head = f"{view.title} of cluster {info.name!r}: {describe_totals(snapshot)}"
    return {
        VIEW_MIME: {
            "cluster": info.name,
            "id": info.id,
            "view": view.name,
            "title": view.title,
            "time": snapshot.time,
            # As text: notebooks are saved with sorted keys, but a Bokeh item must keep its order
            # (each model is defined where it comes first, and only referred to afterwards).
            "item": json.dumps(view_item(name, None, snapshot), allow_nan=False),
        },
        "text/html": draw_html(rows, head),
        "text/plain": "\n".join([head, *draw_lines(rows)]),
    }


def row_of(group: GroupRow) -> Row:
    """Return a snapshot's group as a row of a progress display."""
    took_s = None
    if group.finished is not None:
        took_s = group.finished - (group.started or group.created)
    return Row(
        group.name,
        group.total - group.dropped,
        group.done,
        group.failed,
        group.running,
        group.rate,
        group.eta_s,
        took_s,
        key=group.group,
    )


def describe_totals(snapshot: Snapshot) -> str:
    """Return a sentence on the cluster as a whole."""
    workers = snapshot.workers
    done, total = snapshot.totals.get("done", 0), snapshot.totals.get("total", 0)
    tasks = f"{format_count(done)} of {format_count(total)} tasks done"
    return f"{tasks}; {workers.busy} of {workers.slots} slots busy."
