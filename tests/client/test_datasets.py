"""Data sets, fire and forget, and where results are, on a real cluster."""

from __future__ import annotations

import asyncio
import gc
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from cellspan import __version__
from cellspan.engine.client import Client, Future, Futures
from cellspan.engine.client.holdings import check_versions
from cellspan.engine.deploy import LocalCluster
from cellspan.engine.errors import (
    ArgumentNotSerializable,
    ClusterError,
    ConnectionClosed,
    InvalidArgument,
    PayloadTooLarge,
)

from .test_real import Signals

WAIT_S = 20.0


def square(x: int) -> int:
    return x * x


@pytest.fixture(scope="module", autouse=True)
def by_value() -> Iterator[None]:
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture
def signals(tmp_path: Path) -> Signals:
    return Signals(tmp_path)


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


# --- data sets ------------------------------------------------------------------------------------


def test_another_client_gets_it_after_the_publisher_has_left(cluster: LocalCluster) -> None:
    with Client(cluster, name="publisher") as publisher:
        squares = publisher.map(square, range(1000))
        kept = publisher.reduce(max, squares[:10])
        data = {"all": squares, "some": [squares[3], (kept,)], "note": "of numbers"}
        publisher.publish_dataset(data, "squares")
        del squares, kept, data
    with Client(cluster, name="reader") as reader, Client(cluster, name="latest"):
        assert reader.list_datasets() == ["squares"]
        found = reader.get_dataset("squares")
        assert type(found["all"]) is Futures and type(found["some"][0]) is Future
        assert found["all"]._group.session is reader.session  # not of the latest client
        assert reader.gather(found["all"], timeout=WAIT_S) == [x * x for x in range(1000)]
        assert reader.gather(found["some"], timeout=WAIT_S) == [9, (81,)]
        assert found["note"] == "of numbers"
        reader.unpublish_dataset("squares")
        assert reader.list_datasets() == []
        assert reader.submit(sum, found["all"][:4]).result(WAIT_S) == 14  # held here now
        group = found["all"].group_id
        del found
        gc.collect()
        until(lambda: not any(group in _groups(reader, w) for w in reader.has_what()), "freed")


def _groups(client: Client, worker: str) -> set[int]:
    return {held.group for held in client.has_what().get(worker, [])}


def test_names_are_taken_once_and_errors_speak(client: Client) -> None:
    client.publish_dataset([1, 2], "plain")
    with pytest.raises(ClusterError, match="there is a data set 'plain' already"):
        client.publish_dataset([3], "plain")
    client.publish_dataset([3], "plain", override=True)
    assert client.get_dataset("plain") == [3]
    client.unpublish_dataset("plain")
    for ask in (client.get_dataset, client.unpublish_dataset):
        with pytest.raises(ClusterError, match="no data set 'plain'; there are: none"):
            ask("plain")
    for name in ("", 7, "x" * 2000):
        with pytest.raises(InvalidArgument, match="the name of a data set"):
            client.publish_dataset(1, name)  # type: ignore[arg-type]
    with pytest.raises(ArgumentNotSerializable, match=r"data\[1\] is a _thread.lock"):
        client.publish_dataset([1, threading.Lock()], "lock")
    with pytest.raises(PayloadTooLarge, match="scatter"):
        client.publish_dataset(np.zeros(9_000_000), "large")
    released = client.submit(square, 2)
    released.release()
    with pytest.raises(InvalidArgument, match="released"):
        client.publish_dataset({"a": released}, "gone")
    assert client.list_datasets() == []


def test_what_cannot_be_unpickled_here_says_so(client: Client) -> None:
    client.publish_dataset(Spoiled(), "spoiled")
    with pytest.raises(ClusterError, match=r"'spoiled' cannot be unpickled here: ValueError: no"):
        client.get_dataset("spoiled")
    client.unpublish_dataset("spoiled")


class Spoiled:
    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise ValueError("no")


def test_a_closed_client_publishes_nothing(cluster: LocalCluster) -> None:
    client = Client(cluster)
    client.close()
    for ask in (lambda: client.publish_dataset(1, "x"), client.list_datasets, client.has_what):
        with pytest.raises(ConnectionClosed):
            ask()


# --- fire and forget ------------------------------------------------------------------------------


def test_what_was_fired_is_done_although_its_client_has_left(
    client: Client, cluster: LocalCluster, signals: Signals
) -> None:
    folder = signals.folder

    def mark(x: int) -> None:
        signals.wait_for("go")
        (folder / f"done-{x}").touch()

    with Client(cluster, name="gunner") as gunner:
        gunner.fire_and_forget(gunner.map(mark, range(20)))
        gunner.fire_and_forget(gunner.submit(mark, 20))
        with pytest.raises(InvalidArgument, match="fire_and_forget takes futures"):
            gunner.fire_and_forget([1])  # type: ignore[list-item]
    signals.give("go")
    until(lambda: len(list(folder.glob("done-*"))) == 21, "all were done")
    until(lambda: not [r for r in _rows(client, "mark") if r.released < r.total], "let go")


def _rows(client: Client, name: str) -> list[Any]:
    return [row for row in client.snapshot().groups if row.name == name]


# --- where results are ----------------------------------------------------------------------------


