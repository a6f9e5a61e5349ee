"""The report: tables of ratios, of costs, and of one large map, as a page of docs/.

Law: all but the tables of processor time follows from the seed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from statistics import median

from cellspan.engine.scheduler.placement_random import RandomPlacement

from .families import FAMILIES
from .oracle import Bound, find_bound
from .problem import Problem
from .run import Outcome, run

GRAINS_S = (0.1, 0.02, 0.005)
MAIN = 1
"""Which of the grains the main table is of."""
SEED = 1

MEDIAN_RATIO = 1.15
WORST_RATIO = 1.3
SKEWED_RATIO = 1.2
SKEWED = ("skewed durations", "growing durations", "long tasks last")


@dataclass(frozen=True)
class Verdict:
    """One problem: the oracle, the policy, and random placement."""

    problem: Problem
    bound: Bound
    outcome: Outcome
    random: Outcome | None

    @property
    def ratio(self) -> float:
        """Return the makespan as a multiple of the oracle's."""
        return self.outcome.seconds / self.bound.seconds

    @property
    def random_ratio(self) -> float:
        """Return that of random placement."""
        assert self.random is not None
        return self.random.seconds / self.bound.seconds


def judge(scale: float, grain_s: float, seed: int, *, with_random: bool = True) -> list[Verdict]:
    """Return the verdicts over all families."""
    return [_judge(make(scale, grain_s, seed), seed, with_random) for make in FAMILIES]


def _judge(problem: Problem, seed: int, with_random: bool) -> Verdict:
    random = None
    if with_random:
        random = run(problem, RandomPlacement(Random(seed).randrange))
    return Verdict(problem, find_bound(problem), run(problem), random)


def run_greedy(problem: Problem) -> float:
    """Return the makespan of handing out a map task by task, in order, without any delay: what can
    be had without knowing durations in advance.
    """
    ends = [0.0] * problem.slots
    for took in problem.works[0].durations:
        heapq.heapreplace(ends, ends[0] + float(took))
    return max(ends)


def write_ratios(scale: float) -> str:
    """Return the tables of ratios as text."""
    by_grain = [
        judge(scale, grain_s, SEED, with_random=at == MAIN) for at, grain_s in enumerate(GRAINS_S)
    ]
    main = by_grain[MAIN]
    rows = []
    for at, verdict in enumerate(main):
        problem, outcome, random = verdict.problem, verdict.outcome, verdict.random
        assert random is not None
        ratios = [f"{verdicts[at].ratio:.3f}" for verdicts in by_grain]
        rows.append([
            problem.name, str(problem.tasks), str(problem.slots),
            f"{verdict.bound.seconds:.2f} ({verdict.bound.by})", *ratios,
            f"{verdict.random_ratio:.2f}", _mb(outcome.bytes_moved), _mb(verdict.bound.bytes_moved),
            _mb(random.bytes_moved), f"{outcome.tasks / outcome.spans:.1f}",
            str(outcome.taken_back),
        ])  # fmt: skip
    head = [
        "family", "tasks", "slots", "oracle (s)", *(f"{1e3 * s:g} ms" for s in GRAINS_S),
        "random", "MB moved", "by the oracle", "by random", "tasks/span", "taken back",
    ]  # fmt: skip
    text = table(head, rows)
    for name, pick in (("median", median), ("worst", max)):
        found: list[str] = []
        for grain_s, verdicts in zip(GRAINS_S, by_grain, strict=True):
            values = [verdict.ratio for verdict in verdicts]
            found.append(f"{pick(values):.3f} at {1e3 * grain_s:g} ms")
        text += f"\nThe {name} ratio: {', '.join(found)}.\n"
    text += "\n" + table(
        ["skewed map", "ideal (s)", "policy", "one by one, no delay"],
        [
            [
                v.problem.name, f"{v.bound.seconds:.2f}", f"{v.ratio:.3f}",
                f"{run_greedy(v.problem) / v.bound.seconds:.3f}",
            ]
            for v in main if v.problem.name in SKEWED
        ],
    )  # fmt: skip
    return text


def _mb(nbytes: int) -> str:
    return f"{nbytes / 1e6:.0f}"


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table."""
    rows = list(rows)
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]

    def line(row: list[str], pad: Callable[[str, int], str] = str.ljust) -> str:
        return "| " + " | ".join(pad(cell, w) for cell, w in zip(row, widths, strict=True)) + " |\n"

    return line(head) + line(["-" * width for width in widths]) + "".join(map(line, rows))
