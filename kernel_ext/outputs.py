"""Putting things below a cell: the one place that calls IPython's display.

Law: works from any thread and in a plain terminal too, where the text of a bundle is printed.
"""

from __future__ import annotations

from typing import Any

from IPython.display import display


def show(thing: object) -> None:
    """Display an object by its reprs."""
    display(thing)  # type: ignore[no-untyped-call]


def show_bundle(
    bundle: dict[str, Any], *, display_id: str | None = None, update: bool = False
) -> None:
    """Display MIME types as they are. With `update` the output of that `display_id` is replaced."""
    display(bundle, raw=True, display_id=display_id, update=update)  # type: ignore[no-untyped-call]