def test_who_has_what_and_how_large(client: Client) -> None:
    arrays = client.map(np.zeros, [100_000] * 6, name="arrays")
    client.wait(arrays, timeout=WAIT_S)
    homes = client.who_has(arrays)
    assert list(homes) == list(arrays)
    workers = {worker["name"] for worker in client.status()["workers"]}
    assert all(len(names) == 1 and names[0] in workers for names in homes.values())
    found = client.has_what()
    held = [h for rows in found.values() for h in rows if h.group == arrays.group_id]
    assert sum(h.tasks for h in held) == 6 and {h.name for h in held} == {"arrays"}
    for worker, rows in found.items():
        mine = [f for f, names in homes.items() if names == [worker]]
        assert sum(h.tasks for h in rows if h.group == arrays.group_id) == len(mine)
    assert 4_800_000 <= client.nbytes(arrays) < 4_900_000
    assert 800_000 <= client.nbytes([arrays[0], arrays[0]]) < 820_000
    assert sum(h.nbytes for h in held) == pytest.approx(client.nbytes(arrays), abs=6)


def test_what_is_not_there_yet_is_nowhere(client: Client, signals: Signals) -> None:
    future = client.submit(signals.hold, 1)
    assert client.who_has([future]) == {future: []}
    assert client.nbytes(future) == 0
    signals.give("go")
    assert future.result(WAIT_S) == 1
    with pytest.raises(InvalidArgument, match="who_has takes futures"):
        client.who_has([3])


def test_copies_are_holders_too(client: Client) -> None:
    data = client.scatter(np.arange(50_000), broadcast=True)
    assert len(client.who_has(data)[data]) == 2
    assert 400_000 <= client.nbytes(data) < 410_000


# --- versions -------------------------------------------------------------------------------------


def test_versions_of_all_processes(client: Client) -> None:
    versions = client.get_versions(check=True)
    here = {"cellspan": __version__, "python": platform.python_version()}
    assert versions["client"] == versions["scheduler"] == here
    assert len(versions["workers"]) == 2 and all(v == here for v in versions["workers"].values())


def test_versions_that_do_not_fit_are_named() -> None:
    here = {"cellspan": "1.2", "python": "3.12.1"}
    check_versions(
        {"client": here, "scheduler": here, "workers": {"a": {**here, "python": "3.12.9"}}}
    )
    workers = {"a": {**here, "python": "3.11.1"}, "b": {**here, "cellspan": "1.1"}}
    with pytest.raises(ClusterError) as caught:
        check_versions({"client": here, "scheduler": here, "workers": workers})
    text = str(caught.value)
    assert "worker a has Python 3.11.1" in text and "worker b has cellspan 1.1" in text
    assert "scheduler" not in text


# --- results one by one ---------------------------------------------------------------------------


def test_results_in_order_and_as_they_come(client: Client, signals: Signals) -> None:
    futures = client.map(square, range(5000))
    results = futures.iter_results(timeout=WAIT_S)
    assert len(results) == 5000
    assert list(results) == [x * x for x in range(5000)]
    came = futures[::-1].iter_results(ordered=False, timeout=WAIT_S)
    assert sorted(came) == [x * x for x in range(5000)]
    assert list(client.map(square, []).iter_results()) == []
    assert list(client.map(square, range(3)).iter_results()) == [0, 1, 4]  # it holds them itself

    def first_last(x: int) -> int:
        if x == 0:
            signals.wait_for("go")
        return x

    mixed = client.map(first_last, range(2)).iter_results(ordered=False, timeout=WAIT_S)
    assert next(mixed) == 1
    signals.give("go")
    assert list(mixed) == [0]


def test_errors_and_time_while_iterating(client: Client, signals: Signals) -> None:
    def odd(x: int) -> int:
        if x % 2 == 0:
            raise TimeoutError(f"{x} is even")
        return x

    futures = client.map(odd, range(10))
    for ordered in (True, False):
        found = futures.iter_results(ordered, errors="skip", timeout=WAIT_S)
        assert sorted(found) == [1, 3, 5, 7, 9]
        with pytest.raises(TimeoutError, match="is even"):
            list(futures.iter_results(ordered, timeout=WAIT_S))
    held = client.map(signals.hold, range(1))
    with pytest.raises(TimeoutError, match=r"iter_results: 0.1 s .* result 1 of 1 is not here"):
        next(held.iter_results(timeout=0.1))
    with pytest.raises(TimeoutError, match=r"as_completed: 0.1 s"):
        next(held.iter_results(ordered=False, timeout=0.1))
    with pytest.raises(InvalidArgument, match="errors is 'raise' or 'skip'"):
        held.iter_results(errors="ignore")
    signals.give("go")
    assert next(held.iter_results(timeout=WAIT_S)) == 0


# --- the awaitable face ---------------------------------------------------------------------------


def test_all_of_it_awaited(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with Client(cluster, asynchronous=True) as client:
            futures = client.map(square, range(100))
            total = client.reduce(lambda a, b: a + b, futures)
            assert await total == sum(x * x for x in range(100))
            await client.publish_dataset(futures, "async")
            assert await client.list_datasets() == ["async"]
            again = await client.get_dataset("async")
            for ordered in (True, False):
                found = [x async for x in again.iter_results(ordered, timeout=WAIT_S)]
                assert sorted(found) == [x * x for x in range(100)]
            assert len(await client.who_has(futures)) == 100
            assert await client.nbytes(futures) > 0 and await client.has_what()
            await client.get_versions(check=True)
            await client.fire_and_forget(client.submit(square, 3))
            await client.unpublish_dataset("async")
            with pytest.raises(ClusterError):
                await client.get_dataset("async")

    asyncio.run(asyncio.wait_for(main(), WAIT_S))
