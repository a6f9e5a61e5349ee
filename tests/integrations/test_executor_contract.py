"""What CPython promises of an executor beside its results: what it keeps alive, what it reads
ahead, what becomes of it when it is shut down or forgotten. The expectations are those of the
standard library's documentation (3.11 to 3.14), for executors whose calls run in other processes.
"""

from __future__ import annotations

import concurrent.futures as cf
import gc
import itertools
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import pytest

from cellspan.engine.client import Client

Door = Any  # of conftest.py

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file


class Thing:
    """Something that can be referred to weakly."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def get_number(self) -> int:
        return self.number


class FalseError(Exception):
    """An exception that is false in a condition."""

    def __bool__(self) -> bool:
        return False


class EmptyError(Exception):
    """An exception of length 0."""

    def __len__(self) -> int:
        return 0


def fail_with(kind: type[Exception]) -> None:
    raise kind("as asked")


def pass_door(folder: str, name: int = 0) -> int:
    import os
    import time

    open(f"{folder}/at-{name}", "w").close()
    while not os.path.exists(f"{folder}/open"):
        time.sleep(0.002)
    return name


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        gc.collect()
        time.sleep(0.005)


@pytest.fixture
def executor(client: Client) -> Iterator[cf.Executor]:
    with client.get_executor() as executor:
        yield executor


# --- references -----------------------------------------------------------------------------------


def test_map_keeps_no_result_that_was_read(executor: cf.Executor) -> None:
    count = 0
    for thing in executor.map(Thing, range(50)):
        assert thing.number == count
        count += 1
        seen = weakref.ref(thing)
        del thing
        until(lambda seen=seen: seen() is None)  # type: ignore[misc]
    assert count == 50


def test_what_was_submitted_is_kept_by_nobody_when_it_is_done(executor: cf.Executor) -> None:
    thing = Thing(3)
    seen = weakref.ref(thing)
    assert executor.submit(thing.get_number).result(20) == 3
    assert executor.submit(Thing.get_number, thing).result(20) == 3
    del thing
    until(lambda: seen() is None)


def test_a_result_lives_as_long_as_its_future(executor: cf.Executor) -> None:
    future = executor.submit(Thing, 4)
    seen = weakref.ref(future.result(20))
    assert seen() is not None and seen() is future.result()
    del future
    until(lambda: seen() is None)


def test_an_executor_that_is_forgotten_finishes_what_it_has(client: Client, door: Door) -> None:
    executor = client.get_executor()
    futures = [executor.submit(pass_door, door.folder, i) for i in range(4)]
    results = executor.map(abs, range(-50, 0))
    del executor
    gc.collect()
    door.open()
    assert [future.result(20) for future in futures] == [0, 1, 2, 3]
    assert list(results) == list(range(50, 0, -1))


# --- exceptions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FalseError, EmptyError])
def test_exceptions_that_look_like_nothing(executor: cf.Executor, kind: type[Exception]) -> None:
    # `result()` of CPython's own future loses them before 3.14; it was told of them, and map tells.
    error = executor.submit(fail_with, kind).exception(20)
    assert type(error).__name__ == kind.__name__ and str(error) == "as asked"
    with pytest.raises(Exception, match="as asked"):
        list(executor.map(fail_with, [kind]))


def test_a_callback_that_raises_stops_nothing(
    executor: cf.Executor, caplog: pytest.LogCaptureFixture
) -> None:
    ended = threading.Event()
    future = executor.submit(abs, -1)
    future.result(20)
    future.add_done_callback(lambda _: fail_with(LookupError))
    future.add_done_callback(lambda _: ended.set())
    assert ended.wait(20) and "as asked" in caplog.text


def test_map_of_two_columns_raises_in_its_place(executor: cf.Executor) -> None:
    results = executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
    assert [next(results), next(results)] == [(0, 1), (0, 1)]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_wrong_ways_to_call_it(executor: cf.Executor) -> None:
    with pytest.raises(TypeError):
        executor.submit()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        executor.submit(fn=abs)  # type: ignore[call-arg]
    for size in ("foo", 2.0):
        with pytest.raises(TypeError, match="buffersize must be an integer or None"):
            executor.map(abs, [1], buffersize=size)  # type: ignore[call-arg]
    for size in (0, -1):
        with pytest.raises(ValueError, match="buffersize must be None or > 0"):
            executor.map(abs, [1], buffersize=size)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        executor.map(abs, 5)  # type: ignore[arg-type]


# --- map reads ahead ------------------------------------------------------------------------------


def test_map_submits_before_it_is_read(client: Client, door: Door) -> None:
    with client.get_executor() as executor:
        executor.map(pass_door, [door.folder] * 2, range(2))
        door.await_waiting(2)
        door.open()


@pytest.mark.parametrize("size", [1, 4, 20])
def test_map_with_a_buffer(executor: cf.Executor, size: int) -> None:
    def take(*iterables: Any) -> Any:
        return executor.map(max, *iterables, buffersize=size)  # type: ignore[call-arg]

    assert list(take(range(10), range(10))) == list(range(10))
    assert list(itertools.islice(take(itertools.count(), itertools.count(5)), 4)) == [5, 6, 7, 8]
    assert list(take([], [])) == []
    assert list(take()) == []
    numbers = iter(range(100))
    take(numbers, itertools.repeat(0))
    assert next(numbers) == size  # read so far, and no further


def test_a_buffered_map_ends_where_its_executor_is_shut(client: Client) -> None:
    executor = client.get_executor()
    results = executor.map(abs, itertools.count(), buffersize=2)  # type: ignore[call-arg]
    assert next(results) == 0
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        list(results)


# --- shutdown -------------------------------------------------------------------------------------


def test_the_end_of_with_waits_also_after_an_error(client: Client, door: Door) -> None:
    futures = []
    with pytest.raises(LookupError), client.get_executor() as executor:
        futures += [executor.submit(pass_door, door.folder, i) for i in range(3)]
        door.await_waiting(2)
        threading.Timer(0.05, door.open).start()
        raise LookupError
    assert [future.done() for future in futures] == [True] * 3
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(abs, 1)


def test_what_waits_is_found_in_all_states(client: Client, door: Door) -> None:
    with client.get_executor() as executor:
        running = executor.submit(pass_door, door.folder, 0)
        other = executor.submit(pass_door, door.folder, 1)
        pending = executor.submit(abs, 1)
        door.await_waiting(2)
        states = [(f.running(), f.done(), f.cancelled()) for f in (running, other, pending)]
        assert states == [(True, False, False), (True, False, False), (False, False, False)]
        with pytest.raises(cf.TimeoutError):
            pending.result(timeout=0)
        with pytest.raises(cf.TimeoutError):
            pending.exception(timeout=0)
        assert pending.cancel() and pending.cancel()
        with pytest.raises(cf.CancelledError):
            pending.exception(timeout=0)
        with pytest.raises(cf.InvalidStateError):
            pending.set_result(3)
        door.open()
        assert cf.wait([running, other, pending], 20).not_done == set()
