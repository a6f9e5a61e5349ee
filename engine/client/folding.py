"""Reducing the results of many tasks to one: what a tree of tasks over futures is made of.

Law: the futures of one map are named by three numbers, whatever their number; only futures that are
mixed from everywhere become a first level of calls that are listed. No result passes through this
process, and of the tree only its root is held.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial, reduce
from typing import Any

from ..errors import InvalidArgument
from ..messages import Blob
from .functions import FunctionTable, PickledFunction
from .futures import Future, Futures
from .options import Options
from .packing import Packer
from .session import Session
from .sharing import add_group
from .state import GroupState, OpenGraph

MAX_FANIN = 1 << 16
ABSENT: Any = object()
"""Stands for an initial value that was not given."""


def check_fanin(fanin: int) -> None:
    """Raises: InvalidArgument: no tree has such a fan-in."""
    if not isinstance(fanin, int) or isinstance(fanin, bool) or not 2 <= fanin <= MAX_FANIN:
        raise InvalidArgument(f"fanin is a whole number from 2 to {MAX_FANIN}, not {fanin!r}")


def list_futures(futures: Any, verb: str, instead: str) -> Futures | list[Future]:
    """Return futures in order. Raises: InvalidArgument: these are not futures; the text says what
    takes them, and what to do with values `instead`.
    """
    if isinstance(futures, Futures):
        return futures
    if isinstance(futures, Iterable) and not isinstance(futures, Future):
        found = list(futures)
        wrong = next((at for at, item in enumerate(found) if not isinstance(item, Future)), None)
        if wrong is None:
            return found
        what = f"item {wrong} is a {type(found[wrong]).__name__}"
    else:
        what = f"it was given a {type(futures).__name__}"
    raise InvalidArgument(
        f"{verb} takes the futures of tasks, but {what}: for values {instead}, or map a function "
        "over them first"
    )


class Folder:
    """Submits trees for one client."""

    def __init__(self, session: Session, packer: Packer, functions: FunctionTable) -> None:
        self._session = session
        self._packer = packer
        self._functions = functions

    def fold(
        self,
        fn: Any,
        futures: Futures | list[Future],
        initial: Any,
        fanin: int,
        options: Options,
    ) -> Future:
        """Submit the tree over futures, at least one; return the future of its root."""
        function = self._functions.pickle(fn)
        name = options.name or function.name
        run = self._packer.find_run(futures)
        if run is not None:
            group, start = run
            return self._add_tree(
                function, group, start, len(futures), initial, fanin, name, options
            )
        leaves = self._add_leaves(fn, futures, initial, fanin, name, options)
        if len(leaves) == 1:
            return leaves[0]
        run = self._packer.find_run(leaves)
        assert run is not None
        return self._add_tree(function, *run, len(leaves), ABSENT, fanin, name, options)

    def _add_tree(
        self,
        function: PickledFunction,
        source: GroupState,
        start: int,
        count: int,
        initial: Any,
        fanin: int,
        name: str,
        options: Options,
    ) -> Future:
        blobs: dict[bytes, Blob] = {function.digest: function.blob}
        digest = None
        if initial is not ABSENT:
            digest, blob = self._packer.pack_initial(function, initial)
            blobs[digest] = blob
        n = count_tasks(count, fanin)
        layer = {
            "kind": "fold", "n": n, "function": function.digest, "initial": digest,
            "group": source.id, "offset": start, "count": count, "fanin": fanin,
        }  # fmt: skip
        session = self._session
        with session.lock:
            group = add_group(session, name, n, layer, blobs, options, False, held_from=n - 1)
            group.counts[n - 1] = group.counts.get(n - 1, 0) + 1
            session.push(group, n - 1, n)  # a small result comes unasked, as a submit's does
        session.wake()
        return Future(group, n - 1)

    def _add_leaves(
        self,
        fn: Any,
        futures: Futures | list[Future],
        initial: Any,
        fanin: int,
        name: str,
        options: Options,
    ) -> Futures:
        """Submit the first level over futures that are no run of one group: a call for each."""
        session = self._session
        function = self._functions.pickle(partial(reduce, fn))
        rows = [list(futures[at : at + fanin]) for at in range(0, len(futures), fanin)]
        calls = [self._packer.pack_call(function, (row,), {}) for row in rows]
        if initial is not ABSENT:
            calls[0] = self._packer.pack_call(function, (rows[0], initial), {})
        layer = {"kind": "graph", "function": function.digest}
        blobs: dict[bytes, Blob] = {function.digest: function.blob}
        with session.lock:
            wire = options.to_wire()
            group = session.add_group(name, 0, layer, blobs, wire, len(calls) == 1)
            group.graph = OpenGraph(None)
            for payload, deps in calls:
                session.add_call(group, payload, deps)
            group.counts.clear()  # the Futures holds them
            session.close_graph(group)
        leaves = Futures(group, range(group.n))
        session.wake()
        return leaves


def count_tasks(count: int, fanin: int) -> int:
    """Return the number of tasks of a tree over `count` results, at least one."""
    n = 0
    while count > 1 or not n:
        count = -(-count // fanin)
        n += count
    return n
