"""Where other libraries plug in: `client.get_executor()` and `client.get(dsk, keys)`.

Law: only the way there. The adapters live in `integrations`, which stands on the client; they are
imported when they are asked for, and with them the libraries that they are for.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import concurrent.futures

    from .client import Client


class Plugs:
    """The part of Client that other libraries see."""

    _dask_setting: Any = None

    def get_executor(
        self,
        *,
        name: str | None = None,
        priority: int = 0,
        retries: int = 0,
        allowed_failures: int = 2,
    ) -> concurrent.futures.Executor:
        """Return a `concurrent.futures.Executor` that runs on the cluster.

        Its futures are those of `concurrent.futures`, so `wait`, `as_completed`,
        `asyncio.wrap_future` and `loop.run_in_executor` take them. Shutting it down leaves the
        client open. Options: as for `submit`.

        Raises:
            InvalidArgument: the client is asynchronous, or an option cannot be.
        """
        from ..integrations.executor import ClientExecutor

        return ClientExecutor(
            cast("Client", self),
            name=name,
            priority=priority,
            retries=retries,
            allowed_failures=allowed_failures,
        )

    def get(
        self,
        dsk: Any,
        keys: Any,
        *,
        priority: int = 0,
        retries: int = 0,
        allowed_failures: int = 2,
        **kwargs: Any,
    ) -> Any:
        """Compute keys of a Dask graph on the cluster: a scheduler function for Dask.

        Use it by ``dask.config.set(scheduler=client.get)`` or ``x.compute(scheduler=client.get)``;
        ``with client:`` does the first, if Dask is imported already. Other keyword arguments, which
        Dask hands to any scheduler function (``num_workers``), have no meaning here.

        Raises:
            InvalidArgument: the graph has a cycle (CyclicGraph), does not have a key (MissingKey, a
            KeyError, too), or a key is not hashable: nothing was submitted. Exception: what a task
            raised, its own type.
        """
        from ..integrations.dask import get

        options = {"priority": priority, "retries": retries, "allowed_failures": allowed_failures}
        return get(cast("Client", self), dsk, keys, **options)

    def _plug_in(self) -> None:
        """Inside `with client:` Dask, if it is loaded, computes on this cluster."""
        config = sys.modules.get("dask.config")
        if config is not None and self._dask_setting is None:
            self._dask_setting = config.set(scheduler=self.get)

    def _pull_plug(self) -> None:
        setting, self._dask_setting = self._dask_setting, None
        if setting is not None:
            setting.__exit__(None, None, None)
