"""A real worker with real executors: what users' code may do to them, and what must not be left."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from array import array
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from cellspan.engine.executor import values
from cellspan.engine.executor.files import map_parts
from cellspan.engine.ids import digest_of
from cellspan.engine.messages import (
    DefineGroup,
    EndWorker,
    ExecutorsRestarted,
    FreeResults,
    GetLogs,
    LogsGiven,
    RestartExecutors,
    RunSpan,
    SpanDone,
    SpanReturned,
    TakeBack,
    TaskFailed,
)

from .cluster import Cluster, cluster, executors_of, until_gone

Test = Callable[[Cluster], Awaitable[None]]
Run = Callable[[Test], None]


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a test with a cluster; nothing of it may be left in shared memory."""

    def run(test: Test) -> None:
        folder = tmp_path_factory.mktemp("c")

        async def main() -> None:
            async with cluster(folder) as made:
                await test(made)
                stores = [store_of(w.info["pid"]) for w in made.workers]
            assert not [s for s in stores if s is not None and s.exists()]

        asyncio.run(main())

    return run


def store_of(pid: int) -> Path | None:
    """Return the store folder of a living worker: where its lock file is."""
    try:
        files = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return None
    for fd in files:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        if target.endswith("/lock"):
            return Path(target).parent
    return None


def test_a_map_over_ranges_items_constants_and_names(run: Run) -> None:
    async def test(made: Cluster) -> None:
        worker = await made.add_worker()
        constant, chunk0, chunk1 = (values.dump_blob(v)[0] for v in (100, ["a", "b"], ["c"]))
        worker.define(
            1, lambda i, letter, *, base: f"{letter}{base + i}",
            ["range", 5, 10], ["items", 2, [b"0" * 16, b"1" * 16]],
            ["blob", digest_of(constant), []],
            names=["base"], blobs={digest_of(constant): constant},
        )  # fmt: skip
        await worker.run(1, 1, 0, 3, chunks=[[1, 0, chunk0], [1, 1, chunk1]])
        assert worker.results() == {0: "a105", 1: "b115", 2: "c125"}
        assert sum(sum(m.times[1::2]) for m in worker.said(SpanDone)) == 3

    run(test)


def test_errors_are_the_users_own_and_stay_with_their_task(run: Run) -> None:
    class Odd(Exception):
        def __init__(self, a: int, b: int) -> None:  # cannot be unpickled: its args are one text
            super().__init__(f"{a} and {b}")

    class Own(Exception):
        pass

    def task(i: int) -> Any:
        if i == 1:
            raise KeyError("one")
        if i == 2:
            sys.exit("two")
        if i == 3:
            raise Odd(3, 4)
        if i == 4:
            return (x for x in ())
        if i == 5:
            try:
                task(1)
            except KeyError as error:
                raise Own("five") from error
        return i

    async def test(made: Cluster) -> None:
        worker = await made.add_worker(cores=1)
        worker.define(1, task)
        await worker.run(1, 1, 0, 7)
        assert worker.results() == {0: 0, 6: 6}
        failures = {m.index: m.failure for m in worker.said(TaskFailed)}
        assert [failures[i]["kind"] for i in (1, 2, 3, 4)] == ["raised"] * 3 + ["unserializable"]
        error = values.load_blob(failures[1]["exception"])
        assert type(error) is KeyError and error.args == ("one",)
        assert 'raise KeyError("one")' in failures[1]["traceback"]
        assert "calls.py" not in failures[1]["traceback"]
        assert "exception" not in failures[2] and "SystemExit: two" in failures[2]["text"]
        assert "exception" not in failures[3] and "Odd: 3 and 4" in failures[3]["text"]
        assert "task 4 of 'group 1' returned a builtins.generator" in failures[4]["text"]
        own = values.load_blob(failures[5]["exception"])
        assert type(own).__name__ == "Own" and own.args == ("five",)
        assert "KeyError: 'one'" in failures[5]["traceback"]
        assert len(executors_of(worker.info["pid"])) == 1

    run(test)


