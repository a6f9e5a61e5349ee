"""Numbers as people read them: counts, rates, durations, sizes, and texts cut to fit.

Law: pure functions of their arguments. Standard library only.
"""

from __future__ import annotations

from math import isfinite

NOTHING = "—"
"""Stands where a number is not known."""


def count_text(count: float) -> str:
    """Return a number of tasks in at most five characters: 999, 12.3k, 1.05M."""
    if count < 1000:
        return f"{count:.0f}"
    for size, letter in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        if count < size * 999.5 or letter == "G":
            break
    return f"{_three_digits(count / size)}{letter}"


def _three_digits(value: float) -> str:
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if digits else text


def rate_text(rate: float) -> str:
    """Return tasks per second, or per minute or hour where they are few: 12.3k/s, 4.5/min."""
    if rate <= 0 or not isfinite(rate):
        return NOTHING
    for scale, unit in ((1.0, "s"), (60.0, "min"), (3600.0, "h")):
        if rate * scale >= 1 or unit == "h":
            break
    value = rate * scale
    return f"{count_text(value) if value >= 1000 else _three_digits(value)}/{unit}"


def duration_text(seconds: float | None) -> str:
    """Return a duration in at most seven characters: 12 µs, 1.25 s, 3 m 20 s, 2 h 05 m, 3 d 4 h."""
    if seconds is None or not isfinite(seconds):
        return NOTHING
    for limit, scale, unit in ((999.5e-6, 1e6, "µs"), (0.9995, 1e3, "ms"), (99.95, 1.0, "s")):
        if seconds < limit:
            return f"{_three_digits(seconds * scale)} {unit}"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def about_text(seconds: float | None) -> str:
    """Return a duration that is only roughly known, such as what is left: <1 s, 40 s, 3 m 20 s."""
    if seconds is None or not isfinite(seconds):
        return NOTHING
    if seconds < 1:
        return "<1 s"
    return f"{seconds:.0f} s" if seconds < 99.5 else duration_text(seconds)


def bytes_text(size: float) -> str:
    """Return a size in binary units: 512 B, 1.5 KiB, 3.25 GiB."""
    if size < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        size /= 1024
        if size < 1023.5 or unit == "PiB":
            break
    return f"{_three_digits(size)} {unit}"


def clip_text(text: str, chars: int) -> str:
    """Return a text of at most so many characters; one that is cut ends in an ellipsis."""
    return text if len(text) <= chars else text[: chars - 1].rstrip() + "…"


def other_text(count: int) -> str:
    """Return the name of a row that sums so many groups."""
    return f"other ({count:,} group{'' if count == 1 else 's'})"
