"""Bad input is refused where it comes in, at once, with the reason and the remedy, and leaves
nothing behind.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import numpy as np
import pytest

from cellspan.engine.client import Client
from cellspan.engine.client.columns import MAX_LISTED
from cellspan.engine.client.futures import Futures
from cellspan.engine.deploy import LocalCluster
from cellspan.engine.errors import ConnectionClosed, InvalidArgument, TaskError

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file

WAIT_S = 20
BILLION = 10**9


def add(x: Any, y: Any = 1) -> Any:
    return x + y


class Reader:
    """An iterable that claims a length, and says how far it was read."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.read = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        while True:
            assert self.read < 1000, "it was listed before it was looked at"
            self.read += 1
            yield self.read


@pytest.fixture
def refuse(client: Client) -> Callable[..., None]:
    """Check that a call is refused in words, and that nothing is left of it."""

    def refuse(
        call: Callable[[], Any], match: str, kind: type[Exception] = InvalidArgument
    ) -> None:
        with pytest.raises(kind, match=match):
            call()
        assert client.groups() == []

    return refuse


Refuse = Callable[..., None]


def test_maps_of_a_billion_tasks(client: Client, refuse: Refuse) -> None:
    limit = "1,000,000,000 tasks in one map; the limit is 500,000,000. Let each task do more"
    refuse(lambda: client.map(add, range(BILLION)), limit)
    refuse(lambda: client.map(add, range(BILLION), range(BILLION)), limit)
    refuse(lambda: client.map(add, range(BILLION), itertools.count()), limit)
    refuse(lambda: client.map(add, np.broadcast_to(np.int8(1), BILLION)), limit)
    refuse(lambda: client.map(add, range(10**30)), r"more than 2 \*\* 63 tasks in one map")
    assert client.map(add, range(499_999_999))[-1:].cancel() == 1  # symbolic, whatever its length


def test_what_would_have_to_be_listed(client: Client, refuse: Refuse) -> None:
    reader = Reader(BILLION)
    listed = "would have to list more than 16,777,216 items"
    refuse(lambda: client.map(add, reader), listed)
    refuse(lambda: client.map(add, iter(range(BILLION))), listed)
    refuse(lambda: client.map(add, itertools.repeat(1, BILLION)), listed)
    refuse(lambda: client.map(add, range(10**30, 10**30 + MAX_LISTED + 1)), listed)
    refuse(lambda: client.map(add, range(MAX_LISTED + 1), itertools.count()), listed)
    assert reader.read <= 1


def test_maps_that_never_end(client: Client, refuse: Refuse) -> None:
    ends = "needs at least one iterable that ends"
    refuse(lambda: client.map(add, itertools.count()), ends)
    refuse(lambda: client.map(add, itertools.cycle([1]), itertools.repeat(1)), ends)
    refuse(lambda: client.map(add, itertools.repeat(1)), ends)


def test_arguments_of_different_lengths(client: Client, refuse: Refuse) -> None:
    differ = "must be equally long, but argument 1 has 3 items, argument 2 has 2 items. Cut them"
    refuse(lambda: client.map(add, [1, 2, 3], [1, 2]), differ)
    refuse(lambda: client.map(add, range(400_000_000), [1]), "argument 1 has 400,000,000 items")
    refuse(lambda: client.map(add, [], "ab"), "argument 1 has 0 items")
    refuse(lambda: client.map(add, [1, 2, 3], (x for x in "ab")), "argument 2 has 2 items")
    futures = client.map(add, range(5))
    with pytest.raises(InvalidArgument, match="equally long"):
        client.map(add, futures, [1, 2])
    assert client.gather(client.map(add, futures, itertools.count())) == [1, 3, 5, 7, 9]
    assert client.gather(client.map(add, futures[:2], [1, 2])) == [2, 4]


def test_what_is_no_iterable_or_no_function(client: Client, refuse: Refuse) -> None:
    refuse(lambda: client.map(add), "map needs an iterable")
    refuse(lambda: client.map(add, 5), "map takes iterables, but argument 1")
    refuse(lambda: client.map(add, np.array(5)), "map takes iterables")
    for bad in (5, None, "add", object()):
        refuse(lambda bad=bad: client.map(bad, [1]), "is the function to call, not")
        refuse(lambda bad=bad: client.submit(bad, 1), "is the function to call, not")
        refuse(lambda bad=bad: client.get_executor().submit(bad).result(WAIT_S), "function to call")
    futures = client.map(add, range(3))
    with pytest.raises(InvalidArgument, match="is the function to call, not 5"):
        client.reduce(5, futures)  # type: ignore[arg-type]


