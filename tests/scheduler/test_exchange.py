"""Examples: an exchange over a group's results: splits, then merges that take from all of them."""

from __future__ import annotations

from pyroaring import BitMap

from cellspan.engine.messages import (
    CancelTasks,
    DefineGroup,
    FreeResults,
    GroupRefused,
    HoldTasks,
    PlanExchange,
    ReleaseTasks,
    RetryTasks,
    RunSpan,
    SpanReturned,
    TasksDone,
    TasksFailed,
    TasksReopened,
)

from .driver import CLIENT, FUNCTION, OTHER_CLIENT, OTHER_WORKER, WORKER, Driver
from .world import World


def drop(d: Driver, group: int, start: int, stop: int) -> None:
    d.say(CLIENT, ReleaseTasks(group, [start, stop]))


def run_splits(d: Driver, group: int, count: int) -> None:
    """Run everything up to the splits, and no merge."""
    while len(d.core.ledger.groups[group].done) < count:
        for span in d.spans():
            d.done(span)


def test_it_goes_through_and_leaves_nothing_behind() -> None:
    d = Driver(slots=8)
    source = d.each(4)
    group = d.exchange(source, 1, 3, 2)
    drop(d, source, 0, 4)
    (span,) = d.spans()
    assert (span.group, span.start, span.stop) == (source, 1, 4)
    d.done(span)
    d.expect()  # nobody holds what was done; all of it is needed
    define, plan, span = d.expect_after_place(
        (WORKER, DefineGroup), (WORKER, PlanExchange), (WORKER, RunSpan)
    )
    assert define.layer["outputs"] == 2 and define.layer["split"] == FUNCTION
    assert [row[:3] for row in plan.owners] == [[0, 2, WORKER]]
    assert (span.group, span.start, span.stop, span.inline) == (group, 0, 3, False)
    d.done(span, 0, 2)
    d.expect((WORKER, FreeResults(source, [1, 3])))
    assert not d.core.ledger.groups[group].ready  # one split is not done
    d.done(span, 2, 3)
    assert (WORKER, FreeResults(source, [3, 4])) in d.sent()
    (span,) = d.spans()
    assert (span.start, span.stop, span.holders) == (3, 5, [])
    d.done(span, 4, 5)  # the last output before the first
    d.expect((CLIENT, TasksDone(group, 4, 5, WORKER, None)))  # the splits are needed still
    d.done(span, 3, 4)
    d.expect((CLIENT, TasksDone(group, 3, 4, WORKER, None)), (WORKER, FreeResults(group, [0, 3])))
    assert d.counts(group) == {"released": 3, "done": 2}
    drop(d, group, 3, 5)
    assert not d.core.ledger.groups


def test_all_owners_are_told_before_a_split_runs_and_merges_go_to_them() -> None:
    d = Driver(workers=2, slots=4)
    source = d.each(8)
    d.run_all()
    group = d.exchange(source, 0, 8, 6)
    d.sent()
    d.place()
    told = [(peer, m) for peer, m in d.sent() if getattr(m, "group", None) == group]
    plans = {peer: m.owners for peer, m in told if isinstance(m, PlanExchange)}
    assert (
        plans.keys() == {WORKER, OTHER_WORKER} and len({str(rows) for rows in plans.values()}) == 1
    )
    owners = {row[2]: range(row[0], row[1]) for row in plans[WORKER]}
    assert sorted(map(len, owners.values())) == [3, 3]
    first_run = next(at for at, (_, m) in enumerate(told) if isinstance(m, RunSpan))
    assert all(isinstance(m, RunSpan) for _, m in told[first_run:])
    spans = [m for _, m in told[first_run:] if isinstance(m, RunSpan)]
    while spans:
        for span in spans:
            if span.start >= 8:
                peer = d.peer_of(span)
                assert all(task - 8 in owners[peer] for task in range(span.start, span.stop))
                (row,) = span.holders  # all splits of the other one, in one row
                other = WORKER + OTHER_WORKER - peer
                held = d.core.ledger.groups[group].holders[other] & BitMap(range(8))
                assert row[:4] == [group, held.min(), held.max() + 1, other]
            d.done(span)
        spans = d.spans()
    assert d.counts(group) == {"released": 8, "done": 6}


def test_shards_are_dropped_everywhere_when_the_last_merge_is_done() -> None:
    d = Driver(workers=2, slots=4)
    source = d.each(4)
    group = d.exchange(source, 0, 4, 2)
    run_splits(d, group, 4)
    d.sent()
    spans = d.spans()
    assert [span.stop - span.start for span in spans] == [1, 1]
    d.done(spans[0])
    assert not any(isinstance(m, FreeResults) and m.group == group for _, m in d.sent())
    d.done(spans[1])
    freed = [(p, m.runs) for p, m in d.sent() if isinstance(m, FreeResults) and m.group == group]
    assert sorted(freed) == [(WORKER, [0, 4]), (OTHER_WORKER, [0, 4])]


def test_a_merge_whose_owner_is_gone_is_run_by_another() -> None:
    d = Driver(workers=2, slots=4)
    source = d.each(4)
    group = d.exchange(source, 0, 4, 4)
    run_splits(d, group, 4)
    d.core.remove_worker(OTHER_WORKER, "killed", d.now, expected=True)
    d.run_all()
    assert d.counts(group) == {"released": 4, "done": 4}


