"""The Jupyter server extension, and home of the lab extension's sources.

The browser talks only to the routes added here, under the server's own base URL.
"""

from __future__ import annotations

if __name__ != "cellspan.labext":  # a second copy of every class otherwise
    raise ImportError(f"import this as cellspan.labext, not as {__name__}")

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from .app import CellspanApp

    return [{"module": "cellspan.labext", "app": CellspanApp}]
