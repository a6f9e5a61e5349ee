"""`client.get_executor()`: a cluster as a `concurrent.futures.Executor`.

A future of `concurrent.futures` is *pending* as long as it can be cancelled for certain, then
*running*. The cluster can take a task back at any time, but cannot promise that it has not begun;
so calls wait here, and as many are handed over as there are slots, or as the cluster has lately
done in AHEAD_S, if that is more: long tasks are handed over when they can begin, and short ones
never wait for a round trip. `map` hands over everything at once, as one group.

Law: stands on `Client` alone. No lock is held while code of users runs (callbacks of futures).
"""

from __future__ import annotations

import concurrent.futures
import inspect
import itertools
import operator
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..client.client import Client
from ..client.functions import name_of
from ..client.futures import Future, Futures, place_of
from ..client.holds import blank
from ..client.options import check_options
from ..client.waiting import check_timeout, deadline_of
from ..errors import ConnectionClosed, InvalidArgument

if TYPE_CHECKING:
    from ..diagnostics.snapshot import Snapshot

R = TypeVar("R")

AHEAD_S = 0.1
"""Work of about this length is handed over ahead of time."""
MAX_AHEAD = 65_536
MEASURE_S = 0.02
LOOK_S = 1.0
"""While calls wait here, the number of slots is looked at so often: clusters grow."""
STEP = 1024
"""Results of a map that have been read are let go of in steps of so many."""

_OPTIONS = frozenset(
    name
    for name, parameter in inspect.signature(Client.submit).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
)


class _Call(NamedTuple):
    promise: concurrent.futures.Future[Any]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class _Mapped:
    """One `map`: what of it has not been read."""

    def __init__(self, futures: Futures) -> None:
        self.rest = futures


def slots_of(client: Client) -> int:
    """Return the number of tasks that a client's cluster runs at a time, at least 1."""
    slots: int = client.snapshot().workers.slots
    return max(1, slots)


