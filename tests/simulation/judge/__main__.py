"""Make the report: `python -m tests.simulation.judge --write docs/placement.md`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .cost import write_costs, write_scale
from .fidelity import CASES, compare
from .page import make_page, write_pairs
from .report import write_ratios


def main() -> int:
    """Print the report, and write it where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.judge", description=__doc__)
    parser.add_argument("--write", type=Path, help="the page to write")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of tasks")
    parser.add_argument("--ratios", action="store_true", help="the ratios only, printed")
    parser.add_argument("--workers", type=int, default=10_000, help="of the large map")
    parser.add_argument("--tasks", type=int, default=10_000_000, help="of the large map")
    options = parser.parse_args()
    if options.ratios:
        print(write_ratios(options.scale))
        return 0
    # the large map first: its peak of memory is that of the process
    scale = write_scale(options.workers, options.tasks)
    print(scale)
    ratios = write_ratios(options.scale)
    print(ratios)
    costs = write_costs()
    print(costs)
    pairs = write_pairs([compare(*case) for case in CASES])
    print(pairs)
    if options.write is not None:
        options.write.write_text(make_page(ratios, costs, scale, pairs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
