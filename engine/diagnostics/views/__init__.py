"""The views: one file in this folder is one diagnostic picture, and adding a view is adding a file.

A view's file defines ``NAME`` (in addresses and commands), ``TITLE`` (for people), ``ORDER`` (its
place in lists), ``figure(theme) -> bokeh figure`` with named, empty column sources, and the pure
function ``columns(snapshot) -> {source name: {column: values}}``. It may define
``fit(figure, snapshot)``, for pictures that stay as they are. Everything else follows: Lab embeds
`view_item` and pushes `view_columns` into the sources of the same names, notebook output and
reports use `view_item` or `view_html` with a snapshot.

Law: a view reads a snapshot and nothing else; it asks no cluster and keeps no state.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import Any

from ...errors import InvalidArgument
from ..snapshot import Snapshot
from .base import Columns, Theme, View, check_theme
from .embed import item_of, page_of

__all__ = [
    "Columns",
    "Theme",
    "View",
    "get_view",
    "list_views",
    "view_columns",
    "view_html",
    "view_item",
]


def list_views() -> list[View]:
    """Return all views in the order in which they are shown."""
    return list(_views().values())


def get_view(name: str) -> View:
    """Return the view of that name.

    Raises:
        InvalidArgument: there is none; the text lists those that there are.
    """
    found = _views().get(name)
    if found is None:
        known = ", ".join(_views())
        raise InvalidArgument(f"there is no view {name!r}; the views are: {known}")
    return found


def view_item(
    name: str, theme: Theme | None = None, snapshot: Snapshot | None = None
) -> dict[str, Any]:
    """Return a view as a JSON item for ``Bokeh.embed.embed_item``, with its sources named.

    Without a snapshot the sources are empty. With a theme ('light' or 'dark') colours are fixed;
    without one they come from the page: axes, grid and title through --bk-* variables, what glyphs
    draw from the models' tags (see base.py).

    Raises:
        InvalidArgument: no such view or theme.
    """
    return item_of(get_view(name), check_theme(theme), snapshot)


def view_columns(name: str, snapshot: Snapshot) -> Columns:
    """Return what a view shows of a snapshot: the columns of its sources, by source name.

    Raises:
        InvalidArgument: no such view.
    """
    return get_view(name).columns(snapshot)


def view_html(
    name: str, snapshot: Snapshot, theme: Theme | None = None, *, inline: bool = True
) -> str:
    """Return a page that shows a view of one snapshot and needs nothing else.

    With `inline` (default) it holds BokehJS itself, about 1 MB; otherwise it loads it from Bokeh's
    public address. Without a theme it follows the reader's preference for light or dark.

    Raises:
        InvalidArgument: no such view or theme.
    """
    return page_of(get_view(name), snapshot, check_theme(theme), inline=inline)


@cache
def _views() -> dict[str, View]:
    found = []
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        if hasattr(module, "NAME"):
            found.append(_view_of(module))
    found.sort(key=lambda view: (view.order, view.name))
    return {view.name: view for view in found}


def _view_of(module: ModuleType) -> View:
    return View(
        name=module.NAME,
        title=module.TITLE,
        order=getattr(module, "ORDER", 100),
        figure=module.figure,
        columns=module.columns,
        fit=getattr(module, "fit", None),
    )
