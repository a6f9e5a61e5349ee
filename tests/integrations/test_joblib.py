"""The joblib backend on a real cluster."""

from __future__ import annotations

import math
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config

import cellspan
from cellspan.engine.client import Client
from cellspan.engine.deploy import LocalCluster
from cellspan.engine.errors import InvalidArgument
from cellspan.engine.integrations.joblib import CellspanBackend

Door = Any  # of conftest.py

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file


def square(x: int) -> int:
    return x * x


def fail_for_seven(x: int) -> int:
    if x == 7:
        raise LookupError("seven")
    return x


def nest(n: int) -> tuple[list[float], str]:
    found = Parallel(n_jobs=2)(delayed(math.sqrt)(i * i) for i in range(n))
    return found, type(joblib.parallel.get_active_backend()[0]).__name__


def total(array: Any, scale: int) -> tuple[float, str]:
    return float(array.sum()) * scale, type(array).__name__


def pass_door(folder: str, name: int) -> int:
    import os
    import time

    open(f"{folder}/at-{name}", "w").close()
    while not os.path.exists(f"{folder}/open"):
        time.sleep(0.002)
    return name


@pytest.fixture(autouse=True)
def backend(client: Client) -> Iterator[None]:
    with parallel_config(backend="cellspan"):
        yield


def names_of(client: Client) -> dict[str, int]:
    """Return the groups that the cluster has seen of this client, with their sizes."""
    began, deadline = time.time(), time.monotonic() + 20
    while (snapshot := client.snapshot()).time < began:  # one is kept for half a second
        assert time.monotonic() < deadline
        time.sleep(0.02)
    found: dict[str, int] = {}
    for row in snapshot.groups:
        if row.client == client.name:
            found[row.name] = found.get(row.name, 0) + row.total
    return found


def test_importing_cellspan_loads_neither_joblib_nor_dask() -> None:
    code = (
        "import sys, cellspan; cellspan.Client, cellspan.LocalCluster; "
        "assert not {'joblib', 'dask'} & set(sys.modules); "
        "cellspan.register_joblib(); import joblib; "
        "assert 'cellspan' in joblib.parallel.BACKENDS; assert 'dask' not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


def test_results_come_in_order_and_the_group_has_the_function_s_name(client: Client) -> None:
    before = names_of(client).get("square", 0)
    found = Parallel()(delayed(square)(i) for i in range(300))
    assert found == [i * i for i in range(300)]
    assert 4 <= names_of(client)["square"] - before < 100  # short calls share tasks


def test_results_as_a_generator() -> None:
    ordered = Parallel(return_as="generator")(delayed(square)(i) for i in range(50))
    assert next(ordered) == 0
    assert list(ordered) == [i * i for i in range(1, 50)]
    unordered = Parallel(return_as="generator_unordered")(delayed(square)(i) for i in range(50))
    assert sorted(unordered) == [i * i for i in range(50)]


def test_an_error_keeps_its_type_and_ends_the_call(client: Client) -> None:
    with pytest.raises(LookupError, match="seven") as caught:
        Parallel()(delayed(fail_for_seven)(i) for i in range(100_000))
    assert "in fail_for_seven" in str(caught.value.__cause__)
    assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]


def test_a_call_that_takes_too_long_is_given_up(door: Door) -> None:
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.1)(delayed(pass_door)(door.folder, i) for i in range(4))
    door.open()
    assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]


def test_calls_inside_of_calls_run_one_after_the_other() -> None:
    for found, backend in Parallel()(delayed(nest)(n) for n in range(4)):
        assert found == [float(i) for i in range(len(found))]
        assert backend == "SequentialBackend"


def test_the_number_of_jobs_is_that_of_the_slots() -> None:
    assert joblib.effective_n_jobs(-1) == 2
    assert joblib.effective_n_jobs(-2) == 1
    assert joblib.effective_n_jobs(100) == 2
    with pytest.raises(ValueError, match="n_jobs == 0"):
        Parallel(n_jobs=0)(delayed(square)(i) for i in range(3))


def test_as_many_calls_run_at_once_as_there_are_slots(door: Door) -> None:
    results = Parallel(return_as="generator")(delayed(pass_door)(door.folder, i) for i in range(6))
    door.await_waiting(2)
    assert door.waiting() == 2
    door.open()
    assert list(results) == list(range(6))


