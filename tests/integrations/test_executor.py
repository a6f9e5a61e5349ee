"""What a `concurrent.futures.Executor` is expected to do, done by a real cluster."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import itertools
import operator
import os
import sys
import threading
from typing import Any

import cloudpickle
import pytest

from cellspan.engine.client import Client
from cellspan.engine.deploy import LocalCluster
from cellspan.engine.errors import ConnectionClosed, ExecutorDied, InvalidArgument

Door = Any  # of conftest.py

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file


def square(x: int) -> int:
    return x * x


def fail(x: Any = 0) -> None:
    raise ZeroDivisionError(f"cannot do {x}")


def pass_door(folder: str, name: int = 0) -> int:
    import os
    import time

    open(f"{folder}/at-{name}", "w").close()
    while not os.path.exists(f"{folder}/open"):
        time.sleep(0.002)
    return name


def fail_for_seven(x: int) -> int:
    if x == 7:
        raise LookupError("seven")
    return x


# --- submit ---------------------------------------------------------------------------------------


def test_submit_returns_a_future_of_concurrent_futures(client: Client) -> None:
    with client.get_executor() as executor:
        assert isinstance(executor, cf.Executor)
        future = executor.submit(square, 3)
        assert isinstance(future, cf.Future)
        assert future.result(20) == 9
        assert future.exception() is None
        assert future.done() and not future.cancelled() and not future.running()


def test_keywords_reach_the_function_whatever_they_are_called(client: Client) -> None:
    with client.get_executor(name="mine") as executor:
        found = executor.submit(lambda *args, **kwargs: (args, kwargs), 1, x=2)
        assert found.result(20) == ((1,), {"x": 2})
        found = executor.submit(dict, name=1, priority="high", retries=None, fn=4, self=5)
        assert found.result(20) == {
            "name": 1, "priority": "high", "retries": None, "fn": 4, "self": 5,
        }  # fmt: skip
        assert {group.name for group in client.groups()} <= {"mine"}


def test_an_exception_keeps_its_type_and_says_where_it_was_raised(client: Client) -> None:
    with client.get_executor() as executor:
        future = executor.submit(fail, 5)
        with pytest.raises(ZeroDivisionError, match="cannot do 5") as caught:
            future.result(20)
        assert "in fail" in str(caught.value.__cause__)
        assert future.exception() is caught.value


def test_what_cannot_be_sent_is_the_future_s_exception(client: Client) -> None:
    with client.get_executor() as executor:
        lock = threading.Lock()
        with pytest.raises(TypeError, match="lock"):
            executor.submit(square, lock).result(20)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="lock"):
            executor.submit(threading.Lock).result(20)
        assert executor.submit(square, 2).result(20) == 4


def test_a_crash_is_the_exception_of_its_call_and_the_executor_goes_on(client: Client) -> None:
    with client.get_executor(allowed_failures=0) as executor:
        with pytest.raises(ExecutorDied):
            executor.submit(os._exit, 3).result(20)
        assert executor.submit(square, 4).result(20) == 16


def test_thousands_of_calls_from_several_threads(client: Client) -> None:
    with client.get_executor() as executor:
        found: list[int] = []

        def submit(start: int) -> None:
            futures = [executor.submit(square, x) for x in range(start, start + 500)]
            found.extend(future.result(30) for future in futures)

        threads = [threading.Thread(target=submit, args=(1000 * i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        starts = [1000 * i for i in range(4)]
        assert sorted(found) == sorted(x * x for s in starts for x in range(s, s + 500))


# --- callbacks ------------------------------------------------------------------------------------


def test_callbacks_are_called_once_in_order_with_the_future(client: Client, door: Door) -> None:
    with client.get_executor() as executor:
        seen: list[Any] = []
        ended = threading.Event()
        future = executor.submit(pass_door, door.folder, 1)
        future.add_done_callback(lambda f: seen.append(("first", f)))
        future.add_done_callback(lambda f: seen.append(("second", f.result())))
        future.add_done_callback(lambda f: ended.set())
        door.await_waiting(1)
        assert seen == []
        door.open()
        assert ended.wait(20)
        assert seen == [("first", future), ("second", 1)]
        future.add_done_callback(lambda f: seen.append("late"))
        assert seen[-1] == "late"


def test_a_callback_may_submit_more(client: Client) -> None:
    with client.get_executor() as executor:
        found: cf.Future[int] = cf.Future()

        def go_on(future: cf.Future[int]) -> None:
            executor.submit(square, future.result()).add_done_callback(
                lambda last: found.set_result(last.result())
            )

        executor.submit(square, 3).add_done_callback(go_on)
        assert found.result(20) == 81


# --- cancel ---------------------------------------------------------------------------------------


def test_what_waits_can_be_cancelled_and_what_runs_cannot(client: Client, door: Door) -> None:
    with client.get_executor() as executor:
        futures = [executor.submit(pass_door, door.folder, i) for i in range(5)]
        door.await_waiting(2)
        assert [future.running() for future in futures] == [True, True, False, False, False]
        seen: list[Any] = []
        futures[4].add_done_callback(seen.append)
        assert [future.cancel() for future in futures] == [False, False, True, True, True]
        assert seen == [futures[4]]
        assert futures[2].cancelled() and futures[2].done()
        with pytest.raises(cf.CancelledError):
            futures[2].result(0)
        later = executor.submit(square, 5)
        door.open()
        assert [future.result(20) for future in futures[:2]] == [0, 1]
        assert later.result(20) == 25
        assert cf.wait(futures, 20).not_done == set()
        assert door.waiting() == 2  # the others never ran


def test_after_a_burst_of_short_calls_long_ones_can_be_cancelled_again(
    client: Client, door: Door
) -> None:
    with client.get_executor() as executor:
        cf.wait([executor.submit(square, i) for i in range(2000)], 30)
        cf.wait([executor.submit(square, 1)], 30)
        futures = [executor.submit(pass_door, door.folder, i) for i in range(4)]
        assert futures[3].cancel()
        door.open()
        assert futures[2].result(20) == 2


# --- wait and as_completed ------------------------------------------------------------------------


def test_wait_returns_at_the_first_at_an_exception_or_at_the_end(
    client: Client, door: Door
) -> None:
    with client.get_executor() as executor:
        held = executor.submit(pass_door, door.folder)
        quick = executor.submit(square, 2)
        done, not_done = cf.wait([held, quick], 20, cf.FIRST_COMPLETED)
        assert (done, not_done) == ({quick}, {held})
        bad = executor.submit(fail)
        done, not_done = cf.wait([held, bad], 20, cf.FIRST_EXCEPTION)
        assert (done, not_done) == ({bad}, {held})
        assert cf.wait([held], 0.01) == (set(), {held})
        with pytest.raises(TimeoutError):
            held.result(0.01)
        with pytest.raises(TimeoutError):
            list(cf.as_completed([held, quick], 0.01))
        door.open()
        assert cf.wait([held, quick, bad], 20).not_done == set()
        assert next(cf.as_completed([quick, quick], 20)) is quick


def test_as_completed_yields_in_the_order_of_the_ends(client: Client, door: Door) -> None:
    with client.get_executor() as executor:
        held = executor.submit(pass_door, door.folder, 1)
        door.await_waiting(1)
        quick = executor.submit(square, 2)
        order = cf.as_completed([held, quick], 20)
        assert next(order) is quick
        door.open()
        assert list(order) == [held]


# --- map ------------------------------------------------------------------------------------------


def test_map_gives_results_in_order_and_ends_with_the_shortest(client: Client) -> None:
    with client.get_executor() as executor:
        assert list(executor.map(square, range(5000))) == [x * x for x in range(5000)]
        assert list(executor.map(pow, [2, 3, 4], itertools.count(1), chunksize=2)) == [2, 9, 64]
        assert list(executor.map(operator.neg, (x for x in [1, 2]))) == [-1, -2]
        assert list(executor.map(pow, range(4), (1, 2, 3))) == [0, 1, 8]
        assert list(executor.map(pow, iter([1, 2]), [1, 2, 3])) == [1, 4]
        assert list(executor.map(pow, {2: 0, 3: 0}, itertools.repeat(3))) == [8, 27]
        assert list(executor.map(square)) == []  # type: ignore[call-arg]
        assert list(executor.map(square, [])) == []


def test_map_raises_where_the_exception_is_and_ends_there(client: Client) -> None:
    with client.get_executor() as executor:
        results = executor.map(fail_for_seven, range(10))
        assert list(itertools.islice(results, 7)) == list(range(7))
        with pytest.raises(LookupError, match="seven"):
            next(results)
        assert list(results) == []


def test_map_counts_its_timeout_from_the_call(client: Client, door: Door) -> None:
    with client.get_executor() as executor:
        results = executor.map(pass_door, [door.folder], timeout=0.05)
        with pytest.raises(TimeoutError):
            next(results)
        results = executor.map(square, [1, 2], timeout=20)
        assert list(results) == [1, 4]


def test_closing_the_iterator_of_map_cancels_the_rest(client: Client, door: Door) -> None:
    with client.get_executor() as executor:
        folders = ["", *[door.folder] * 39]
        results = executor.map(lambda f, i: pass_door(f, i) if f else i, folders, range(40))
        assert next(results) == 0
        door.await_waiting(1)
        results.close()  # type: ignore[attr-defined]
        assert list(results) == []
        # A question to the worker goes the way of the cancelling, behind it: once it is answered,
        # the worker has taken back what had not begun.
        client.logs(lines=1)
        door.open()
        assert executor.submit(square, 2).result(20) == 4
    assert door.waiting() < 10  # those that ran already, or were about to


def test_map_refuses_sizes_below_one(client: Client) -> None:
    with client.get_executor() as executor:
        with pytest.raises(ValueError, match="chunksize"):
            executor.map(square, [1], chunksize=0)
        with pytest.raises(ValueError, match="buffersize"):
            executor.map(square, [1], buffersize=0)  # type: ignore[call-arg]


def test_map_with_a_buffer_reads_just_so_far(client: Client) -> None:
    with client.get_executor() as executor:
        read: list[int] = []

        def numbers() -> Any:
            for number in range(10):
                read.append(number)
                yield number

        results = executor.map(square, numbers(), buffersize=3)  # type: ignore[call-arg]
        assert read == [0, 1, 2]
        assert next(results) == 0
        assert read == [0, 1, 2, 3]
        assert list(results) == [x * x for x in range(1, 10)]


# --- shutdown -------------------------------------------------------------------------------------


def test_nothing_can_be_submitted_after_shutdown(client: Client) -> None:
    executor = client.get_executor()
    assert executor.submit(square, 2).result(20) == 4
    executor.shutdown()
    executor.shutdown()  # twice does no harm
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(square, 2)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(square, [1])
    assert client.submit(square, 3).result(20) == 9  # the client is open


def test_shutdown_waits_for_all_that_there_is(client: Client, door: Door) -> None:
    executor = client.get_executor()
    futures = [executor.submit(pass_door, door.folder, i) for i in range(4)]
    results = executor.map(square, range(100))
    door.await_waiting(2)
    threading.Timer(0.05, door.open).start()
    executor.shutdown()
    assert all(future.done() for future in futures)
    assert sum(results) == sum(x * x for x in range(100))


def test_shutdown_without_waiting_leaves_the_rest_to_be_done(client: Client, door: Door) -> None:
    executor = client.get_executor()
    futures = [executor.submit(pass_door, door.folder, i) for i in range(4)]
    executor.shutdown(wait=False)
    assert not futures[0].done()
    door.open()
    assert [future.result(20) for future in futures] == [0, 1, 2, 3]


def test_shutdown_can_cancel_what_has_not_begun(client: Client, door: Door) -> None:
    executor = client.get_executor()
    futures = [executor.submit(pass_door, door.folder, i) for i in range(6)]
    door.await_waiting(2)
    threading.Timer(0.05, door.open).start()
    executor.shutdown(cancel_futures=True)
    assert [future.cancelled() for future in futures] == [False, False, True, True, True, True]
    assert cf.wait(futures, 20).not_done == set()
    assert [future.result(0) for future in futures[:2]] == [0, 1]


def test_when_the_client_is_closed_everything_fails_with_the_reason(
    cluster: LocalCluster, door: Door
) -> None:
    client = Client(cluster)
    executor = client.get_executor()
    futures = [executor.submit(pass_door, door.folder, i) for i in range(5)]
    door.await_waiting(2)
    client.close()
    for future in futures:
        assert isinstance(future.exception(20), ConnectionClosed)
    executor.shutdown()


# --- asyncio, and what is refused -----------------------------------------------------------------


def test_coroutines_can_wait_for_it(client: Client) -> None:
    async def run() -> Any:
        with client.get_executor() as executor:
            loop = asyncio.get_running_loop()
            wrapped = asyncio.wrap_future(executor.submit(square, 4))
            return await asyncio.gather(loop.run_in_executor(executor, square, 3), wrapped)

    assert asyncio.run(run()) == [9, 16]


def test_a_wrong_option_or_client_is_refused_at_once(cluster: LocalCluster, client: Client) -> None:
    with pytest.raises(InvalidArgument, match="retries"):
        client.get_executor(retries=-1)
    with pytest.raises(InvalidArgument, match="name"):
        client.get_executor(name="")

    async def run() -> None:
        async with Client(cluster, asynchronous=True) as other:
            with pytest.raises(InvalidArgument, match="not asynchronous"):
                other.get_executor()

    asyncio.run(run())


def test_it_says_how_many_calls_run_at_a_time(client: Client) -> None:
    with client.get_executor() as executor:
        assert executor._max_workers == 2  # type: ignore[attr-defined]


# --- the futures of asynchronous clients ----------------------------------------------------------


def test_futures_of_an_asynchronous_client_are_awaitable_and_async_iterable(
    cluster: LocalCluster,
) -> None:
    async def run() -> None:
        async with Client(cluster, asynchronous=True) as client:
            assert await client.submit(square, 7) == 49
            futures = client.map(square, range(20))
            found = [await future async for future in client.as_completed(futures)]
            assert sorted(found) == [x * x for x in range(20)]

    asyncio.run(run())
