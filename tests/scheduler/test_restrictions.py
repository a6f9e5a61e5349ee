"""Groups that may not run just anywhere: resources, named workers, once on each executor; and
shared work.
"""

from __future__ import annotations

from typing import Any

import pytest

from cellspan.engine.codec import content_digest
from cellspan.engine.errors import PeerError
from cellspan.engine.ids import digest_of, make_group_id, make_shared_id
from cellspan.engine.messages import (
    CancelTasks,
    DefineGroup,
    GetMetadata,
    GroupRefused,
    Message,
    MetadataGiven,
    ReleaseTasks,
    RetryTasks,
    RunSpan,
    SubmitGroup,
    TakeBack,
    TasksDone,
    TasksFailed,
)
from cellspan.engine.resources import Pool
from cellspan.engine.scheduler import restrictions

from .driver import CLIENT, OTHER_CLIENT, Driver


def add(d: Driver, peer: int, slots: int = 2, host: str = "", **resources: Any) -> None:
    info = {
        "name": f"w{peer}", "slots": slots, "address": f"memory://{peer}", "host": host,
        "resources": resources,
    }  # fmt: skip
    d.core.add_worker(peer, info, d.now)


def submit(d: Driver, n: int, client: int = CLIENT, **options: Any) -> int:
    """Submit a map with options; return its number."""
    d.serial += 1
    group = make_group_id(client, d.serial)
    layer = make_layer(n)
    d.say(client, SubmitGroup(group, f"g{d.serial}", layer, {FUNCTION: CODE}, options, False))
    return group


CODE = b"some code"
FUNCTION = digest_of(CODE)


def make_layer(n: int) -> dict[str, Any]:
    return {
        "kind": "each", "n": n, "function": FUNCTION, "args": [["range", 0, 1]], "names": [],
    }  # fmt: skip


def placed(d: Driver) -> dict[int, list[tuple[int, int, int]]]:
    """Place; return by worker what it was given, as (group, start, stop)."""
    d.place()
    found: dict[int, list[tuple[int, int, int]]] = {}
    for peer, message in d.sent():
        if isinstance(message, RunSpan):
            found.setdefault(peer, []).append((message.group, message.start, message.stop))
    return found


# --- resources ------------------------------------------------------------------------------------


def test_a_worker_gets_no_more_than_its_resources_allow() -> None:
    d = Driver(workers=0)
    add(d, 21, slots=8, GPU=2)
    add(d, 22, slots=8, GPU=[3])
    add(d, 23, slots=8)
    group = submit(d, 10, resources={"GPU": 1})
    given = placed(d)
    counts = {peer: sum(b - a for _, a, b in spans) for peer, spans in given.items()}
    assert counts == {21: 2, 22: 1}
    assert d.counts(group) == {"assigned": 3, "ready": 7}


def test_short_tasks_are_given_some_rounds_ahead() -> None:
    d = Driver(workers=0)
    add(d, 21, slots=4, GPU=1)
    submit(d, 1000, resources={"GPU": 1})
    d.place()
    (span,) = [m for _, m in d.sent() if isinstance(m, RunSpan)]
    d.done(span)  # it takes 1 ms
    most = 0
    for _ in range(6):
        for span in d.spans():
            worker = d.core.ledger.workers[21]
            most = max(most, worker.tasks)
            d.done(span)
    assert 1 < most <= restrictions.MAX_ROUNDS


def test_the_rest_is_not_kept_waiting_by_what_is_blocked() -> None:
    d = Driver(workers=0)
    add(d, 21, slots=2, GPU=1)
    blocked = submit(d, 5, resources={"GPU": 4}, priority=100)
    busy = submit(d, 5, resources={"GPU": 1}, priority=50)
    plain = submit(d, 50)
    seen = {group for spans in placed(d).values() for group, _, _ in spans}
    assert seen == {busy, plain}
    assert d.counts(blocked) == {"ready": 5}
    rows = {row.group: row for row in d.core.snapshot(d.now).groups}
    text = rows[blocked].warning
    assert text == "waits for a worker with GPU=4; there is at most GPU=1 on w21"
    assert rows[busy].warning is None and rows[plain].warning is None
    add(d, 22, slots=1, GPU=4)
    assert placed(d)[22][0] == (blocked, 0, 1)
    assert d.core.snapshot(d.now).groups[0].warning is None


