"""The client's methods about tasks that were submitted: their results, and changing one's mind.

Law: a thin face over collecting.py, scattering.py and the session. What waits comes in two faces;
what only sends something is done at once in both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable
from typing import Any

from .cluster import in_time
from .collecting import ALL_COMPLETED, Gathering, Waiting, as_completed, check_futures, select
from .futures import Future, Futures
from .link import Link
from .scattering import pickle_items, scatter_items
from .session import Session
from .state import GroupState
from .tracking import Track
from .waiting import check_timeout


class TaskMethods:
    """The part of Client that speaks of tasks by their futures."""

    asynchronous: bool
    name: str
    _link: Link

    @property
    def session(self) -> Session:
        """The state of the client's protocol."""
        raise NotImplementedError

    def gather(self, futures: Any, errors: str = "raise", timeout: float | None = None) -> Any:
        """Return the results of futures in the same structure: a Futures becomes a list; lists,
        tuples, sets and dicts may be nested; what is no future stays as it is. Order is kept.

        Results are fetched from the workers directly. `errors`: 'raise' raises the first failure
        that is known, at once; 'skip' leaves out what failed.

        Raises:
            Exception: what a task raised, with its remote traceback as the cause; or why there is
            no result. TimeoutError: not all are here in `timeout` seconds; the text says how far
            they are.
        """
        gathering = Gathering(futures, errors, timeout)
        return gathering.run_async() if self.asynchronous else gathering.run_blocking()

    def scatter(
        self,
        data: Any,
        *,
        broadcast: bool = False,
        name: str = "scatter",
        timeout: float | None = None,
    ) -> Any:
        """Put data on workers and return its futures: of a list, tuple or other iterable of items a
        Futures with one for each item, of a dict a dict of futures, of anything else one Future.

        Each item goes to one worker, or with `broadcast` to all that there are. Pass the future to
        tasks as often as needed: the data travels once. Returns when the data is kept.

        Raises:
            ArgumentNotSerializable: it cannot be pickled. StoreFull: a worker has no room for it.
            TimeoutError: it is not kept in `timeout` seconds, or there is no worker.
        """
        timeout = check_timeout(timeout)
        self.session.check_open()
        shape: Any
        if isinstance(data, dict):
            items, shape = list(data.values()), list(data)
        elif isinstance(data, list | tuple | set | frozenset | range):
            items, shape = list(data), None
        else:
            items, shape = [data], ...
        work = self._scatter(items, shape, name, broadcast)
        if self.asynchronous:
            return in_time(work, timeout, f"scatter of {len(items)} items")
        return self._link.run(work, timeout, f"scatter of {len(items)} items")

    async def _scatter(self, items: list[Any], shape: Any, name: str, broadcast: bool) -> Any:
        parts = await asyncio.to_thread(pickle_items, items)
        if not items:
            empty = Futures(GroupState(self.session, 0, name, 0), range(0))
            return empty if shape is None else {}
        futures = await scatter_items(self._link, name, parts, broadcast)
        if shape is None:
            return futures
        return futures[0] if shape is ... else dict(zip(shape, futures, strict=True))

    def wait(
        self,
        futures: Iterable[Future],
        timeout: float | None = None,
        return_when: str = ALL_COMPLETED,
    ) -> Any:
        """Wait until tasks have ended, and return ``(done, not_done)``, two sets of futures (see
        `cellspan.wait`).
        """
        waiting = Waiting(futures, timeout, return_when)
        return waiting.run_async() if self.asynchronous else waiting.run_blocking()

    def as_completed(self, futures: Iterable[Future], timeout: float | None = None) -> as_completed:
        """Iterate over futures in the order in which their tasks end, like `as_completed`."""
        return as_completed(futures, timeout)

    def track(
        self,
        futures: Iterable[Future],
        label: str | None = None,
        timeout: float | None = None,
        file: Any = None,
    ) -> Track:
        """Iterate over futures in the order in which their tasks end, and show how far they are: a
        line on standard error if that is a terminal, a widget in a notebook that has loaded the
        extension. ``for future in client.track(futures): ...``, or `async for`.

        `label`: what the bar is called; None: as the group. `file`: a terminal to draw on. Ctrl-C
        and `break` end the iteration and its bar, not the tasks.

        Raises: as `as_completed`.
        """
        return Track(futures, label, timeout, file)

    def cancel(self, futures: Any, force: bool = True) -> Any:
        """Cancel tasks that have not ended, and what depends on them; return how many of `futures`
        that were.

        What runs already is stopped, by killing its executor; with `force` False it runs to its
        end, which nobody hears of.
        """
        session = self.session
        selection = select(check_futures(futures, "cancel"))
        count = 0
        for group, start, stop in selection.runs():
            with group.session.lock:
                count += group.session.cancel(group, start, stop, self.name, force)
        session.wake()
        return _Now(count) if self.asynchronous else count

    def retry(self, futures: Any) -> Any:
        """Run failed tasks again, and what failed before them; return how many of `futures` that
        were.
        """
        session = self.session
        count = 0
        for group, start, stop in select(check_futures(futures, "retry")).runs():
            with group.session.lock:
                count += group.session.retry(group, start, stop)
        session.wake()
        return _Now(count) if self.asynchronous else count

    def fire_and_forget(self, futures: Any) -> Any:
        """Have tasks computed although their futures may be dropped, and this client may leave:
        for what they do, not for what they return. Their results are not kept for that.

        Raises: InvalidArgument: not futures. ConnectionClosed: the cluster is out of reach.
        """
        for group, start, stop in select(check_futures(futures, "fire_and_forget")).runs():
            with group.session.lock:
                group.session.keep(group, start, stop)
            group.session.wake()
        return _Now(None) if self.asynchronous else None

    def release(self, futures: Any) -> Any:
        """Drop the results of futures, as if they were deleted; they cannot be used afterwards."""
        if isinstance(futures, Futures):
            futures.release()
        else:
            for future in check_futures(futures, "release"):
                future.release()
        return _Now(None) if self.asynchronous else None


class _Now:
    """What an asynchronous client returns of things that need no waiting: done already, for those
    who await it.
    """

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, Any]:
        return self._value
        yield  # makes it a generator
