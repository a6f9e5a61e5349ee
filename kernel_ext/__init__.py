"""What runs in a notebook's kernel: the `%cluster` magics, progress displays and views in outputs.

Law: it uses the client, the manager of clusters and the diagnostics, never the Lab extension; it
holds no state outside the shell it is loaded into, and importing it stays light, since `import
cellspan` leads here.
"""

from __future__ import annotations

if __name__ != "cellspan.kernel_ext":  # a second copy of every class otherwise
    raise ImportError(f"import this as cellspan.kernel_ext, not as {__name__}")

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .progress_live import Progress, progress

__all__ = ["Progress", "load_ipython_extension", "progress", "unload_ipython_extension"]


def __getattr__(name: str) -> Any:
    if name in ("progress", "Progress"):
        from . import progress_live

        return getattr(progress_live, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(ip: InteractiveShell) -> None:
    """Register `%cluster` and its completion, and a widget for `client.track`."""
    from cellspan.engine.diagnostics import bars

    from .magics import register

    register(ip)

    def make_bar(label: str) -> bars.Bar:
        from .track_bar import NotebookBar

        return NotebookBar(label)

    bars.make_notebook_bar = make_bar


def unload_ipython_extension(ip: InteractiveShell) -> None:
    """Take `%cluster` back and close the clients it made; clusters go on as their lifetimes say."""
    from cellspan.engine.diagnostics import bars

    from .magics import unregister

    unregister(ip)
    bars.make_notebook_bar = None
