"""Handles to results: `Future` for one task, `Futures` for all that one `map` returned.

Law: a Future is two slots and knows nothing by itself; what is known of its task is in the group's
state. A result that has come to this process is kept, unpickled, as long as a Future or Futures of
its task lives. Nobody but these classes holds and drops tasks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from ..errors import InvalidArgument, TaskCancelled
from ..ids import TaskId
from . import reprs
from .failures import RemoteTraceback, exception_of
from .progress import GroupProgress, progress_of
from .state import GONE, Block, FailedTasks, GroupState
from .waiting import Gate, check_timeout, deadline_of

if TYPE_CHECKING:
    from .iterating import IterResults

packing = threading.local()
"""`packing.is_on` while arguments of a task are pickled in this thread: a Futures then travels as a
list of futures.
"""


_RELEASED = range(0)


class Future:
    """The result of one task, now or later.

    Made by `Client.submit`, `scatter`, and by indexing a `Futures`; awaitable. It can be passed to
    tasks, nested anywhere in lists, tuples and dicts, and pickled to other clients of the same
    cluster.
    """

    __slots__ = ("__weakref__", "_group", "_index")

    def __init__(self, group: GroupState, index: int) -> None:
        # Whoever makes one has counted it in already (`hold_one`, `add_call`).
        self._group = group
        self._index = index

    def __del__(self) -> None:
        index = self._index
        if index >= 0:
            self._group.session.drop_one(self._group, index)

    # --- what it is -------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of its task, like ``square[17]``."""
        return f"{self._group.name}[{self.index}]"

    @property
    def group_name(self) -> str:
        """The name of the group that its task belongs to."""
        return self._group.name

    @property
    def index(self) -> int:
        """The place of its task in the group."""
        return self._index if self._index >= 0 else -1 - self._index

    @property
    def key(self) -> TaskId:
        """The task, as (group, index): the same for all futures of it."""
        return TaskId(self._group.id, self.index)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Future):
            return NotImplemented
        return self._group.id == other._group.id and self.index == other.index

    def __hash__(self) -> int:
        return hash((self._group.id, self.index))

    def __repr__(self) -> str:
        return reprs.future_text(self)

    def _repr_html_(self) -> str:
        return reprs.future_html(self)

    def __reduce__(self) -> tuple[Any, ...]:
        from .attaching import attach_future

        self._check_held()
        group, session = self._group, self._group.session
        facts = (session.cluster_id, session.cluster, group.id, group.name)
        return attach_future, (*facts, self._index)

    # --- what became of it ------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """'pending', 'done', 'failed', 'cancelled', 'released' or 'disconnected'."""
        if self._index < 0:
            return "released"
        group, index = self._group, self._index
        with group.session.lock:
            failed = group.failed.find(index)
            if failed is not None:
                return "cancelled" if failed.is_cancelled else "failed"
            if index in group.done:
                return "done"
            return "pending" if group.session.closed is None else "disconnected"

    def done(self) -> bool:
        """Tell whether the task has ended: with a result, failed, or cancelled."""
        return self.status not in ("pending", "released")

    def cancelled(self) -> bool:
        """Tell whether the task was cancelled."""
        return self.status == "cancelled"

    def result(self, timeout: float | None = None) -> Any:
        """Return the task's result; wait for it up to `timeout` seconds. With an asynchronous
        client: an awaitable.

        The value is kept while this future lives: the next call returns the same object. Arrays
        from a worker on this host share its memory until they are written to.

        Raises:
            Exception: what the task raised, its own type, with the remote traceback as its cause.
            TaskCancelled, ExecutorDied, DataLost, ResultNotSerializable, StoreFull: why there is no
            result. TimeoutError: it is not here in time; the text says how far the task is.
            ConnectionClosed: the cluster is out of reach.
        """
        group, index = self._group, self._index
        if group.session.is_async:
            return self._result_async(timeout)
        block = group.hot
        if block is not None and block.start <= index < block.stop:
            values = block.values
            if values is not None and (value := values[index - block.start]) is not GONE:
                return value
        return self._open(self._wait(timeout, "result"))

    def exception(self, timeout: float | None = None) -> Any:
        """Return the exception that the task raised, None if it has a result. With an asynchronous
        client: an awaitable.

        Raises:
            TaskCancelled: the task was cancelled. TimeoutError, ConnectionClosed: as for `result`.
        """
        if self._group.session.is_async:
            return self._exception_async(timeout)
        return self._exception(self._wait(timeout, "end"))

    def traceback(self, timeout: float | None = None) -> Any:
        """Return the remote traceback as text, None if the task did not raise. With an asynchronous
        client: an awaitable.

        Raises: as `exception`.
        """
        if self._group.session.is_async:
            return self._traceback_async(timeout)
        return _traceback_of(self.exception(timeout))

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result_async(None).__await__()

    def add_done_callback(self, function: Callable[[Future], object]) -> None:
        """Call `function(future)` when the task has ended; at once if it has.

        Otherwise it is called in a thread of the client's own, or by the loop of an asynchronous
        client. What it raises is logged.
        """
        self._check_held()
        group, index = self._group, self._index
        call = partial(group.session.run_callback, partial(function, self))
        with group.session.lock:
            ended = group.is_finished(index) or group.session.closed is not None
            if not ended:
                group.on_finish.setdefault(index, []).append(call)
        if ended:
            if group.session.is_async:
                call()
            else:
                _call_logged(function, self)

    # --- what one can do with it ------------------------------------------------------------------

    def cancel(self, force: bool = True) -> bool:
        """Cancel the task if it has not ended; tell whether it is cancelled now.

        If it runs already it is stopped: its executor is killed, and another takes its place.
        With `force` False it runs to its end, its slot is taken until then, and what comes of it is
        dropped.
        """
        self._check_held()
        group, session = self._group, self._group.session
        with session.lock:
            session.cancel(group, self._index, self._index + 1, session.client, force)
        session.wake()
        return self.cancelled()

    def retry(self) -> None:
        """Run the task again if it has failed."""
        self._check_held()
        group, session = self._group, self._group.session
        with session.lock:
            session.retry(group, self._index, self._index + 1)
        session.wake()

    def release(self) -> None:
        """Drop the result, as if this future were deleted. It cannot be used afterwards."""
        index = self._index
        if index >= 0:
            self._index = -1 - index
            self._group.session.drop_one(self._group, index)

    # --- inside -----------------------------------------------------------------------------------

    def _check_held(self) -> None:
        if self._index < 0:
            raise InvalidArgument(
                f"the future of {self.name} was released: it has no result any more"
            )

    def _outcome(self) -> Block | FailedTasks | None:
        """What became of the task, None if that is not here yet. Under the lock."""
        self._check_held()
        group, index = self._group, self._index
        block = group.find_block(index)
        if block is not None:
            return block
        failed = group.failed.find(index)
        if failed is None and group.session.closed is not None:
            group.session.check_open()
        return failed

    def _listen(self, gate: Gate) -> Block | FailedTasks | None:
        group, session = self._group, self._group.session
        with session.lock:
            outcome = self._outcome()
            if outcome is None:
                gate.shut()
                session.want_next(group, self._index)
                group.on_here.setdefault(self._index, []).append(gate.open)
        return outcome

    def _unlisten(self, gate: Gate) -> None:
        with self._group.session.lock:
            calls = self._group.on_here.get(self._index)
            if calls and gate.open in calls:
                calls.remove(gate.open)
                if not calls:
                    del self._group.on_here[self._index]

    def _wait(self, timeout: float | None, what: str) -> Block | FailedTasks:
        deadline = deadline_of(check_timeout(timeout))
        gate = Gate()
        try:
            while (outcome := self._listen(gate)) is None:
                if not gate.pass_blocking([self._group.session], deadline):
                    raise self._timeout(timeout, what)
        finally:
            self._unlisten(gate)
        return outcome

    async def _wait_async(self, timeout: float | None, what: str) -> Block | FailedTasks:
        deadline = deadline_of(check_timeout(timeout))
        gate = Gate()
        try:
            while (outcome := self._listen(gate)) is None:
                if not await gate.pass_async([self._group.session], deadline):
                    raise self._timeout(timeout, what)
        finally:
            self._unlisten(gate)
        return outcome

    def _timeout(self, timeout: float | None, what: str) -> TimeoutError:
        state = self.status
        detail = "its result is on its way" if state == "done" else f"it is {state}"
        return TimeoutError(f"waited {timeout:g} s for the {what} of {self.name}: {detail}")

    def _open(self, outcome: Block | FailedTasks) -> Any:
        if isinstance(outcome, Block):
            return outcome.load()[self._index - outcome.start]
        raise exception_of(outcome, self.name).with_traceback(None)

    def _exception(self, outcome: Block | FailedTasks) -> BaseException | None:
        if isinstance(outcome, Block):
            return None
        error = exception_of(outcome, self.name)
        if isinstance(error, TaskCancelled):
            raise error.with_traceback(None)
        return error

    async def _result_async(self, timeout: float | None) -> Any:
        return self._open(await self._wait_async(timeout, "result"))

    async def _exception_async(self, timeout: float | None) -> BaseException | None:
        return self._exception(await self._wait_async(timeout, "end"))

    async def _traceback_async(self, timeout: float | None) -> str | None:
        return _traceback_of(await self._exception_async(timeout))


