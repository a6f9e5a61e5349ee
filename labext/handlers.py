"""The REST routes of the server extension, under {base_url}cellspan/.

Law: the border between HTTP and `ClusterService`: every verb is authenticated and authorised
(resource "cellspan"), XSRF protection stays on, no GET has an effect, and typed errors become a
status and a JSON object ``{"message", "fields"}`` in one place (`answer`). No route blocks the
event loop, and none reveals an address or a credential.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from ..engine.diagnostics import views
from ..engine.errors import (
    CellspanError,
    ClusterDead,
    ClusterExists,
    ClusterNotFound,
    InvalidArgument,
)
from .bodies import BadBody, is_name, parse_lines, parse_scale, parse_start
from .kernels import get_interpreter, get_kernel_pid
from .rendering import to_json
from .service import ClusterService, Surroundings

RESOURCE = "cellspan"
SERVICE = "cellspan_service"
"""Where the application's settings keep the `ClusterService`."""


class ViewNotFound(CellspanError, LookupError):
    """No view of that name; the text lists the names that there are."""


STATUS_OF: tuple[tuple[type[Exception], int], ...] = (
    (BadBody, 400),
    (InvalidArgument, 400),
    (ViewNotFound, 404),
    (ClusterNotFound, 404),
    (ClusterDead, 404),
    (ClusterExists, 409),
    (CellspanError, 502),
)
"""The first row that fits: anything else that the engine says means that a scheduler did not do
as asked."""


class CellspanHandler(APIHandler):
    """Base of the routes."""

    auth_resource = RESOURCE

    @property
    def clusters(self) -> ClusterService:
        service: ClusterService = self.settings[SERVICE]
        return service

    async def answer(self, work: Callable[[], Awaitable[Any]], status: int = 200) -> None:
        """Finish with the JSON of what `work` returns (nothing for 204), or with its typed
        error."""
        try:
            result = await work()
        except (BadBody, CellspanError) as error:
            code = next(code for kind, code in STATUS_OF if isinstance(error, kind))
            fields = error.fields if isinstance(error, BadBody) else {}
            self.set_status(code)
            await self.finish(to_json({"message": str(error), "fields": fields}))
            return
        self.set_status(status)
        await self.finish(None if status == 204 else to_json(result))


class ClustersHandler(CellspanHandler):
    """All clusters of this user, whoever started them."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """The list, as entries.py describes it."""
        await self.answer(self.clusters.current)

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Begin to start a cluster: 202 and its entry; the list says how it goes."""
        await self.answer(self._start, 202)

    async def _start(self) -> Any:
        request = parse_start(self.request.body)
        interpreter = None
        if request.kernel_name is not None:
            read = partial(get_interpreter, self.kernel_spec_manager, request.kernel_name)
            interpreter = await self.clusters.run(read)
        # A detached cluster has no owner.
        owner_pid = None
        if request.lifetime == "kernel" and request.kernel_id is not None:
            owner_pid = get_kernel_pid(self.kernel_manager, request.kernel_id)
        elif request.lifetime == "server":
            owner_pid = self.settings["cellspan_pid"]
        cwd = getattr(self.contents_manager, "root_dir", None) or None
        return await self.clusters.start(request, Surroundings(interpreter, owner_pid, cwd))


class ClusterHandler(CellspanHandler):
    """One cluster."""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Its entry."""
        await self.answer(partial(self.clusters.get, checked(name)))

    @web.authenticated
    @authorized
    async def patch(self, name: str) -> None:
        """Scale it: ``{"workers": n}``; workers come and go afterwards."""
        await self.answer(partial(self._scale, checked(name)))

    async def _scale(self, name: str) -> Any:
        return await self.clusters.scale(name, parse_scale(self.request.body))

    @web.authenticated
    @authorized
    async def delete(self, name: str) -> None:
        """Stop it, or dismiss one that failed: 204 when that is done."""
        await self.answer(partial(self.clusters.stop, checked(name)), 204)


class LogsHandler(CellspanHandler):
    """The newest log lines of a cluster; arguments `source` (a worker, or 'scheduler'; all
    without) and `lines`."""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        await self.answer(partial(self._logs, checked(name)))

    async def _logs(self, name: str) -> Any:
        lines = parse_lines(self.get_query_argument("lines", "200"))
        source = self.get_query_argument("source", "") or None
        return {"entries": await self.clusters.logs(name, source, lines)}


class ViewsHandler(CellspanHandler):
    """The views that there are: ``[{"name", "title"}, ...]``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        await self.answer(self._views)

    async def _views(self) -> Any:
        found = await self.clusters.run(views.list_views)
        return [{"name": view.name, "title": view.title} for view in found]


class ViewHandler(CellspanHandler):
    """The figure of a view as Bokeh's json_item: the same for every cluster; its columns come
    by the watch socket."""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        await self.answer(partial(self._item, name))

    async def _item(self, name: str) -> Any:
        names = [view.name for view in await self.clusters.run(views.list_views)]
        if name not in names:
            raise ViewNotFound(f"There is no view '{name}': there are {', '.join(names)}.")
        return await self.clusters.run(partial(views.view_item, name))


def checked(name: str) -> str:
    """Return the name if a cluster can have it: below it may become a file's name. Raises 404."""
    if not is_name(name):
        raise web.HTTPError(404, "There is no such cluster: no cluster can have that name.")
    return name