def test_only_what_a_lost_worker_had_is_split_again() -> None:
    d = Driver(workers=2, slots=2)
    source = d.each(8)
    group = d.exchange(source, 0, 8, 2)
    run_splits(d, group, 8)
    found = d.core.ledger.groups[group]
    lost = found.holders[OTHER_WORKER].copy()
    assert 0 < len(lost) < 8
    d.core.remove_worker(OTHER_WORKER, "killed", d.now, expected=True)
    assert found.done == BitMap(range(8)) - lost and found.waiting >= BitMap((8, 9))
    assert found.unfinished() == lost | BitMap((8, 9))
    d.run_all()
    assert d.counts(group) == {"released": 8, "done": 2}


def test_one_lost_output_is_merged_again_alone() -> None:
    d = Driver(workers=2, slots=1)
    source = d.each(4)
    group = d.exchange(source, 0, 4, 2)
    d.run_all()
    found = d.core.ledger.groups[group]
    homes = {task: found.where.find(task) for task in (4, 5)}
    lost = next(task for task, worker in homes.items() if worker and worker.peer == OTHER_WORKER)
    assert homes[9 - lost].peer == WORKER  # type: ignore[union-attr]
    d.sent()
    d.core.remove_worker(OTHER_WORKER, "killed", d.now, expected=True)
    (news,) = [m for p, m in d.sent() if p == CLIENT and isinstance(m, TasksReopened)
               and m.group == group]  # fmt: skip
    assert news.runs == [lost, lost + 1]
    assert found.done == BitMap((9 - lost,)) and found.unfinished() == BitMap((0, 1, 2, 3, lost))
    d.run_all()
    assert d.counts(group) == {"released": 4, "done": 2}
    assert d.core.ledger.groups[source].counters.done == 4


def test_splits_that_could_not_be_had_are_made_again() -> None:
    """All who may have them are named; only a claim that there was goes."""
    d = Driver(workers=2, slots=2)
    source = d.each(6)
    group = d.exchange(source, 0, 6, 2)
    run_splits(d, group, 6)
    found = d.core.ledger.groups[group]
    span, *others = d.spans()
    here = d.peer_of(span)
    away = WORKER + OTHER_WORKER - here
    gone = (found.holders[away] & BitMap(range(6))).min()
    rows = [[group, gone, peer] for peer in (here, away)]
    returned = SpanReturned(span.assignment, group, [span.start, span.stop], "no shards", rows)
    d.say(here, returned)
    assert BitMap(range(6)) - found.done == BitMap((gone,))
    for other in others:
        d.done(other)
    d.run_all()
    assert d.counts(group) == {"released": 6, "done": 2}


def test_a_failed_input_fails_all_outputs_and_a_retry_heals_them() -> None:
    d = Driver(slots=8)
    source = d.each(4)
    group = d.exchange(source, 0, 4, 3)
    (span,) = d.spans()
    d.failed(span, 2)
    told = d.expect_kinds((CLIENT, TasksFailed), (CLIENT, TasksFailed))
    assert [(m.group, m.runs) for m in told] == [(source, [2, 3]), (group, [4, 7])]
    assert told[1].failure["origin"] == [source, 2]
    d.done(span, 0, 2)
    d.done(span, 3, 4)
    d.say(CLIENT, RetryTasks(group, [4, 7]))
    d.run_all()
    assert d.counts(group) == {"released": 4, "done": 3}


def test_a_split_that_fails_is_the_origin() -> None:
    d = Driver(slots=8)
    source = d.each(2)
    group = d.exchange(source, 0, 2, 2)
    (span,) = d.spans()
    d.done(span)
    d.sent()
    (span,) = d.spans()
    d.failed(span, 1)
    (news,) = [m for p, m in d.sent() if p == CLIENT and isinstance(m, TasksFailed)]
    assert news.runs == [2, 4] and news.failure["origin"] == [group, 1]


def test_cancelling_the_outputs_lets_go_of_the_splits() -> None:
    d = Driver(slots=2)
    source = d.each(4)
    group = d.exchange(source, 0, 4, 3)
    d.say(CLIENT, CancelTasks(group, [4, 7], "ada"))
    assert d.counts(group) == {"released": 4, "failed": 3}
    d.run_all()
    assert d.counts(source) == {"done": 4}


def test_another_client_may_ask_for_a_split() -> None:
    d = Driver(slots=4)
    source = d.each(3)
    group = d.exchange(source, 0, 3, 2)
    d.say(OTHER_CLIENT, HoldTasks(group, [0, 1]))
    d.run_all()
    assert d.counts(group) == {"released": 2, "done": 3}


def test_an_exchange_over_a_group_that_is_gone_is_refused() -> None:
    d = Driver()
    d.exchange(77, 0, 4, 2)
    ((_, refused),) = d.sent()
    assert isinstance(refused, GroupRefused) and "no group 4d to exchange" in refused.text


def test_exchanges_on_exchanges() -> None:
    world = World()
    client = world.add_client()
    for slots in (3, 1, 2):
        world.add_worker(slots)
    source = world.submit_each(client, 12)
    first = world.submit_exchange(client, source, 2, 9, 5)
    second = world.submit_exchange(client, first, 9, 5, 7)
    tree = world.submit_fold(client, second, 5, 7, 3)
    world.say(client.peer, ReleaseTasks(source, [0, 12]))
    for index in range(12):
        del client.futures[source, index]
    world.settle()
    world.check_end()
    assert client.futures[tree, world.layers[tree]["n"] - 1][0] == "done"
