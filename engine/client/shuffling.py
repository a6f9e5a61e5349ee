"""Shuffling: an all-to-all exchange over futures, as one group of splits and merges.

Law: the futures of one map are named by three numbers, whatever their number, and the pairs of
inputs and outputs by none; only futures that are mixed from everywhere become a first level of
calls that are listed. No shard passes through this process, and only the outputs are held.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from ..errors import InvalidArgument
from ..ids import MAX_TASKS
from ..messages import Blob
from .folding import list_futures
from .functions import FunctionTable, PickledFunction
from .futures import Future, Futures
from .options import check_options
from .packing import Packer
from .session import Session
from .state import GroupState, OpenGraph

PUSHED_OUTPUTS = 16_384
"""Small results of up to so many outputs are pushed here unasked."""


class Shuffles:
    """The part of Client that shuffles."""

    _packer: Packer
    _functions: FunctionTable

    @property
    def session(self) -> Session:
        """The state of the client's protocol."""
        raise NotImplementedError

    def map(self, fn: Callable[..., Any], /, *iterables: Any, **kwargs: Any) -> Futures:
        """As in Client."""
        raise NotImplementedError

    def shuffle(
        self,
        split: Callable[[Any, int], Any],
        merge: Callable[[list[Any]], Any],
        futures: Any,
        /,
        *,
        n: int | None = None,
        name: str | None = None,
        priority: int = 0,
        retries: int = 0,
        allowed_failures: int = 2,
    ) -> Futures:
        """Exchange data among the results of futures, all to all, and return the futures of `n`
        outputs (as many as inputs if it is None) at once.

        ``split(value, n)`` makes of one result a sequence of exactly `n` shards, one for each
        output; ``merge(shards)`` makes output `j` of the `j`-th shards of all results, a list in
        the order of `futures`. So ``merge([split(value, n)[j] for value in values])``, as a
        distributed sort, group-by or transposition needs it: the shards go from worker to worker as
        soon as they are made, and each merge reads its own only. A split may be run again when its
        worker is lost, so it must make the same shards of the same value; neither may change its
        arguments. The futures of a map cost nothing to name; others are listed. Only the outputs
        are kept. `name` (of the group; else merge's), `priority`, `retries`, `allowed_failures`: as
        for `submit`.

        Raises:
            InvalidArgument: something else than futures, or an option that cannot be. Otherwise as
            `submit`.
        """
        session = self.session
        session.check_open()
        options = check_options(name, priority, retries, allowed_failures)
        found = list_futures(futures, "shuffle", "use scatter")
        outputs = check_outputs(len(found) if n is None else n, len(found))
        if not found:  # nothing to split: the outputs are of no shards
            return self.map(merge, [[] for _ in range(outputs)], name=name, **options)
        shuffler = Shuffler(session, self._packer, self._functions)
        return shuffler.exchange(split, merge, found, outputs, name, options)


def check_outputs(outputs: Any, inputs: int) -> int:
    """Return the number of outputs. Raises: InvalidArgument: there is no such number."""
    least = 1 if inputs else 0
    if not isinstance(outputs, int) or isinstance(outputs, bool) or outputs < least:
        raise InvalidArgument(
            f"n, the number of outputs, is a whole number from 1 on, not {outputs!r}"
        )
    if inputs + outputs > MAX_TASKS:
        raise InvalidArgument(
            f"{inputs:,} inputs and {outputs:,} outputs in one shuffle; the limit is {MAX_TASKS:,}"
        )
    return outputs


class Shuffler:
    """Submits exchanges for one client."""

    def __init__(self, session: Session, packer: Packer, functions: FunctionTable) -> None:
        self._session = session
        self._packer = packer
        self._functions = functions

    def exchange(
        self,
        split: Any,
        merge: Any,
        futures: Futures | list[Future],
        outputs: int,
        name: str | None,
        options: dict[str, Any],
    ) -> Futures:
        """Submit the exchange over futures, at least one; return the futures of its outputs."""
        splitting, merging = self._functions.pickle(split), self._functions.pickle(merge)
        name = name or merging.name
        run = self._packer.find_run(futures)
        if run is not None:
            return self._add(splitting, merging, *run, len(futures), outputs, name, options)
        passed = self._pass_on(futures, name, options)
        run = self._packer.find_run(passed)
        assert run is not None
        return self._add(splitting, merging, *run, len(passed), outputs, name, options)

    def _add(
        self,
        split: PickledFunction,
        merge: PickledFunction,
        source: GroupState,
        start: int,
        count: int,
        outputs: int,
        name: str,
        options: dict[str, Any],
    ) -> Futures:
        n = count + outputs
        layer = {
            "kind": "exchange", "n": n, "split": split.digest, "function": merge.digest,
            "group": source.id, "offset": start, "count": count, "outputs": outputs,
        }  # fmt: skip
        blobs: dict[bytes, Blob] = {split.digest: split.blob, merge.digest: merge.blob}
        session = self._session
        with session.lock:
            group = session.add_group(name, n, layer, blobs, options, False, held_from=count)
            group.is_map = True
            if outputs <= PUSHED_OUTPUTS:
                session.push(group, count, n)
        merged = Futures(group, range(count, n))
        session.wake()
        return merged

    def _pass_on(
        self, futures: Futures | list[Future], name: str, options: dict[str, Any]
    ) -> Futures:
        """Submit a call for each of some futures, that are no run of one group, which returns what
        it is given.
        """
        session = self._session
        function = self._functions.pickle(itemgetter(0))
        calls = [self._packer.pack_call(function, ((future,),), {}) for future in futures]
        layer = {"kind": "graph", "function": function.digest}
        with session.lock:
            group = session.add_group(
                f"{name}-inputs", 0, layer, {function.digest: function.blob}, options, False
            )
            group.graph = OpenGraph(None)
            for payload, deps in calls:
                session.add_call(group, payload, deps)
            group.counts.clear()  # the Futures holds them
            session.close_graph(group)
        passed = Futures(group, range(group.n))
        session.wake()
        return passed
