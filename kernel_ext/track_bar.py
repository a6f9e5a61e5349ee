"""How `client.track` looks in a notebook: the row of a progress display, as a widget.

Law: it shows what it is told and asks nothing; see progress_widget.py for what stays of it.
"""

from __future__ import annotations

from .progress_rows import Row
from .progress_widget import WidgetOutput


class NotebookBar:
    """One iteration. Made by the client when it begins to track."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._output: WidgetOutput | None = None

    def draw(self, done: int, failed: int, total: int, seconds: float, is_over: bool) -> None:
        """Show this; with `is_over` for the last time."""
        ended = done + failed
        rate = ended / seconds if seconds > 0 else None
        eta_s = (total - ended) / rate if rate else None
        row = Row(self._label, total, done, failed, 0, rate=rate, eta_s=eta_s)
        if is_over:
            row = Row(self._label, total, done, failed, 0, rate=rate, took_s=seconds)
        if self._output is None:
            self._output = WidgetOutput()
            self._output.show([row], is_finished=is_over)
        else:
            self._output.draw([row], is_over)
