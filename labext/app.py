"""The server extension itself: adds the routes, and ends what it began when the server ends.

Law: wiring only.
"""

from __future__ import annotations

import os

from jupyter_server.extension.application import ExtensionApp

from .handlers import (
    SERVICE,
    ClusterHandler,
    ClustersHandler,
    LogsHandler,
    ViewHandler,
    ViewsHandler,
)
from .service import ClusterService
from .sockets import EventsSocket, WatchSocket

ROUTES = (
    (r"/cellspan/clusters", ClustersHandler),
    (r"/cellspan/clusters/([^/]+)", ClusterHandler),
    (r"/cellspan/clusters/([^/]+)/logs", LogsHandler),
    (r"/cellspan/clusters/([^/]+)/watch", WatchSocket),
    (r"/cellspan/views", ViewsHandler),
    (r"/cellspan/views/([^/]+)", ViewHandler),
    (r"/cellspan/events", EventsSocket),
)


class CellspanApp(ExtensionApp):
    """Clusters of the user, for the panel in the browser."""

    name = "cellspan"
    description = "Start, see and stop cellspan clusters from JupyterLab."
    load_other_extensions = True

    def initialize_settings(self) -> None:
        """Make the one service that all routes share."""
        self.settings.update({SERVICE: ClusterService(self.log), "cellspan_pid": os.getpid()})

    def initialize_handlers(self) -> None:
        """Add the routes."""
        self.handlers.extend(ROUTES)

    async def stop_extension(self) -> None:
        """End watching; clusters of lifetime 'server' end by their own lease on this process."""
        service: ClusterService = self.settings[SERVICE]
        await service.close()
