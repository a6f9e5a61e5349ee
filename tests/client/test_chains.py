"""Maps over maps and calls over calls on a real cluster: chains run in one piece, and every task of
them is still a task of its own.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest

from cellspan.engine.client import Client
from cellspan.engine.errors import ExecutorDied

WAIT_S = 60.0


def inc(x: int) -> int:
    return x + 1


def pid_and(x: Any) -> list[int]:
    return [*(x if isinstance(x, list) else []), os.getpid()]


def picky(x: int, bad: int) -> int:
    if x == bad:
        raise ValueError(f"not {bad}")
    return x


def deadly(x: int, bad: int) -> int:
    if x == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


@pytest.fixture(scope="module", autouse=True)
def by_value() -> Iterator[None]:
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


def test_ten_maps_over_one_another_with_constants_items_and_slices(client: Client) -> None:
    count = 5000
    futures: Any = client.map(inc, range(count))
    for _ in range(8):
        futures = client.map(inc, futures)
    last = client.map(lambda x, y, k: (x + k, y), futures[100:], [*range(count - 100)], k=5)
    expected = [(i + 109 + 5, i) for i in range(count - 100)]
    assert client.gather(last, timeout=WAIT_S) == expected


def test_what_is_held_in_the_middle_is_there(client: Client) -> None:
    first = client.map(inc, range(3000))
    second = client.map(inc, first)
    third = client.map(inc, second)
    assert client.gather(third, timeout=WAIT_S)[-1] == 3002
    assert client.gather(first, timeout=WAIT_S) == [*range(1, 3001)]
    assert client.gather(second[1234:1236], timeout=WAIT_S) == [1236, 1237]


def test_links_of_a_chain_run_in_one_process(client: Client) -> None:
    futures: Any = client.map(pid_and, range(2000))
    for _ in range(3):
        futures = client.map(pid_and, futures)
    rows = client.gather(futures, timeout=WAIT_S)
    assert all(len(row) == 4 for row in rows)
    assert sum(len(set(row)) == 1 for row in rows) > len(rows) // 2


def test_an_error_in_the_middle_is_of_its_task_and_of_what_follows(client: Client) -> None:
    first = client.map(inc, range(1000))
    second = client.map(picky, first, bad=500)
    third = client.map(inc, second)
    done = client.gather(third, errors="skip", timeout=WAIT_S)
    assert done == [i + 2 for i in range(1000) if i != 499]
    assert first[499].result(timeout=WAIT_S) == 500
    with pytest.raises(ValueError, match="not 500"):
        second[499].result(timeout=WAIT_S)
    with pytest.raises(ValueError, match="not 500"):
        third[499].result(timeout=WAIT_S)


def test_an_error_is_retried_with_what_it_needs_though_nobody_kept_that(client: Client) -> None:
    def flaky(x: int, folder: str) -> int:
        path = f"{folder}/{x}"
        if x % 100 == 0 and not os.path.exists(path):
            with open(path, "w"):
                pass
            raise RuntimeError("the first time it fails")
        return x

    with tempfile.TemporaryDirectory() as folder:
        futures = client.map(inc, range(1000))
        futures = client.map(flaky, futures, folder=folder, retries=1)
        futures = client.map(inc, futures)
        assert client.gather(futures, timeout=WAIT_S) == [*range(2, 1002)]


def test_a_link_that_ends_its_process_is_blamed_and_no_other(client: Client) -> None:
    first = client.map(inc, range(300))
    second = client.map(deadly, first, bad=150, allowed_failures=0)
    third = client.map(inc, second)
    done = client.gather(third, errors="skip", timeout=WAIT_S)
    assert done == [i + 2 for i in range(300) if i != 149]
    assert first[149].result(timeout=WAIT_S) == 150
    with pytest.raises(ExecutorDied, match=r"deadly\[149\]"):
        second[149].result(timeout=WAIT_S)


def test_a_long_chain_of_calls_and_one_that_breaks(client: Client) -> None:
    future: Any = 0
    futures = [future := client.submit(inc, future) for _ in range(1500)]
    assert future.result(timeout=WAIT_S) == 1500
    assert client.gather(futures[700:703], timeout=WAIT_S) == [701, 702, 703]
    middle: Any = client.submit(picky, futures[-1], 1500)
    last = middle
    for _ in range(100):
        last = client.submit(inc, last)
    with pytest.raises(ValueError, match="not 1500"):
        last.result(timeout=WAIT_S)


def test_a_chain_that_is_cancelled_ends_and_the_cluster_goes_on(client: Client) -> None:
    def nap(x: int) -> int:
        time.sleep(0.01)
        return x

    first = client.map(nap, range(2000))
    last = client.map(inc, client.map(inc, first))
    assert last[0].result(timeout=WAIT_S) == 2
    client.cancel(first)
    assert 1 <= len(client.gather(last, errors="skip", timeout=WAIT_S)) < 2000
    assert client.submit(inc, 1).result(timeout=WAIT_S) == 2
