"""The websockets of the server extension: what changes is pushed, nothing is asked for again
and again.

Law: authenticated, authorised ("read" of resource "cellspan") and checked for their origin
before they open. They only tell: a message from the browser can choose what it is told and
nothing else. A browser that reads too slowly is sent the newest state when it has caught up,
not everything it missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ..engine.diagnostics import views
from ..engine.diagnostics.snapshot import Snapshot
from .bodies import BadBody, parse_subscription
from .entries import Entry
from .handlers import RESOURCE, SERVICE, checked
from .rendering import to_json
from .service import ClusterService


class CellspanSocket(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """Base of the sockets: sends the newest of each kind of message, one at a time."""

    auth_resource = RESOURCE

    @ws_authenticated
    @authorized(action="read")  # type: ignore[untyped-decorator]  # loses the type, upstream
    async def get(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        await super().get(*args, **kwargs)

    def initialize(self) -> None:
        self._due: dict[str, str] = {}
        self._sender: asyncio.Task[None] | None = None
        self._ends: Callable[[], None] | None = None

    @property
    def clusters(self) -> ClusterService:
        service: ClusterService = self.settings[SERVICE]
        return service

    def push(self, kind: str, text: str) -> None:
        """Send `text`, instead of an older one of its kind that is still waiting."""
        self._due[kind] = text
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._due:
                await self.write_message(self._due.pop(next(iter(self._due))))
        except WebSocketClosedError:
            self._due.clear()

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        self.close(1003, "This socket takes no messages.")
        return None

    def on_close(self) -> None:
        if self._ends is not None:
            self._ends()
            self._ends = None
        super().on_close()


class EventsSocket(CellspanSocket):
    """Sends ``{"type": "clusters", "clusters": [...]}``: the list, at once and whenever it
    changed."""

    def open(self, *args: str, **kwargs: str) -> None:
        super().open(*args, **kwargs)
        self._ends = self.clusters.lookout.listen(self._tell)

    def _tell(self, entries: list[Entry]) -> None:
        self.push("clusters", to_json({"type": "clusters", "clusters": entries}))


class WatchSocket(CellspanSocket):
    """Sends the columns of the views that it subscribed to by ``{"views": [names]}``, with each
    snapshot of a cluster: see rendering.py.

    It stays open when the cluster is gone, and goes on when one of that name is back.

    """

    def initialize(self) -> None:
        super().initialize()
        self._name = ""
        self._views: tuple[str, ...] = ()
        self._newest: Snapshot | None = None
        self._showing: asyncio.Task[None] | None = None

    async def open(self, name: str) -> None:
        super().open(name)
        self._name = checked(name)

    async def on_message(self, message: str | bytes) -> None:
        known = frozenset(view.name for view in await self.clusters.run(views.list_views))
        try:
            self._views = parse_subscription(message, known)
        except BadBody as error:
            self.push("error", to_json({"type": "error", "message": str(error)}))
            return
        if self._ends is not None:
            self._ends()
            self._ends = None
        if self._views and self.ws_connection is not None:
            self._ends = self.clusters.lookout.view(self._name, self._see)

    def _see(self, snapshot: Snapshot) -> None:
        self._newest = snapshot
        if self._showing is None or self._showing.done():
            self._showing = asyncio.create_task(self._show())

    async def _show(self) -> None:
        while (snapshot := self._newest) is not None:
            self._newest = None
            wanted = self._views
            text = await self.clusters.run(partial(self.clusters.renderer.render, snapshot, wanted))
            if wanted == self._views and wanted:
                self.push("snapshot", text)