def test_a_higher_priority_without_restrictions_goes_first() -> None:
    for priority, first in ((1, "plain"), (-1, "bound")):
        d = Driver(workers=0)
        add(d, 21, slots=1, GPU=1)
        bound = submit(d, 3, resources={"GPU": 1})
        plain = submit(d, 3, priority=priority)
        names = {bound: "bound", plain: "plain"}
        given = placed(d)[21]
        assert names[given[0][0]] == first


def test_a_decision_looks_at_no_more_workers_when_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[int] = []
    has_room = restrictions._has_room
    monkeypatch.setattr(
        restrictions, "_has_room", lambda *args: (looks.append(1), has_room(*args))[1]
    )
    for count in (10, 1000):
        d = Driver(workers=0)
        d.core.validate = False
        for peer in range(100, 100 + count):
            add(d, peer, slots=1, **({"GPU": 1} if peer % 2 else {"disk": 1.0}))
        submit(d, 10 * count, resources={"GPU": 1})
        spans = d.spans()
        assert len(spans) == count // 2
        looks.clear()
        for span in spans[:20]:
            d.core.ledger.now += 1.0
            d.done(span)
            d.core.ledger.groups[span.group].seconds += 100  # long tasks: no rounds ahead
            assert len(d.spans()) == 1
        assert len(looks) <= 20 * 4, f"{len(looks)} looks for 20 decisions among {count} workers"


def test_who_asks_for_much_is_not_overtaken_for_ever_by_who_asks_for_little() -> None:
    d = Driver(workers=0)
    add(d, 21, slots=4, GPU=2)
    small = submit(d, 1000, resources={"GPU": 1})
    spans = d.spans()
    large = submit(d, 2, resources={"GPU": 2})
    given = []
    for _ in range(8):
        for span in spans:
            d.now += 1.0
            d.done(span)
            d.core.ledger.groups[span.group].seconds += 100  # long tasks: no rounds ahead
        spans = d.spans()
        given += [span.group for span in spans]
    assert large in given[:3] and small in given


def test_a_decision_looks_at_a_few_restrictions_when_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[int] = []
    find_group = restrictions.Restriction.find_group
    monkeypatch.setattr(
        restrictions.Restriction, "find_group", lambda self: (looks.append(1), find_group(self))[1]
    )
    d = Driver(workers=0)
    d.core.validate = False
    count = 500
    for peer in range(100, 100 + count):
        add(d, peer, slots=1)
        submit(d, 2, workers=[f"w{peer}"])
    assert len(d.spans()) >= count
    assert len(looks) <= 3 * count * restrictions.MAX_HEADS
    assert not d.core.ledger.placement.restrictions.open, "nothing is looked at in vain"


def test_a_lost_worker_gives_its_resources_back_with_it() -> None:
    d = Driver(workers=0)
    add(d, 21, GPU=1)
    group = submit(d, 2, resources={"GPU": 1})
    assert placed(d) == {21: [(group, 0, 1)]}
    d.core.remove_worker(21, "gone", d.now)
    assert placed(d) == {}
    add(d, 22, GPU=1)
    assert placed(d) == {22: [(group, 0, 1)]}
    d.say(CLIENT, ReleaseTasks(group, [0, 2]))
    assert not d.core.ledger.groups and not d.core.ledger.workers[22].restrictions


def test_a_cancelled_task_frees_its_resources_for_others() -> None:
    d = Driver(workers=0)
    add(d, 21, GPU=1)
    first, second = (submit(d, 1, resources={"GPU": 1}) for _ in range(2))
    assert placed(d) == {21: [(first, 0, 1)]}
    d.say(CLIENT, CancelTasks(first, [0, 1], "me", True))
    assert placed(d) == {21: [(second, 0, 1)]}


