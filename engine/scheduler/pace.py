"""How fast workers are beside each other, as far as it shows in what they report.

A worker's speed is what its tasks were expected to take, by the means of their groups, divided by
what they took; means of groups are kept at speed 1, so both are learned at once. Only the larger
differences count: a speed is rounded to steps, and 1 stands for all that is near it, so that chance
among the durations of tasks does not make like workers unlike.

Law: numbers only. Forgets slowly, so a worker that has become slow shows after some seconds.
"""

from __future__ import annotations

from math import log2

STEPS = 2
"""Steps per factor of two."""
MOST = 3 * STEPS
"""Speeds are taken to lie within eight times slower or faster."""
DOUBT_TASKS = 6.0
"""Tasks of expected length that speak for speed 1, whatever is reported."""
KNOWN_TASKS = 200.0
"""Reports count over about so many of a worker's latest tasks."""
KEEP = 0.7
"""A step is left when the estimate is this part of a step away from it."""


class Pace:
    """One worker's speed: `step`, and `speed`, which is ``2 ** (step / STEPS)``."""

    __slots__ = ("_expected", "_taken", "speed", "step")

    def __init__(self) -> None:
        self.step = 0
        self.speed = 1.0
        # In units of an expected task.
        self._expected = DOUBT_TASKS
        self._taken = DOUBT_TASKS

    def learn(self, count: int, expected_s: float, taken_s: float) -> bool:
        """Take in that `count` tasks took so long at this worker. Return whether its step changed.

        `expected_s` is what they would have taken at speed 1, altogether.
        """
        if expected_s <= 0 or taken_s <= 0:
            return False
        count = min(count, int(KNOWN_TASKS) // 4)
        if self._expected > KNOWN_TASKS:
            self._expected /= 2
            self._taken /= 2
        self._expected += count
        self._taken += count * min(max(taken_s / expected_s, 1 / 16), 16.0)
        exact = STEPS * log2(self._expected / self._taken)
        if abs(exact - self.step) < KEEP:
            return False
        step = min(max(round(exact), -MOST), MOST)
        if step == self.step:
            return False
        self.step = step
        self.speed = 2.0 ** (step / STEPS)
        return True