def test_batches_grow_while_calls_are_short(client: Client) -> None:
    backend = CellspanBackend(client=client)
    assert backend.compute_batch_size() == 1  # the first ones wait for no company
    with parallel_config(backend=backend):
        Parallel()(delayed(square)(i) for i in range(1000))
        assert backend.compute_batch_size() > 100
        Parallel()(delayed(time.sleep)(0.25) for _ in range(2))
        assert backend.compute_batch_size() == 1


def test_long_calls_have_a_task_each(client: Client) -> None:
    before = names_of(client).get("nap", 0)

    def nap(x: int) -> int:
        time.sleep(0.05)
        return x

    assert Parallel()(delayed(nap)(i) for i in range(12)) == list(range(12))
    assert names_of(client)["nap"] - before == 12


def test_calls_that_share_a_task_may_be_of_several_functions(client: Client) -> None:
    def choose(i: int) -> Any:
        return delayed(square)(i) if i % 7 else delayed(math.sqrt)(i)

    expected = [i * i if i % 7 else math.sqrt(i) for i in range(2000)]
    assert Parallel()(choose(i) for i in range(2000)) == expected
    found = Parallel(batch_size=50)(delayed(divmod)(i, 7) for i in range(2000))
    assert found == [divmod(i, 7) for i in range(2000)]


def test_thousands_of_short_calls_as_a_generator() -> None:
    n = 5000
    calls = [delayed(square)(i) for i in range(n)]
    assert list(Parallel(return_as="generator")(calls)) == [i * i for i in range(n)]
    found = Parallel(return_as="generator_unordered")(calls)
    assert sorted(found) == sorted(i * i for i in range(n))
    calls[4321] = delayed(fail_for_seven)(7)
    with pytest.raises(LookupError, match="seven"):
        list(Parallel(return_as="generator")(calls))
    assert Parallel()(calls[:3]) == [0, 1, 4]


def test_what_cannot_be_sent_ends_the_call_with_the_reason() -> None:
    for bad in (0, 400):  # at once, and in a batch that joblib hands over from a callback
        values = [threading.Lock() if i == bad else i for i in range(500)]
        with pytest.raises(TypeError, match="lock"):
            Parallel()(delayed(square)(value) for value in values)
    assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]


def test_arguments_of_short_calls_make_no_task_too_large(client: Client) -> None:
    texts = [bytes([i % 256]) * 60_000 for i in range(1500)]  # 90 MB: more than a task may take
    assert Parallel()(delayed(len)(text) for text in texts) == [60_000] * 1500


def test_a_large_argument_of_many_calls_travels_once(client: Client) -> None:
    array = np.arange(50_000.0)
    before = names_of(client).get("joblib-shared", 0)
    found = Parallel()(delayed(total)(array, scale=i) for i in range(40))
    assert found == [(float(array.sum()) * i, "ndarray") for i in range(40)]
    assert names_of(client)["joblib-shared"] - before == 1


def test_large_arguments_of_single_calls_are_right(client: Client) -> None:
    found = Parallel()(delayed(total)(np.full(10_000, i), 1) for i in range(12))
    assert [value for value, _ in found] == [10_000.0 * i for i in range(12)]


def test_nothing_is_held_afterwards(client: Client) -> None:
    Parallel()(delayed(square)(i) for i in range(100))
    assert sum(group.total for group in client.groups()) == 0


def test_a_client_can_be_named(cluster: LocalCluster, client: Client) -> None:
    with Client(cluster, name="other") as other:
        with parallel_config(backend="cellspan", client=client):
            assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]
        assert names_of(other) == {}
        with parallel_config(backend="cellspan"):  # the one that was made last
            assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]
        assert names_of(other) == {"square": 3}
    asynchronous = Client(cluster, asynchronous=True)
    with pytest.raises(InvalidArgument, match="asynchronous"):
        CellspanBackend(client=asynchronous)


def test_it_is_registered_by_a_public_name() -> None:
    cellspan.register_joblib()
    assert joblib.parallel.BACKENDS["cellspan"] is CellspanBackend