def test_tasks_of_a_worker_by_name_or_host_go_nowhere_else() -> None:
    d = Driver(workers=0)
    add(d, 21, host="left")
    add(d, 22, host="right")
    by_host, by_name = submit(d, 4, workers=["right"]), submit(d, 4, workers=["w21", "w99"])
    given = placed(d)
    assert {group for group, _, _ in given[22]} == {by_host}
    assert {group for group, _, _ in given[21]} == {by_name}
    d.core.remove_worker(21, "gone", d.now)
    d.place()
    rows = {row.group: row for row in d.core.snapshot(d.now).groups}
    assert rows[by_name].warning == "waits for worker 'w21', 'w99'; there are: 'w22'"


def test_what_is_bound_is_not_taken_back_for_others() -> None:
    d = Driver(workers=0)
    add(d, 21, slots=1)
    group = submit(d, 40, workers=["w21"])
    (span,) = d.spans()
    d.done(span)
    assert d.spans()
    add(d, 22, slots=4)
    d.now += 60.0
    d.place()
    assert not [m for _, m in d.sent() if isinstance(m, TakeBack)]
    assert d.counts(group)["assigned"] > 1


# --- once on each executor ------------------------------------------------------------------------


def test_once_is_given_at_once_however_busy_the_worker_is() -> None:
    d = Driver(workers=0)
    add(d, 21, slots=3)
    submit(d, 1000)
    assert placed(d)
    once = submit(d, 3, workers=["w21"], once=True)
    d.place()
    define, span = [m for _, m in d.sent() if m.group == once]  # type: ignore[attr-defined]
    assert isinstance(define, DefineGroup) and define.options == {"once": True}
    assert (span.start, span.stop) == (0, 3)


def test_once_fails_with_its_worker() -> None:
    d = Driver(workers=0)
    add(d, 21)
    once = submit(d, 2, workers=["w21"], once=True, allowed_failures=5)
    assert placed(d) == {21: [(once, 0, 2)]}
    d.core.remove_worker(21, "unplugged", d.now, expected=True)
    (failed,) = [m for _, m in d.sent() if isinstance(m, TasksFailed)]
    assert failed.failure["kind"] == "departed" and failed.runs == [0, 2]
    assert "w21 left before it had run this: unplugged" in failed.failure["text"]
    again = submit(d, 2, workers=["w21"], once=True)
    (failed,) = d.expect_kinds((CLIENT, TasksFailed))
    assert failed.group == again and "no worker 'w21'" in failed.failure["text"]
    d.say(CLIENT, RetryTasks(again, [0, 2]))
    d.expect()
    assert d.counts(again) == {"failed": 2}, "it would wait for ever"


# --- options at the border ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"resources": {"GPU": 0}}, "0 of 'GPU'"),
        ({"resources": [1]}, "resources is a dict"),
        ({"workers": "w21"}, "workers is the name"),
        ({"timeout": -1}, "timeout is the seconds"),
        ({"span": [3, 2]}, "span is how many"),
        ({"metadata": {"a": b"bytes"}}, "is a bytes"),
        ({"once": True}, "for one worker by name"),
        ({"colour": 1}, "no option 'colour'"),
    ],
)
def test_what_cannot_be_is_refused_whole(options: dict[str, Any], text: str) -> None:
    d = Driver()
    submit(d, 2, **options)
    (refused,) = d.expect_kinds((CLIENT, GroupRefused))
    assert text in refused.text
    assert not d.core.ledger.groups and not d.core.ledger.blobs


def test_a_worker_with_impossible_resources_is_refused() -> None:
    d = Driver()
    with pytest.raises(PeerError, match="impossible resources"):
        add(d, 21, GPU=-1)


def test_metadata_is_given_to_who_asks() -> None:
    d = Driver()
    group = submit(d, 1, metadata={"a": [1, "b"]})
    d.say(OTHER_CLIENT, GetMetadata(5, [group, 99]))
    d.expect((OTHER_CLIENT, MetadataGiven(5, [{"a": [1, "b"]}, {}])))


# --- shared work ----------------------------------------------------------------------------------


def share(d: Driver, client: int, n: int = 3, **options: Any) -> int:
    group = make_shared_id(content_digest(make_layer(n), options))
    d.say(client, SubmitGroup(group, "s", make_layer(n), {FUNCTION: CODE}, options, False))
    return group