def test_iterables_that_raise_midway(client: Client, refuse: Refuse) -> None:
    def items() -> Iterator[int]:
        yield from range(100)
        raise LookupError("the hundredth")

    refuse(lambda: client.map(add, items()), "the hundredth", LookupError)
    refuse(lambda: client.map(add, range(200), items()), "the hundredth", LookupError)
    with client.get_executor() as executor:
        refuse(lambda: executor.map(add, items()), "the hundredth", LookupError)
    assert client.submit(add, 1).result(WAIT_S) == 2


def test_numbers_that_cannot_be(client: Client, refuse: Refuse) -> None:
    refuse(lambda: client.submit(add, 1, retries=-1), "retries is not negative, but -1")
    refuse(lambda: client.map(add, [1], allowed_failures=-2), "allowed_failures is not negative")
    refuse(lambda: client.submit(add, 1, retries=10**12), r"retries is a number below 2 \*\* 31")
    refuse(lambda: client.submit(add, 1, priority=True), "priority is a whole number, not True")
    refuse(lambda: client.logs(lines=-1), "lines is a number from 1 on")
    futures = client.map(add, range(3))
    for fanin in (-1, 0, 1, BILLION, 2.0):
        with pytest.raises(InvalidArgument, match="fanin is a whole number from 2 to"):
            client.reduce(add, futures, fanin=fanin)  # type: ignore[arg-type]
    for wait in (futures[0].result, lambda t: client.gather(futures, timeout=t)):
        with pytest.raises(InvalidArgument, match="timeout is not negative"):
            wait(-1)
    with client.get_executor() as executor, pytest.raises(ValueError, match="chunksize"):
        executor.map(add, [1], chunksize=-1)


@pytest.mark.parametrize(
    ("option", "value"),
    [("workers", -1), ("workers", BILLION), ("cores", -2), ("memory", -5), ("memory", "-1GB")],
)
def test_clusters_of_impossible_sizes(option: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"{option}={value!r}: give "):
        LocalCluster(**{option: value})


# --- futures --------------------------------------------------------------------------------------


def uses(client: Client, future: Any, futures: Futures) -> list[Callable[[], Any]]:
    """All ways in which futures become arguments."""
    return [
        lambda: client.submit(add, future),
        lambda: client.submit(add, {"deep": [(future,)]}),
        lambda: client.submit(add, 1, y=futures),
        lambda: client.map(add, futures),
        lambda: client.map(add, list(futures)),
        lambda: client.map(add, [1, future]),
        lambda: client.map(add, range(3), y=future),
        lambda: client.map(add, range(3), itertools.repeat(future)),
        lambda: client.reduce(add, futures),
        lambda: client.reduce(add, [future, future]),
        lambda: client.get({"a": (add, future, 1)}, "a"),
        lambda: client.get({"a": (add, [futures], 1)}, "a"),
        lambda: client.get({("a", i): (add, future, i) for i in range(20)}, ("a", 3)),
        lambda: client.get({("a", i): (add, i, future) for i in range(20)}, [("a", 1), ("a", 2)]),
    ]


def test_futures_of_another_cluster(client: Client, refuse: Refuse, place: Any) -> None:
    with LocalCluster(workers=1, cores=1, name="abroad") as abroad, Client(abroad) as other:
        future, futures = other.submit(add, 1), other.map(add, range(3))
        for use in uses(client, future, futures):
            refuse(use, "belongs to cluster 'abroad', not to 'tests': gather it there")
        assert client.gather([future, futures]) == [2, [1, 2, 3]]  # to read them is no matter
    assert client.submit(add, 1).result(WAIT_S) == 2


def test_futures_of_a_closed_client(client: Client, cluster: LocalCluster, refuse: Refuse) -> None:
    with Client(cluster) as other:
        future, futures = other.submit(add, 1), other.map(add, range(3))
        assert future.result(WAIT_S) == 2  # so the scheduler knows it, whose client is the faster
        assert client.submit(add, future).result(WAIT_S) == 3  # one cluster: as good as one's own
    for use in uses(client, future, futures):
        refuse(use, "belongs to a client that is closed, and its result went with it")
    for use in uses(other, future, futures):
        with pytest.raises(ConnectionClosed, match="this client was closed"):
            use()


