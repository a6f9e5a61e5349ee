"""The page docs/placement.md around the tables.

Law: what is said here is true of the judge whatever the tables say.
"""

from __future__ import annotations

from .fidelity import SLOTS, WORKERS, Pair
from .report import MEDIAN_RATIO, SKEWED_RATIO, WORST_RATIO, table

PAGE = """\
# How good placement is

`make judge` makes this page (`python -m tests.simulation.judge --write docs/placement.md`). All
tables but those of processor time follow from a seed: the same on every machine.

The real scheduler core hands out graphs of many kinds to simulated workers, in virtual time. What
it does not know in advance (durations, sizes of results, speeds of workers, bandwidths) it has to
learn from what workers report. The policy is `engine/scheduler/placement.py`, with its rules for
lengths (`lengths.py`), distances (`distance.py`), speeds (`pace.py`) and taking back
(`rebalance.py`); another one is an argument of `SchedulerCore`. Random placement
(`placement_random.py`) draws a worker among those that have room and is the baseline.

## Against an oracle

The oracle is list scheduling with perfect knowledge: HEFT (H. Topcuoglu, S. Hariri, M.-Y. Wu,
"Performance-effective and low-complexity task scheduling for heterogeneous computing", IEEE TPDS
13(3), 2002): tasks by upward rank, each on the slot that finishes it earliest, also in a gap
between others. It pays for transfers between workers, and neither for messages nor for decisions.
For maps that are too large for it the lower bound stands instead (`bound`): the whole work divided
by all slots, or the longest path. Transfers do not disturb each other, for both.

Columns: the makespan as a multiple of the oracle's for three mean durations of a task; random
placement's at the one in the middle, as all that follows; megabytes moved between workers; tasks
per span; tasks that were taken back from their worker before they began. From a worker to the
scheduler a message takes 0.2 ms, and as long back, so the shorter the tasks the more of the ratio
is waiting for messages: consumers that wait for the scheduler lose a round trip for each step.

Goals: median at most {median}, worst at most {worst}, skewed maps within {skewed} of ideal. No task
is handed out twice unless its worker gave it back first; `tests/simulation/judge/test_judge.py`
holds all that at half the size.

{ratios}
A map with skewed durations cannot be ideal for anyone who does not know them: the last column hands
out one task after the other in order, without any delay. `skewed durations` are lognormal with
sigma 1.5, `growing durations` grow twentyfold along the map, and of `long tasks last` the last
tenth take a hundred times longer than those before.

## What a decision costs

Processor time of the scheduler's core for one span, on one core of the machine that made this page:
its report handled, the next span chosen, its message made; the least of several rounds. Beside it
the calls of functions, which do not depend on the machine. In the second pair of columns the tasks
take results that lie all over the workers.

{costs}
{scale}
## The light worker

Workers are light models (`light.py`): slots, a queue, a store, inputs that take their latency and
bytes by the level of the topology (one host, one rack, one site, further), tails given back on
`TakeBack`, reports a piece at a time. A task begins when its own inputs are there, also if they are
still being computed on the same worker when the span arrives. What is left out: executors and what
is queued behind their pieces, values, failures, the time that scheduler and workers themselves
take. Beside real worker cores (the simulation of `tests/simulation`, without faults, {workers}
workers of {slots} slots) the makespans are:

{pairs}
"""


def write_pairs(pairs: list[Pair]) -> str:
    """Return the table of light and real workers as text."""
    return table(
        ["tasks per map", "mean (ms)", "maps", "real (s)", "light (s)", "ratio"],
        [
            [
                str(pair.tasks), f"{1e3 * pair.mean_s:g}", str(pair.maps), f"{pair.real_s:.3f}",
                f"{pair.light_s:.3f}", f"{pair.ratio:.3f}",
            ]
            for pair in pairs
        ],
    )  # fmt: skip


def make_page(ratios: str, costs: str, scale: str, pairs: str) -> str:
    """Return the page."""
    return PAGE.format(
        median=MEDIAN_RATIO, worst=WORST_RATIO, skewed=SKEWED_RATIO, ratios=ratios, costs=costs,
        scale=scale, pairs=pairs.rstrip("\n"), workers=WORKERS, slots=SLOTS,
    )  # fmt: skip
