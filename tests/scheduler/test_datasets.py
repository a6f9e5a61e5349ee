"""Examples: futures that are kept without a client, and where results are."""

from __future__ import annotations

import pytest

from cellspan.engine.errors import PeerError
from cellspan.engine.messages import (
    Accepted,
    DatasetGiven,
    DatasetsListed,
    Declined,
    FreeResults,
    GetDataset,
    GetHolders,
    HoldersGiven,
    HoldTasks,
    KeepTasks,
    ListDatasets,
    Message,
    PublishDataset,
    ReleaseTasks,
    TasksDone,
    UnpublishDataset,
)

from .driver import CLIENT, OTHER_CLIENT, OTHER_WORKER, WORKER, Driver


def publish(name: str, *tasks: list[object], replace: bool = False) -> PublishDataset:
    return PublishDataset(5, name, b"content", list(tasks), replace)


def test_a_data_set_outlives_its_client() -> None:
    d = Driver(slots=4)
    group = d.each(4)
    d.say(CLIENT, publish("letters", [group, [1, 3]]))
    d.expect((CLIENT, Accepted(5)))
    d.core.remove_client(CLIENT, d.now)
    d.run_all()  # it is computed, too, when nobody is there
    assert d.counts(group) == {"done": 2, "released": 2}
    d.sent()
    d.say(OTHER_CLIENT, ListDatasets(1))
    d.say(OTHER_CLIENT, GetDataset(2, "letters"))
    d.say(OTHER_CLIENT, HoldTasks(group, [1, 3]))
    d.expect(
        (OTHER_CLIENT, DatasetsListed(1, ["letters"])),
        (OTHER_CLIENT, DatasetGiven(2, b"content")),
        (OTHER_CLIENT, TasksDone(group, 1, 3, WORKER, None)),
    )
    d.say(OTHER_CLIENT, UnpublishDataset(3, "letters"))
    d.expect((OTHER_CLIENT, Accepted(3)))
    d.say(OTHER_CLIENT, ReleaseTasks(group, [1, 3]))
    assert not d.core.ledger.groups


def test_what_several_hold_is_freed_with_the_last() -> None:
    d = Driver(slots=4)
    group = d.each(4)
    d.run_all()
    d.say(CLIENT, publish("a", [group, [0, 3]]))
    d.say(CLIENT, publish("b", [group, [2, 4]]))
    d.say(CLIENT, ReleaseTasks(group, [0, 4]))
    d.sent()
    d.say(CLIENT, publish("a", [group, [1, 2]], replace=True))
    d.expect((WORKER, FreeResults(group, [0, 1])), (CLIENT, Accepted(5)))
    d.say(CLIENT, UnpublishDataset(6, "b"))
    d.expect((WORKER, FreeResults(group, [2, 4])), (CLIENT, Accepted(6)))
    d.core.forget_everything(d.now)
    d.sent()
    d.say(CLIENT, ListDatasets(7))
    d.expect((CLIENT, DatasetsListed(7, [])))


def test_what_is_lost_is_computed_again_for_a_data_set() -> None:
    d = Driver(workers=2)
    group = d.each(8)
    d.run_all()
    d.say(CLIENT, publish("a", [group, [0, 8]]))
    d.say(CLIENT, ReleaseTasks(group, [0, 8]))
    d.core.remove_worker(OTHER_WORKER, "killed", d.now, expected=True)
    assert d.counts(group)["ready"] > 0
    d.run_all()
    assert d.counts(group) == {"done": 8}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (publish("a"), "there is a data set 'a' already"),
        (publish("b", [77, [0, 1]]), "'b': a result in it was released before"),
        (GetDataset(5, "b"), "there is no data set 'b'; there are: 'a'"),
        (UnpublishDataset(5, "b"), "there are: 'a'"),
    ],
)
def test_declined_in_words(message: Message, text: str) -> None:
    d = Driver()
    d.say(CLIENT, publish("a", [d.each(1), [0, 1]]))
    d.sent()
    d.say(OTHER_CLIENT, message)
    ((peer, declined),) = d.sent()
    assert peer == OTHER_CLIENT and isinstance(declined, Declined) and text in declined.text


def test_data_that_was_released_cannot_be_published() -> None:
    d = Driver()
    group = d.data(2)
    d.say(CLIENT, ReleaseTasks(group, [1, 2]))
    d.say(CLIENT, publish("a", [group, [0, 2]]))
    ((_, declined),) = d.sent()
    assert isinstance(declined, Declined) and "a result of g1 was released" in declined.text
    assert not d.core.ledger.datasets and not d.core.ledger.groups[group].published


@pytest.mark.parametrize(
    "tasks", [[[1]], [["a", [0, 1]]], [[1, 0]], [[1, [1, 0]]], [[1 << 32 | 1, [0, 9]]]]
)
def test_malformed_data_sets_break_the_protocol(tasks: list[list[object]]) -> None:
    d = Driver()
    d.each(2)
    with pytest.raises(PeerError):
        d.say(CLIENT, publish("a", *tasks))
    with pytest.raises(PeerError):
        d.say(CLIENT, publish("", []))


def test_kept_tasks_are_computed_and_then_let_go() -> None:
    d = Driver(slots=2)
    first = d.each(4)
    second = d.each(4, ["same", first, 0])
    d.say(CLIENT, KeepTasks(second, [0, 2]))
    d.core.remove_client(CLIENT, d.now)
    assert d.counts(second) == {"waiting": 2, "released": 2}
    assert d.counts(first) == {"ready": 2, "released": 2}
    assert not d.core.is_idle
    d.run_all()
    assert not d.core.ledger.groups and d.core.ledger.finished[-1].counts["released"] == 4
    d.say(OTHER_CLIENT, KeepTasks(second, [0, 2]))  # it is over


def test_a_kept_task_that_fails_is_let_go_too() -> None:
    d = Driver()
    group = d.each(1)
    d.say(CLIENT, KeepTasks(group, [0, 1]))
    d.say(CLIENT, ReleaseTasks(group, [0, 1]))
    (span,) = d.spans()
    d.failed(span, 0)
    assert not d.core.ledger.groups


def test_who_has_what() -> None:
    d = Driver(workers=2)
    first, second = d.each(4), d.each(1)
    d.run_all()
    d.sent()
    d.say(CLIENT, GetHolders(1, [[first, [0, 3]], [99, [0, 1]]]))
    ((_, given),) = d.sent()
    assert isinstance(given, HoldersGiven) and given.request == 1
    assert {row[2] for row in given.rows} == {"w11", "w12"}
    found = {i for row in given.rows for a, b in zip(row[3][::2], row[3][1::2], strict=True)
             for i in range(a, b)}  # fmt: skip
    assert found == {0, 1, 2} and {tuple(row[:2]) for row in given.rows} == {(first, "g1")}
    assert {row[4] for row in given.rows} == {8.0}
    d.say(CLIENT, GetHolders(2, None))
    ((_, given),) = d.sent()
    assert isinstance(given, HoldersGiven) and {row[0] for row in given.rows} == {first, second}
