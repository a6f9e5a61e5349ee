"""Examples: a tree of tasks over a group's results, level by level."""

from __future__ import annotations

from pyroaring import BitMap

from cellspan.engine.messages import (
    CancelTasks,
    DefineGroup,
    FreeResults,
    GroupRefused,
    HoldTasks,
    ReleaseTasks,
    RetryTasks,
    RunSpan,
    TasksDone,
    TasksFailed,
    TasksReopened,
)

from .driver import CLIENT, FUNCTION, OTHER_CLIENT, OTHER_WORKER, WORKER, Driver
from .world import World


def drop(d: Driver, group: int, start: int, stop: int) -> None:
    d.say(CLIENT, ReleaseTasks(group, [start, stop]))


def test_a_worker_is_told_of_the_levels_and_what_it_takes() -> None:
    d = Driver(slots=8)
    source = d.each(10)
    tree = d.fold(source, 1, 9, 3, initial=True)
    told = []
    while spans := d.spans():
        for span in spans:
            told.append((span.group, span.start, span.stop))
            d.done(span)
    assert told[-1] == (tree, 3, 4)
    worker = d.core.ledger.workers[WORKER]
    assert worker.blob_uses[FUNCTION] == 2
    wire = d.core.ledger.groups[tree].layer.wire
    assert wire["levels"] == [[0, 3, source, 1, 10], [3, 4, tree, 0, 3]]
    assert wire["initial"] == FUNCTION and wire["fanin"] == 3


def test_it_goes_up_and_leaves_nothing_behind() -> None:
    d = Driver(slots=8)
    source = d.each(8)
    tree = d.fold(source, 0, 8, 2)
    drop(d, source, 0, 8)
    (span,) = d.spans()
    assert (span.group, span.start, span.stop) == (source, 0, 8)
    d.done(span)
    d.expect()  # nobody holds what was done, so nobody hears of it; all of it is needed
    (define, span) = d.expect_after_place((WORKER, DefineGroup), (WORKER, RunSpan))
    assert isinstance(define, DefineGroup) and define.group == tree
    assert (span.group, span.start, span.stop, span.inline) == (tree, 0, 4, False)
    d.done(span, 0, 1)
    d.expect((WORKER, FreeResults(source, [0, 2])))
    d.done(span, 1, 4)
    (freed, *_) = d.sent()
    assert freed == (WORKER, FreeResults(source, [2, 8]))
    assert source not in d.core.ledger.groups or d.counts(source) == {"released": 8}
    (span,) = d.spans()
    assert (span.start, span.stop) == (4, 6)
    d.done(span)
    d.expect((WORKER, FreeResults(tree, [0, 4])))
    (span,) = d.spans()
    d.done(span)
    d.expect((CLIENT, TasksDone(tree, 6, 7, WORKER, None)), (WORKER, FreeResults(tree, [4, 6])))
    assert d.counts(tree) == {"released": 6, "done": 1}
    drop(d, tree, 6, 7)
    assert not d.core.ledger.groups


def test_one_result_is_a_tree_of_one() -> None:
    d = Driver()
    source = d.each(3)
    tree = d.fold(source, 1, 1, 8)
    d.run_all()
    assert d.counts(tree) == {"done": 1}


def test_what_only_a_lost_worker_had_is_computed_again_and_nothing_else() -> None:
    d = Driver(workers=2, slots=4)
    source = d.each(16)
    tree = d.fold(source, 0, 16, 2)
    drop(d, source, 0, 16)
    below, above = d.core.ledger.groups[source], d.core.ledger.groups[tree]
    while spans := d.spans():  # the first level is computed, no report comes of what is above it
        for span in spans:
            if span.group == source or span.stop <= 8:
                d.done(span)
            elif span.start < 8:
                d.done(span, span.start, 8)
    assert above.done == BitMap(range(8)) and not below.done
    lost = above.holders[OTHER_WORKER].copy()
    assert 0 < len(lost) < 8
    d.core.remove_worker(OTHER_WORKER, "killed", d.now, expected=True)
    assert above.done == BitMap(range(8)) - lost
    assert below.unfinished() == BitMap([i for task in lost for i in (2 * task, 2 * task + 1)])
    d.run_all()
    for assignment in list(d.core.ledger.assignments.values()):  # now the reports come
        span = RunSpan(assignment.id, tree, assignment.start, assignment.stop, False)
        for first in assignment.left.copy():
            d.done(span, first, first + 1)
    d.run_all()
    assert d.counts(tree) == {"released": 14, "done": 1}


