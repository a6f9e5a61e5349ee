"""The page docs/placement.md around the tables.

Law: what is said here is true of the judge whatever the tables say.
"""

from __future__ import annotations

from .report import MEDIAN_RATIO, SKEWED_RATIO, WORST_RATIO

PAGE = """\
# How good placement is

Made by `make judge`; do not edit by hand.
"""


def make_page(ratios: str, costs: str, scale: str) -> str:
    """Return the page."""
    return PAGE + ratios + costs + scale + f"{MEDIAN_RATIO} {WORST_RATIO} {SKEWED_RATIO}"
