"""How numbers and spans of time are written for people, in the notebook and in a terminal.

Law: pure functions from a value to a short text in plain English; no value is ever hidden behind a
unit that is not written. Nothing here knows what the numbers mean.
"""

from __future__ import annotations

import math

UNKNOWN = "\N{EN DASH}"
"""Stands where there is nothing to say yet."""

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")


def format_count(count: int) -> str:
    """Return a number with separators between thousands: ``1,234,567``."""
    return f"{count:,}"


def format_rate(rate: float | None) -> str:
    """Return tasks per second as ``1,200/s``, ``2.5/s``, or per minute or hour where a second says
    little."""
    if rate is None or not math.isfinite(rate) or rate <= 0:
        return UNKNOWN
    for factor, unit in ((1, "s"), (60, "min"), (3600, "h")):
        if rate * factor >= 1:
            return _with_unit(rate * factor, unit)
    return _with_unit(rate * 3600, "h")


def _with_unit(rate: float, unit: str) -> str:
    return f"{rate:,.0f}/{unit}" if rate >= 10 else f"{rate:.1f}/{unit}"


def format_seconds(seconds: float | None) -> str:
    """Return a span of time as ``0.4 s``, ``12 s``, ``2 min 05 s`` or ``3 h 20 min``."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return UNKNOWN
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def format_bytes(size_bytes: float | None) -> str:
    """Return a size in decimal units with at most three digits: ``8.4 GB``."""
    if size_bytes is None:
        return UNKNOWN
    size = float(size_bytes)
    for unit in _BYTE_UNITS:
        if abs(size) < 999.5 or unit == _BYTE_UNITS[-1]:
            digits = 1 if abs(size) < 9.95 and unit != "B" else 0
            return f"{size:.{digits}f} {unit}"
        size /= 1000
    raise AssertionError("the last unit takes every size")


def plural(count: int, word: str) -> str:
    """Return ``1 worker`` or ``3 workers``."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
