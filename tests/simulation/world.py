"""Time, chance and the trace: a heap of (time, number, call), one `random.Random`.

Law: the only source of order. Calls at equal times run in the order in which they were made. Every
call has a label; the trace is a hash over time and label of all calls that were run.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Any

START_S = 1_000_000.0
"""Where simulated time begins: not zero, so that a forgotten `now` shows."""
TAIL = 400


class SimulationFailed(AssertionError):
    """The cluster did what it must not; the text says what, and how the trace ended."""


class World:
    """One run. `now` is in seconds."""

    def __init__(self, seed: int | str, trace: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.random = random.Random(f"cellspan {seed}")
        self.now = START_S
        self.calls = 0
        self.tail: deque[str] = deque(maxlen=TAIL)
        self._trace = trace
        self._hash = blake2b(digest_size=16)
        self._heap: list[tuple[float, int, str, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def after(self, delay_s: float, label: str, call: Callable[..., None], *args: Any) -> None:
        """Run a call when so much time has gone by."""
        self._number += 1
        heappush(self._heap, (self.now + delay_s, self._number, label, call, args))

    def at(self, time: float, label: str, call: Callable[..., None], *args: Any) -> None:
        """Run a call at a time; one that has passed means now."""
        self._number += 1
        heappush(self._heap, (max(time, self.now), self._number, label, call, args))

    def note(self, text: str) -> None:
        """Add a line to the trace that is no call."""
        line = f"{self.now - START_S:.6f} {text}"
        self._hash.update(line.encode())
        self.tail.append(line)
        if self._trace is not None:
            self._trace(line)

    def step(self) -> bool:
        """Run the next call; False if there is none."""
        if not self._heap:
            return False
        self.now, _, label, call, args = heappop(self._heap)
        self.calls += 1
        self.note(label)
        try:
            call(*args)
        except SimulationFailed:
            raise
        except Exception as error:
            raise self.fail(f"{label}: {error!r}") from error
        return True

    def run(self, until: float, is_over: Callable[[], bool] | None = None) -> bool:
        """Run calls until a time (s of simulated time), or until a condition holds.

        The condition is looked at every 64 calls. Returns whether it holds at the end.
        """
        while self._heap and self._heap[0][0] <= until:
            self.step()
            if is_over is not None and not self.calls & 63 and is_over():
                return True
        if is_over is not None and is_over():
            return True
        self.now = max(self.now, until)
        return False

    def digest(self) -> str:
        """Return the hash of the trace so far."""
        return self._hash.hexdigest()

    def fail(self, text: str) -> SimulationFailed:
        """Return the error to raise: what is wrong, and the end of the trace."""
        tail = "\n".join(list(self.tail)[-40:])
        return SimulationFailed(f"seed {self.seed}, at {self.now - START_S:.6f}: {text}\n{tail}")

    def fork(self, name: str) -> random.Random:
        """Return a random source of its own for one part, decided by the seed and the name."""
        return random.Random(f"cellspan {self.seed} {name}")
