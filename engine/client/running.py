"""`Client.run`: one call on every executor of every worker.

Law: for each worker one group, bound to it, with a task for each of its executors; what comes back
and what goes wrong goes the way of all tasks. Nothing is kept of it afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ClusterError, InvalidArgument
from ..messages import GetStatus
from .cluster import Asking, in_time
from .collecting import Gathering, results_of
from .failures import exception_of
from .functions import FunctionTable, PickledFunction
from .futures import Futures, indices_of
from .options import make_workers
from .packing import EachPlan, Packer
from .waiting import check_timeout

PRIORITY = (1 << 31) - 1
"""It is the next that each executor runs."""


class Running(Asking):
    """The part of Client that calls functions everywhere."""

    _functions: FunctionTable
    _packer: Packer

    def run(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        workers: str | Iterable[str] | None = None,
        on_error: str = "raise",
        timeout: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call ``function(*args, **kwargs)`` once on every executor of every worker, and return a
        dict from the worker's name to the list of results, one for each executor.

        It is the next that each executor runs, after what it is busy with. `workers`: names or
        hosts of those that are meant; None: all that there are now. `on_error`: 'raise' the first
        error; 'return' the exceptions in the place of results, 'skip' leaves them out. An executor
        that dies by it, or a worker that is lost before it was done, is an error like others.

        Raises:
            Exception: what the function raised. TaskError: a worker was lost meanwhile.
            ClusterError: there is no worker, or none of a name in `workers`. TimeoutError: not all
            have answered in `timeout` seconds; the text says how far they are. Otherwise as
            `submit`.
        """
        if on_error not in ("raise", "return", "skip"):
            raise InvalidArgument(f"on_error is 'raise', 'return' or 'skip', not {on_error!r}")
        wanted = None if workers is None else make_workers(workers)
        limit_s = check_timeout(timeout)
        pickled = self._functions.pickle(function)
        plan = self._packer.pack_same(pickled, args, kwargs, 1)
        if self.asynchronous:
            return self._run_async(pickled, plan, wanted, on_error, limit_s)
        begun = time.monotonic()
        status = self._ask(GetStatus, lambda answer: answer.status, limit_s, "the workers")
        futures = self._submit_everywhere(pickled, plan, choose_workers(status, wanted))
        gathering = _gather(futures, on_error, _left(limit_s, begun))
        return _finish(futures, on_error, gathering.run_blocking())

    async def _run_async(
        self,
        pickled: PickledFunction,
        plan: EachPlan,
        wanted: tuple[str, ...] | None,
        on_error: str,
        limit_s: float | None,
    ) -> Any:
        begun = asyncio.get_running_loop().time()
        answer = await in_time(self._link.ask(GetStatus), limit_s, "the workers")
        futures = self._submit_everywhere(pickled, plan, choose_workers(answer.status, wanted))
        left_s = _left(limit_s, begun)
        return _finish(futures, on_error, await _gather(futures, on_error, left_s).run_async())

    def _submit_everywhere(
        self, function: PickledFunction, plan: EachPlan, executors: dict[str, int]
    ) -> dict[str, Futures]:
        session = self.session
        found: dict[str, Futures] = {}
        for worker, count in executors.items():
            layer = {
                "kind": "each", "n": count, "function": function.digest, "args": plan.args,
                "names": plan.names,
            }  # fmt: skip
            options = {
                "priority": PRIORITY, "retries": 0, "allowed_failures": 0, "workers": [worker],
                "once": True,
            }  # fmt: skip
            blobs = {function.digest: function.blob, **plan.blobs}
            with session.lock:
                group = session.add_group(function.name, count, layer, blobs, options, True)
            found[worker] = Futures(group, range(count))
        session.wake()
        return found


def choose_workers(status: dict[str, Any], wanted: tuple[str, ...] | None) -> dict[str, int]:
    """Return the workers that are meant, with the number of their executors.

    Raises: ClusterError: there is none, or none of a name.
    """
    here = [w for w in status["workers"] if w["id"] and w["state"] != "leaving"]
    for name in wanted or ():
        if not any(name in (worker["name"], worker["host"]) for worker in here):
            names = ", ".join(sorted(worker["name"] for worker in here))
            raise ClusterError(f"there is no worker {name!r}; there are: {names or 'none'}")
    chosen = {
        worker["name"]: worker["slots"]
        for worker in here
        if wanted is None or worker["name"] in wanted or worker["host"] in wanted
    }
    if not chosen:
        raise ClusterError("there is no worker that could run it; see client.status()")
    return chosen


def _left(limit_s: float | None, begun: float) -> float | None:
    return None if limit_s is None else max(0.0, limit_s - (time.monotonic() - begun))


def _gather(futures: dict[str, Futures], on_error: str, timeout: float | None) -> Gathering:
    return Gathering(futures, "raise" if on_error == "raise" else "skip", timeout)


def _finish(futures: dict[str, Futures], on_error: str, results: Any) -> dict[str, list[Any]]:
    if on_error != "return":
        return dict(results)
    return {worker: _outcomes(some) for worker, some in futures.items()}


def _outcomes(futures: Futures) -> list[Any]:
    """Return the results of tasks that have ended, or in their place the exceptions."""
    group, indices = indices_of(futures)
    found: list[Any] = []
    for index in indices:
        values = results_of(group, range(index, index + 1))
        if not values:
            with group.session.lock:
                record = group.failed.find(index)
            assert record is not None, f"{group.name}[{index}] has not ended"
            values = [exception_of(record, f"{group.name}[{index}]")]
        found += values
    return found