def test_futures_that_were_released(client: Client, refuse: Refuse) -> None:
    future, futures = client.submit(add, 1), client.map(add, range(3))
    empty = client.map(add, range(3))[:0]
    client.release([future])
    client.release(futures)
    assert len(futures) == 0
    for use in (
        lambda: client.submit(add, future),
        lambda: client.map(add, futures),
        lambda: client.gather(futures),
        lambda: client.gather([future]),
        lambda: client.get({"a": (add, future, 1)}, "a"),
    ):
        with pytest.raises(InvalidArgument, match="released"):
            use()
    assert client.gather(client.map(add, empty)) == []


def test_what_is_no_future(client: Client, refuse: Refuse) -> None:
    for use in (client.cancel, client.retry, client.release, client.wait, client.fire_and_forget,
                client.who_has, client.nbytes, client.as_completed):  # fmt: skip
        for bad in (5, [5]):
            refuse(lambda use=use, bad=bad: use(bad), "takes futures")
    refuse(lambda: client.reduce(add, [1, 2]), "reduce takes the futures of tasks, but item 0")


def test_all_of_a_long_map_is_named_without_listing_it(client: Client) -> None:
    futures = client.map(add, range(400_000_000))
    assert client.cancel(futures) > 300_000_000
    assert "cancelled" in {future.status for future in futures[-5:]}


# --- Dask graphs ----------------------------------------------------------------------------------


def test_graphs_that_cannot_be_run(client: Client, refuse: Refuse) -> None:
    get = client.get
    n = 100_000
    ring = {i: (add, (i + 1) % n) for i in range(n)}
    refuse(lambda: get(ring, 0), "the graph has a cycle: 0 needs 1 needs 2 ")
    refuse(lambda: get({"a": (add, "a")}, "a"), "cycle: 'a' needs 'a'")
    refuse(lambda: get({"a": "b", "b": "a"}, "a"), "cycle")
    refuse(lambda: get({"a": 1}, "b"), "no key 'b'; it has 1: 'a'", KeyError)
    refuse(lambda: get({"a": 1}, ["a", ["a", ["b"]]]), "no key 'b'", KeyError)
    for key in ({"a": 1}, ("a", [1]), {"a"}):
        refuse(lambda key=key: get({"a": 1}, key), "is not hashable, so it is no key")
        refuse(lambda key=key: get({"a": 1}, ["a", key]), "is not hashable")
    for graph in (5, None, [("a", 1)], "a"):
        refuse(lambda graph=graph: get(graph, "a"), "get takes a Dask graph")
    from dask._task_spec import Task, TaskRef

    refuse(lambda: get({"a": Task("a", 5, 1)}, "a"), "is the function to call, not 5")
    refuse(lambda: get({"a": Task("a", add, TaskRef("b"))}, "a"), "needs 'b', which", KeyError)
    refuse(lambda: get({"a": (add, threading.Lock())}, "a"), "task 'a' cannot be sent", TypeError)
    refuse(lambda: get({"a": (add, 1)}, "a", retries=-1), "retries is not negative")
    assert get({"a": (add, 1)}, "a") == 2


# --- the scheduler's border -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (
            {"kind": "spiral", "n": 3},
            "knows no layer of kind 'spiral'; it knows each, fold, exchange",
        ),
        ({}, "knows no layer of kind None"),
        ({"kind": ["each"], "n": 3}, r"knows no layer of kind \['each'\]"),
        ({"kind": "each", "n": -1}, "number of tasks is -1"),
        ({"kind": "each", "n": 1 << 40}, "the limit is"),
        ({"kind": "each", "n": 3}, "the function is not named by a digest"),
        ({"kind": "each", "n": 3, "function": b"x" * 16}, "did not come with the submission"),
    ],
)
def test_layers_that_are_not_in_the_registry(
    client: Client, layer: dict[str, Any], text: str
) -> None:
    session = client.session
    with session.lock:
        group = session.add_group("odd", 3, layer, {}, {}, True)
    session.wake()
    futures = Futures(group, range(3))
    with pytest.raises(TaskError, match="the scheduler did not take the group 'odd': .*" + text):
        futures[0].result(WAIT_S)
    assert client.submit(add, 1).result(WAIT_S) == 2