def test_a_function_that_cannot_be_loaded_fails_all_its_tasks(run: Run) -> None:
    class Bad:
        def __reduce__(self) -> Any:
            return eval, ("1 / 0",)

    bad = Bad()

    async def test(made: Cluster) -> None:
        worker = await made.add_worker(cores=1)
        worker.define(1, lambda i: (i, bad))
        await worker.run(1, 1, 0, 3)
        texts = {m.index: m.failure["text"] for m in worker.said(TaskFailed)}
        assert texts == dict.fromkeys(range(3), "ZeroDivisionError: division by zero")

    run(test)


@pytest.mark.parametrize(
    ("end", "key", "value"),
    [
        (lambda: os._exit(3), "exit_code", 3),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "signal", "SIGSEGV"),
    ],
)
def test_a_task_that_ends_its_process_is_blamed_alone(
    run: Run, end: Callable[[], None], key: str, value: Any
) -> None:
    def task(i: int) -> int:
        if i == 437:
            print("goodbye", flush=True)
            end()
        return i

    async def test(made: Cluster) -> None:
        worker = await made.add_worker(cores=2)
        worker.define(1, task)
        await worker.run(1, 1, 0, 400)  # now its pieces are long
        await worker.run(2, 1, 400, 600)
        (failed,) = worker.said(TaskFailed)
        assert (failed.index, failed.failure["kind"], failed.failure[key]) == (
            437,
            "crashed",
            value,
        )
        assert failed.failure["log"][-1] == "goodbye"
        said = worker.reported()
        assert {i for i in said if not isinstance(said[i], SpanDone | SpanReturned)} == {437}
        await worker.until(lambda: worker.beats[-1].stats["executors"] == 2)

    run(test)


def test_large_results_are_files_that_the_next_executor_maps(run: Run) -> None:
    def make(i: int) -> Any:
        return np.full(100_000, i)

    async def test(made: Cluster) -> None:
        worker = await made.add_worker()
        worker.define(1, make)
        await worker.run(1, 1, 0, 4)
        assert not worker.results(), "nothing large travels inline"
        data = await made.open_data(worker)
        answer = await data.get(1, 1, 3, files=True)
        assert len(answer.files) == 2 and not answer.blocks
        start, _, single, path, places = answer.files[0]
        assert single and start == 1
        array = values.load_value(map_parts(path, places))
        np.testing.assert_array_equal(array, np.ones(100_000))
        assert array.ctypes.data % 64 == 0
        sent = await data.get(1, 1, 3)
        assert len(sent.blocks) == 2
        np.testing.assert_array_equal(values.load_block(sent.blocks[0])[0], array)
        worker.define(2, lambda a: (int(a.sum()), a.flags.writeable), ["same", 1, 0])
        await worker.run(2, 2, 0, 4)
        assert worker.results() == {i: (100_000 * i, False) for i in range(4)}
        worker.connection.send(FreeResults(1, [0, 4]))
        assert not (await data.get(1, 0, 4)).blocks
        assert not os.path.exists(path)

    run(test)


def test_inputs_come_from_another_worker_and_from_clients(run: Run) -> None:
    async def test(made: Cluster) -> None:
        first, second = await made.add_worker(1), await made.add_worker(1)
        data = await made.open_data(first)
        big = np.arange(50_000)
        blocks = [values.make_single_block(0, big), values.make_single_block(1, [2, 3])]
        assert await data.put(7, blocks) is None
        second.define(1, lambda x: int(sum(x)), ["same", 7, 0])
        holders = [[7, 0, 2, first.number, first.info["address"]]]
        await second.run(1, 1, 0, 2, holders=holders)
        assert second.results() == {0: int(big.sum()), 1: 5}
        there = await made.open_data(second)
        path = (await there.get(7, 0, 1, files=True)).files[0][3]
        assert os.stat(path).st_nlink == 2, "linked, not copied"
        gone = [[7, 5, 6, first.number, first.info["address"]]]
        second.define(2, len, ["same", 7, 5])
        await second.run(2, 2, 0, 1, holders=gone)
        (returned,) = second.said(SpanReturned)
        assert returned.missing == [[7, 5, first.number]]
        nobody = [[7, 5, 6, 9, f"unix://{made.folder}/nobody"]]
        await second.run(3, 2, 0, 1, holders=nobody)
        assert second.said(SpanReturned)[-1].missing == [[7, 5, 9]]

    run(test)


