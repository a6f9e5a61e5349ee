"""More results than memory: they go to disk, stay readable, and leave it when they are released."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from cellspan.engine.client import Client
from cellspan.engine.deploy import LocalCluster

WAIT_S = 40.0
MB = 1 << 20


def wait_for_stats(client: Client, check: Any) -> dict[str, float]:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        (worker,) = client.status()["workers"]
        if check(worker["stats"]):
            found: dict[str, float] = worker["stats"]
            return found
        time.sleep(0.05)
    pytest.fail(f"waited in vain: {worker['stats']}")


def test_results_beyond_memory_go_to_disk_and_back(place: Any) -> None:
    with (
        LocalCluster(workers=1, cores=2, memory="100MB", name="spill") as cluster,
        Client(cluster) as client,
    ):
        large = client.map(lambda i: np.full(MB, i), range(30))  # 8 MB each
        middle = client.map(lambda i: bytes([i]) * 40_000, range(100))
        last = client.submit(lambda: np.arange(2 * MB))
        assert client.submit(len, list(large)).result(WAIT_S) == 30
        stats = wait_for_stats(
            client, lambda stats: stats["store_bytes"] <= 70e6 < stats["disk_bytes"]
        )
        assert stats["disk_bytes"] + stats["store_bytes"] >= 30 * 8 * MB
        sums = client.map(np.sum, large)  # read where they are
        assert client.gather(sums, timeout=WAIT_S) == [MB * i for i in range(30)]
        for i in (0, 13, 29):
            assert np.array_equal(large[i].result(WAIT_S), np.full(MB, i))
        assert [v[0] for v in client.gather(middle, timeout=WAIT_S)] == list(range(100))
        assert last.result(WAIT_S)[-1] == 2 * MB - 1
        del large, sums, middle, last
        wait_for_stats(client, lambda stats: stats["store_bytes"] + stats["disk_bytes"] < 1e5)


def test_a_shuffle_larger_than_memory(place: Any) -> None:
    def split(values: Any, n: int) -> list[Any]:
        return [values[values % n == rest] for rest in range(n)]

    with (
        LocalCluster(workers=1, cores=2, memory="100MB", name="outside") as cluster,
        Client(cluster) as client,
    ):
        inputs = client.map(lambda i: np.arange(i, 16 * MB, 16)[: MB // 2], range(40))
        outputs = client.shuffle(split, np.concatenate, inputs, n=20)
        lengths = client.gather(client.map(len, outputs), timeout=WAIT_S)
        assert sum(lengths) == 20 * MB
        assert set(outputs[7].result(WAIT_S) % 20) == {7}
