"""`Client.reduce` on a real cluster: right, in order, and without anything passing through here."""

from __future__ import annotations

import functools
import gc
import operator
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import cloudpickle
import numpy as np
import pytest

from cellspan.engine.client import Client
from cellspan.engine.deploy import LocalCluster
from cellspan.engine.errors import InvalidArgument, TaskCancelled
from cellspan.engine.messages import TasksDone

from .test_real import Signals

WAIT_S = 20.0


def square(x: int) -> int:
    return x * x


def join(a: str, b: str) -> str:
    return a + b


@pytest.fixture(scope="module", autouse=True)
def by_value() -> Iterator[None]:
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture
def signals(tmp_path: Any) -> Signals:
    return Signals(tmp_path)


def test_a_hundred_thousand_results_and_none_of_them_comes_here(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[TasksDone] = []
    session, handle = client.session, client.session.handle

    def listen(message: Any) -> bool:
        if isinstance(message, TasksDone):
            heard.append(message)
        return handle(message)

    monkeypatch.setattr(session, "handle", listen)
    n = 100_000
    total = client.reduce(operator.add, client.map(square, range(n)))
    root = total.key
    assert total.result(WAIT_S) == sum(x * x for x in range(n))
    told = [message for message in heard if message.group == root.group]
    assert [(m.start, m.stop) for m in told] == [(root.index, root.index + 1)]
    assert all(not m.blocks for m in heard if m.group != root.group)
    rows = {row.group: row for row in client.snapshot().groups}
    assert rows[root.group].layer == "fold" and rows[root.group].total == root.index + 1
    assert rows[root.group].released == root.index  # all but the root


def test_order_fan_in_and_initial_as_functools_reduce(client: Client) -> None:
    letters = [chr(97 + i % 26) for i in range(200)]
    futures = client.map(str, letters)
    for count in (1, 2, 3, 8, 9, 64, 65, 200):
        expected = "".join(letters[:count])
        for fanin in (2, 3, 8):
            assert client.reduce(join, futures[:count], fanin=fanin).result(WAIT_S) == expected
        root = client.reduce(join, futures[:count], initial="> ")
        assert root.result(WAIT_S) == functools.reduce(join, letters[:count], "> ")
    assert client.reduce(join, futures[50:53]).result(WAIT_S) == "".join(letters[50:53])


def test_futures_from_everywhere(client: Client) -> None:
    words = client.map(str, range(30))
    backwards = client.reduce(join, words[::-1], fanin=4)
    assert backwards.result(WAIT_S) == "".join(map(str, reversed(range(30))))
    mixed = [client.submit(str, "x"), words[3], client.submit(join, words[0], words[1]), words[3]]
    assert client.reduce(join, mixed).result(WAIT_S) == "x3013"
    assert client.reduce(join, mixed, initial="=", fanin=2).result(WAIT_S) == "=x3013"
    assert client.reduce(join, iter([words[4]]), initial="=").result(WAIT_S) == "=4"
    neighbours = [words[5], words[6], words[7]]
    assert client.reduce(join, neighbours).result(WAIT_S) == "567"
    trees = [client.reduce(join, words[a : a + 10]) for a in (0, 10, 20)]
    assert client.reduce(join, trees).result(WAIT_S) == "".join(map(str, range(30)))
    assert client.submit(len, trees[1]).result(WAIT_S) == 20


def test_arrays_are_added_where_they_are(client: Client) -> None:
    parts = client.map(np.full, [200_000] * 12, range(12))
    total = client.reduce(np.add, parts, fanin=3, name="sum").result(WAIT_S)
    assert np.array_equal(total, np.full(200_000, 66))


def test_nothing_to_reduce(client: Client) -> None:
    none = client.map(square, [])
    with pytest.raises(InvalidArgument, match="no futures"):
        client.reduce(operator.add, none)
    with pytest.raises(InvalidArgument, match="no futures"):
        client.reduce(operator.add, [])
    assert client.reduce(operator.add, none, initial=5).result(WAIT_S) == 5
    assert client.reduce(operator.add, [], initial=None).result(WAIT_S) is None


def test_what_cannot_be_reduced_is_refused_at_once(client: Client) -> None:
    futures = client.map(square, range(3))
    for wrong, text in ((range(3), "item 0 is a int"), (7, "given a int"), (futures[0], "Future")):
        with pytest.raises(InvalidArgument, match=text):
            client.reduce(operator.add, wrong)
    for fanin in (1, 0, True, 2.0, 1 << 17):
        with pytest.raises(InvalidArgument, match="fanin is a whole number from 2"):
            client.reduce(operator.add, futures, fanin=fanin)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="holds futures"):
        client.reduce(operator.add, futures, initial=futures[0])
    with pytest.raises(InvalidArgument, match="function"):
        client.reduce("+", futures)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="retries"):
        client.reduce(operator.add, futures, retries=-1)
    released = client.submit(square, 2)
    released.release()
    with pytest.raises(InvalidArgument, match="released"):
        client.reduce(operator.add, [released])


def test_an_error_names_its_origin_and_a_retry_heals_it(client: Client, signals: Signals) -> None:
    def once(x: int) -> int:
        if x == 77 and not (signals.folder / "healed").exists():
            raise ValueError(f"{x} is bad")
        return x

    futures = client.map(once, range(200))
    total = client.reduce(operator.add, futures)
    with pytest.raises(ValueError, match="77 is bad"):
        total.result(WAIT_S)
    signals.give("healed")
    total.retry()
    assert total.result(WAIT_S) == sum(range(200))
    broken = client.reduce(lambda a, b: a / 0, futures, name="divide")
    with pytest.raises(ZeroDivisionError):
        broken.result(WAIT_S)


def test_a_tree_that_nobody_waits_for_is_let_go(client: Client, signals: Signals) -> None:
    futures = client.map(signals.hold, range(2))
    total = client.reduce(operator.add, futures)
    signals.wait_for("begun-0")
    group = total.key.group
    assert total.cancel()
    with pytest.raises(TaskCancelled):
        total.result(WAIT_S)
    del total
    client.snapshot()  # the scheduler has heard of it: only now its inputs may come
    signals.give("go")
    assert client.gather(futures, timeout=WAIT_S) == [0, 1]
    gc.collect()
    row = next(row for row in client.snapshot().groups if row.group == group)
    assert row.done == 0


def test_a_lost_worker_in_the_midst(place: Any, signals: Signals) -> None:
    def slow(a: int, b: int) -> int:
        if a >= 2048 and not (signals.folder / "begun").exists():
            signals.give("begun")
            signals.wait_for("go")
        return a + b

    with (
        LocalCluster(workers=2, cores=1, memory="1GB", name="lost") as cluster,
        Client(cluster) as client,
    ):
        total = client.reduce(slow, client.map(int, [1] * 8192))
        signals.wait_for("begun")
        worker = next(w for w in client.status()["workers"])
        os.kill(worker["pid"], signal.SIGKILL)
        signals.give("go")
        assert total.result(WAIT_S) == 8192
