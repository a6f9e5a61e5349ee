"""Results of many tasks one by one: `Futures.iter_results`.

Law: stands on futures and `as_completed`; one body for both faces.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from ..errors import InvalidArgument
from .collecting import as_completed
from .futures import Future, Futures
from .waiting import check_timeout, deadline_of


class IterResults(Iterator[Any], AsyncIterator[Any]):
    """Iterate over the results of futures, in order or as their tasks end; with `async for`, too.

    The next results are asked for ahead. With ``errors="skip"`` tasks that failed are left out.
    `len()` is the number of tasks, so that a progress bar around it knows the end.

    Raises:
        Exception: while iterating, what a task raised; the iteration ends with that. TimeoutError:
        not all results came in `timeout` seconds after the first step. InvalidArgument: no such
        `errors` or `timeout`.
    """

    def __init__(self, futures: Futures, ordered: bool, errors: str, timeout: float | None) -> None:
        if errors not in ("raise", "skip"):
            raise InvalidArgument(f"errors is 'raise' or 'skip', not {errors!r}")
        self._timeout = check_timeout(timeout)
        self._deadline: float | None = None
        self._begun = False
        self._raises = errors == "raise"
        self._count = len(futures)
        self._taken = 0
        self._held = futures[:]  # for itself: the caller may drop its own
        self._in_order = iter(self._held) if ordered else None
        self._as_completed = None if ordered else as_completed(self._held, timeout)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> IterResults:
        return self

    def __next__(self) -> Any:
        self._begin()
        while True:
            source = self._in_order or self._as_completed
            assert source is not None
            future = next(source)
            self._taken += 1
            try:
                return future.result(self._left())
            except Exception as error:
                self._judge(future, error)

    def __aiter__(self) -> IterResults:
        return self

    async def __anext__(self) -> Any:
        self._begin()
        while True:
            future = await self._next_async()
            self._taken += 1
            try:
                return await future._result_async(self._left())
            except Exception as error:
                self._judge(future, error)

    async def _next_async(self) -> Future:
        if self._as_completed is not None:
            return await anext(self._as_completed)
        assert self._in_order is not None
        future = next(self._in_order, None)
        if future is None:
            raise StopAsyncIteration
        return future

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._deadline = deadline_of(self._timeout)

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _judge(self, future: Future, error: Exception) -> None:
        """Raise what cannot be skipped."""
        if future.status in ("failed", "cancelled"):
            if self._raises:
                raise error
        elif isinstance(error, TimeoutError):
            raise TimeoutError(
                f"iter_results: {self._timeout:g} s have passed; result {self._taken:,} of "
                f"{self._count:,} is not here: {future.name} is {future.status}"
            ) from None
        else:
            raise error
