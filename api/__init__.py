"""cellspan lets a notebook's cells span a cluster. This is its public face.

It owns the names users import and nothing else, and it must stay light: a kernel, a server
and every executor import it, so each name is fetched from its room on first use.
The parts are imported absolutely here (`cellspan.engine`): they lie beside this folder.
"""

from __future__ import annotations

import sys

from ._version import __version__

TYPE_CHECKING = False  # checkers take it for true; `typing` itself would cost milliseconds
if TYPE_CHECKING:
    from typing import Any

    from IPython.core.interactiveshell import InteractiveShell

    from cellspan.engine.client import Client, Future, Futures, as_completed, wait
    from cellspan.engine.deploy import LocalCluster
    from cellspan.engine.executor.context import get_resources
    from cellspan.engine.integrations import register_joblib
    from cellspan.kernel_ext import progress

__all__ = [
    "Client",
    "Future",
    "Futures",
    "LocalCluster",
    "__version__",
    "as_completed",
    "get_resources",
    "load_ipython_extension",
    "progress",
    "register_joblib",
    "unload_ipython_extension",
    "wait",
]

_ROOM_OF_NAME = {
    "Client": "cellspan.engine.client",
    "Future": "cellspan.engine.client",
    "Futures": "cellspan.engine.client",
    "LocalCluster": "cellspan.engine.deploy",
    "as_completed": "cellspan.engine.client",
    "get_resources": "cellspan.engine.executor.context",
    "progress": "cellspan.kernel_ext",
    "register_joblib": "cellspan.engine.integrations",
    "wait": "cellspan.engine.client",
}


def __getattr__(name: str) -> Any:
    room = _ROOM_OF_NAME.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _refuse_windows()
    from importlib import import_module

    value = getattr(import_module(room), name)
    globals()[name] = value  # next time without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(ip: InteractiveShell) -> None:
    """`%load_ext cellspan`."""
    _refuse_windows()
    from cellspan.kernel_ext import load_ipython_extension as load

    load(ip)


def unload_ipython_extension(ip: InteractiveShell) -> None:
    """`%unload_ext cellspan`."""
    from cellspan.kernel_ext import unload_ipython_extension as unload

    unload(ip)


def _refuse_windows() -> None:
    if sys.platform == "win32":
        raise ImportError(
            "cellspan runs on Linux and macOS; on Windows, install and run it inside WSL "
            "(the Windows Subsystem for Linux)"
        )


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    # Used only by `jupyter-builder develop` and `watch`, in an editable install.
    return [{"src": "labext/labextension", "dest": "@cellspan/labextension"}]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from cellspan.labext import _jupyter_server_extension_points as points

    return points()
