"""Futures that were pickled by one client and are unpickled in the process of another.

Law: plain pickle only; inside the arguments of tasks futures travel as persistent ids (packing.py).
The sender has to keep its future until this one is attached: what nobody holds may be gone.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import ConnectionClosed
from .default import find_default
from .futures import Future, Futures, future_of, span_of
from .state import GroupState

if TYPE_CHECKING:
    from .session import Session

_given = threading.local()


@contextlib.contextmanager
def joining(session: Session) -> Iterator[None]:
    """Have futures that are unpickled in this thread meanwhile join this session, not that of the
    default client.
    """
    before = getattr(_given, "session", None)
    _given.session = session
    try:
        yield
    finally:
        _given.session = before


def _attach(cluster_id: str, cluster: str, group: int, name: str, runs: list[int]) -> GroupState:
    session: Session | None = getattr(_given, "session", None)
    if session is None or session.cluster_id != cluster_id:
        client = find_default(cluster_id)
        if client is None:
            raise ConnectionClosed(
                f"a future of {name} of cluster {cluster!r} was unpickled in a process without a "
                "client of that "
                f"cluster: make a Client of it first, for example Client({cluster!r})"
            )
        session = client.session
    with session.lock:
        return session.attach(group, name, runs)


def attach_future(cluster_id: str, cluster: str, group: int, name: str, index: int) -> Future:
    state = _attach(cluster_id, cluster, group, name, [index, index + 1])
    future = future_of(state, index)
    state.session.wake()
    return future


def attach_futures(
    cluster_id: str, cluster: str, group: int, name: str, start: int, stop: int, step: int
) -> Futures:
    indices = range(start, stop, step)
    state = _attach(cluster_id, cluster, group, name, list(span_of(indices)) if indices else [])
    futures = Futures(state, indices)
    state.session.wake()
    return futures