def test_calls_of_a_graph_with_futures_inside_their_arguments(run: Run) -> None:
    class Promise:
        pass

    async def test(made: Cluster) -> None:
        worker = await made.add_worker(1)
        data = await made.open_data(worker)
        await data.put(7, [values.make_block(0, ["zero", "one"])])
        code = values.dump_function(lambda *args, **kwargs: (args, kwargs))
        layer = {"kind": "graph", "function": digest_of(code)}
        worker.connection.send(DefineGroup(3, "calls", layer, {digest_of(code): code}))
        plain, _ = values.dump_call((1, "a"), {"b": 2.0})
        promise = Promise()
        key = lambda value: (7, 1) if value is promise else None  # noqa: E731
        nested, deps = values.dump_call(([{"x": promise}],), {}, key)
        assert deps == [(7, 1)]
        await worker.run(
            1, 3, 0, 2,
            payload=plain + nested,
            lengths=array("I", [len(plain), len(nested)]).tobytes(),
            inputs=[
                array("I", [0, 1]).tobytes(), array("q", [7]).tobytes(), array("I", [1]).tobytes(),
            ],
        )  # fmt: skip
        assert worker.results() == {0: ((1, "a"), {"b": 2.0}), 1: (([{"x": "one"}],), {})}

    run(test)


def test_slow_tasks_share_the_slots_and_report_as_they_end(run: Run) -> None:
    def task(i: int) -> int:
        time.sleep(1.0 if i == 300 else 0.0005 if i >= 300 else 0)
        return os.getpid()

    async def test(made: Cluster) -> None:
        worker = await made.add_worker(2)
        worker.define(1, task)
        await worker.run(1, 1, 0, 300)
        await worker.run(2, 1, 300, 500)
        found = worker.results()
        behind = [found[i] for i in range(301, 500)]
        assert sum(pid != found[300] for pid in behind) > 150, "none waits behind the slow one"

    run(test)


def test_tasks_that_were_taken_back_never_ran(run: Run) -> None:
    def task(i: int) -> None:
        with open("ran", "a") as file:
            file.write(f"{i}\n")
        time.sleep((i * 7919 % 13) * 2e-4)  # uneven, so that pieces are cut and moved

    async def test(made: Cluster) -> None:
        worker = await made.add_worker(2)
        worker.define(1, task)
        for number in range(1, 16):
            first = number * 200
            worker.connection.send(RunSpan(number, 1, first, first + 200, False))
            for step in range(5):
                await asyncio.sleep(0.003)
                start = first + (step * 53 + number * 17) % 150
                worker.connection.send(TakeBack(number, [start, start + 40], False))
        await worker.until(lambda: len(worker.reported()) == 15 * 200)
        said = worker.reported()
        ran = [int(line) for line in (made.folder / "ran").read_text().split()]
        assert len(ran) == len(set(ran))
        assert set(ran) == {i for i, m in said.items() if isinstance(m, SpanDone)}
        assert len(ran) < 15 * 200 - 100

    run(test)


def test_taking_back_with_kill_ends_a_running_task(run: Run) -> None:
    async def test(made: Cluster) -> None:
        worker = await made.add_worker(1)
        worker.define(1, lambda i: time.sleep(60))
        worker.connection.send(RunSpan(1, 1, 0, 3, True))
        await worker.until(lambda: worker.beats[-1].stats["running"] == 1)
        (before,) = executors_of(worker.info["pid"])
        worker.connection.send(TakeBack(1, [0, 3], True))
        await worker.until(lambda: worker.said(SpanReturned))
        assert [m.runs for m in worker.said(SpanReturned)] == [[0, 3]]
        await until_gone([before])
        await worker.run(2, 1, 5, 5)
        assert not worker.said(TaskFailed)

    run(test)