def test_a_lost_root_is_computed_from_the_ground() -> None:
    d = Driver(workers=2, slots=4)
    source = d.each(9)
    tree = d.fold(source, 0, 9, 3)
    drop(d, source, 0, 9)
    d.run_all()
    group = d.core.ledger.groups[tree]
    holder = group.where.find(3)
    assert holder is not None and d.counts(tree) == {"released": 3, "done": 1}
    d.core.remove_worker(holder.peer, "killed", d.now, expected=True)
    (news,) = [m for peer, m in d.sent() if peer == CLIENT and isinstance(m, TasksReopened)]
    assert (news.group, news.runs) == (tree, [3, 4])
    assert d.counts(source) == {"ready": 9} and d.counts(tree) == {"waiting": 4}
    d.run_all()
    assert d.counts(tree) == {"released": 3, "done": 1}


def test_a_failed_input_fails_the_root_and_a_retry_of_it_heals_all() -> None:
    d = Driver(slots=8)
    source = d.each(8)
    tree = d.fold(source, 0, 8, 2)
    (span,) = d.spans()
    d.failed(span, 5)
    told = d.expect_kinds((CLIENT, TasksFailed), (CLIENT, TasksFailed))
    assert [(m.group, m.runs) for m in told] == [(source, [5, 6]), (tree, [6, 7])]
    failure = told[1].failure
    assert failure["origin"] == [source, 5] and "depends on g1[5]" in failure["text"]
    assert d.counts(tree) == {"released": 6, "failed": 1}  # of no use to anybody
    d.done(span, 0, 5)
    d.done(span, 6, 8)
    d.say(CLIENT, RetryTasks(tree, [6, 7]))
    reopened = {m.group for _, m in d.sent() if isinstance(m, TasksReopened)}
    assert reopened == {source, tree}
    d.run_all()
    assert d.counts(source) == {"done": 8} and d.counts(tree) == {"released": 6, "done": 1}


def test_cancelling_the_root_lets_go_of_the_tree() -> None:
    d = Driver(slots=2)
    source = d.each(8)
    tree = d.fold(source, 0, 8, 2)
    d.say(CLIENT, CancelTasks(tree, [6, 7], "ada"))
    assert d.counts(tree) == {"released": 6, "failed": 1}
    d.run_all()
    assert d.counts(source) == {"done": 8}


def test_tasks_of_a_tree_go_where_their_inputs_are() -> None:
    d = Driver(workers=2, slots=4)
    source = d.each(64)
    d.run_all()
    tree = d.fold(source, 0, 64, 4)
    homes = {peer: held.copy() for peer, held in d.core.ledger.groups[source].holders.items()}
    assert len(homes) == 2
    while spans := d.spans():
        for span in spans:
            if span.group == tree and span.stop <= 16 and not span.holders:
                inputs = BitMap(range(4 * span.start, 4 * span.stop))
                assert inputs.issubset(homes[d.peer_of(span)])
            d.done(span)
    assert d.counts(tree) == {"released": 20, "done": 1}


def test_another_client_may_ask_for_what_is_inside() -> None:
    d = Driver(slots=4)
    source = d.each(4)
    tree = d.fold(source, 0, 4, 2)
    d.say(OTHER_CLIENT, HoldTasks(tree, [0, 1]))
    d.run_all()
    assert d.counts(tree) == {"released": 1, "done": 2}
    d.say(OTHER_CLIENT, HoldTasks(tree, [1, 2]))  # released: it is computed once more
    d.run_all()
    assert d.counts(tree) == {"done": 3}


def test_a_tree_over_a_group_that_is_gone_is_refused() -> None:
    d = Driver()
    d.fold(77, 0, 4, 2)
    ((_, refused),) = d.sent()
    assert isinstance(refused, GroupRefused) and "no group 4d" in refused.text


def test_trees_on_trees() -> None:
    """Three trees over neighbouring runs, and one over what a map makes of each of their roots."""
    world = World()
    client = world.add_client()
    world.add_worker(3)
    world.add_worker(1)
    source = world.submit_each(client, 50)
    roots = []
    for offset, count in ((0, 20), (10, 25), (49, 1)):
        tree = world.submit_fold(client, source, offset, count, 3)
        roots.append((tree, world.layers[tree]["n"] - 1))
    graph = world.submit_graph(client)
    world.extend(client, graph, [[root] for root in roots])
    top = world.submit_fold(client, graph, 0, 3, 2, initial=True)
    world.say(client.peer, ReleaseTasks(source, [0, 50]))
    for index in range(50):
        del client.futures[source, index]
    world.settle()
    world.check_end()
    assert client.futures[top, 2][0] == "done"