def news(d: Driver, client: int) -> list[Message]:
    return [m for peer, m in d.sent() if peer == client]


def test_equal_work_of_two_clients_is_one_group() -> None:
    d = Driver()
    group = share(d, CLIENT)
    assert share(d, OTHER_CLIENT) == group and len(d.core.ledger.groups) == 1
    d.run_all()
    assert d.counts(group) == {"done": 3}
    d.say(CLIENT, ReleaseTasks(group, [0, 3]))
    assert d.counts(group) == {"done": 3}, "the other one holds it"
    d.sent()
    share(d, CLIENT)
    assert [type(m) for m in news(d, CLIENT)] == [TasksDone]
    for client in (CLIENT, OTHER_CLIENT):
        d.say(client, ReleaseTasks(group, [0, 3]))
    assert not d.core.ledger.groups and not d.core.ledger.blobs


def test_other_arguments_limits_or_keys_are_other_work() -> None:
    d = Driver()
    groups = {
        share(d, CLIENT), share(d, CLIENT, n=4), share(d, CLIENT, key="k"),
        share(d, CLIENT, timeout=5.0), share(d, CLIENT, retries=3),
    }  # fmt: skip
    assert len(groups) == 4, "how often it is tried does not change what comes out"


def test_nobody_claims_the_id_of_other_work() -> None:
    d = Driver()
    group = make_shared_id(content_digest(make_layer(3), {}))
    other = SubmitGroup(group, "s", make_layer(4), {FUNCTION: CODE}, {}, False)
    with pytest.raises(PeerError, match="is not that of the content"):
        d.say(CLIENT, other)
    forged = SubmitGroup(group, "s", make_layer(3), {FUNCTION: b"other code"}, {}, False)
    d.say(CLIENT, forged)
    (refused,) = d.expect_kinds((CLIENT, GroupRefused))
    assert "is not what its digest says" in refused.text
    assert not d.core.ledger.groups


def test_a_collision_of_ids_is_refused_and_changes_nothing() -> None:
    d = Driver()
    group = share(d, CLIENT)
    d.core.ledger.groups[group].content = bytes(16)  # as if other work had the same short hash
    d.sent()
    share(d, OTHER_CLIENT)
    (refused,) = d.expect_kinds((OTHER_CLIENT, GroupRefused))
    assert "pure=False" in refused.text and d.counts(group) == {"ready": 3}


def test_cancelling_spares_what_others_hold() -> None:
    d = Driver()
    group = share(d, CLIENT)
    share(d, OTHER_CLIENT)
    d.say(OTHER_CLIENT, ReleaseTasks(group, [0, 1]))
    d.say(CLIENT, CancelTasks(group, [0, 3], "me", True))
    assert d.counts(group) == {"failed": 1, "ready": 2}
    share(d, CLIENT)
    assert d.counts(group) == {"ready": 3}, "asked for again, so it is not cancelled any more"


# --- what is dealt out ----------------------------------------------------------------------------


def test_a_pool_deals_out_each_thing_once_and_prefers_those_had_before() -> None:
    pool = Pool({"GPU": ["a", "b", "c"], "scratch": 1.0})
    first, second = pool.take({"GPU": 1}, 1), pool.take({"GPU": 1}, 2)
    assert (first, second) == ({"GPU": ["a"]}, {"GPU": ["b"]})
    assert pool.take({"GPU": 2}, 3) is None and pool.take({"tape": 1}, 3) is None
    assert first is not None and second is not None
    pool.give_back(second)
    pool.give_back(first)
    everything = pool.take({"GPU": 3}, 4)
    assert everything == {"GPU": ["a", "b", "c"]}, "in the order of the offer"
    pool.give_back(everything)
    pool.forget(4)
    assert pool.take({"GPU": 1}, 2) == {"GPU": ["b"]}
    assert pool.take({"GPU": 1}, 3) == {"GPU": ["c"]}, "not what executor 1 has begun with"
    tenths = [pool.take({"scratch": 0.1}, 9) for _ in range(11)]
    assert tenths.count(None) == 1, "ten tenths are one"
