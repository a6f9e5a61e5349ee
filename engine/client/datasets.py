"""Data sets: a client leaves results, or anything with futures in it, under a name for others.

Law: the scheduler keeps content and holds; it never looks inside. What comes back is unpickled on
the thread of whoever asked, never on the connection's, and its futures join the client that asked.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import cloudpickle

from ..errors import ArgumentNotSerializable, ClusterError, InvalidArgument, PayloadTooLarge
from ..messages import Blob, GetDataset, ListDatasets, PublishDataset, UnpublishDataset
from .attaching import joining
from .blame import find_culprit
from .cluster import DEFAULT_TIMEOUT_S, Asking
from .collecting import select
from .functions import LIMIT_BYTES, size_text
from .futures import Future, Futures

MAX_NAME = 1000


class Datasets(Asking):
    """The part of Client that shares under names."""

    def publish_dataset(
        self,
        data: Any,
        name: str,
        *,
        override: bool = False,
        timeout: float | None = DEFAULT_TIMEOUT_S,
    ) -> Any:
        """Keep `data` in the cluster under a name: futures, or anything that can be pickled with
        futures anywhere in it. Their results are kept (and computed) until the data set is
        unpublished or the cluster ends, also when this client has left.

        `override`: put it in place of a data set of that name.

        Raises:
            ClusterError: there is a data set of that name, or a result in it was released.
            InvalidArgument: no such name, or a future in it is of another cluster or was released.
            ArgumentNotSerializable: it cannot be pickled; the text names what. PayloadTooLarge: the
            values in it (not the results of futures) take more than 64 MiB.
            TimeoutError, ConnectionClosed: no answer in `timeout` seconds, or none any more.
        """
        _check_name(name)
        content, futures = _dump(data)
        rows = []
        for group, start, stop in select(futures).runs():
            if group.session.cluster_id != self.session.cluster_id:
                raise InvalidArgument(
                    f"the future {group.name}[{start}] belongs to cluster "
                    f"{group.session.cluster!r}, not to {self.session.cluster!r}"
                )
            rows.append([group.id, [start, stop]])
        return self._ask(
            lambda number: PublishDataset(number, name, content, rows, bool(override)),
            lambda _: None,
            timeout,
            f"publishing {name!r}",
        )

    def get_dataset(self, name: str, *, timeout: float | None = DEFAULT_TIMEOUT_S) -> Any:
        """Return what was published under a name. The futures in it are this client's own then.

        Raises:
            ClusterError: there is none of that name (the text lists those that there are), or it
            cannot be unpickled here. TimeoutError, ConnectionClosed: as `publish_dataset`.
        """
        _check_name(name)
        asked = self._ask(
            lambda number: GetDataset(number, name),
            lambda answer: answer.content,
            timeout,
            f"the data set {name!r}",
        )
        return self._load_later(name, asked) if self.asynchronous else self._load(name, asked)

    async def _load_later(self, name: str, asked: Any) -> Any:
        return self._load(name, await asked)

    def _load(self, name: str, content: Blob) -> Any:
        try:
            with joining(self.session):
                return pickle.loads(content)
        except Exception as error:
            raise ClusterError(
                f"the data set {name!r} cannot be unpickled here: {type(error).__name__}: {error}. "
                "Import or define in this process what it is made of"
            ) from error

    def list_datasets(self, *, timeout: float | None = DEFAULT_TIMEOUT_S) -> Any:
        """Return the names of all data sets, sorted.

        Raises: TimeoutError, ConnectionClosed: as `publish_dataset`.
        """
        return self._ask(ListDatasets, lambda answer: list(answer.names), timeout, "data sets")

    def unpublish_dataset(self, name: str, *, timeout: float | None = DEFAULT_TIMEOUT_S) -> Any:
        """Drop a data set: its results go when nobody holds them any more.

        Raises:
            ClusterError: there is none of that name; the text lists those that there are.
            TimeoutError, ConnectionClosed: as `publish_dataset`.
        """
        _check_name(name)
        return self._ask(
            lambda number: UnpublishDataset(number, name),
            lambda _: None,
            timeout,
            f"unpublishing {name!r}",
        )


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise InvalidArgument(
            f"the name of a data set is a text of 1 to {MAX_NAME} letters, not {str(name)[:80]!r}"
        )


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Notes the futures that it meets."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.futures: list[Future | Futures] = []

    def persistent_id(self, value: Any) -> None:
        if type(value) is Future or type(value) is Futures:
            self.futures.append(value)


def _dump(data: Any) -> tuple[bytes, list[Future | Futures]]:
    file = io.BytesIO()
    pickler = _Pickler(file)
    try:
        pickler.dump(data)
    except InvalidArgument:  # of a released future
        raise
    except Exception as error:
        culprit = find_culprit(data, "data") or str(error)
        raise ArgumentNotSerializable(f"the data set cannot be pickled: {culprit}") from error
    if file.tell() > LIMIT_BYTES:
        raise PayloadTooLarge(
            f"the values of the data set take {size_text(file.tell())}; at most "
            f"{size_text(LIMIT_BYTES)} are kept by the scheduler: scatter them, and publish the "
            "futures"
        )
    return file.getvalue(), pickler.futures
