"""Results of many tasks: `gather`, `wait`, `as_completed`.

Law: work goes by blocks and runs; a Future is only made where the user gets one. Each of these has
one body for both faces: a plan made at once, a wait that blocks or is awaited, and an end that
looks at what there is.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ..errors import CellspanError, InvalidArgument
from .failures import exception_of
from .futures import Future, Futures, indices_of, place_of, span_of
from .state import GroupState
from .waiting import AllOf, Finishing, Selection, check_timeout, deadline_of

ALL_COMPLETED = concurrent.futures.ALL_COMPLETED
FIRST_COMPLETED = concurrent.futures.FIRST_COMPLETED
FIRST_EXCEPTION = concurrent.futures.FIRST_EXCEPTION

_SKIPPED = object()


def select(what: Any) -> Selection:
    """Return the tasks of all futures in nested lists, tuples, sets and dicts (values)."""
    selection = Selection()
    _select(what, selection)
    return selection


def _select(what: Any, selection: Selection) -> None:
    if isinstance(what, Future):
        group, index = place_of(what)
        selection.add(group, index, index + 1)
    elif isinstance(what, Futures):
        group, indices = indices_of(what)
        if indices and abs(indices.step) == 1:
            selection.add(group, *span_of(indices))
        else:
            for index in indices:
                selection.add(group, index, index + 1)
    elif isinstance(what, dict):
        for item in what.values():
            _select(item, selection)
    elif isinstance(what, list | tuple | set | frozenset):
        for item in what:
            _select(item, selection)


# --- gather ---------------------------------------------------------------------------------------


class Gathering:
    """One `gather`: waits until all results are here, then puts them where the futures were."""

    def __init__(self, what: Any, errors: str, timeout: float | None) -> None:
        if errors not in ("raise", "skip"):
            raise InvalidArgument(f"errors is 'raise' or 'skip', not {errors!r}")
        if isinstance(what, Iterator):
            what = list(what)
        self._what = what
        self._raises = errors == "raise"
        self._timeout = check_timeout(timeout)
        self._deadline = deadline_of(self._timeout)
        self._selection = select(what)
        self._waiter = AllOf(self._selection, here=True, first_failure=self._raises)

    def run_blocking(self) -> Any:
        """Return the results. Raises: what a task raised, or TimeoutError."""
        try:
            while self._begin():
                sessions = self._selection.sessions
                self._check(self._waiter.gate.pass_blocking(sessions, self._deadline))
        finally:
            self._waiter.stop()
        return self._finish()

    async def run_async(self) -> Any:
        """`run_blocking`, in a coroutine."""
        try:
            while self._begin():
                sessions = self._selection.sessions
                self._check(await self._waiter.gate.pass_async(sessions, self._deadline))
        finally:
            self._waiter.stop()
        return self._finish()

    def _begin(self) -> bool:
        """Ask for what is not here and listen; False when there is nothing to wait for."""
        awaited = False
        for group, start, stop in self._selection.runs():
            session = group.session
            with session.lock:
                if self._raises:
                    self._raise_first(group, start, stop)
                if group.awaited_in(start, stop):
                    session.check_open()
                    session.want(group, start, stop)
                    awaited = True
        if awaited:
            self._waiter.stop()
            self._waiter = AllOf(self._selection, here=True, first_failure=self._raises)
            self._waiter.start()
        return awaited

    def _check(self, passed: bool) -> None:
        if not passed:
            raise TimeoutError(
                f"gather: waited {self._timeout:g} s for {self._selection.describe()}"
            )

    def _finish(self) -> Any:
        result = self._build(self._what)
        return None if result is _SKIPPED else result

    def _raise_first(self, group: GroupState, start: int, stop: int) -> None:
        for first, last, record in group.failed.items_in(start, stop):
            for index, _ in group.blocks.gaps_in(first, last)[:1]:
                raise exception_of(record, f"{group.name}[{index}]").with_traceback(None)

    def _build(self, what: Any) -> Any:
        if isinstance(what, Future):
            group, index = place_of(what)
            found = results_of(group, range(index, index + 1))
            return found[0] if found else _SKIPPED
        if isinstance(what, Futures):
            return results_of(*indices_of(what))
        if isinstance(what, dict):
            pairs = ((key, self._build(item)) for key, item in what.items())
            return {key: item for key, item in pairs if item is not _SKIPPED}
        if isinstance(what, list | tuple | set | frozenset):
            items = [item for item in map(self._build, what) if item is not _SKIPPED]
            if isinstance(what, tuple) and hasattr(what, "_fields") and len(items) == len(what):
                return type(what)(*items)
            kinds: tuple[Callable[[list[Any]], Any], ...] = (list, tuple, set, frozenset)
            return next(kind for kind in kinds if isinstance(what, kind))(items)  # type: ignore[arg-type]
        return what


def results_of(group: GroupState, indices: range) -> list[Any]:
    """Return the results of tasks as far as they are here, in order."""
    if not indices:
        return []
    if abs(indices.step) != 1:
        return [value for index in indices for value in results_of(group, range(index, index + 1))]
    with group.session.lock:
        runs = group.blocks.items_in(min(indices[0], indices[-1]), max(indices[0], indices[-1]) + 1)
    values: list[Any] = []
    for start, stop, block in runs:
        loaded = block.load()
        values += loaded[start - block.start : stop - block.start]
    return values if indices.step > 0 else values[::-1]


# --- wait -----------------------------------------------------------------------------------------


class DoneAndNotDone(NamedTuple):
    """What `wait` returns."""

    done: set[Future]
    not_done: set[Future]


class Waiting:
    """One `wait`."""

    def __init__(self, futures: Iterable[Future], timeout: float | None, return_when: str) -> None:
        if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
            raise InvalidArgument(
                "return_when is ALL_COMPLETED, FIRST_COMPLETED or FIRST_EXCEPTION, not "
                f"{return_when!r}"
            )
        self._futures = check_futures(futures, "wait")
        self._deadline = deadline_of(check_timeout(timeout))
        self.selection = select(self._futures)
        self._waiter = AllOf(
            self.selection,
            first=return_when == FIRST_COMPLETED,
            first_failure=return_when == FIRST_EXCEPTION,
        )

    @property
    def is_async(self) -> bool:
        return any(session.is_async for session in self.selection.sessions)

    def run_blocking(self) -> DoneAndNotDone:
        """Return the two sets, at the latest when the time is over."""
        try:
            self._waiter.start()
            self._waiter.gate.pass_blocking(self.selection.sessions, self._deadline)
        finally:
            self._waiter.stop()
        return self._finish()

    async def run_async(self) -> DoneAndNotDone:
        """`run_blocking`, in a coroutine."""
        try:
            self._waiter.start()
            await self._waiter.gate.pass_async(self.selection.sessions, self._deadline)
        finally:
            self._waiter.stop()
        return self._finish()

    def _finish(self) -> DoneAndNotDone:
        found = DoneAndNotDone(set(), set())
        for future in self._futures:
            found[0 if future.done() else 1].add(future)
        return found


def check_futures(futures: Any, what: str) -> Futures | list[Future]:
    """Return futures as a sequence.

    Raises:
        InvalidArgument: there is something else among them.
    """
    if isinstance(futures, Futures):
        return futures
    if isinstance(futures, Future):
        return [futures]
    try:
        found = list(futures)
    except TypeError:
        found = [futures]
    flat: list[Future] = []
    for item in found:
        if isinstance(item, Futures):
            flat += item
        elif isinstance(item, Future):
            flat.append(item)
        else:
            raise InvalidArgument(
                f"{what} takes futures (what map returns, or an iterable of Future), but there "
                "is a "
                f"{type(item).__name__} among them"
            )
    return flat


def wait(
    futures: Iterable[Future], timeout: float | None = None, return_when: str = ALL_COMPLETED
) -> Any:
    """Wait until tasks have ended, and return ``(done, not_done)``: two sets of futures.

    As with `concurrent.futures.wait`, a time-out (in seconds) raises nothing: what is not done by
    then is in `not_done`. Futures of an asynchronous client: returns an awaitable.

    Raises:
        InvalidArgument: not futures, or no such `return_when`.
    """
    waiting = Waiting(futures, timeout, return_when)
    return waiting.run_async() if waiting.is_async else waiting.run_blocking()


# --- as_completed ---------------------------------------------------------------------------------


class as_completed(Iterator[Future], AsyncIterator[Future]):
    """Iterate over futures in the order in which their tasks end; with `async for`, too.

    Small results are pushed here meanwhile. More futures can be added by `add` while it runs.

    Raises:
        TimeoutError: while iterating: `timeout` seconds after the first step not all had ended.
        ConnectionClosed: the cluster went out of reach, and some can never end.
    """

    def __init__(self, futures: Iterable[Future], timeout: float | None = None) -> None:
        self._timeout = check_timeout(timeout)
        self._deadline: float | None = None
        self._begun = False
        self._current: Iterator[Future] | None = None
        self._held: list[Futures | list[Future]] = []
        self._finishing = Finishing(Selection())
        self.add(futures)

    def add(self, futures: Iterable[Future] | Future) -> None:
        """Wait for these, too."""
        checked = check_futures(futures, "as_completed")
        self._held.append(checked)
        selection = select(checked)
        self._finishing.add(selection)
        for group, start, stop in selection.runs():
            with group.session.lock:
                group.session.push(group, start, stop)

    def __iter__(self) -> as_completed:
        return self

    def __next__(self) -> Future:
        while (future := self._take()) is None:
            gate = self._finishing.gate
            self._check(gate.pass_blocking(self._finishing.left.sessions, self._deadline))
        return future

    def __aiter__(self) -> as_completed:
        return self

    async def __anext__(self) -> Future:
        try:
            while (future := self._take()) is None:
                gate = self._finishing.gate
                self._check(await gate.pass_async(self._finishing.left.sessions, self._deadline))
        except StopIteration:
            raise StopAsyncIteration from None
        return future

    def _take(self) -> Future | None:
        """Return the next that has ended, None if it is to be waited for."""
        if not self._begun:
            self._begun = True
            self._deadline = deadline_of(self._timeout)
        if self._current is not None:
            future = next(self._current, None)
            if future is not None:
                return future
            self._current = None
        finishing = self._finishing
        finishing.gate.shut()  # before looking: what ends from here on opens it again
        is_over = not finishing.left.count
        if finishing.ready:
            group, start, stop = finishing.ready.popleft()
            self._current = iter(Futures(group, range(start, stop)))
            return next(self._current)
        if is_over:
            finishing.stop()
            self._held.clear()
            raise StopIteration
        if finishing.is_closed:
            self._raise_closed()
        return None

    def _check(self, passed: bool) -> None:
        if not passed:
            left = self._finishing.left
            raise TimeoutError(
                f"as_completed: {self._timeout:g} s have passed; left are {left.describe()}"
            )

    def _raise_closed(self) -> None:
        for session in self._finishing.left.sessions:
            with session.lock:
                session.check_open()
        raise CellspanError("the cluster is out of reach")

    def __del__(self) -> None:
        finishing = getattr(self, "_finishing", None)
        if finishing is not None:
            finishing.abandon()
