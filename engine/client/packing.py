"""Arguments on their way to a cluster: one call's payload, and what a `map` is made of.

Law: a map stays symbolic wherever it can: a range is three numbers, the futures of a group are a
reference, a constant travels once, items travel in chunks. Only where futures are mixed among items
does it become a list of calls. What is too large or cannot be pickled is refused here, by name,
before anything is sent.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ..errors import ArgumentNotSerializable, CellspanError, InvalidArgument, PayloadTooLarge
from ..executor import values
from ..ids import Digest, digest_of
from ..messages import Blob
from .blame import find_culprit, quick_size_of
from .columns import Constant, check_listed, common_length, prepare
from .functions import LARGE_BYTES, LIMIT_BYTES, PickledFunction, size_text, warn_large
from .futures import Future, Futures, indices_of, packing, place_of
from .session import Session
from .state import GroupState

CHUNK_BYTES = 64 << 10
CHUNK_ITEMS = 8192
SAMPLE_ITEMS = 16
MAP_LIMIT_BYTES = 512 << 20
"""All items of one map together: they pass through the scheduler's memory."""
_INT64 = range(-(1 << 62), 1 << 62)

Deps = list[tuple[int, int]]


class EachPlan(NamedTuple):
    """A map as a symbolic layer."""

    n: int
    args: list[list[Any]]
    names: list[str]
    blobs: dict[Digest, Blob]


class GraphPlan(NamedTuple):
    """A map as a list of calls: payload and dependencies of each."""

    calls: list[tuple[Blob, Deps]]


class _FuturesInside(Exception):
    """There are futures among the items of a map."""


