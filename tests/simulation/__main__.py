"""Replay a seed: `python -m tests.simulation --seed 7 --workers 5 --tasks 60 --trace`."""

from __future__ import annotations

import argparse
import sys
import time

from .scenario import run_faulty, run_plain
from .world import SimulationFailed


def main() -> int:
    """Run the seeds that the command line names; 1 if one of them fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1, help="so many seeds, from --seed on")
    parser.add_argument("--workers", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=60, help="size of the largest groups")
    parser.add_argument("--plain", action="store_true", help="one map, no faults")
    parser.add_argument("--actions", type=int, default=25)
    parser.add_argument("--check-every", type=int, default=None)
    parser.add_argument("--trace", action="store_true", help="print every event")
    options = parser.parse_args()
    trace = print if options.trace else None
    failed = 0
    for seed in range(options.seed, options.seed + options.seeds):
        began = time.perf_counter()
        try:
            if options.plain:
                outcome = run_plain(
                    seed, options.workers, options.tasks,
                    check_every=options.check_every or 0, trace=trace,
                )  # fmt: skip
            else:
                every = 1 if options.check_every is None else options.check_every
                outcome = run_faulty(
                    seed, options.workers, options.tasks,
                    actions=options.actions, check_every=every, trace=trace,
                )  # fmt: skip
        except SimulationFailed as error:
            failed += 1
            print(error, file=sys.stderr)
            cause = error.__cause__
            if cause is not None:
                import traceback

                traceback.print_exception(cause)
        else:
            took = time.perf_counter() - began
            print(f"seed {seed}: {took:.2f} s, {outcome}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
