"""The client: what users call.

Law: a thin face. Checks arguments, then hands on to the rooms beside it; no protocol and no waiting
of its own. What only sends something (`submit`, `map`, `cancel`, `retry`, `release`) never waits;
what waits has a `timeout` and comes in two faces, blocking and awaitable.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sys
import threading
import weakref
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Self

from ..errors import ConnectionClosed, InvalidArgument
from ..messages import Blob
from ..transport import Credentials
from . import default, reprs
from .cluster import ClusterQuestions
from .datasets import Datasets
from .folding import ABSENT, Folder, check_fanin, list_futures
from .functions import FunctionTable, PickledFunction
from .futures import Future, Futures
from .holdings import Holdings
from .link import Callbacks, Link
from .options import DEFAULT, Options, take_options, with_options
from .packing import EachPlan, GraphPlan, Packer
from .plugs import Plugs
from .progress import GroupProgress, progress_of
from .running import Running
from .session import MAX_OPEN_TASKS, Session
from .sharing import add_group
from .shuffling import Shuffles
from .state import GroupState, OpenGraph
from .target import Target, resolve
from .tasks import TaskMethods
from .waiting import check_timeout

PUSHED_TASKS = 16_384
"""Small results of a map of up to so many tasks are pushed here unasked; of a larger one, when
somebody wants them.
"""


class Client(ClusterQuestions, Holdings, Datasets, Running, TaskMethods, Shuffles, Plugs):
    """A connection to a cluster, to run tasks on it.

    Args:
        target: a cluster's name, address or connection file, or a LocalCluster; None: the cluster
        called "default",
            which is started on this machine if there is none (and then ends with this client).
        name: how this client is called in diagnostics; None: after the program and its process id.
        asynchronous: the awaitable face: use ``async with Client(..., asynchronous=True) as
        client`` or
            ``client = await Client(..., asynchronous=True)``; then what waits returns awaitables.
        timeout: seconds to wait for the connection. connection: path of the cluster's connection
        file, for an address that is not listed on this machine. credentials: other credentials than
        those of the connection file.

    Raises:
        ClusterNotFound, ClusterDead, StartFailed: there is no such cluster. Refused,
        ConnectionClosed: it is there, but does not let us in, or does not answer.
    """

    def __init__(
        self,
        target: Any = None,
        *,
        name: str | None = None,
        asynchronous: bool = False,
        timeout: float = 10,
        connection: str | os.PathLike[str] | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self._session: Session | None = None
        self._is_ended = False
        self.asynchronous = asynchronous
        self.name = name or _default_name()
        self._timeout_s = check_timeout(timeout) or 10.0
        self._where = (target, connection, credentials)
        self._packer: Packer
        self._target: Target
        self._functions = FunctionTable()
        self._callbacks = Callbacks()
        self._link = Link(asynchronous)
        self._lock = threading.Lock()
        if not asynchronous:
            self._target = resolve(*self._where)
            self._link.run_loop()
            try:
                self._link.run(self._open(), None, "the connection")
            except BaseException:
                self._link.end_loop()
                self._stop_started()
                raise
            self._begin()

    # --- beginning and end ------------------------------------------------------------------------

    async def _open(self) -> None:
        target = self._target
        info = {"name": self.name, "pid": os.getpid(), "kernel_id": _find_kernel_id()}
        await self._link.open(
            target.address, target.cluster_id, target.credentials, info, self._timeout_s
        )

    def _begin(self) -> None:
        session = self._session = self._link.session
        self._packer = Packer(session)
        # Nothing that lives with the connection may hold this object: see `__del__`.
        session.run_callback = self._link.call if self.asynchronous else self._callbacks.add
        session.refresh = _weakly(self._refresh)
        self._link.on_snapshot = _weakly(self._on_snapshot)
        default.register(self)

    def __del__(self) -> None:
        # A cell with `client = Client()` is run again: the old one ends with its last future.
        if not self.asynchronous and self._session is not None and not self._is_ended:
            self._link.abandon(self._callbacks.close)

    async def _start(self) -> Self:
        if self._session is None and not self._is_ended:
            self._target = await asyncio.to_thread(resolve, *self._where)
            try:
                await self._open()
            except BaseException:
                await asyncio.to_thread(self._stop_started)
                raise
            self._begin()
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._start().__await__()

    async def __aenter__(self) -> Self:
        return await self._start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close_async()

    def __enter__(self) -> Self:
        if self.asynchronous:
            raise InvalidArgument("an asynchronous client is entered by `async with`")
        self._plug_in()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pull_plug()
        self.close()

    def close(self) -> Any:
        """Let go of all tasks and end the connection. Unfinished tasks that nobody else wants are
        dropped; results that are here already stay readable. A cluster that was started for this
        client ends with it.
        """
        if self.asynchronous:
            return self._close_async()
        self._end()
        return None

    def _end(self) -> None:
        with self._lock:
            if self._is_ended:
                return
            self._is_ended = True
        default.unregister(self)
        if self.asynchronous:  # at exit: its loop is gone already
            self._stop_started()
            return
        with contextlib.suppress(ConnectionClosed, TimeoutError, RuntimeError):
            self._link.run(
                self._link.shut("this client was closed"), 5, "the end of the connection"
            )
        self._link.end_loop()
        self._callbacks.close()
        self._stop_started()

    async def _close_async(self) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        default.unregister(self)
        if self._session is not None:
            await self._link.shut("this client was closed")
            await asyncio.to_thread(self._stop_started)

    def _stop_started(self) -> None:
        started = self._target.started if hasattr(self, "_target") else None
        if started is not None:
            started.stop()

    def _disown(self) -> None:
        """This is a fork of the process that made the client: its thread and connection are not
        here.
        """
        self._is_ended = True
        session = self._session
        if session is not None:
            session.lock = threading.Lock()  # it may have been held at the moment of the fork
            session.wake = session.urge = session.refresh = session.ring = _do_nothing
            session.listen = lambda gate, deadline: None
            session.closed = ConnectionClosed(
                "this process was forked from the one that made the client, and a connection "
                "cannot be shared: "
                f"make a new Client({session.cluster!r}) here"
            )

    # --- what it is -------------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The state of its protocol. Raises: ConnectionClosed if it is not connected yet."""
        if self._session is None:
            raise ConnectionClosed(
                "this asynchronous client is not connected: use `async with Client(...) as "
                "client`, or await it first"
            )
        return self._session

    @property
    def cluster_name(self) -> str:
        """The name of the cluster."""
        return self.session.cluster

    @property
    def cluster_id(self) -> str:
        """The cluster's id, which no other cluster ever has."""
        return self.session.cluster_id

    @property
    def closed(self) -> Exception | None:
        """Why there is no connection any more, None while there is."""
        if self._session is None:
            return ConnectionClosed("not connected yet")
        return self._session.closed

    @property
    def group_count(self) -> int:
        """The number of groups of which this client holds tasks."""
        return len(self.session.groups)

    def groups(self) -> list[GroupProgress]:
        """Return how far each group is of which this client holds tasks, oldest first."""
        session = self.session
        with session.lock:
            groups = [
                (g, range(r[0], r[-1])) for g in session.groups.values() if (r := g.held.bounds)
            ]
        return [progress_of(group, indices) for group, indices in groups]

    def __repr__(self) -> str:
        if self._session is None:
            return "<Client: not connected>"
        return reprs.client_text(self)

    def _repr_html_(self) -> str:
        return (
            reprs.client_html(self) if self._session is not None else "<i>client: not connected</i>"
        )

    # --- submitting -------------------------------------------------------------------------------

    @with_options
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Run ``fn(*args, **kwargs)`` on the cluster and return its future at once.

        Futures anywhere in the arguments (also inside lists, tuples and dicts) are replaced by
        their results. Submits of one function with the same options join one group. Options, which
        are not handed to the function:

        `name`: of the group; None: the function's. `priority`: larger runs first. `retries`: how
        often it runs again if it raises; `allowed_failures`: how often its executor may die.
        `resources`: what it needs of a worker, as ``{"GPU": 1, "memory": 2e9}``; see
        `cellspan.get_resources`. `workers`: the name or host of the worker that may run it, or a
        list. `timeout`: seconds that it may run; then it is ended and raises `TimeoutError`.
        `pure`: it does nothing but return what follows from its arguments: equal work of all
        clients is computed once; `key`: a name for the work, which pure work is shared under.
        `metadata`: a small dict that is kept with the group. `span`: how many tasks an executor is
        handed together, a number or (at least, at most).

        Raises:
            ArgumentNotSerializable: the function or an argument cannot be pickled; the text names
            the variable. PayloadTooLarge: an argument has more than 64 MiB: send it with `scatter`.
            InvalidArgument: an option that cannot be, or a future of another cluster.
            ConnectionClosed: the client is closed or has lost its cluster.
        """
        session = self._session or self.session
        options = take_options(kwargs)
        function = self._functions.pickle(fn)
        if options.pure:
            return self._submit_pure(function, args, kwargs, options)
        payload, deps = self._packer.pack_call(function, args, kwargs)
        key = function.key if options is DEFAULT else (function.key, options)
        with session.lock:
            group = session.open.get(key)
            if group is None or group.n >= MAX_OPEN_TASKS or session.closed is not None:
                name = options.name or function.name
                wire = options.to_wire()
                group = session.open_graph(key, name, function.digest, function.blob, wire)
            index = session.add_call(group, payload, deps)
        session.wake()
        return Future(group, index)

    def _submit_pure(
        self, function: PickledFunction, args: Any, kwargs: dict[str, Any], options: Options
    ) -> Future:
        """A group of its own: what is computed is known when it is submitted."""
        session = self.session
        plan = self._packer.pack_same(function, args, kwargs, 1)
        with session.lock:
            group = self._add_each(function, plan, options)
            group.counts[0] = group.counts.get(0, 0) + 1
        session.wake()
        return Future(group, 0)

    @with_options
    def map(self, fn: Callable[..., Any], /, *iterables: Any, **kwargs: Any) -> Futures:
        """Run ``fn(*items, **kwargs)`` for each tuple of items of the iterables, and return the
        futures at once.

        The iterables have one length; what has none (`itertools.count()`, a generator) may go on
        beyond the others. A `range`, or the futures of another map, costs nothing to send, however
        long it is; items are pickled in chunks; keyword arguments are the same for all tasks and
        are sent once. Options and errors: as for `submit`; each counts for every task.
        InvalidArgument, too, if the iterables differ in length, do not end, or make more than 500
        million tasks. A map over lists with futures among other items is not shared, though pure.
        """
        session = self._session or self.session
        if not iterables:
            raise InvalidArgument(
                "map needs an iterable: map(f, range(10)); for one call use submit(f, ...)"
            )
        options = take_options(kwargs)
        function = self._functions.pickle(fn)
        plan = self._packer.pack_map(function, iterables, kwargs)
        if isinstance(plan, GraphPlan):
            futures = self._add_graph(function, plan, options)
        elif not plan.n:
            session.check_open()
            name = options.name or function.name
            return Futures(GroupState(session, 0, name, 0), range(0))
        else:
            with session.lock:
                group = self._add_each(function, plan, options)
                group.is_map = True
                group.ranges.append((0, group.n))  # until the Futures holds them
            futures = Futures(group, range(group.n))
            with session.lock:
                group.ranges.remove((0, group.n))
        session.wake()
        return futures

    @with_options
    def reduce(
        self,
        fn: Callable[[Any, Any], Any],
        futures: Any,
        /,
        *,
        initial: Any = ABSENT,
        fanin: int = 8,
        **options: Any,
    ) -> Future:
        """Combine the results of futures with a function of two arguments, as `functools.reduce`
        does, and return the future of the one result at once.

        The workers do it as a tree: a task folds up to `fanin` neighbours, then their results are
        folded, and so on. So `fn` must be associative (``fn(fn(a, b), c) == fn(a, fn(b, c))``;
        sums of floats nearly are); it need not be commutative, for the order is kept. It must not
        change its arguments. `initial` stands before the first result; of one future without it the
        result is that future's own. What was combined is let go of level by level, unless you hold
        its future. The futures of a map cost nothing to name; others are listed.
        Options: as for `submit`; each counts for every task of the tree.

        Raises:
            InvalidArgument: there are no futures and no `initial`, or something else than futures,
            or an option that cannot be. Otherwise as `submit`.
        """
        session = self.session
        session.check_open()
        chosen = take_options(options)
        if options:
            raise InvalidArgument(f"reduce has no option {next(iter(options))!r}")
        check_fanin(fanin)
        found = list_futures(futures, "reduce", "use functools.reduce")
        if found:
            folder = Folder(session, self._packer, self._functions)
            return folder.fold(fn, found, initial, fanin, chosen)
        if initial is ABSENT:
            raise InvalidArgument("reduce of no futures has no result without an `initial` value")
        if chosen.name is None:
            chosen = chosen._replace(name=self._functions.pickle(fn).name)
        return self.submit(functools.reduce, fn, (), initial, **chosen.as_arguments())

    def _add_each(self, function: PickledFunction, plan: EachPlan, options: Options) -> GroupState:
        """Submit a map, or a pure call. Under the lock."""
        layer = {
            "kind": "each", "n": plan.n, "function": function.digest, "args": plan.args,
            "names": plan.names,
        }  # fmt: skip
        blobs = {function.digest: function.blob, **plan.blobs}
        name = options.name or function.name
        is_small = plan.n <= PUSHED_TASKS
        return add_group(self.session, name, plan.n, layer, blobs, options, is_small)

    def _add_graph(self, function: PickledFunction, plan: GraphPlan, options: Options) -> Futures:
        session = self.session
        layer = {"kind": "graph", "function": function.digest}
        blobs: dict[bytes, Blob] = {function.digest: function.blob}
        name, wire = options.name or function.name, options.to_wire()
        with session.lock:
            group = session.add_group(name, 0, layer, blobs, wire, True)
            group.graph = OpenGraph(None)
            group.is_map = True
            for payload, deps in plan.calls:
                session.add_call(group, payload, deps)
            group.counts.clear()  # the Futures holds them
            session.close_graph(group)
        return Futures(group, range(group.n))


def _default_name() -> str:
    if "ipykernel" in sys.modules:
        return f"notebook-{os.getpid()}"
    program = os.path.splitext(os.path.basename(sys.argv[0] if sys.argv else ""))[0]
    return f"{program.lstrip('-') or 'python'}-{os.getpid()}"


def _find_kernel_id() -> str | None:
    """Return the id of the Jupyter kernel that this process is, None if it is none."""
    connect: Any = sys.modules.get("ipykernel.connect")
    try:
        name: str = os.path.splitext(os.path.basename(connect.get_connection_file()))[0]
    except Exception:  # this is no kernel
        return None
    return name.removeprefix("kernel-")


def _weakly(method: Callable[..., None]) -> Callable[..., None]:
    """Return a function that calls a method as long as its object lives, and does not hold it."""
    found = weakref.WeakMethod(method)

    def call(*args: Any) -> None:
        alive = found()
        if alive is not None:
            alive(*args)

    return call


def _do_nothing() -> None:
    """Stands in for waking a connection that is not there."""