class Packer:
    """Pickles arguments for one client."""

    def __init__(self, session: Session) -> None:
        self._session = session

    # --- one call ---------------------------------------------------------------------------------

    def pack_call(
        self, function: PickledFunction, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Blob, Deps]:
        """Return the payload of a call and the tasks that it depends on.

        Raises:
            ArgumentNotSerializable, PayloadTooLarge: an argument cannot travel; the text names it.
            InvalidArgument: a future of another cluster, or a released one, is among them.
        """
        for at, arg in enumerate(args):
            if type(arg) not in _NUMBERS:
                self._check_size(quick_size_of(arg), lambda at=at: _argument_name(function, at))  # type: ignore[misc]
        for name, arg in kwargs.items():
            self._check_size(quick_size_of(arg), lambda name=name: repr(name))  # type: ignore[misc]

        def blame() -> str:
            named = {_argument_name(function, at): arg for at, arg in enumerate(args)}
            named |= {repr(name): arg for name, arg in kwargs.items()}
            return self._blame_one(function, named)

        if _NUMBERS.issuperset(map(type, args)) and not kwargs:
            return values.dump_call(args, kwargs)
        parts, deps = self._dump((args, kwargs), blame)
        nbytes = sum(map(values.nbytes_of, parts))
        if nbytes > LARGE_BYTES:
            named = {_argument_name(function, at): arg for at, arg in enumerate(args)}
            named |= {repr(name): arg for name, arg in kwargs.items()}
            self._judge_size(nbytes, self._heaviest(function, named))
        return values.pack(parts), deps

    # --- a map ------------------------------------------------------------------------------------

    def pack_map(
        self, function: PickledFunction, iterables: Sequence[Any], kwargs: dict[str, Any]
    ) -> EachPlan | GraphPlan:
        """Return the arguments of `function(*items, **kwargs)` for each tuple of items, as symbolic
        as can be.

        Raises:
            InvalidArgument: the iterables differ in length, or do not end, or there are too many
            tasks. Otherwise as `pack_call`.
        """
        columns = [prepare(iterable, at) for at, iterable in enumerate(iterables)]
        n = common_length(columns)
        try:
            return self._pack_each(function, columns, kwargs, n)
        except _FuturesInside:
            return self._pack_graph(function, columns, kwargs, n)

    def pack_same(
        self, function: PickledFunction, args: tuple[Any, ...], kwargs: dict[str, Any], n: int
    ) -> EachPlan:
        """Return the arguments of `n` calls that are all alike. Raises: as `pack_call`."""
        return self._pack_each(function, [Constant(arg) for arg in args], kwargs, n)

    def _pack_each(
        self, function: PickledFunction, columns: list[Any], kwargs: dict[str, Any], n: int
    ) -> EachPlan:
        blobs: dict[Digest, Blob] = {}
        args = []
        for at, column in enumerate(columns):
            name = _argument_name(function, at)
            if isinstance(column, Constant):
                args.append(self._pack_constant(function, name, column.value, blobs))
            elif n:
                args.append(self._pack_column(function, name, column, n, blobs))
        for key, value in kwargs.items():
            args.append(self._pack_constant(function, repr(key), value, blobs))
        return EachPlan(n, args, list(kwargs), blobs)

    def _pack_constant(
        self, function: PickledFunction, name: str, value: Any, blobs: dict[Digest, Blob]
    ) -> list[Any]:
        self._check_size(quick_size_of(value), lambda: name)
        parts, deps = self._dump(value, lambda: self._blame_one(function, {name: value}))
        nbytes = sum(map(values.nbytes_of, parts))
        if nbytes > LARGE_BYTES:
            self._judge_size(nbytes, f"argument {name} of {function.name!r}")
        blob = values.pack(parts)
        digest = digest_of(blob)
        blobs[digest] = blob
        return ["blob", digest, [number for dep in deps for number in dep]]

    def _pack_column(
        self, function: PickledFunction, name: str, column: Any, n: int, blobs: dict[Digest, Blob]
    ) -> list[Any]:
        if isinstance(column, range) and column.start in _INT64 and column[n - 1] in _INT64:
            return ["range", column.start, column.step]
        if isinstance(column, Futures):
            group, indices = indices_of(column[:n])
            if indices.step != 1:
                raise _FuturesInside
            self._check_session(group.session, group.name)
            return ["same", group.id, indices.start]
        if type(column) is list and Future in set(map(type, itertools.islice(column, n))):
            return self._pack_futures(column[:n])
        if isinstance(column, range):
            check_listed(n)
            column = list(column[:n])
        return self._pack_items(function, name, column, n, blobs)

    # --- a tree -----------------------------------------------------------------------------------

    def find_run(self, futures: Futures | list[Future]) -> tuple[GroupState, int] | None:
        """Return the group of futures and the index of the first, if they are a plain run of one
        group, else None. Raises: InvalidArgument: one is of another cluster, or was released.
        """
        if isinstance(futures, Futures):
            group, indices = indices_of(futures)
            if len(indices) > 1 and indices.step != 1:
                return None
            start = indices[0]
        else:
            group, start = place_of(futures[0])
            if any(place_of(f) != (group, start + at) for at, f in enumerate(futures)):
                return None
        self._check_session(group.session, group.name)
        return group, start

    def pack_initial(self, function: PickledFunction, value: Any) -> tuple[Digest, Blob]:
        """Return the digest and the pickle of an initial value. Raises: as `pack_call`."""
        blobs: dict[Digest, Blob] = {}
        _, digest, deps = self._pack_constant(function, "initial", value, blobs)
        if deps:
            raise InvalidArgument(
                f"the initial value for {function.name!r} holds futures: pass it as the first of "
                "the futures instead, or gather it"
            )
        return digest, blobs[digest]

    # --- columns ----------------------------------------------------------------------------------

    def _pack_futures(self, column: list[Any]) -> list[Any]:
        first = column[0]
        if not isinstance(first, Future):
            raise _FuturesInside
        group, start = place_of(first)
        for at, future in enumerate(column):
            if not isinstance(future, Future) or place_of(future) != (group, start + at):
                raise _FuturesInside
        self._check_session(group.session, group.name)
        return ["same", group.id, start]

    def _pack_items(
        self, function: PickledFunction, name: str, items: Any, n: int, blobs: dict[Digest, Blob]
    ) -> list[Any]:
        def pack(start: int, stop: int) -> tuple[Blob, int]:
            some = items[start:stop]

            def blame() -> str:
                return self._blame_one(function, {f"{name}[{start}:{stop}]": some})

            parts, deps = self._dump(some, blame)
            if deps:
                raise _FuturesInside
            nbytes = sum(map(values.nbytes_of, parts))
            if nbytes > LIMIT_BYTES and stop - start == 1:
                self._judge_size(nbytes, f"item {start} of argument {name} of {function.name!r}")
            return values.pack(parts), nbytes

        k = min(n, SAMPLE_ITEMS)
        for start in (0, n - k):  # items at the two ends tell how many fit a chunk
            self._check_size(
                max(map(quick_size_of, items[start : start + k]), default=0),
                lambda: f"{name} (an item)",
            )
        sample = max(pack(0, k)[1], pack(n - k, n)[1]) // k
        chunk = max(1, min(n, CHUNK_BYTES // (sample + 1), CHUNK_ITEMS))
        digests = []
        total = 0
        for start in range(0, n, chunk):
            blob, nbytes = pack(start, min(start + chunk, n))
            total += nbytes
            if total > MAP_LIMIT_BYTES:
                raise PayloadTooLarge(
                    f"the items of argument {name} of {function.name!r} take more than "
                    f"{size_text(MAP_LIMIT_BYTES)} "
                    f"(reached at item {start:,} of {n:,}). Put them on the workers with "
                    "client.scatter(items) and "
                    "map over the futures, or let the tasks load their own part"
                )
            digest = digest_of(blob)
            blobs[digest] = blob
            digests.append(digest)
        if sample > LARGE_BYTES:
            warn_large(
                f"each item of argument {name} of {function.name!r} takes {size_text(sample)}"
            )
        return ["items", chunk, digests]

    def _pack_graph(
        self, function: PickledFunction, columns: list[Any], kwargs: dict[str, Any], n: int
    ) -> GraphPlan:
        sources = [
            itertools.repeat(column.value, n)
            if isinstance(column, Constant)
            else itertools.islice(column, n)
            for column in columns
        ]
        calls = [self.pack_call(function, row, kwargs) for row in zip(*sources, strict=True)]
        return GraphPlan(calls)

    # --- pickling ---------------------------------------------------------------------------------

    def _dump(self, value: Any, blame: Callable[[], str]) -> tuple[list[values.Part], Deps]:
        packing.is_on = True
        try:
            return values.dump_value(value, self._key_of)
        except values.DumpFailed as error:
            if isinstance(error.__cause__, CellspanError):  # of `_key_of`
                raise error.__cause__ from None
            packing.is_on = False
            raise ArgumentNotSerializable(blame() or str(error)) from error
        finally:
            packing.is_on = False

    def _key_of(self, value: Any) -> tuple[int, int] | None:
        if type(value) is not Future:
            return None
        group, index = place_of(value)
        self._check_session(group.session, value.name)
        return group.id, index

    def _check_session(self, session: Session, name: str) -> None:
        check_session(self._session, session, name)

    # --- sizes and blame --------------------------------------------------------------------------

    def _check_size(self, nbytes: int, name: Callable[[], str]) -> None:
        if nbytes > LIMIT_BYTES:
            self._judge_size(nbytes, f"argument {name()}")

    def _judge_size(self, nbytes: int, what: str) -> None:
        if nbytes > LIMIT_BYTES:
            raise PayloadTooLarge(
                f"{what} takes {size_text(nbytes)}; with a submission travel at most "
                f"{size_text(LIMIT_BYTES)}. Send it "
                "once with client.scatter(...) and pass the future instead"
            )
        warn_large(f"{what} takes {size_text(nbytes)}")

    def _heaviest(self, function: PickledFunction, named: dict[str, Any]) -> str:
        sizes = []
        for name, value in named.items():
            parts, _ = self._dump(value, str)
            sizes.append((sum(map(values.nbytes_of, parts)), name))
        return f"argument {max(sizes)[1]} of {function.name!r}"

    def _blame_one(self, function: PickledFunction, named: dict[str, Any]) -> str:
        for name, value in named.items():
            culprit = find_culprit(value, name)
            if culprit:
                return (
                    f"an argument of {function.name!r} cannot be sent to the cluster: {culprit}. "
                    "Create it inside the "
                    "function, or pass what it is made from"
                )
        return ""


def check_session(ours: Session, theirs: Session, name: str) -> None:
    """Raises: InvalidArgument: a future of `theirs` is of no use to tasks that `ours` submits."""
    if theirs is ours:
        return
    if theirs.cluster_id != ours.cluster_id:
        raise InvalidArgument(
            f"the future {name} belongs to cluster {theirs.cluster!r}, not to {ours.cluster!r}: "
            "gather it there and pass the result"
        )
    if theirs.closed is not None:
        raise InvalidArgument(
            f"the future {name} belongs to a client that is closed, and its result went with it: "
            "submit it here again, or publish it (publish_dataset) before that client is closed"
        )


_NUMBERS = frozenset({type(None), bool, int, float})


def _argument_name(function: PickledFunction, at: int) -> str:
    """Return how the function itself calls a positional argument."""
    try:
        parameters: Iterable[str] = inspect.signature(function.function).parameters
        name = next(itertools.islice(parameters, at, None))
        return repr(name)
    except (TypeError, ValueError, StopIteration):
        return str(at + 1)
