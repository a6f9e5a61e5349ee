"""Pure work: equal calls of all clients are computed once, and different ones never mixed up."""

from __future__ import annotations

import gc
import operator
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from cellspan.engine.client import Client
from cellspan.engine.deploy import LocalCluster
from cellspan.engine.errors import TaskCancelled

from .test_real import WAIT_S, Signals


@pytest.fixture(scope="module", autouse=True)
def by_value() -> Iterator[None]:
    names = [__name__, Signals.__module__]
    for name in names:
        cloudpickle.register_pickle_by_value(sys.modules[name])
    yield
    for name in names:
        cloudpickle.unregister_pickle_by_value(sys.modules[name])


@pytest.fixture
def other(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster, name="other") as client:
        yield client


def note(x: int, folder: str, fail: bool = False) -> int:
    """Leave a line for each time that it runs."""
    fd = os.open(f"{folder}/{x}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"x")
    os.close(fd)
    if fail:
        raise ValueError(f"{x} never works")
    return 10 * x


def runs(folder: Path) -> dict[int, int]:
    return {int(path.name): path.stat().st_size for path in folder.iterdir()}


def test_equal_calls_of_two_clients_run_once(client: Client, other: Client, tmp_path: Path) -> None:
    where = str(tmp_path)
    mine = [client.submit(note, 1, where, pure=True) for _ in range(3)]
    theirs = other.submit(note, 1, folder=where, pure=True)
    assert theirs != mine[0], "arguments by name are other arguments"
    assert other.submit(note, 1, where, pure=True) == mine[0] == mine[2]
    assert client.gather(mine, timeout=WAIT_S) == [10] * 3
    assert theirs.result(WAIT_S) == 10
    assert other.submit(note, 1, where, pure=True).result(WAIT_S) == 10
    assert runs(tmp_path) == {1: 2}


def test_equal_maps_run_once_and_results_outlive_who_asked_first(
    cluster: LocalCluster, client: Client, tmp_path: Path
) -> None:
    where = str(tmp_path)
    with Client(cluster) as first:
        futures = first.map(note, range(40), folder=where, pure=True)
        mine = client.map(note, range(40), folder=where, pure=True)
        client.gather(mine, timeout=WAIT_S)
        del futures
    gc.collect()
    again = client.map(note, range(40), folder=where, pure=True)
    assert client.gather(again[5:9], timeout=WAIT_S) == [50, 60, 70, 80]
    assert runs(tmp_path) == dict.fromkeys(range(40), 1)
    total, same = (client.reduce(operator.add, some, pure=True) for some in (mine, again))
    assert total == same
    assert total.result(WAIT_S) == 10 * sum(range(40))


def test_what_everybody_let_go_of_is_computed_anew(client: Client, tmp_path: Path) -> None:
    future = client.submit(note, 2, str(tmp_path), pure=True)
    group = future.key.group
    assert future.result(WAIT_S) == 20
    del future
    deadline = time.monotonic() + WAIT_S
    while any(row.group == group and row.bytes_held for row in client.snapshot().groups):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert client.submit(note, 2, str(tmp_path), pure=True).result(WAIT_S) == 20
    assert runs(tmp_path) == {2: 2}


def test_a_name_with_other_code_or_arguments_is_other_work(client: Client, other: Client) -> None:
    def double(x: int) -> int:
        return 2 * x

    mine = client.submit(double, 4, pure=True, key="the one")
    same = other.submit(double, 4, pure=True, key="the one")

    def double(x: int) -> int:  # type: ignore[no-redef]
        return x + x + 0

    rewritten = other.submit(double, 4, pure=True, key="the one")
    elsewhere = other.submit(double, 5, pure=True, key="the one")
    renamed = other.submit(double, 4, pure=True, key="another")
    keys = {f.key for f in (mine, rewritten, elsewhere, renamed)}
    assert same.key == mine.key and len(keys) == 4
    assert [f.result(WAIT_S) for f in (mine, same, rewritten, elsewhere)] == [8, 8, 8, 10]
    assert mine.group_name == "the one"
    assert client.submit(double, 1, key="alone") != client.submit(double, 1, key="alone")


def test_a_failure_is_shared_and_a_cancelling_is_not(
    client: Client, other: Client, tmp_path: Path
) -> None:
    mine = client.submit(note, 3, str(tmp_path), fail=True, pure=True)
    with pytest.raises(ValueError, match="3 never works"):
        mine.result(WAIT_S)
    theirs = other.submit(note, 3, str(tmp_path), fail=True, pure=True)
    assert "never works" in str(theirs.exception(WAIT_S))
    assert runs(tmp_path) == {3: 1}
    signals = Signals(tmp_path / "signals")
    signals.folder.mkdir()
    held = client.submit(signals.hold, 1, pure=True)
    too = other.submit(signals.hold, 1, pure=True)
    assert too.key == held.key
    signals.wait_for("begun-1")
    assert held.cancel()
    with pytest.raises(TaskCancelled):
        held.result(WAIT_S)
    signals.give("go")
    assert too.result(WAIT_S) == 1, "the other one still wanted it"
    assert client.submit(signals.hold, 1, pure=True).result(WAIT_S) == 1, "and so do we again"


def test_what_was_cancelled_by_its_only_client_runs_when_asked_for_again(
    client: Client, tmp_path: Path
) -> None:
    signals = Signals(tmp_path)
    future = client.submit(signals.hold, 2, pure=True)
    signals.wait_for("begun-2")
    future.cancel()
    signals.give("go")
    again: Any = client.submit(signals.hold, 2, pure=True)
    assert again == future and again.result(WAIT_S) == 2


def test_after_a_restart_pure_work_is_done_again(client: Client, tmp_path: Path) -> None:
    future = client.submit(note, 4, str(tmp_path), pure=True)
    assert future.result(WAIT_S) == 40
    client.restart()
    again = client.submit(note, 4, str(tmp_path), pure=True)
    assert again.result(WAIT_S) == 40
    pending = client.submit(note, 5, str(tmp_path), pure=True)
    assert pending.result(WAIT_S) == 50
