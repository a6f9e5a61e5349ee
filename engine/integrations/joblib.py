"""The joblib backend "cellspan": `joblib.parallel_config(backend="cellspan")`, and with it
scikit-learn's `n_jobs`.

joblib hands calls over in batches and only a few at a time; here each call of a batch becomes a
task of its own (the engine makes spans of them), in a group called after its function, and batches
grow as long as they are short. Large arguments that many calls share are put on the workers once.
Inside a task joblib runs its calls one after the other: a slot is one core.

Law: stands on `Client`; whatever joblib may do from any thread must be safe here. Functions that
run in executors travel by value: an executor's environment needs joblib, not cellspan.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
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
from ..errors import InvalidArgument
from . import joblib_task
from .executor import slots_of

NAME = "cellspan"

SHARED_BYTES = 64 << 10
"""Arguments of at least this size are put on workers, once in each `Parallel` call."""
SHORT_S = 0.1
LONG_S = 1.0
MAX_BATCH = 1024
MAP_FROM = 16
"""From so many calls on a batch is a group of its own, submitted as a whole."""

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
    """The calls of one batch, and whom to tell when all have ended, or one has failed."""

    def __init__(self, futures: list[Future], callback: Callable[[_Batch], object] | None) -> None:
        self.futures = futures
        self._callback = callback
        self._left = len(futures)
        self._lock = threading.Lock()

    def listen(self) -> None:
        """Begin to count."""
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

    def results(self) -> list[Any]:
        """Return the results. Raises: what a call raised, the first that is known."""
        for future in self.futures:
            if future.status not in ("done", "pending"):
                future.result()
        return [future.result() for future in self.futures]


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
        self._batch_size = 1
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
        self._batch_size = 1
        return self.effective_n_jobs(n_jobs)

    def get_nested_backend(self) -> tuple[Any, int | None]:
        """What `Parallel` inside a task uses, unless it names a backend."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None

    def compute_batch_size(self) -> int:
        """Return how many calls the next batch is to have."""
        return self._batch_size

    def batch_completed(self, batch_size: int, duration: float) -> None:
        """A batch of this size took `duration` seconds from its dispatch to its end."""
        if duration < SHORT_S and batch_size >= self._batch_size:
            self._batch_size = min(2 * self._batch_size, MAX_BATCH)
        elif duration > LONG_S and self._batch_size > 1:
            self._batch_size //= 2

    # --- calls ------------------------------------------------------------------------------------

    def submit(self, func: Any, callback: Callable[[Any], object] | None = None) -> Any:
        """Submit a batch of calls; `callback` is called with what this returns, in the end."""
        inner = {"backend": func._backend, "n_jobs": func._n_jobs}
        rows = [
            (
                function,
                tuple(map(self._share, args)),
                {k: self._share(v) for k, v in kwargs.items()},
            )
            for function, args, kwargs in func.items
        ]
        function = rows[0][0]
        futures: list[Future]
        if len(rows) >= MAP_FROM and all(row[0] is function for row in rows):
            _, args, kwargs = zip(*rows, strict=True)
            options = {"name": name_of(function), "function": function, **inner, **self._options}
            futures = list(self.client.map(joblib_task.run, args, kwargs, **options))
        else:
            futures = [
                self.client.submit(
                    joblib_task.run,
                    args,
                    kwargs,
                    name=name_of(getattr(function, "function", function)),
                    function=function,
                    **inner,
                    **self._options,
                )
                for function, args, kwargs in rows
            ]
        batch = _Batch(futures, callback)
        with self._lock:
            self._batches.add(batch)
        batch.listen()
        return batch

    def retrieve_result_callback(self, out: _Batch) -> list[Any]:
        """Return a batch's results. Raises: what one of its calls raised."""
        with self._lock:
            self._batches.discard(out)
        try:
            return out.results()
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

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel what has not ended: a call failed, or nobody wants the rest."""
        with self._lock:
            batches, self._batches = self._batches, set()
        _cancel(future for batch in batches for future in batch.futures)

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


def _cancel(futures: Iterable[Future]) -> None:
    for future in futures:
        if not future.done():
            future.cancel()


cloudpickle.register_pickle_by_value(joblib_task)
register_joblib()
