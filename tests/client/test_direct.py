"""Threads of users that speak and listen on the client's connection themselves."""

from __future__ import annotations

import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cellspan.engine.client import Client
from cellspan.engine.client.direct import Shield
from cellspan.engine.errors import TaskCancelled

WAIT_S = 20.0


def test_ctrl_c_comes_when_the_moment_is_over() -> None:
    before = signal.getsignal(signal.SIGINT)
    done = []
    with pytest.raises(KeyboardInterrupt), Shield():
        signal.raise_signal(signal.SIGINT)
        done.append("all of it")
    assert done and signal.getsignal(signal.SIGINT) is before
    with Shield():
        pass
    assert signal.getsignal(signal.SIGINT) is before


def test_a_shield_leaves_other_threads_and_ignored_signals_alone() -> None:
    def look() -> object:
        with Shield():
            return signal.getsignal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(look).result(WAIT_S) is before
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert look() is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_many_threads_submit_and_wait_on_one_client(client: Client) -> None:
    def work(first: int) -> list[int]:
        return [client.submit(abs, -i).result(WAIT_S) for i in range(first, first + 60)]

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(work, range(0, 600, 100)))
    assert found == [list(range(first, first + 60)) for first in range(0, 600, 100)]


def wait_for(path: str) -> None:
    import os
    import time

    while not os.path.exists(path):
        time.sleep(0.005)


def test_a_waiting_thread_hears_what_other_threads_do(client: Client, tmp_path: Path) -> None:
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        go = tmp_path / "go"
        future = client.submit(wait_for, str(go))
        started = threading.Event()

        def wait() -> None:
            started.set()
            future.result(WAIT_S)

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait)
            assert started.wait(WAIT_S)
            assert client.submit(abs, -1).result(WAIT_S) == 1, "the other one listens meanwhile"
            assert client.status(timeout=WAIT_S)["state"] == "running"
            assert future.cancel()
            with pytest.raises(TaskCancelled):
                waiting.result(WAIT_S)
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_a_wait_ends_with_its_time_and_the_next_one_goes_on(client: Client, tmp_path: Path) -> None:
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        go = tmp_path / "go"
        future = client.submit(wait_for, str(go))
        with pytest.raises(TimeoutError, match="it is pending"):
            future.result(timeout=0.05)
        go.touch()
        assert future.result(WAIT_S) is None
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
