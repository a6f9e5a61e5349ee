"""Progress in a notebook: an ipywidgets HTML widget, replaced at the end by plain HTML.

Law: may be called from any thread. While groups run it is a widget, since a widget can be updated
from outside any cell; once all has ended the same output becomes static HTML and text, so that a
saved notebook reads well without a kernel. It knows how to show rows and nothing of where they come
from.
"""

from __future__ import annotations

import uuid
from typing import Any

import ipywidgets

from .outputs import show_bundle
from .progress_draw import draw_html, draw_lines
from .progress_rows import Row


class WidgetOutput:
    """One output in a notebook. Draw with `show` first, then with `draw`."""

    def __init__(self) -> None:
        # With a count of views (None would mean: do not count) the front end tells when nobody
        # looks.
        self.widget: Any = ipywidgets.HTML(_view_count=0)
        self.is_finished = False
        self._display_id = f"cellspan-{uuid.uuid4().hex}"
        self._was_seen = False
        self._view_count = 0
        self.widget.observe(self._on_views, names="_view_count")

    def show(self, rows: list[Row], *, is_finished: bool) -> None:
        """Make the output below the running cell."""
        self.is_finished = is_finished
        self.widget.value = draw_html(rows)
        bundle = static_bundle(rows)
        if not is_finished:
            bundle = {**self.widget._repr_mimebundle_(), "text/plain": bundle["text/plain"]}
        show_bundle(bundle, display_id=self._display_id)

    def draw(self, rows: list[Row], is_finished: bool, note: str = "") -> None:
        """Bring the output up to date; the last time, with `is_finished`, it becomes static."""
        if self.is_seen or is_finished:
            self.widget.value = draw_html(rows, note)  # sends nothing when it is equal
        if is_finished and not self.is_finished:
            self.is_finished = True
            # The widget stays open: a page that was reloaded meanwhile still shows it.
            show_bundle(static_bundle(rows, note), display_id=self._display_id, update=True)

    @property
    def is_seen(self) -> bool:
        """Whether the output is on somebody's page, or nothing is known of that."""
        return self._view_count > 0 or not self._was_seen

    def _on_views(self, change: Any) -> None:
        self._view_count = change["new"] or 0
        self._was_seen = self._was_seen or self._view_count > 0


def static_bundle(rows: list[Row], note: str = "") -> dict[str, str]:
    """Return what stays in a saved notebook."""
    lines = draw_lines(rows) + ([note] if note else [])
    return {"text/html": draw_html(rows, note), "text/plain": "\n".join(lines)}
