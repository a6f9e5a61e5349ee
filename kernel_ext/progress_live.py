"""`progress(...)`: shows how far groups are, live, in a notebook or a terminal.

Law: one thread of its own per display in a notebook, so that it moves while the kernel is busy and
while later cells run; a few drawings a second at most, and none that changes nothing. It ends by
itself when all groups have ended, and rests while nobody shows it. It never touches the work
itself: stopping a display cancels nothing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TextIO

from .progress_draw import draw_lines
from .progress_rows import Row, bound_rows
from .progress_source import Source, make_source

INTERVAL_S = 0.2
UNSEEN_INTERVAL_S = 2.0
"""While the output is on no page nothing is drawn; it is only noticed when all has ended."""
PLAIN_INTERVAL_S = 10.0
"""Without a terminal, as in a log file, lines cannot be redrawn: fewer of them."""


def progress(what: Any = None) -> Progress:
    """Show how far groups are: tasks done, running, waiting and failed, rate and time left.

    `what`: what `map` returned, one future, any mix of them in a list, a client (all its groups),
    or nothing (all groups of this kernel's client). In a notebook this returns at once and the
    display stays live; in a terminal or a script it blocks until all has ended, and Ctrl-C ends the
    display only. Raises `TypeError` for anything else.
    """
    shown = Progress(make_source(what))
    shown.start()
    return shown


class Progress:
    """One display of progress. Made by `progress()`."""

    def __init__(self, source: Source, *, interval_s: float = INTERVAL_S) -> None:
        """`interval_s`: time between two drawings."""
        self._source = source
        self._interval_s = interval_s
        self._took_s: dict[int, float | None] = {}
        self._began = time.time()
        self._has_looked = False
        self._last: list[Row] | None = None
        """What was drawn at the end: afterwards nothing is looked at any more."""
        self._stopped = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._cell: object = None

    def start(self) -> None:
        """Show it: in a notebook by a thread of its own, otherwise here, until all has ended."""
        shell = find_kernel_shell()
        if shell is None:
            try:
                self._run(TextOutput(sys.stdout).draw)
            except KeyboardInterrupt:
                print("\nThe display ended; the tasks go on.", flush=True)
            return
        from .progress_widget import WidgetOutput

        self._cell = shell.execution_count
        output = WidgetOutput()
        rows = self.rows()
        output.show(rows, is_finished=all(row.is_finished for row in rows))
        if output.is_finished:
            self._end(rows)
            return
        self._thread = threading.Thread(
            target=self._run,
            args=(output.draw, lambda: output.is_seen),
            name="cellspan-progress",
            daemon=True,
        )
        self._thread.start()

    def rows(self) -> list[Row]:
        """Return what there is to show now: at most 20 groups and one row for all others."""
        if self._last is not None:
            return self._last
        rows = []
        for row in self._source.rows():
            if row.is_finished:
                row = with_took(row, self._measure(row))
            rows.append(row)
        self._has_looked = True
        return bound_rows(rows)

    def _measure(self, row: Row) -> float | None:
        """Return how long a group took that has ended, in seconds; None if nobody knows."""
        if row.started is not None and row.ended is not None:
            return max(0.0, row.ended - row.started)
        if row.key not in self._took_s:
            took_s = max(0.0, time.time() - (row.started or self._began))
            # What had ended when it was first looked at took nobody knows how long.
            self._took_s[row.key] = took_s if self._has_looked else None
        return self._took_s[row.key]

    def stop(self) -> None:
        """End the display; the tasks go on."""
        self._stopped.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all groups have ended or the display was stopped; False if `timeout` (seconds)
        passed first."""
        return self._ended.wait(timeout)

    def _run(
        self,
        draw: Callable[[list[Row], bool, str], None],
        is_seen: Callable[[], bool] = lambda: True,
    ) -> None:
        rows: list[Row] = []
        try:
            while not self._stopped.is_set():
                closed = self._source.closed_reason()  # before the rows: they may be the last word
                rows = self.rows()
                if all(row.is_finished for row in rows):
                    self._source.settle()
                    rows = self.rows()
                    draw(rows, True, "")
                    return
                if closed is not None:
                    draw(rows, True, closed)
                    return
                draw(rows, False, "")
                self._stopped.wait(self._interval_s if is_seen() else UNSEEN_INTERVAL_S)
            draw(rows, True, "No longer updated: the display was stopped.")
        finally:
            self._end(rows)

    def _end(self, rows: list[Row]) -> None:
        self._last = rows
        self._source.close()  # what is shown needs the futures no more
        self._ended.set()

    def __repr__(self) -> str:
        return "\n".join(draw_lines(self.rows()))

    def _ipython_display_(self) -> None:
        # As the last line of the cell that made it there is a display already.
        shell = find_kernel_shell()
        if shell is None or shell.execution_count != self._cell:
            print(repr(self))


def with_took(row: Row, took_s: float | None) -> Row:
    """Return the row of a group that has ended with its time, and its mean rate where that says
    something."""
    rate = (row.done + row.failed) / took_s if took_s is not None and took_s > 0.1 else None
    return replace(row, took_s=took_s, rate=rate)


class TextOutput:
    """Draws on a terminal, where lines are redrawn in place, or as plain lines on anything else."""

    def __init__(self, stream: TextIO, *, plain_interval_s: float = PLAIN_INTERVAL_S) -> None:
        """`plain_interval_s`: time between two plain drawings."""
        self._stream = stream
        self._plain_interval_s = plain_interval_s
        self._is_terminal = stream.isatty()
        self._height = 0
        self._next_plain = 0.0

    def draw(self, rows: list[Row], is_finished: bool, note: str = "") -> None:
        """Draw the rows; plain lines only when it is time again or all has ended."""
        lines = draw_lines(rows, bar=self._is_terminal)
        if note:
            lines.append(note)
        if not self._is_terminal:
            now = time.monotonic()
            if is_finished or now >= self._next_plain:
                self._next_plain = now + self._plain_interval_s
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()
            return
        # The cursor rests at the start of the last line; a line is cut so that it never wraps.
        up = f"\x1b[{self._height - 1}A" if self._height > 1 else ""
        columns = terminal_columns(self._stream)
        text = "\n".join(f"{line[:columns]}\x1b[K" for line in lines)
        self._stream.write(f"\r{up}{text}" + ("\n" if is_finished else "\r"))
        self._stream.flush()
        self._height = len(lines)


def terminal_columns(stream: TextIO) -> int:
    """Return the width of the terminal behind a stream, 80 where it cannot be told."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return max(20, columns - 1) if columns > 0 else 80


def find_kernel_shell() -> Any | None:
    """Return IPython's shell if this is a Jupyter kernel, else None (a terminal, a script)."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return shell if shell is not None and getattr(shell, "kernel", None) is not None else None
