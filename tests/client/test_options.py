"""What a submission can ask for, on a real cluster: resources, workers, time limits, metadata, and
running something everywhere.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from cellspan import get_resources
from cellspan.engine.client import Client
from cellspan.engine.deploy import LocalCluster
from cellspan.engine.diagnostics import snapshot_text
from cellspan.engine.errors import ClusterError, ExecutorDied, InvalidArgument, TaskError

from .test_real import WAIT_S, Signals, square

DEVICES = "CUDA_VISIBLE_DEVICES"


@pytest.fixture(scope="module", autouse=True)
def by_value() -> Iterator[None]:
    names = [__name__, square.__module__]
    for name in names:
        cloudpickle.register_pickle_by_value(sys.modules[name])
    yield
    for name in names:
        cloudpickle.unregister_pickle_by_value(sys.modules[name])


@pytest.fixture(scope="module")
def cluster(place: Path) -> Iterator[LocalCluster]:
    """Two workers with three executors each, and things to deal out."""
    resources = {"GPU": 2, "licence": 1, "scratch": 1.5}
    with LocalCluster(workers=2, cores=3, memory="1GB", resources=resources) as cluster:
        yield cluster


@pytest.fixture
def signals(tmp_path: Path) -> Signals:
    return Signals(tmp_path)


def until(condition: Callable[[], Any]) -> Any:
    """Wait until a condition on the cluster holds; return its value."""
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def look(x: int) -> tuple[int, dict[str, Any], str | None, float, float]:
    begin = time.monotonic()
    time.sleep(0.02)
    return os.getppid(), get_resources(), os.environ.get(DEVICES), begin, time.monotonic()


def warning_of(client: Client, name: str) -> str | None:
    return next((row.warning for row in client.snapshot().groups if row.name == name), None)


# --- resources ------------------------------------------------------------------------------------


def test_no_two_running_tasks_have_the_same_device(client: Client) -> None:
    rows = client.gather(client.map(look, range(24), resources={"GPU": 1}), timeout=WAIT_S)
    assert all(len(given["GPU"]) == 1 for _, given, _, _, _ in rows)
    assert all(devices == str(given["GPU"][0]) for _, given, devices, _, _ in rows)
    assert {(pid, given["GPU"][0]) for pid, given, _, _, _ in rows} == {
        (worker["pid"], unit) for worker in client.status()["workers"] for unit in (0, 1)
    }, "all four are used"
    for at, (pid, given, _, begin, end) in enumerate(rows):
        for other, given_too, _, begin_too, end_too in rows[:at]:
            at_once = begin < end_too and begin_too < end
            assert not (at_once and pid == other and given == given_too)


def test_two_devices_at_once_and_none_for_those_who_did_not_ask(client: Client) -> None:
    both = client.map(look, range(4), resources={"GPU": 2, "scratch": 0.5})
    for _, given, devices, _, _ in client.gather(both, timeout=WAIT_S):
        assert given == {"GPU": [0, 1], "scratch": 0.5} and devices == "0,1"
    for _, given, devices, _, _ in client.gather(client.map(look, range(12)), timeout=WAIT_S):
        assert given == {} and devices == os.environ.get(DEVICES)
    assert get_resources() == {}


def test_amounts_are_shared_and_never_given_twice(client: Client) -> None:
    futures = client.map(look, range(12), resources={"scratch": 0.75})
    rows = client.gather(futures, timeout=WAIT_S)
    for pid, _, _, begin, end in rows:
        beside = [r for r in rows if r[0] == pid and r[3] < end and begin < r[4]]
        edges = sorted([(r[3], 1) for r in beside] + [(r[4], -1) for r in beside])
        at_once = most = 0
        for _, step in edges:
            at_once += step
            most = max(most, at_once)
        assert most <= 2, "0.75 of 1.5 goes twice"


def test_memory_is_offered_by_every_worker(client: Client) -> None:
    future = client.submit(get_resources, resources={"memory": 6e8})
    assert future.result(WAIT_S) == {"memory": 600_000_000}


def test_what_nobody_has_waits_says_why_and_blocks_nobody(client: Client) -> None:
    blocked = client.submit(square, 1, resources={"GPU": 3}, name="greedy", priority=9)
    assert client.gather(client.map(square, range(100)), timeout=WAIT_S)[9] == 81
    warning = until(lambda: warning_of(client, "greedy"))
    assert "GPU=3" in warning and "at most GPU=2 on worker-" in warning
    assert "greedy: waits for a worker" in snapshot_text(client.snapshot())
    assert blocked.cancel()
    assert blocked.cancelled()


def test_a_tree_has_its_resources_too(client: Client) -> None:
    def join(a: list[Any], b: list[Any]) -> list[Any]:
        return [*a, *b, get_resources()]

    leaves = client.map(lambda x: [], range(9))
    found = client.reduce(join, leaves, fanin=3, resources={"licence": 1}).result(WAIT_S)
    assert found == [{"licence": [0]}] * 8


# --- workers --------------------------------------------------------------------------------------


def test_tasks_run_on_the_named_worker_alone(client: Client) -> None:
    pids = {worker["name"]: worker["pid"] for worker in client.status()["workers"]}
    for name in pids:
        futures = client.map(lambda x: os.getppid(), range(30), workers=name)
        assert set(client.gather(futures, timeout=WAIT_S)) == {pids[name]}
    anywhere = client.submit(os.getppid, workers=[*pids, "nobody"], name="somewhere")
    assert anywhere.result(WAIT_S) in pids.values()


def test_a_worker_that_is_not_there_is_waited_for(place: Path) -> None:
    with LocalCluster(workers=1, cores=1, memory="1GB") as cluster, Client(cluster) as client:
        future = client.submit(square, 7, workers="worker-2", name="later")
        warning = until(lambda: warning_of(client, "later"))
        assert "'worker-2'" in warning and "there are: 'worker-1'" in warning
        client.scale(2)
        assert future.result(WAIT_S) == 49


# --- time limits ----------------------------------------------------------------------------------


def hang_at(x: int, folder: str) -> int:
    with open(f"{folder}/runs-{x}", "a") as file:
        file.write("run\n")
    if x == 5:
        time.sleep(WAIT_S)
    return x


def test_a_task_that_takes_too_long_is_ended_and_its_neighbours_are_not(
    client: Client, tmp_path: Path
) -> None:
    futures = client.map(hang_at, range(20), folder=str(tmp_path), timeout=0.3, retries=1)
    assert client.gather(futures, errors="skip", timeout=WAIT_S) == [x for x in range(20) if x != 5]
    error = futures[5].exception()
    assert type(error) is TimeoutError and futures[5].status == "failed"
    assert "hang_at[5]" in str(error) and "0.3 s" in str(error) and "worker worker-" in str(error)
    assert (tmp_path / "runs-5").read_text() == "run\n" * 2, "a retry is a second time"
    with pytest.raises(TimeoutError, match="hang_at"):
        client.gather(futures, timeout=WAIT_S)


def test_a_limit_that_is_kept_changes_nothing(client: Client) -> None:
    futures = client.map(square, range(5000), timeout=WAIT_S)
    assert client.gather(futures, timeout=WAIT_S) == [x * x for x in range(5000)]


# --- run ------------------------------------------------------------------------------------------


def test_run_calls_once_on_every_executor(client: Client) -> None:
    found = client.run(lambda a, b=0: (os.getppid(), os.getpid(), a + b), 1, b=2, timeout=WAIT_S)
    pids = {worker["name"]: worker["pid"] for worker in client.status()["workers"]}
    assert found.keys() == pids.keys()
    for name, rows in found.items():
        assert [row[0] for row in rows] == [pids[name]] * 3
        assert len({row[1] for row in rows}) == 3 and {row[2] for row in rows} == {3}
    again = client.run(os.getpid, workers="worker-2", timeout=WAIT_S)
    assert {name: set(rows) for name, rows in again.items()} == {
        "worker-2": {row[1] for row in found["worker-2"]}
    }


def test_run_waits_for_busy_executors_and_not_for_ever(client: Client, signals: Signals) -> None:
    holding = client.map(signals.hold, range(30))
    until(lambda: len(list(signals.folder.glob("begun-*"))) == 6)
    with pytest.raises(TimeoutError, match="pending"):
        client.run(os.getpid, timeout=0.2)
    signals.give("go")
    found = client.run(os.getpid, timeout=WAIT_S)
    assert [len(set(rows)) for rows in found.values()] == [3, 3]
    assert client.gather(holding, timeout=WAIT_S) == list(range(30))


def test_errors_of_run_are_raised_or_collected(client: Client, tmp_path: Path) -> None:
    def first_fails(folder: str) -> str:
        try:
            os.mkdir(f"{folder}/{os.getppid()}")
        except FileExistsError:
            return "fine"
        raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        client.run(first_fails, str(tmp_path), timeout=WAIT_S)
    other = tmp_path / "other"
    other.mkdir()
    found = client.run(first_fails, str(other), on_error="return", timeout=WAIT_S)
    for rows in found.values():
        assert sorted(type(row).__name__ for row in rows) == ["KeyError", "str", "str"]
    third = tmp_path / "third"
    third.mkdir()
    found = client.run(first_fails, str(third), on_error="skip", timeout=WAIT_S)
    assert [rows for rows in found.values()] == [["fine", "fine"]] * 2
    with pytest.raises(ClusterError, match="no worker 'nobody'; there are: worker-1, worker-2"):
        client.run(os.getpid, workers=["nobody"])
    with pytest.raises(InvalidArgument, match="on_error"):
        client.run(os.getpid, on_error="ignore")


def test_an_executor_that_dies_by_it_is_reported(client: Client) -> None:
    found = client.run(os._exit, 3, workers="worker-1", on_error="return", timeout=WAIT_S)
    assert [type(row) for row in found["worker-1"]] == [ExecutorDied] * 3
    assert client.run(os.getpid, workers="worker-1", timeout=WAIT_S)


def test_a_worker_that_is_lost_midway_is_reported(place: Path, signals: Signals) -> None:
    with LocalCluster(workers=2, cores=1, memory="1GB") as cluster, Client(cluster) as client:
        busy = client.map(signals.hold, range(2), workers="worker-1")
        signals.wait_for("begun-0")
        pid = next(w["pid"] for w in client.status()["workers"] if w["name"] == "worker-1")
        asked = client.session.groups.keys() | set()

        def kill_when_asked() -> None:
            until(lambda: client.session.groups.keys() - asked)
            until(lambda: client.snapshot().totals["running"] >= 1)
            os.kill(pid, signal.SIGKILL)

        import threading

        killer = threading.Thread(target=kill_when_asked)
        killer.start()
        found = client.run(os.getpid, on_error="return", timeout=WAIT_S)
        killer.join()
        assert isinstance(found["worker-2"][0], int)
        assert isinstance(found["worker-1"][0], TaskError)
        assert "worker-1" in str(found["worker-1"][0])
        busy.cancel()


# --- metadata, spans, tracking --------------------------------------------------------------------


def test_metadata_is_kept_for_all_who_hold_the_tasks(cluster: LocalCluster, client: Client) -> None:
    said = {"run": 7, "tags": ["a", None], "where": {"x": 0.5}}
    futures = client.map(square, range(4), metadata=said, name="told")
    assert client.get_metadata(futures) == said
    assert client.get_metadata(client.submit(square, 2)) == {}
    single = client.submit(square, 3, metadata={"n": 1})
    assert client.get_metadata([futures[0], single]) == [said, {"n": 1}]
    row = next(row for row in client.snapshot().groups if row.name == "told")
    assert row.metadata.startswith('{"run": 7')
    client.publish_dataset(futures, "told")
    with Client(cluster) as other:
        assert other.get_metadata(other.get_dataset("told")) == said
    client.unpublish_dataset("told")


def test_a_span_hint_changes_no_result(client: Client) -> None:
    for span in (1, 7, (2, 9)):
        futures = client.map(square, range(200), span=span)
        assert client.gather(futures, timeout=WAIT_S) == [x * x for x in range(200)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_track_yields_all_and_draws_one_line(client: Client) -> None:
    terminal = Terminal()
    futures = client.map(square, range(50))
    tracked = client.track(futures, file=terminal)
    assert len(tracked) == 50
    assert sorted(f.result() for f in tracked) == [x * x for x in range(50)]
    drawn = terminal.getvalue()
    assert drawn.count("\n") == 1 and drawn.endswith("\n")
    last = drawn.rsplit("\r", 1)[1]
    assert last.startswith("square: 100% |####") and "50/50" in last
    silent = io.StringIO()
    assert len(list(client.track(futures, file=silent))) == 50
    assert silent.getvalue() == "", "nobody looks"


def test_a_track_that_is_stopped_finishes_its_line_and_cancels_nothing(
    client: Client, signals: Signals
) -> None:
    terminal = Terminal()
    futures = [client.submit(square, 2), client.submit(signals.hold, 1)]
    for future in client.track(futures, label="two", file=terminal):
        assert future.result() == 4
        break
    assert terminal.getvalue().endswith("\n") and "two:  50%" in terminal.getvalue()
    with pytest.raises(TimeoutError):
        list(client.track(futures[1:], timeout=0.1, file=terminal))
    signals.give("go")
    assert futures[1].result(WAIT_S) == 1


# --- what cannot be -------------------------------------------------------------------------------

BAD: list[tuple[dict[str, Any], str]] = [
    ({"resources": {"GPU": -1}}, "-1 of 'GPU'"),
    ({"resources": {"GPU": "two"}}, "'two' of 'GPU'"),
    ({"resources": {"GPU": float("nan")}}, "nan of 'GPU'"),
    ({"resources": {}}, "resources is a dict like"),
    ({"resources": ["GPU"]}, "resources is a dict like"),
    ({"workers": []}, "a list of such that is not empty"),
    ({"workers": [1]}, "workers is the name of a worker"),
    ({"timeout": 0}, "seconds that one task may run"),
    ({"timeout": "5"}, "seconds that one task may run"),
    ({"pure": "yes"}, "pure is True or False"),
    ({"key": ""}, "key is a text"),
    ({"metadata": {"x": object()}}, r"metadata\['x'\] is a object"),
    ({"metadata": {"x": "y" * 5000}}, "the limit is 4096"),
    ({"metadata": {1: 2}}, "keys are texts"),
    ({"span": 0}, "span is how many"),
    ({"span": (5, 2)}, "span is how many"),
    ({"priority": [1]}, "priority is a whole number"),
]


@pytest.mark.parametrize(("options", "text"), BAD)
def test_nonsense_is_refused_at_once(client: Client, options: Any, text: str) -> None:
    for submit in (
        lambda: client.submit(square, 1, **options),
        lambda: client.map(square, range(3), **options),
        lambda: client.reduce(max, client.map(square, range(3)), **options),
    ):
        with pytest.raises(InvalidArgument, match=text):
            submit()
