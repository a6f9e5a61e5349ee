"""The joblib backend "cellspan": `joblib.parallel_config(backend="cellspan")`, and with it
scikit-learn's `n_jobs`.

joblib hands calls over in batches, a few at a time, and asks how large they should be. The first
are of one call, so nothing waits for company; executors measure what calls take, and short ones
then share a task (of TASK_S) and a batch (of BATCH_S). The tasks join a group called after the
function. Large arguments that many calls share are put on the workers once. Inside a task joblib
runs its calls one after the other: a slot is one core.

Law: stands on `Client`; whatever joblib may do from any thread must be safe here. Functions that
run in executors travel by value: an executor's environment needs joblib, not cellspan.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cloudpickle
import joblib
import joblib.parallel
from joblib.parallel import ParallelBackendBase, SequentialBackend

from ..client.blame import quick_size_of
from ..client.client import Client
from ..client.default import find_default
from ..client.functions import name_of
from ..client.futures import Future
from ..client.session import Session
from ..errors import InvalidArgument
from . import joblib_task
from .executor import slots_of
from .joblib_task import Runner

NAME = "cellspan"

SHARED_BYTES = 64 << 10
"""Arguments of at least this size are put on workers, once in each `Parallel` call."""
BATCH_S = 0.2
"""A batch is work of about this length..."""
TASK_S = 0.02
"""...and is cut into tasks of about this one, so that slots share what takes longer than before."""
TASK_BYTES = 512 << 10
"""Arguments of more than this are not added to."""
LONG_S = 1.0
"""What a call is taken to last until one has ended."""
MAX_FALL = 16
"""It falls to so small a part at once: one short call among long ones is not trusted."""
MAX_BATCH = 8192

_SMALL = frozenset({type(None), bool, int, float})

_own_client: Client | None = None
_own_lock = threading.Lock()


def register_joblib() -> None:
    """Make joblib know the backend "cellspan". Done when this module is imported; again, it does no
    harm.
    """
    joblib.register_parallel_backend(NAME, CellspanBackend)


def _default_client() -> Client:
    """Return the client that was made last; none: one of the default cluster, kept from now on."""
    global _own_client
    with _own_lock:
        found = find_default()
        if found is None or found.asynchronous:
            found = _own_client = Client()
        return found


class _Batch:
    """The tasks of one batch, and whom to tell when all have ended, or one has failed."""

    def __init__(
        self,
        futures: list[Future],
        callback: Callable[[_Batch], object] | None,
        error: Exception | None,
    ) -> None:
        self.futures = futures
        self._error = error
        self._callback = callback
        self._left = len(futures)
        self._lock = threading.Lock()

    def listen(self, session: Session) -> None:
        """Begin to count; of a batch that could not be submitted as a whole that is told."""
        if self._error is not None:
            callback, self._callback = self._callback, None
            if callback is None:
                raise self._error
            with session.lock:
                session.run_callback(partial(callback, self))
            return
        for future in self.futures:
            future.add_done_callback(self._on_done)

    def _on_done(self, future: Future) -> None:
        with self._lock:
            callback = self._callback
            self._left -= 1
            if self._left and future.status == "done":
                return
            self._callback = None
        if callback is not None:
            callback(self)

    def results(self) -> tuple[float, list[Any]]:
        """Return how long the calls took together, in seconds, and their results. Raises: what a
        call raised, the first that is known.
        """
        if self._error is not None:
            raise self._error
        for future in self.futures:
            if future.status not in ("done", "pending"):
                future.result()
        seconds, results = 0.0, []
        for future in self.futures:
            took, some = future.result()
            seconds += took
            results += some
        return seconds, results


class CellspanBackend(ParallelBackendBase):  # type: ignore[misc]
    """Runs the calls of `joblib.Parallel` on a cluster.

    Args:
        client: a Client; None: the one that was made last in this process, otherwise one of the
        default cluster. priority, retries, allowed_failures: as for `Client.submit`.
    """

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(
        self,
        client: Client | None = None,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **options: int,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        if client is not None and client.asynchronous:
            raise InvalidArgument("joblib waits: its client must not be asynchronous")
        self._given = client
        self._options: dict[str, Any] = options
        self._lock = threading.Lock()
        self._batches: set[_Batch] = set()
        self._shared: dict[int, tuple[weakref.ref[Any], Future]] = {}
        self._runners: dict[int, Runner] = {}
        self._call_s = LONG_S
        """How long a call took of late."""
        self.parallel: Any = None

    @property
    def client(self) -> Client:
        """The client that calls are submitted by."""
        if self._given is None or self._given.closed is not None:
            self._given = _default_client()
        return self._given

    # --- what joblib asks -------------------------------------------------------------------------

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many calls run at a time: the cluster's slots, or fewer if fewer are asked
        for.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        slots = slots_of(self.client)
        return max(1, slots + 1 + n_jobs) if n_jobs < 0 else min(n_jobs, slots)

    def configure(
        self,
        n_jobs: int | None = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        **_: Any,
    ) -> int:
        """Get ready for a `Parallel` call, and return how many of its calls run at a time."""
        self.parallel = parallel
        self._call_s = LONG_S
        return self.effective_n_jobs(n_jobs)

    def get_nested_backend(self) -> tuple[Any, int | None]:
        """What `Parallel` inside a task uses, unless it names a backend."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None

    def compute_batch_size(self) -> int:
        """Return how many calls the next batch is to have."""
        return max(1, min(int(BATCH_S / self._call_s), MAX_BATCH))

    def batch_completed(self, batch_size: int, duration: float) -> None:
        """A batch took `duration` seconds from its dispatch to its end: how long its calls took
        by themselves is known better.
        """

    # --- calls ------------------------------------------------------------------------------------

    def submit(self, func: Any, callback: Callable[[Any], object] | None = None) -> Any:
        """Submit a batch of calls; `callback` is called with what this returns, in the end."""
        futures: list[Future] = []
        error: Exception | None = None
        try:
            for function, calls in self._cut(func.items):
                futures.append(self._submit(function, calls, func))
        except Exception as raised:  # joblib would wait for ever: it calls this in a callback, too
            error = raised
        batch = _Batch(futures, callback, error)
        with self._lock:
            self._batches.add(batch)
        batch.listen(self.client.session)
        return batch

    def _cut(self, items: list[Any]) -> Iterator[tuple[Any, list[Any]]]:
        """Yield the tasks of a batch: functions with their calls."""
        most = max(1, min(int(TASK_S / self._call_s), MAX_BATCH))
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        current: Any = None
        nbytes = 0
        for function, args, kwargs in items:
            if calls and (function is not current or len(calls) >= most or nbytes > TASK_BYTES):
                yield current, calls
                calls, nbytes = [], 0
            current = function
            if kwargs or not _SMALL.issuperset(map(type, args)):
                args = tuple(map(self._share, args))
                kwargs = {name: self._share(value) for name, value in kwargs.items()}
                nbytes += sum(map(quick_size_of, itertools.chain(args, kwargs.values())))
            calls.append((args, kwargs))
        yield current, calls

    def _submit(self, function: Any, calls: list[Any], batch: Any) -> Future:
        """Submit calls of one function as a task."""
        runner = self._runners.get(id(function))
        if runner is None or runner.function is not function:
            runner = Runner(function, batch._backend, batch._n_jobs)
            self._runners[id(function)] = runner
        name = name_of(getattr(function, "function", function))
        return self.client.submit(runner, calls, name=name, **self._options)

    def retrieve_result_callback(self, out: _Batch) -> list[Any]:
        """Return a batch's results. Raises: what one of its calls raised."""
        with self._lock:
            self._batches.discard(out)
        try:
            seconds, results = out.results()
            self._call_s = max(seconds / len(results), self._call_s / MAX_FALL, 1e-7)
            return results
        finally:
            self.client.release(out.futures)

    def _share(self, value: Any) -> Any:
        """Return a future in place of a large argument, which is put on a worker the first time."""
        if quick_size_of(value) < SHARED_BYTES and _frame_size_of(value) < SHARED_BYTES:
            return value
        key = id(value)
        known = self._shared.get(key)
        if known is None:
            try:
                # What callers let go of is let go of here, too; and its id may be given out again.
                alive = weakref.ref(value, lambda _: self._shared.pop(key, None))
            except TypeError:
                return value
            future = self.client.scatter([value], name="joblib-shared")[0]
            known = self._shared.setdefault(key, (alive, future))
        return known[1]

    def stop_call(self) -> None:
        """A `Parallel` call is over: what its calls shared is let go of."""
        self._shared.clear()
        self._runners.clear()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel what has not ended: a call failed, or nobody wants the rest."""
        with self._lock:
            batches, self._batches = self._batches, set()
        for batch in batches:
            for future in batch.futures:
                if not future.done():
                    future.cancel()

    def terminate(self) -> None:
        """The end of a `Parallel`. The cluster stays."""
        self.abort_everything(ensure_ready=False)
        self.stop_call()


def _frame_size_of(value: Any) -> int:
    """Return the bytes of a table (pandas and the like), 0 if it is none."""
    usage = getattr(value, "memory_usage", None)
    if usage is None or not hasattr(value, "iloc"):
        return 0
    return int(usage(index=False).sum())


cloudpickle.register_pickle_by_value(joblib_task)
register_joblib()