class ClientExecutor(concurrent.futures.Executor):
    """Runs calls on a cluster; made by `Client.get_executor`.

    What cannot be pickled or is too large becomes the exception of its future, as with
    `ProcessPoolExecutor`; arguments are pickled when a call is handed over. Callbacks run in a
    thread of the client's, or in that which cancels.
    """

    def __init__(
        self,
        client: Client,
        *,
        name: str | None = None,
        priority: int = 0,
        retries: int = 0,
        allowed_failures: int = 2,
    ) -> None:
        if client.asynchronous:
            raise InvalidArgument(
                "an executor needs a client that is not asynchronous: in a coroutine, await the "
                "asynchronous client's own futures"
            )
        self._client = client
        self._name = name
        self._options = check_options(name, priority, retries, allowed_failures)
        self._slots = self._limit = slots_of(client)
        self._queue: deque[_Call] = deque()
        self._flying = 0
        self._landed = 0
        self._measured = time.monotonic()
        self._maps: set[_Mapped] = set()
        self._is_shut = False
        self._changed = threading.Condition()
        self._stop_watch: Callable[[], None] | None = None

    @property
    def _max_workers(self) -> int:
        """What libraries ask an executor for when they cut work into parts."""
        return self._slots

    # --- submit -----------------------------------------------------------------------------------

    def submit(
        self, fn: Callable[..., R], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[R]:
        """Run ``fn(*args, **kwargs)`` on the cluster; return a future of `concurrent.futures`.

        Raises: RuntimeError after `shutdown`.
        """
        promise: concurrent.futures.Future[R] = concurrent.futures.Future()
        with self._changed:
            self._check_open()
            self._queue.append(_Call(promise, fn, args, kwargs))
            may_feed = self._flying < self._limit
            must_watch = not may_feed and self._stop_watch is None
        if may_feed:
            self._feed()
        elif must_watch:
            self._watch()
        return promise

    def _check_open(self) -> None:
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _feed(self) -> None:
        """Hand over calls as long as there is room for them."""
        while True:
            with self._changed:
                if not self._queue or self._flying >= self._limit:
                    return
                call = self._queue.popleft()
                self._flying += 1
                is_free = self._flying <= self._slots
            if not call.promise.set_running_or_notify_cancel():
                self._land(0)
                continue
            try:
                future = self._hand_over(call)
            except BaseException as error:
                call.promise.set_exception(error)
                self._land(0)
                if not isinstance(error, Exception):
                    raise
            else:
                future.add_done_callback(partial(self._on_done, call.promise))
                if is_free:  # there is a slot for it: do not wait for more to be sent along
                    self._client.session.urge()

    def _hand_over(self, call: _Call) -> Future:
        function, args, kwargs = call.function, call.args, call.kwargs
        name = self._name
        if not _OPTIONS.isdisjoint(kwargs):  # they are the function's, not ours
            name = name or name_of(function)
            function, args, kwargs = operator.call, (partial(function, *args, **kwargs),), {}
        return self._client.submit(function, *args, name=name, **self._options, **kwargs)

    def _on_done(self, promise: concurrent.futures.Future[Any], future: Future) -> None:
        try:
            result = future.result()
        except BaseException as error:
            future.release()
            promise.set_exception(error)
        else:
            future.release()
            promise.set_result(result)
            del result  # the promise alone keeps it, or whoever has read it
        self._land(1)
        self._feed()

    def _land(self, count: int) -> None:
        """A call that was handed over is over."""
        now = time.monotonic()
        with self._changed:
            self._flying -= 1
            self._landed += count
            elapsed = now - self._measured
            if elapsed > MEASURE_S:
                ahead = int(self._landed / elapsed * AHEAD_S)
                self._limit = max(self._slots, min(ahead, MAX_AHEAD))
                self._landed, self._measured = 0, now
            if not self._flying and not self._queue:
                self._limit = self._slots  # what comes next may take longer
                self._changed.notify_all()

    # --- the number of slots ----------------------------------------------------------------------

    def _watch(self) -> None:
        """Look at the cluster's size for as long as calls wait here."""
        try:
            stop = self._client.watch(self._on_snapshot, LOOK_S)
        except ConnectionClosed:
            return  # what is under way fails with that, and then the rest
        with self._changed:
            if self._queue and self._stop_watch is None:
                self._stop_watch = stop
                return
        stop()

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        with self._changed:
            self._slots = max(1, snapshot.workers.slots)
            self._limit = max(self._slots, self._limit)
        self._feed()
        self._end_watch()

    def _end_watch(self) -> None:
        """Look no more if nothing waits."""
        with self._changed:
            stop = None if self._queue else self._stop_watch
            if stop is not None:
                self._stop_watch = None
        if stop is not None:
            stop()

    # --- map --------------------------------------------------------------------------------------

    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[R]:
        """Return an iterator over the results of ``fn(*items)``, in order.

        All calls are submitted at once; when the iterator is closed or fails, the rest is
        cancelled. `chunksize` is accepted and not needed: the engine cuts the work by its length.
        `buffersize`: only so many calls beyond the one that is read are submitted, and the
        iterables are read as far as that (as from Python 3.14 on).

        Raises:
            RuntimeError: after `shutdown`. ValueError: chunksize or buffersize is less than 1.
            TypeError: buffersize is no integer.
            TimeoutError: while iterating: a result is not here `timeout` seconds after this call.
        """
        deadline = deadline_of(check_timeout(timeout))
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        with self._changed:
            self._check_open()
        if buffersize is not None:
            if not isinstance(buffersize, int):
                raise TypeError("buffersize must be an integer or None")
            if buffersize < 1:
                raise ValueError("buffersize must be None or > 0")
            return self._map_buffered(fn, zip(*iterables, strict=False), buffersize, deadline)
        if not iterables:
            return iter(())
        columns = _cut(iterables)
        futures = self._client.map(fn, *columns, name=self._name, **self._options)
        mapped = _Mapped(futures)
        del futures
        with self._changed:
            self._maps = {other for other in self._maps if not other.rest.done()}
            self._maps.add(mapped)
        return self._read(mapped, deadline)

    def _read(self, mapped: _Mapped, deadline: float | None) -> Iterator[Any]:
        try:
            while mapped.rest:
                for future in mapped.rest[:STEP]:
                    yield _take(future, _left(deadline))
                mapped.rest = mapped.rest[STEP:]
        finally:
            mapped.rest.cancel(force=False)  # as in the standard library: what runs runs on
            with self._changed:
                self._maps.discard(mapped)

    def _map_buffered(
        self,
        fn: Callable[..., R],
        rows: Iterator[tuple[Any, ...]],
        size: int,
        deadline: float | None,
    ) -> Iterator[R]:
        promises = deque(self.submit(fn, *row) for row in itertools.islice(rows, size))

        def read() -> Iterator[R]:
            try:
                while promises:
                    for row in itertools.islice(rows, 1):
                        promises.append(self.submit(fn, *row))
                    yield promises.popleft().result(_left(deadline))
            finally:
                for promise in promises:
                    promise.cancel()

        return read()

    # --- the end ----------------------------------------------------------------------------------

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; with `wait` return when all that there are have ended.

        `cancel_futures`: cancel those that have not begun. The client stays open.
        """
        calls: list[_Call] = []
        with self._changed:
            self._is_shut = True
            maps = list(self._maps)
            if cancel_futures:
                calls = list(self._queue)
                self._queue.clear()
        for call in calls:
            call.promise.cancel()
            call.promise.set_running_or_notify_cancel()
        if cancel_futures:
            for mapped in maps:
                mapped.rest.cancel(force=False)  # as in the standard library: what runs runs on
        if wait:
            with self._changed:
                self._changed.wait_for(lambda: not self._flying and not self._queue)
            for mapped in maps:
                self._client.wait(mapped.rest)
        self._end_watch()


def _cut(iterables: Sequence[Any]) -> Sequence[Any]:
    """Return iterables cut to the shortest, as the built-in `map` reads them; the client's own
    `map` refuses lengths that differ. Raises: TypeError: one is not iterable.
    """
    for items in iterables:
        iter(items)
    lengths = [len(items) for items in iterables if hasattr(items, "__len__")]
    if not lengths or (len(lengths) == len(iterables) and len(set(lengths)) == 1):
        return iterables
    columns = [_first(items, min(lengths)) for items in iterables]
    n = min(len(column) for column in columns if hasattr(column, "__len__"))
    return [column[:n] if hasattr(column, "__len__") else column for column in columns]


def _first(items: Any, n: int) -> Any:
    if isinstance(items, itertools.repeat) and operator.length_hint(items, -1) < 0:
        return items  # endless, and sent once
    if isinstance(items, list | tuple | range | str | bytes | Futures):
        return items[:n]
    return list(itertools.islice(items, n))


def _take(future: Future, timeout: float | None) -> Any:
    """Return a result of a map, and keep no reference to it: nobody else can ask for it."""
    result = future.result(timeout)
    group, index = place_of(future)
    with group.session.lock:
        block = group.find_block(index)
        if block is not None:
            blank(block, index, index + 1)
    return result


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
