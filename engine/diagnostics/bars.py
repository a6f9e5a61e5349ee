"""A bar that shows how far an iteration is: one line of text, or what a notebook's kernel has for
it.

Law: draws when it is told, and asks nothing. Standard library only, and light: a kernel loads it
before it needs a client.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Protocol, TextIO

BAR_CHARS = 30


class Bar(Protocol):
    """Something that shows how far an iteration is."""

    def draw(self, done: int, failed: int, total: int, seconds: float, is_over: bool) -> None:
        """Show this; with `is_over` for the last time."""


make_notebook_bar: Callable[[str], Bar] | None = None
"""Set by whoever can show something better than text in a notebook's kernel."""


class TextBar:
    """One line that is drawn again and again, on a terminal or below a notebook's cell."""

    def __init__(self, label: str, stream: TextIO) -> None:
        self._label = label
        self._stream = stream
        self._width = 0

    def draw(self, done: int, failed: int, total: int, seconds: float, is_over: bool) -> None:
        """Write the line over the last one."""
        text = bar_text(self._label, done, failed, total, seconds)[: _columns_of(self._stream)]
        fill = " " * (self._width - len(text))
        self._width = len(text)
        self._stream.write(f"\r{text}{fill}" + ("\n" if is_over else ""))
        self._stream.flush()


def bar_text(label: str, done: int, failed: int, total: int, seconds: float) -> str:
    """Return a line like ``square:  45% |#####     | 45/100, 2 failed [00:12 < 00:14, 3.7/s]``."""
    ended = done + failed
    share = ended / total if total else 1.0
    bar = "#" * int(BAR_CHARS * share)
    failures = f", {failed:,} failed" if failed else ""
    rate = ended / seconds if seconds > 0 else 0.0
    left = f" < {_clock((total - ended) / rate)}, {rate:.3g}/s" if rate and ended < total else ""
    if ended >= total and rate:
        left = f", {rate:.3g}/s"
    head = f"{label}: {int(100 * share):3d}% |{bar:<{BAR_CHARS}}| {ended:,}/{total:,}"
    return f"{head}{failures} [{_clock(seconds)}{left}]"


def make_bar(label: str, stream: Any = None) -> Bar | None:
    """Return what shows progress where somebody can see it, None where nobody can."""
    out = sys.stderr if stream is None else stream
    if stream is None and "ipykernel" in sys.modules and _is_kernel():
        if make_notebook_bar is not None:
            return make_notebook_bar(label)
        return TextBar(label, out)
    try:
        return TextBar(label, out) if out is not None and out.isatty() else None
    except (AttributeError, ValueError):
        return None


def _is_kernel() -> bool:
    module: Any = sys.modules.get("ipykernel.kernelapp")
    return module is not None and module.IPKernelApp.initialized()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(min(seconds, 360_000)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def _columns_of(stream: TextIO) -> int:
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError, AttributeError):
        columns = 0
    return columns - 1 if columns > 20 else 100
