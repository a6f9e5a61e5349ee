"""The whole way: a client, a scheduler and two workers in processes of their own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from cellspan.engine.client import (
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    Client,
    Future,
    Futures,
    as_completed,
    wait,
)
from cellspan.engine.deploy import LocalCluster
from cellspan.engine.errors import (
    ArgumentNotSerializable,
    ClusterError,
    ClusterNotFound,
    ConnectionClosed,
    ExecutorDied,
    InvalidArgument,
    PayloadTooLarge,
    ResultNotSerializable,
    TaskCancelled,
    TaskError,
)

WAIT_S = 20.0


def square(x: int) -> int:
    return x * x


def add(*numbers: Any) -> Any:
    return sum(numbers)


def fail_if(x: int, bad: int = 3) -> int:
    if x == bad:
        raise ValueError(f"{x} is bad")
    return x


class Signals:
    """Files that tasks wait for and make, so that a test can tell and steer how far they are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def wait_for(self, name: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not (self.folder / name).exists():
            assert time.monotonic() < deadline, name
            time.sleep(0.005)

    def give(self, name: str) -> None:
        (self.folder / name).touch()

    def hold(self, x: Any = None) -> Any:
        """A task: says that it runs, then waits to be let go."""
        self.give(f"begun-{x}")
        self.wait_for("go")
        self.give(f"ended-{x}")
        return x


@pytest.fixture(scope="module", autouse=True)
def by_value() -> Iterator[None]:
    """Workers get this module's functions themselves: they must not depend on importing it."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture
def signals(tmp_path: Path) -> Signals:
    return Signals(tmp_path)


# --- functions of all kinds -----------------------------------------------------------------------


def test_functions_of_a_notebook_cell(client: Client) -> None:
    cell: dict[str, Any] = {"__name__": "__main__"}
    exec("import math\nscale = 10\ndef helper(x): return math.floor(x) * scale", cell)
    exec("def compute(x): return helper(x) + 1", cell)
    first = client.map(cell["compute"], [1.5, 2.5])
    assert client.gather(first, timeout=WAIT_S) == [11, 21]
    exec("def compute(x): return helper(x) + 2", cell)
    second = client.map(cell["compute"], [1.5, 2.5])
    assert client.gather(second, timeout=WAIT_S) == [12, 22]
    assert second.group_name == first.group_name == "compute"
    assert second.group_id != first.group_id
    exec("scale = 100", cell)
    assert client.submit(cell["compute"], 1.5).result(WAIT_S) == 102


def test_items_of_arrays_and_iterators(client: Client) -> None:
    values = np.linspace(0, 1, 20_000)
    roots = client.gather(client.map(np.sqrt, values), timeout=WAIT_S)
    assert roots == list(np.sqrt(values)) and type(roots[0]) is np.float64
    rows = client.map(np.sum, np.ones((500, 3)))
    assert client.gather(rows, timeout=WAIT_S) == [3.0] * 500
    words = client.map(len, (word for word in ["a", "bb", "ccc"]))
    assert client.gather(words, timeout=WAIT_S) == [1, 2, 3]


def test_lambdas_closures_methods_and_builtins(client: Client) -> None:
    offset = 5
    assert client.submit(lambda x: x + offset, 1).result(WAIT_S) == 6
    assert client.submit("a-b".split, "-").result(WAIT_S) == ["a", "b"]
    assert client.submit(pow, 2, 5).result(WAIT_S) == 32
    assert client.submit(dict, a=1).result(WAIT_S) == {"a": 1}
    assert client.gather(client.map(int, ["3", "4"], base=8), timeout=WAIT_S) == [3, 4]


def test_submits_of_one_function_join_a_group(client: Client) -> None:
    futures = [client.submit(square, i) for i in range(500)]
    named = client.submit(square, 3, name="other")
    assert {f.key.group for f in futures} == {futures[0].key.group} != {named.key.group}
    assert client.gather(futures, timeout=WAIT_S) == [i * i for i in range(500)]
    assert (futures[7].name, named.name) == ("square[7]", "other[0]")


# --- futures as arguments -------------------------------------------------------------------------


def test_futures_anywhere_in_arguments(client: Client) -> None:
    a, b = client.submit(square, 2), client.submit(square, 3)
    many = client.map(square, range(5))

    def look(x: Any, *, extra: Any) -> Any:
        return x, extra

    nested = client.submit(look, {"a": [a, (b, 1)], "many": many}, extra=[b])
    expected = ({"a": [4, (9, 1)], "many": [0, 1, 4, 9, 16]}, [9])
    assert nested.result(WAIT_S) == expected
    assert client.submit(sum, many).result(WAIT_S) == 30


def test_chains_of_maps_and_slices(client: Client) -> None:
    first = client.map(square, range(100))
    second = client.map(add, first[:90], first[10:], range(100, 10, -1))
    third = client.map(add, second[::-1], second)
    assert len(second) == 90
    values = [i * i + (i + 10) ** 2 + 100 - i for i in range(90)]
    assert client.gather(second, timeout=WAIT_S) == values
    assert client.gather(third, timeout=WAIT_S) == [
        a + b for a, b in zip(values[::-1], values, strict=True)
    ]
    assert client.gather(second[5:50:7], timeout=WAIT_S) == values[5:50:7]
    assert second[-1].result(WAIT_S) == values[-1]


def test_a_released_intermediate_stays_for_its_consumers(client: Client) -> None:
    result = client.map(add, client.map(add, client.map(square, range(2000)), range(2000)))
    assert client.gather(result, timeout=WAIT_S) == [i * i + i for i in range(2000)]


def test_futures_are_a_sequence_made_lazily(client: Client) -> None:
    futures = client.map(square, range(10))
    assert isinstance(futures, Sequence) and len(futures) == 10
    assert isinstance(futures[2:5], Futures) and isinstance(futures[3], Future)
    assert futures[3] == futures[3] and futures[3] is not futures[3]
    assert futures[3] in futures and futures[3] not in futures[4:]
    assert futures.index(futures[4]) == 4 and futures[2:].index(futures[4]) == 2
    assert [f.index for f in reversed(futures)] == list(range(9, -1, -1))
    assert len({*futures, *futures}) == 10
    with pytest.raises(IndexError, match="10 futures"):
        futures[10]
    assert sum(f.result(WAIT_S) for f in futures) == 285
    assert len(client.map(square, [])) == 0 and client.gather(client.map(square, [])) == []


def test_a_single_future_outlives_its_map(client: Client) -> None:
    one = client.map(square, range(50))[7]
    assert one.result(WAIT_S) == 49
    assert client.submit(add, one, 1).result(WAIT_S) == 50


# --- results --------------------------------------------------------------------------------------


def test_gather_keeps_structure_and_order(client: Client) -> None:
    futures = client.map(square, range(4))
    single = client.submit(square, 9)
    found = client.gather({"a": [single, 5], "b": (futures, {"c": futures[1:3]})}, timeout=WAIT_S)
    assert found == {"a": [81, 5], "b": ([0, 1, 4, 9], {"c": [1, 4]})}
    assert client.gather(iter([futures[2], single]), timeout=WAIT_S) == [4, 81]


def test_large_results_come_from_the_worker(client: Client) -> None:
    arrays = client.map(lambda i: np.full(200_000, i), range(4))
    found = client.gather(arrays, timeout=WAIT_S)
    assert [a[0] for a in found] == [0, 1, 2, 3]
    found[1][:] = 7  # they are ours to write to
    assert int(client.submit(np.sum, arrays[1]).result(WAIT_S)) == 200_000
    assert arrays[2].result() is arrays[2].result()


def test_a_large_map_is_read_when_somebody_asks(client: Client) -> None:
    n = 50_000
    futures = client.map(square, range(n))
    wait(futures, timeout=WAIT_S)
    assert futures.done()
    assert futures[n - 1].result(WAIT_S) == (n - 1) ** 2
    assert sum(f.result(WAIT_S) for f in futures) == sum(i * i for i in range(n))
    assert client.gather(futures, timeout=WAIT_S) == [i * i for i in range(n)]


def test_scatter(client: Client) -> None:
    data = np.arange(300_000)
    one = client.scatter(data, timeout=WAIT_S)
    assert int(client.submit(np.sum, one).result(WAIT_S)) == data.sum()
    items = client.scatter([10, 20, 30], timeout=WAIT_S)
    assert isinstance(items, Futures) and client.gather(items, timeout=WAIT_S) == [10, 20, 30]
    assert client.gather(client.map(add, items, range(3)), timeout=WAIT_S) == [10, 21, 32]
    named = client.scatter({"x": 1, "y": "why"}, broadcast=True, timeout=WAIT_S)
    assert client.gather(named, timeout=WAIT_S) == {"x": 1, "y": "why"}
    with pytest.raises(ArgumentNotSerializable, match=r"item 1\[0\] is a _thread.lock"):
        client.scatter([1, [threading.Lock()]])


# --- failures -------------------------------------------------------------------------------------


def test_errors_keep_their_type_and_carry_the_remote_traceback(client: Client) -> None:
    class OfTheUser(Exception):
        pass

    def inner() -> None:
        raise OfTheUser("told you", 5)

    future = client.submit(inner)
    with pytest.raises(OfTheUser) as caught:
        future.result(WAIT_S)
    assert caught.value.args == ("told you", 5)
    assert "in inner" in str(caught.value.__cause__) and "in inner" in future.traceback()
    assert any("inner[0]" in note for note in caught.value.__notes__)
    assert future.exception() is caught.value and future.done() and not future.cancelled()


def test_one_failure_leaves_its_neighbours_alone(client: Client) -> None:
    futures = client.map(fail_if, range(6))
    done, not_done = wait(futures, timeout=WAIT_S)
    assert len(done) == 6 and not not_done
    assert [f.status for f in futures] == ["done"] * 3 + ["failed"] + ["done"] * 2
    assert client.gather(futures, errors="skip", timeout=WAIT_S) == [0, 1, 2, 4, 5]
    with pytest.raises(ValueError, match="3 is bad"):
        client.gather(futures, timeout=WAIT_S)
    with pytest.raises(ValueError, match="3 is bad") as caught:
        client.submit(add, futures[3], 1).result(WAIT_S)
    assert any("depends on" in note for note in caught.value.__notes__)
    assert futures.progress().failed == 1


def test_results_that_cannot_be_pickled(client: Client) -> None:
    future = client.submit(threading.Lock, name="make_lock")
    with pytest.raises(ResultNotSerializable, match=r"'make_lock' returned a _thread\.lock"):
        future.result(WAIT_S)


def test_a_task_that_calls_exit(client: Client) -> None:
    with pytest.raises(TaskError, match="exit"):
        client.submit(sys.exit, 3).result(WAIT_S)
    assert client.submit(square, 2).result(WAIT_S) == 4


def test_a_task_that_dies_by_a_signal(client: Client) -> None:
    def die() -> None:
        print("famous last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    neighbours = client.map(square, range(100))
    with pytest.raises(ExecutorDied, match=r"signal 9|SIGKILL"):
        client.submit(die, allowed_failures=0).result(WAIT_S)
    assert client.gather(neighbours, timeout=WAIT_S) == [i * i for i in range(100)]


def test_retry(client: Client, tmp_path: Path) -> None:
    flag = tmp_path / "good"

    def needs_flag(x: int) -> int:
        if not flag.exists():
            raise FileNotFoundError(str(flag))
        return x

    futures = client.map(needs_flag, range(3))
    after = client.map(add, futures, [1, 1, 1])
    with pytest.raises(FileNotFoundError):
        client.gather(after, timeout=WAIT_S)
    wait(after, timeout=WAIT_S)
    flag.touch()
    assert client.retry(after) == 3
    assert client.gather(after, timeout=WAIT_S) == [1, 2, 3]


def test_retries_happen_by_themselves(client: Client, tmp_path: Path) -> None:
    def third_time(name: str) -> int:
        path = tmp_path / name
        with path.open("a") as file:
            file.write(".")
        if path.stat().st_size < 3:
            raise RuntimeError("not yet")
        return path.stat().st_size

    assert client.submit(third_time, "a", retries=2).result(WAIT_S) == 3
    with pytest.raises(RuntimeError, match="not yet"):
        client.submit(third_time, "b", retries=1).result(WAIT_S)


# --- cancelling -----------------------------------------------------------------------------------


def test_cancel(client: Client, signals: Signals) -> None:
    running = client.map(signals.hold, range(2))
    signals.wait_for("begun-0")
    waiting = client.map(square, range(10), priority=-1)
    after = client.submit(sum, waiting)
    assert waiting.cancel() == 10
    assert all(f.cancelled() and f.done() for f in waiting)
    with pytest.raises(TaskCancelled, match="cancelled by tester"):
        waiting[3].result(WAIT_S)
    with pytest.raises(TaskCancelled):
        after.result(WAIT_S)
    assert isinstance(
        pickle.loads(pickle.dumps(TaskCancelled("x"))), concurrent.futures.CancelledError
    )
    signals.give("go")
    assert client.gather(running, timeout=WAIT_S) == [0, 1]
    assert running[0].cancel() is False
    assert waiting.retry() == 10
    assert client.gather(waiting, timeout=WAIT_S) == [i * i for i in range(10)]


def test_cancel_frees_the_slot(client: Client, signals: Signals) -> None:
    stuck = client.map(signals.hold, range(2))
    signals.wait_for("begun-0")
    signals.wait_for("begun-1")
    assert client.cancel(stuck) == 2
    assert client.submit(square, 4).result(WAIT_S) == 16  # both slots were taken


def test_a_cancelled_task_may_run_to_its_end(client: Client, signals: Signals) -> None:
    left = client.submit(signals.hold, 0)
    signals.wait_for("begun-0")
    assert left.cancel(force=False)
    behind = client.map(square, range(10))
    signals.give("go")
    assert client.gather(behind, timeout=WAIT_S) == [i * i for i in range(10)]
    signals.wait_for("ended-0")


# --- waiting --------------------------------------------------------------------------------------


def test_wait_and_as_completed(client: Client, signals: Signals) -> None:
    slow = client.submit(signals.hold, "slow")
    fast = client.map(square, range(5))
    done, not_done = wait([slow, *fast], timeout=WAIT_S, return_when=FIRST_COMPLETED)
    assert done and slow in not_done
    done, not_done = wait([slow, *fast], timeout=0)
    assert slow in not_done
    order = as_completed([slow, *fast], timeout=WAIT_S)
    first = [next(order) for _ in range(5)]
    assert sorted(f.result() for f in first) == [0, 1, 4, 9, 16]
    signals.give("go")
    assert next(order) == slow
    with pytest.raises(StopIteration):
        next(order)
    bad = client.map(fail_if, range(5))
    done, _ = wait(bad, timeout=WAIT_S, return_when=FIRST_EXCEPTION)
    assert bad[3] in done


def test_time_outs_say_what_was_waited_for(client: Client, signals: Signals) -> None:
    futures = client.map(signals.hold, range(3))
    with pytest.raises(TimeoutError, match=r"0.05 s for the result of hold\[2\]: it is pending"):
        futures[2].result(timeout=0.05)
    with pytest.raises(TimeoutError, match=r"3 tasks of hold: 0 done, 0 failed, 3 pending"):
        client.gather(futures, timeout=0.05)
    with pytest.raises(TimeoutError, match=r"as_completed: 0\.05 s"):
        list(as_completed(futures, timeout=0.05))
    for bad in (-1, "1", True, float("nan")):
        with pytest.raises(InvalidArgument, match="timeout"):
            futures[0].result(timeout=bad)  # type: ignore[arg-type]
    signals.give("go")
    assert client.gather(futures, timeout=WAIT_S) == [0, 1, 2]


@pytest.mark.parametrize("what", ["result", "gather", "wait"])
def test_an_interrupt_ends_the_wait_only(client: Client, signals: Signals, what: str) -> None:
    future = client.submit(signals.hold, what)

    group = future._group

    def interrupt() -> None:
        deadline = time.monotonic() + WAIT_S
        while not (group.on_here or group.waiters) and time.monotonic() < deadline:
            time.sleep(0.001)  # until the other thread waits
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        if what == "result":
            future.result(WAIT_S)
        elif what == "gather":
            client.gather([future], timeout=WAIT_S)
        else:
            wait([future], timeout=WAIT_S)
    thread.join()
    assert future.status == "pending"
    signals.give("go")
    assert future.result(WAIT_S) == what


def test_callbacks(client: Client, signals: Signals) -> None:
    future = client.submit(signals.hold, 1)
    called: list[Any] = []
    both = threading.Event()

    def on_done(done: Future) -> None:
        called.append((done.result(), threading.current_thread().name))
        if len(called) == 2:
            both.set()

    future.add_done_callback(on_done)
    future.add_done_callback(lambda f: 1 / 0)  # does no harm to others
    future.add_done_callback(on_done)
    assert not called
    signals.give("go")
    assert both.wait(WAIT_S) and called == [(1, "cellspan callbacks")] * 2
    future.add_done_callback(on_done)
    assert called[2] == (1, threading.current_thread().name), "it has ended: at once"


def test_many_threads_share_a_client(client: Client) -> None:
    def work(k: int) -> int:
        futures = [client.submit(add, i, k) for i in range(200)]
        return sum(f.result(WAIT_S) for f in futures) + sum(
            client.gather(client.map(square, range(50)), timeout=WAIT_S)
        )

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    assert found == [sum(range(200)) + 200 * k + 40425 for k in range(8)]


# --- the other face -------------------------------------------------------------------------------


def test_the_asynchronous_face(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with Client(cluster, asynchronous=True) as client:
            futures = client.map(square, range(10))
            assert await client.gather(futures, timeout=WAIT_S) == [i * i for i in range(10)]
            assert await futures[3] == 9 and await client.submit(add, futures[2], 1) == 5
            assert await asyncio.gather(*(client.submit(square, i) for i in range(2000))) == [
                i * i for i in range(2000)
            ]
            bad = client.submit(fail_if, 3)
            assert isinstance(await bad.exception(WAIT_S), ValueError)
            with pytest.raises(ValueError, match="3 is bad"):
                await bad
            seen = [f.index async for f in as_completed(futures)]
            assert sorted(seen) == list(range(10))
            done, not_done = await wait(futures)
            assert (len(done), len(not_done)) == (10, 0)
            data = await client.scatter([1, 2], timeout=WAIT_S)
            assert await client.gather(list(data)) == [1, 2]
            assert (await client.status())["state"] == "running"
            assert (await client.snapshot()).cluster == "tests"
            called: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            futures[1].add_done_callback(lambda f: called.set_result(f.index))
            assert await asyncio.wait_for(called, WAIT_S) == 1
            assert await client.cancel(futures) == 0
            never = client.submit(time.sleep, 60)
            with pytest.raises(TimeoutError, match="pending"):
                await never.result(timeout=0.05)
            assert await client.cancel(never) == 1

    asyncio.run(main())


def test_futures_of_a_blocking_client_can_be_awaited(client: Client) -> None:
    async def main() -> list[int]:
        return await asyncio.gather(*client.map(square, range(5)))

    assert asyncio.run(main()) == [0, 1, 4, 9, 16]


# --- sharing --------------------------------------------------------------------------------------


def test_futures_travel_to_another_client(client: Client, cluster: LocalCluster) -> None:
    one, many = client.submit(square, 5), client.map(square, range(100))
    wait([one], timeout=WAIT_S)
    with Client(cluster, name="other"):  # the latest client of a process unpickles
        theirs, all_theirs = pickle.loads(pickle.dumps([one, many[10:20:2]]))
        assert theirs == one and theirs._group.session is not one._group.session
        assert theirs.result(WAIT_S) == 25
        assert [f.result(WAIT_S) for f in all_theirs] == [100, 144, 196, 256, 324]
        pickled = pickle.dumps(one)
    assert pickle.loads(pickled)._group.session is client.session
    client.close()
    with pytest.raises(ConnectionClosed, match="without a client of that cluster"):
        pickle.loads(pickled)


# --- the cluster as a whole -----------------------------------------------------------------------


def test_questions_about_the_cluster(client: Client) -> None:
    client.submit(print, "hello from a task").result(WAIT_S)
    status = client.status()
    assert status["state"] == "running" and len(status["workers"]) == 2
    deadline = time.monotonic() + WAIT_S
    while not any(e.text == "hello from a task" and e.stream == "stdout" for e in client.logs()):
        assert time.monotonic() < deadline
    with pytest.raises(ClusterError, match="no log of 'nobody'"):
        client.logs("nobody")
    with pytest.raises(InvalidArgument, match="workers is a whole number"):
        client.scale(0)
    seen: list[Any] = []
    enough = threading.Event()

    def look(snapshot: Any) -> None:
        seen.append(snapshot)
        if len(seen) >= 3:
            enough.set()

    stop = client.watch(look, 0.5)
    assert client.snapshot().workers.count == 2, "asking for one does not end the watch"
    assert enough.wait(WAIT_S) and seen[-1].cluster == "tests"
    stop()


def test_progress(client: Client, signals: Signals) -> None:
    futures = client.map(signals.hold, range(5))
    signals.wait_for("begun-0")
    progress = futures.progress()
    assert (progress.total, progress.done, progress.failed) == (5, 0, 0)
    assert progress.running + progress.waiting == 5 and not progress.is_finished
    signals.give("go")
    wait(futures, timeout=WAIT_S)
    progress = futures.progress()
    assert (progress.done, progress.eta_s, progress.is_finished) == (5, 0.0, True)
    assert futures[:2].progress().total == 2
    assert [p.name for p in client.groups()] == ["hold"]


def test_restart(client: Client, signals: Signals) -> None:
    stuck = client.map(signals.hold, range(4))
    kept = client.submit(square, 3)
    signals.wait_for("begun-0")
    client.restart()
    assert all(f.cancelled() for f in stuck)
    with pytest.raises(TaskCancelled, match="restart"):
        stuck[0].result()
    assert kept.status in ("done", "cancelled")
    assert client.submit(square, 4).result(WAIT_S) == 16


# --- bad input, and the end -----------------------------------------------------------------------


def test_bad_input_changes_nothing(client: Client) -> None:
    with pytest.raises(PayloadTooLarge, match=r"argument 'x' .*scatter"):
        client.submit(square, np.zeros(2 << 30, dtype="u1"))
    with pytest.raises(ArgumentNotSerializable):
        client.submit(square, threading.Lock())
    with pytest.raises(InvalidArgument, match="map needs an iterable"):
        client.map(square)
    with pytest.raises(InvalidArgument, match="retries is not negative"):
        client.submit(square, 1, retries=-1)
    with pytest.raises(InvalidArgument, match="priority is a whole number"):
        client.map(square, range(3), priority="high")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="name is a text"):
        client.submit(square, 1, name="")
    with pytest.raises(InvalidArgument, match="there is a int among them"):
        wait([1])  # type: ignore[list-item]
    assert client.group_count == 0
    assert client.submit(square, 2).result(WAIT_S) == 4


def test_what_is_no_cluster(place: Path) -> None:
    with pytest.raises(ClusterNotFound, match="no-such"):
        Client("no-such")
    with pytest.raises(ClusterNotFound, match="no connection file"):
        Client(str(place / "nothing.json"))
    with pytest.raises(ClusterNotFound, match="pass connection=PATH"):
        Client("unix:///nowhere/at/all.sock")
    with pytest.raises(InvalidArgument, match="not of a int"):
        Client(5)


def test_ways_to_name_a_cluster(cluster: LocalCluster) -> None:
    info = cluster.info
    for target in ("tests", info.address, info.path, Path(info.path), info, cluster):
        with Client(target) as client:
            assert client.cluster_name == "tests" and client.cluster_id == info.id
    with Client(info.address, connection=info.path) as client:
        assert client.submit(square, 2).result(WAIT_S) == 4


def test_a_closed_client_says_so(cluster: LocalCluster, signals: Signals) -> None:
    threads = threading.active_count()
    with Client(cluster) as client:
        done, pending = client.submit(square, 2), client.submit(signals.hold)
        assert done.result(WAIT_S) == 4
        assert "2 groups" in repr(client)
    assert threading.active_count() == threads
    assert done.result() == 4, "what is here stays"
    for use in (pending.result, lambda: client.submit(square, 1), client.status):
        with pytest.raises(ConnectionClosed, match="this client was closed"):
            use()
    assert "closed" in repr(client) and pending.status == "disconnected"
    client.close()
    signals.give("go")


def test_a_client_that_is_forgotten_ends_with_its_last_future(cluster: LocalCluster) -> None:
    def loops() -> int:
        return sum(t.name == "cellspan client" for t in threading.enumerate())

    before = loops()
    future = Client(cluster).submit(square, 5)
    assert future.result(WAIT_S) == 25 and loops() == before + 1
    assert future.status == "done"
    future.add_done_callback(print)
    del future
    deadline = time.monotonic() + WAIT_S
    while loops() > before:
        gc.collect()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_interpreter_ends_cleanly_without_closing(cluster: LocalCluster) -> None:
    program = (
        "from cellspan import Client\n"
        f"client = Client({cluster.name!r})\n"
        "futures = client.map(abs, range(-5, 0))\n"
        "pending = client.submit(abs, -1)\n"
        "pending.add_done_callback(lambda f: None)\n"
        "print(client.gather(futures))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[5, 4, 3, 2, 1]\n", "")


def test_a_cluster_over_tls(place: Path) -> None:
    with (
        LocalCluster(cores=1, memory="500MB", name="secure", listen="tcp") as cluster,
        Client("secure") as client,
    ):
        assert cluster.address.startswith("tls://")
        array = client.submit(np.arange, 100_000)
        assert array.result(WAIT_S).sum() == 4_999_950_000
        data = client.scatter([np.ones(50_000), 5], timeout=WAIT_S)
        assert client.submit(np.sum, data[0]).result(WAIT_S) == 50_000


def test_a_cluster_that_goes_away(place: Path) -> None:
    with LocalCluster(cores=1, memory="500MB", name="brief") as cluster:
        client = Client(cluster)
        here, pending = client.submit(square, 2), client.submit(time.sleep, 30)
        waiter = concurrent.futures.ThreadPoolExecutor(1)
        assert here.result(WAIT_S) == 4
        waiting = waiter.submit(pending.result)
        os.kill(cluster.info.pid, signal.SIGKILL)
        with pytest.raises(ConnectionClosed, match="cluster 'brief'"):
            waiting.result(WAIT_S)
        assert here.result() == 4
        with pytest.raises(ConnectionClosed, match="brief"):
            client.map(square, range(3))
        waiter.shutdown()
        client.close()


def test_a_fork_cannot_use_the_client(client: Client) -> None:
    future = client.submit(square, 2)
    assert future.result(WAIT_S) == 4
    pending = client.submit(time.sleep, 0.2)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            client.submit(square, 3)
            text = "it worked"
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        assert "ConnectionClosed: this process was forked" in file.read()
    os.waitpid(pid, 0)
    assert pending.result(WAIT_S) is None and client.submit(square, 5).result(WAIT_S) == 25


def test_a_default_cluster_starts_and_ends_with_its_client(place: Path) -> None:
    with Client() as client:
        assert client.cluster_name == "default"
        with Client() as second:
            assert second.cluster_id == client.cluster_id
        assert client.submit(square, 3).result(WAIT_S) == 9, "the second did not start it"
    with pytest.raises(ClusterNotFound):
        Client("default")


def test_reprs(client: Client) -> None:
    future = client.submit(fail_if, 3, name="<b>bold</b>")
    assert "pending" in repr(future) or "failed" in repr(future)
    with pytest.raises(ValueError, match="bad"):
        future.result(WAIT_S)
    assert repr(future).startswith("<Future <b>bold</b>[0]: failed: ") and "3 is bad" in repr(
        future
    )
    assert "<b>bold</b>[0]" not in future._repr_html_() and "--jp-error" in future._repr_html_()
    futures = client.map(square, range(1000))
    client.gather(futures, timeout=WAIT_S)
    assert repr(futures) == "<Futures square: 1,000 tasks, 1,000 done>"
    assert repr(futures[2]) == "<Future square[2]: done, int>"
    assert "var(--jp-" in futures._repr_html_() and "1,000 done" in futures._repr_html_()
    assert "'tests'" in repr(client) and "tester" in client._repr_html_()
    futures.release()
    assert futures._repr_html_() and repr(futures) == "<Futures square: 0 tasks, 0 done>"
