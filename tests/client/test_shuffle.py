"""`Client.shuffle` on a real cluster: right, in order, clear when it fails, and through losses."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import cloudpickle
import numpy as np
import pytest

from cellspan.engine.client import Client
from cellspan.engine.codec import encode
from cellspan.engine.deploy import LocalCluster
from cellspan.engine.errors import InvalidArgument, ResultNotSerializable
from cellspan.engine.messages import SubmitGroup

from .test_real import Signals

WAIT_S = 30.0


def digits(i: int) -> list[int]:
    return list(range(10 * i, 10 * i + 10))


def by_rest(values: list[int], n: int) -> list[list[int]]:
    return [[value for value in values if value % n == rest] for rest in range(n)]


def chain(shards: list[list[int]]) -> list[int]:
    return [value for shard in shards for value in shard]


def numbers(i: int) -> Any:
    return np.random.default_rng(i).integers(0, 1 << 40, 60_000)


def arrays_by_rest(values: Any, n: int) -> list[Any]:
    rests = values % n
    return [values[rests == rest] for rest in range(n)]


@pytest.fixture(scope="module", autouse=True)
def by_value() -> Iterator[None]:
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture
def signals(tmp_path: Any) -> Signals:
    return Signals(tmp_path)


def test_each_output_is_merged_of_its_shards_in_order(client: Client) -> None:
    inputs = client.map(digits, range(20))
    values = [digits(i) for i in range(20)]
    for n in (1, 3, 20, 50):
        outputs = client.shuffle(by_rest, chain, inputs, n=n)
        expected = [chain([by_rest(value, n)[j] for value in values]) for j in range(n)]
        assert len(outputs) == n
        assert client.gather(outputs, timeout=WAIT_S) == expected
    part = client.shuffle(by_rest, chain, inputs[3:5])
    assert client.gather(part, timeout=WAIT_S) == [
        chain([by_rest(value, 2)[j] for value in values[3:5]]) for j in (0, 1)
    ]
    row = next(r for r in client.snapshot().groups if r.group == outputs[0].key.group)
    assert (row.name, row.layer, row.total) == ("chain", "exchange", 70)
    assert row.released == 20  # the splits


def test_arrays_between_workers_of_one_host(client: Client) -> None:
    inputs = client.map(numbers, range(9))
    outputs = client.shuffle(arrays_by_rest, np.concatenate, inputs, n=7, name="regroup")
    everything = np.concatenate([numbers(i) for i in range(9)])
    for rest, found in enumerate(client.gather(outputs, timeout=WAIT_S)):
        assert np.array_equal(found, everything[everything % 7 == rest])
    again = client.shuffle(arrays_by_rest, np.concatenate, outputs, n=2)
    assert np.array_equal(
        np.sort(np.concatenate(client.gather(again, timeout=WAIT_S))), np.sort(everything)
    )


def test_what_is_sent_does_not_grow(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = []
    session, add_group = client.session, client.session.add_group

    def listen(name: str, n: int, layer: Any, *others: Any, **more: Any) -> Any:
        layers.append(layer)
        return add_group(name, n, layer, *others, **more)

    monkeypatch.setattr(session, "add_group", listen)
    outputs = client.shuffle(by_rest, chain, client.map(digits, range(100_000)), n=200_000)
    client.cancel(outputs)
    assert layers[-1]["kind"] == "exchange" and layers[-1]["n"] == 300_000
    assert sum(map(len, encode([SubmitGroup(1, "chain", layers[-1], {}, {}, False)]))) < 250


def test_futures_from_everywhere(client: Client) -> None:
    inputs = client.map(digits, range(6))
    backwards = client.shuffle(by_rest, chain, inputs[::-1], n=2)
    values = [digits(i) for i in range(6)]
    assert client.gather(backwards, timeout=WAIT_S) == [
        chain([by_rest(value, 2)[j] for value in reversed(values)]) for j in (0, 1)
    ]
    mixed = [client.submit(digits, 9), inputs[2], inputs[2]]
    found = client.shuffle(by_rest, chain, mixed, n=1)
    assert client.gather(found, timeout=WAIT_S) == [digits(9) + digits(2) + digits(2)]
    assert client.gather(client.shuffle(by_rest, chain, [], n=3), timeout=WAIT_S) == [[], [], []]
    assert len(client.shuffle(by_rest, chain, [])) == 0


def test_what_cannot_be_shuffled_is_refused_at_once(client: Client) -> None:
    inputs = client.map(digits, range(3))
    for wrong, text in ((range(3), "item 0 is a int"), (7, "given a int"), (inputs[0], "Future")):
        with pytest.raises(InvalidArgument, match=text):
            client.shuffle(by_rest, chain, wrong)
    for n in (0, -1, True, 2.0):
        with pytest.raises(InvalidArgument, match="number of outputs"):
            client.shuffle(by_rest, chain, inputs, n=n)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="the limit is"):
        client.shuffle(by_rest, chain, inputs, n=1 << 32)
    for functions in (("x", chain), (by_rest, None)):
        with pytest.raises(InvalidArgument, match="function"):
            client.shuffle(*functions, inputs)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="retries"):
        client.shuffle(by_rest, chain, inputs, retries=-1)


@pytest.mark.parametrize(
    ("returned", "error", "text"),
    [
        ([1, 2], ValueError, "a list of 2 shards; exactly 3 were expected"),
        ([], ValueError, "a list of 0 shards; exactly 3 were expected"),
        (None, TypeError, "returned a NoneType; it must return a sequence"),
        ({1: 2, 3: 4, 5: 6}, TypeError, "returned a dict"),
        ("abc", TypeError, "returned a str"),
    ],
)
def test_a_split_that_makes_no_shards(
    client: Client, returned: Any, error: type[Exception], text: str
) -> None:
    inputs = client.map(digits, range(4))
    outputs = client.shuffle(lambda value, n: returned, chain, inputs, n=3)
    with pytest.raises(error, match=text):
        client.gather(outputs, timeout=WAIT_S)


def test_a_shard_that_cannot_be_pickled_is_named(client: Client) -> None:
    def split(value: Any, n: int) -> list[Any]:
        return [value, (x for x in value)]

    outputs = client.shuffle(split, chain, client.map(digits, range(2)), n=2)
    with pytest.raises(ResultNotSerializable, match=r"shard 1.*generator"):
        outputs[0].result(WAIT_S)


def test_an_error_in_a_split_fails_all_outputs_and_a_retry_heals_them(
    client: Client, signals: Signals
) -> None:
    def split(values: list[int], n: int) -> list[list[int]]:
        if values[0] == 20 and not (signals.folder / "healed").exists():
            raise KeyError("twenty")
        return by_rest(values, n)

    outputs = client.shuffle(split, chain, client.map(digits, range(4)), n=3)
    for future in outputs:
        with pytest.raises(KeyError, match="twenty") as caught:
            future.result(WAIT_S)
        assert "in split" in str(caught.value.__cause__)
    signals.give("healed")
    outputs.retry()
    found = client.gather(outputs, timeout=WAIT_S)
    assert found == by_rest(list(range(40)), 3)


def test_an_error_in_a_merge_fails_that_output_alone(client: Client) -> None:
    def merge(shards: list[list[int]]) -> int:
        total = sum(map(sum, shards))
        return 1 // (total % 3)

    outputs = client.shuffle(lambda v, n: [[j] for j in range(n)], merge,
                             client.map(digits, range(1)), n=5)  # fmt: skip
    found = []
    for future in outputs:
        try:
            found.append(future.result(WAIT_S))
        except ZeroDivisionError:
            found.append(None)
    assert found == [None, 1, 0, None, 1]


def test_merges_unpickle_their_own_shard_alone(client: Client) -> None:
    class Fragile:
        def __init__(self, number: int) -> None:
            self.number = number

        def __setstate__(self, state: dict[str, int]) -> None:
            if state["number"] == 1:
                raise RuntimeError("number 1 was read")
            self.__dict__.update(state)

    def split(value: Any, n: int) -> list[Fragile]:
        return [Fragile(number) for number in range(n)]

    outputs = client.shuffle(split, lambda shards: len(shards), client.map(int, range(6)), n=3)
    assert [outputs[j].result(WAIT_S) for j in (0, 2)] == [6, 6]
    with pytest.raises(RuntimeError, match="number 1 was read"):
        outputs[1].result(WAIT_S)


def test_shards_over_the_wire(place: Any) -> None:
    """Over TCP nothing is shared: shards travel as bytes, small ones and large ones."""
    with (
        LocalCluster(workers=2, cores=1, memory="1GB", name="wire", listen="tcp") as cluster,
        Client(cluster) as client,
    ):
        inputs = client.map(numbers, range(10))
        everything = np.concatenate([numbers(i) for i in range(10)])
        for n in (3, 400):
            outputs = client.shuffle(arrays_by_rest, np.concatenate, inputs, n=n)
            for rest, found in enumerate(client.gather(outputs, timeout=WAIT_S)):
                assert np.array_equal(found, everything[everything % n == rest])


def test_a_worker_is_killed_midway(place: Any, signals: Signals) -> None:
    def slow(shards: list[Any]) -> Any:
        if not (signals.folder / "begun").exists():
            signals.give("begun")
            signals.wait_for("go")
        return np.sort(np.concatenate(shards))

    with (
        LocalCluster(workers=3, cores=1, memory="1GB", name="midway") as cluster,
        Client(cluster) as client,
    ):
        outputs = client.shuffle(arrays_by_rest, slow, client.map(numbers, range(12)), n=9)
        signals.wait_for("begun")
        worker = next(w for w in client.status()["workers"])
        os.kill(worker["pid"], signal.SIGKILL)
        signals.give("go")
        everything = np.sort(np.concatenate([numbers(i) for i in range(12)]))
        for rest, found in enumerate(client.gather(outputs, timeout=WAIT_S)):
            assert np.array_equal(found, everything[everything % 9 == rest])


def test_one_lost_output_is_made_again_and_the_others_are_not(place: Any, signals: Signals) -> None:
    def merge(shards: list[Any]) -> int:
        total = int(sum(shard.sum() for shard in shards))
        with open(signals.folder / f"merged-{total}", "a") as file:
            file.write("x")
        return total

    with (
        LocalCluster(workers=2, cores=1, memory="1GB", name="again") as cluster,
        Client(cluster) as client,
    ):
        outputs = client.shuffle(arrays_by_rest, merge, client.map(numbers, range(4)), n=4)
        totals = client.gather(outputs, timeout=WAIT_S)
        where = client.who_has(outputs)
        victim = next(name for names in where.values() for name in names)
        pid = next(w["pid"] for w in client.status()["workers"] if w["name"] == victim)
        kept = [t for f, t in zip(outputs, totals, strict=True) if victim not in where[f]]
        os.kill(pid, signal.SIGKILL)
        summed = client.submit(lambda values: values, list(outputs))
        assert summed.result(WAIT_S) == totals
        for total in kept:
            assert (signals.folder / f"merged-{total}").read_text() == "x"