class Futures(Sequence[Future]):
    """The futures of tasks of one group: what `map` returns. A list of `Future` that makes them
    when they are asked for.

    Slices are views. All tasks in it are held while it lives; iterate or index it for single
    futures, or hand it as it is to `gather`, `wait`, `as_completed`, or to `map` as an argument.
    """

    __slots__ = ("__weakref__", "_group", "_indices")

    def __init__(self, group: GroupState, indices: range) -> None:
        self._indices = range(0)  # should the next line raise, there is nothing to drop
        self._group = group
        if indices:
            group.session.hold_range(group, *span_of(indices))
            self._indices = indices

    def __del__(self) -> None:
        self.release()

    # --- a sequence -------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, at: SupportsIndex) -> Future: ...
    @overload
    def __getitem__(self, at: slice) -> Futures: ...
    def __getitem__(self, at: SupportsIndex | slice) -> Future | Futures:
        if isinstance(at, slice):
            return Futures(self._group, self._indices[at])
        try:
            return self._make(self._indices[at])
        except IndexError:
            raise IndexError(f"there are {len(self):,} futures, none at {at}") from None

    def __iter__(self) -> Iterator[Future]:
        return self._walk(self._indices)

    def __reversed__(self) -> Iterator[Future]:
        return self._walk(self._indices[::-1])

    def _walk(self, indices: range) -> Iterator[Future]:
        group = self._group
        lock, counts = group.session.lock, group.counts
        for index in indices:
            with lock:  # `hold_one`, without the calls: people walk over millions
                counts[index] = counts.get(index, 0) + 1
            yield Future(group, index)

    def __contains__(self, future: object) -> bool:
        return (
            isinstance(future, Future)
            and future._group is self._group
            and future.index in self._indices
        )

    def index(self, future: Future, start: int = 0, stop: int | None = None) -> int:
        """Return the place of a future in this sequence. Raises: ValueError if it is not in it."""
        if future in self:
            at = self._indices.index(future.index)
            first, last, _ = slice(start, stop).indices(len(self))
            if first <= at < last:
                return at
        raise ValueError(f"{future!r} is not in this sequence")

    def count(self, future: Future) -> int:
        """Return 1 if the future is in this sequence, otherwise 0."""
        return int(future in self)

    def _make(self, index: int) -> Future:
        self._group.session.hold_one(self._group, index)
        return Future(self._group, index)

    # --- what it is -------------------------------------------------------------------------------

    @property
    def group_name(self) -> str:
        """The name of the group."""
        return self._group.name

    @property
    def group_id(self) -> int:
        """The number of the group in its cluster."""
        return self._group.id

    def progress(self) -> GroupProgress:
        """Return how far these tasks are, counted by state."""
        return progress_of(self._group, self._indices)

    def done(self) -> bool:
        """Tell whether all tasks have ended: with a result, failed, or cancelled."""
        group = self._group
        with group.session.lock:
            if self._indices.step == 1:
                return group.count_finished(*span_of(self._indices)) == len(self)
            return all(map(group.is_finished, self._indices))

    def iter_results(
        self, ordered: bool = True, errors: str = "raise", timeout: float | None = None
    ) -> IterResults:
        """Iterate over the results, as they come in order, or with `ordered` False as they come."""
        from .iterating import IterResults

        return IterResults(self, ordered, errors, timeout)

    def cancel(self, force: bool = True) -> int:
        """Cancel all tasks that have not ended (see `Future.cancel`); return their number."""
        session = self._group.session
        with session.lock:
            count = sum(
                session.cancel(self._group, start, stop, session.client, force)
                for start, stop in self.runs()
            )
        session.wake()
        return count

    def retry(self) -> int:
        """Run all failed tasks again; return their number."""
        session = self._group.session
        with session.lock:
            count = sum(session.retry(self._group, start, stop) for start, stop in self.runs())
        session.wake()
        return count

    def release(self) -> None:
        """Drop all results, as if this object were deleted. It is empty afterwards."""
        indices, self._indices = self._indices, _RELEASED
        if indices:
            self._group.session.drop_range(self._group, *span_of(indices))

    def runs(self) -> list[tuple[int, int]]:
        """Return the tasks' indices in the group, as (start, stop) runs in the order of this
        sequence.
        """
        if abs(self._indices.step) == 1:
            return [span_of(self._indices)] if self._indices else []
        return [(index, index + 1) for index in self._indices]

    def __repr__(self) -> str:
        return reprs.futures_text(self)

    def _repr_html_(self) -> str:
        return reprs.futures_html(self)

    def __reduce__(self) -> tuple[Any, ...]:
        if getattr(packing, "is_on", False):
            return list, (list(self),)
        from .attaching import attach_futures

        group, session, indices = self._group, self._group.session, self._indices
        facts = (session.cluster_id, session.cluster, group.id, group.name)
        return attach_futures, (*facts, indices.start, indices.stop, indices.step)


def future_of(group: GroupState, index: int) -> Future:
    """Return a new Future of a task that this client holds."""
    group.session.hold_one(group, index)
    return Future(group, index)


def indices_of(futures: Futures) -> tuple[GroupState, range]:
    """Return the group of a Futures and its tasks there. Raises: InvalidArgument: released."""
    if futures._indices is _RELEASED:
        raise InvalidArgument(f"the futures of {futures._group.name} were released")
    return futures._group, futures._indices


def place_of(future: Future) -> tuple[GroupState, int]:
    """Return the group of a Future and its task's index in it. Raises: InvalidArgument if it was
    released.
    """
    future._check_held()
    return future._group, future._index


def span_of(indices: range) -> tuple[int, int]:
    return min(indices[0], indices[-1]), max(indices[0], indices[-1]) + 1


def _traceback_of(error: BaseException | None) -> str | None:
    cause = error.__cause__ if error is not None else None
    return cause.text if isinstance(cause, RemoteTraceback) else None


def _call_logged(function: Callable[[Future], object], future: Future) -> None:
    from .link import logger

    try:
        function(future)
    except Exception:
        logger.exception("a callback of %r raised an exception", future)
