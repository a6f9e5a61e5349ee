"""Mistakes that a seed has brought to light, each as small as it can be made.

Law: one test per mistake, named after what went wrong, with the seed that found it. None is ever
removed.
"""

from __future__ import annotations

import pytest

from cellspan.engine.errors import StoreFull
from cellspan.engine.ids import digest_of, make_group_id
from cellspan.engine.messages import (
    DataStored,
    ExecutorsRestarted,
    HoldTasks,
    PickWorkers,
    ReleaseTasks,
    RestartExecutors,
    RunSpan,
    SpanDone,
    SubmitGroup,
    TasksFailed,
    WorkersPicked,
)
from cellspan.engine.scheduler.core import SchedulerCore
from cellspan.engine.worker.core import Death, WorkerCore
from cellspan.engine.worker.effects import Spawn
from cellspan.engine.worker.store import Store, StoredBlock


def test_store_that_refused_its_first_block_can_be_cleared() -> None:
    """Seed 6: a refused block left an empty index behind, and a restart of the executors broke."""
    store = Store(limit_bytes=10)
    with pytest.raises(StoreFull):
        store.add(StoredBlock(1, 0, 1, True, [bytes(11)]), 0, 1)
    assert store.held() == {}
    store.clear()


def test_data_whose_client_left_before_putting_it_fails_for_those_who_wait() -> None:
    """Seed 3029: another client had asked for it, and waited for ever."""
    core = SchedulerCore(now=1.0, validate=True)
    core.add_client(1, {"name": "owner"}, 1.0)
    core.add_client(2, {"name": "other"}, 1.0)
    group = make_group_id(1, 1)
    core.handle(1, SubmitGroup(group, "data", {"kind": "data", "n": 3}, {}, {}, False), 1.0)
    core.handle(2, HoldTasks(group, [0, 3]), 1.0)
    core.remove_client(1, 2.0)
    ((peer, news),) = core.take_sends()
    assert peer == 2 and isinstance(news, TasksFailed)
    assert (news.group, news.runs, news.failure["kind"]) == (group, [0, 3], "lost")
    assert "owner" in news.failure["text"]


def test_data_whose_worker_was_lost_before_it_could_report_fails() -> None:
    """Seed 50110: the worker had said "kept" to the client and died; the futures never ended."""
    core = SchedulerCore(now=1.0, validate=True)
    core.add_client(1, {"name": "owner"}, 1.0)
    for peer in (2, 3):
        core.add_worker(peer, {"slots": 1, "address": f"a{peer}", "name": f"w{peer}"}, 1.0)
    group = make_group_id(1, 1)
    core.handle(1, SubmitGroup(group, "data", {"kind": "data", "n": 4}, {}, {}, False), 1.0)
    core.handle(1, PickWorkers(1, group, [8, 8, 8, 8], False), 1.0)
    ((_, answer),) = core.take_sends()
    assert isinstance(answer, WorkersPicked)
    ((start, stop),) = [place[:2] for place in answer.places if place[2] == 3]
    core.remove_worker(3, "killed", 2.0)
    ((peer, news),) = core.take_sends()
    assert peer == 1 and isinstance(news, TasksFailed)
    assert (news.runs, news.failure["kind"]) == ([start, stop], "lost")


def test_worker_lost_with_data_whose_loss_releases_other_results_of_it() -> None:
    """Seed 70006: the lost data failed a task, whose other input was released on the way."""
    core = SchedulerCore(now=1.0, validate=True)
    core.add_client(1, {"name": "c"}, 1.0)
    core.add_worker(2, {"slots": 1, "address": "a", "name": "w"}, 1.0)
    data, made, taking = (make_group_id(1, serial) for serial in (1, 2, 3))
    core.handle(1, SubmitGroup(data, "data", {"kind": "data", "n": 1}, {}, {}, False), 1.0)
    core.handle(2, DataStored(data, 0, 1, 8), 1.0)
    blob = b"function"
    function = digest_of(blob)
    layer = {"kind": "each", "n": 1, "function": function, "args": [], "names": []}
    core.handle(1, SubmitGroup(made, "made", layer, {function: blob}, {}, False), 1.0)
    core.place(1.0)
    (span,) = [message for _, message in core.take_sends() if isinstance(message, RunSpan)]
    core.handle(2, SpanDone(span.assignment, made, 0, 1, 8, 0.1, [0, 1], None), 1.1)
    layer = layer | {"args": [["same", made, 0], ["same", data, 0]]}
    core.handle(1, SubmitGroup(taking, "taking", layer, {}, {}, False), 1.1)
    core.handle(1, ReleaseTasks(made, [0, 1]), 1.1)
    core.take_sends()
    core.remove_worker(2, "killed", 2.0)
    news = [message for _, message in core.take_sends()]
    assert {m.group for m in news if isinstance(m, TasksFailed)} == {data, taking}


def test_worker_answers_every_restart_that_it_was_asked_for() -> None:
    """Seed 1346: of two restarts at once the first was never answered, and who asked waited on."""
    core = WorkerCore(1, "w", 1, Store(limit_bytes=1 << 20))
    core.handle(RestartExecutors(1))
    core.handle(RestartExecutors(2))
    core.take_effects()
    core.on_executor_died(1, Death(0, 0, None, "SIGKILL", False, []), 1.1)
    (spawn,) = [effect for effect in core.take_effects() if isinstance(effect, Spawn)]
    core.on_executor_ready(spawn.executor, 1.2)
    assert core.take_sends() == [ExecutorsRestarted(1), ExecutorsRestarted(2)]