def test_a_restart_brings_new_executors(run: Run) -> None:
    async def test(made: Cluster) -> None:
        worker = await made.add_worker(2)
        old = executors_of(worker.info["pid"])
        worker.define(1, lambda i: time.sleep(60))
        worker.connection.send(RunSpan(1, 1, 0, 3, True))
        worker.connection.send(RestartExecutors(5))
        await worker.until(lambda: worker.said(ExecutorsRestarted))
        await until_gone(old)
        assert len(executors_of(worker.info["pid"])) == 2
        worker.define(2, lambda i: i)
        await worker.run(2, 2, 0, 3)
        assert worker.results() == {0: 0, 1: 1, 2: 2}

    run(test)


def test_what_tasks_print_is_kept(run: Run) -> None:
    def task(i: int) -> None:
        print("out", i)
        print("err", i, file=sys.stderr)

    async def test(made: Cluster) -> None:
        worker = await made.add_worker(1)
        worker.define(1, task)
        await worker.run(1, 1, 0, 2)

        async def lines() -> list[list[Any]]:
            worker.connection.send(GetLogs(len(worker.said(LogsGiven)), None, 10))
            count = len(worker.said(LogsGiven))
            await worker.until(lambda: len(worker.said(LogsGiven)) > count)
            return worker.said(LogsGiven)[-1].entries

        async with asyncio.timeout(10):
            while len(entries := await lines()) < 4:
                await asyncio.sleep(0.01)
        assert {(e[0], e[1], e[3]) for e in entries} == {
            ("worker-1/1", stream, f"{word} {i}")
            for stream, word in (("stdout", "out"), ("stderr", "err"))
            for i in (0, 1)
        }
        assert all(abs(e[2] - time.time()) < 60 for e in entries)

    run(test)


def test_executors_are_as_promised(run: Run) -> None:
    def task(i: int) -> Any:
        os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C goes to the whole group in a terminal
        names = [os.environ[n] for n in ("OMP_NUM_THREADS", "PYTHONUNBUFFERED")]
        return os.getcwd(), sys.path[0], names, "cellspan" in sys.modules, sys.argv

    async def test(made: Cluster) -> None:
        worker = await made.add_worker(1)
        worker.define(1, task)
        await worker.run(1, 1, 0, 1)
        cwd, path, names, is_loaded, argv = worker.results()[0]
        assert os.path.realpath(cwd) == os.path.realpath(made.folder)
        assert (path, names, is_loaded, argv) == ("", ["1", "1"], False, [""])
        (executor,) = executors_of(worker.info["pid"])
        assert executor.cmdline()[0].startswith("cellspan executor worker-1/1")
        assert (
            psutil.Process(worker.info["pid"]).cmdline()[0].startswith("cellspan worker worker-1")
        )

    run(test)


@pytest.mark.parametrize("how", ["killed", "terminated", "told", "left"])
def test_a_worker_leaves_nothing_behind(run: Run, how: str) -> None:
    def task(i: int) -> Any:
        import subprocess

        subprocess.Popen(["sleep", "60"])
        return np.zeros(50_000)

    async def test(made: Cluster) -> None:
        worker = await made.add_worker(2)
        worker.define(1, task)
        await worker.run(1, 1, 0, 2)
        worker.define(2, lambda i: time.sleep(60))
        worker.connection.send(RunSpan(2, 2, 0, 1, True))
        await worker.until(lambda: worker.beats[-1].stats["running"] == 1)
        pid = worker.info["pid"]
        store, processes = store_of(pid), psutil.Process(pid).children(recursive=True)
        assert store is not None and len(processes) == 4
        if how == "killed":
            os.kill(pid, signal.SIGKILL)
        elif how == "terminated":
            os.kill(pid, signal.SIGTERM)
        elif how == "told":
            worker.connection.send(EndWorker("enough"))
        else:
            worker.connection.close()
        await until_gone(processes)
        async with asyncio.timeout(10):
            while store.exists():
                await asyncio.sleep(0.01)

    run(test)


def test_an_interpreter_that_does_not_start_is_told(run: Run) -> None:
    async def test(made: Cluster) -> None:
        process = await made.start_process(1, interpreter="/nowhere/python")
        async with asyncio.timeout(15):
            _, errors = await process.communicate()
        assert b"executors do not start" in errors and b"/nowhere/python" in errors

    run(test)
