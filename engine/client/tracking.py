"""Iterating over futures as they complete, with a bar that shows how far they are: `Client.track`.

Law: stands on `as_completed`; drawing never waits and never fails the iteration, and what is drawn
ends with the iteration, however that ends. Nothing is drawn where nobody looks: standard error that
is neither a terminal nor a notebook's. Stopping (Ctrl-C, `break`) cancels nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from ..diagnostics.bars import make_bar
from .collecting import as_completed, check_futures
from .futures import Future, Futures

INTERVAL_S = 0.1
"""Time between two drawings."""


class Track(Iterator[Future], AsyncIterator[Future]):
    """Yields the futures in the order in which their tasks end; with `async for`, too. `len()` is
    their number.
    """

    def __init__(
        self, futures: Iterable[Future], label: str | None, timeout: float | None, stream: Any
    ) -> None:
        checked = check_futures(futures, "track")
        self._total = len(checked)
        self._bar = make_bar(label or _label_of(checked), stream)
        self._completed = as_completed(checked, timeout)
        self._began = time.monotonic()
        self._drawn = -INTERVAL_S
        self._done = self._failed = 0
        self._is_over = False

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Track:
        return self

    def __aiter__(self) -> Track:
        return self

    def __next__(self) -> Future:
        self._draw()
        try:
            future = next(self._completed)
        except BaseException:  # the end, a time-out, Ctrl-C: the line is finished first
            self.close()
            raise
        return self._count(future)

    async def __anext__(self) -> Future:
        self._draw()
        try:
            future = await anext(self._completed)
        except BaseException:
            self.close()
            raise
        return self._count(future)

    def close(self) -> None:
        """Draw for the last time. The tasks go on."""
        if not self._is_over:
            self._is_over = True
            self._draw(is_over=True)

    def __del__(self) -> None:
        if hasattr(self, "_is_over"):
            self.close()

    def _count(self, future: Future) -> Future:
        if future.status == "done":
            self._done += 1
        else:
            self._failed += 1
        return future

    def _draw(self, is_over: bool = False) -> None:
        now = time.monotonic()
        if self._bar is None or not (is_over or now - self._drawn >= INTERVAL_S):
            return
        self._drawn = now
        with contextlib.suppress(Exception):  # a closed stream must not end the work
            self._bar.draw(self._done, self._failed, self._total, now - self._began, is_over)


def _label_of(futures: Futures | list[Future]) -> str:
    if isinstance(futures, Futures):
        return futures.group_name
    names = dict.fromkeys(future.group_name for future in futures)
    return next(iter(names)) if len(names) == 1 else "tasks"
