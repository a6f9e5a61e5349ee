"""Examples: from a submission to its results."""

from __future__ import annotations

from array import array

import pytest

from cellspan.engine.errors import PeerError
from cellspan.engine.messages import (
    AddressFound,
    DataStored,
    DefineGroup,
    ExtendGroup,
    ForgetGroup,
    FreeResults,
    GetAddress,
    GroupRefused,
    Heartbeat,
    Hello,
    PickWorkers,
    ReleaseTasks,
    RunSpan,
    SpanDone,
    SpanReturned,
    SubmitGroup,
    TakeBack,
    TasksDone,
    WantResults,
    WorkersPicked,
)

from .driver import (
    CLIENT,
    FUNCTION,
    OTHER_CLIENT,
    OTHER_WORKER,
    WORKER,
    Driver,
    make_extension,
)


def test_a_map_goes_out_and_comes_back() -> None:
    d = Driver()
    group = d.each(2, ["range", 0, 1])
    d.expect()  # decided at the end of the turn only
    d.place()
    layer = {"kind": "each", "n": 2, "function": FUNCTION, "args": [["range", 0, 1]], "names": []}
    d.expect(
        (WORKER, DefineGroup(group, "g1", layer, {FUNCTION: b"function"})),
        (WORKER, RunSpan(1, group, 0, 2, inline=False, patient=True)),
    )
    d.say(WORKER, SpanDone(1, group, 0, 2, 16, 2e-3, [40, 2], None))
    d.expect((CLIENT, TasksDone(group, 0, 2, WORKER, None)))
    d.say(CLIENT, ReleaseTasks(group, [0, 2]))
    d.expect((WORKER, FreeResults(group, [0, 2])), (WORKER, ForgetGroup(group)))
    assert not d.core.ledger.groups and not d.core.ledger.blobs


def test_a_single_submit_is_on_its_worker_in_the_same_turn() -> None:
    d = Driver()
    group = d.graph(wanted=True)
    d.extend(group, 0, [[]])
    _, span = d.expect_after_place((WORKER, DefineGroup), (WORKER, RunSpan))
    assert span == RunSpan(1, group, 0, 1, True, b"\0\0", array("I", [2]).tobytes())
    block = [0, 1, True, [b"pickle"]]
    d.say(WORKER, SpanDone(1, group, 0, 1, 6, 1e-3, [40, 1], [block]))
    d.expect((CLIENT, TasksDone(group, 0, 1, WORKER, [block])))


def test_news_of_adjacent_runs_are_joined_and_blocks_with_them() -> None:
    d = Driver()
    group = d.graph(wanted=True)
    d.extend(group, 0, [[]] * 2)
    (span,) = d.spans()
    for start in (0, 1):
        block = [start, start + 1, True, [b"x"]]
        d.say(WORKER, SpanDone(span.assignment, group, start, start + 1, 1, 1e-3, [], [block]))
    blocks = [[0, 1, True, [b"x"]], [1, 2, True, [b"x"]]]
    d.expect((CLIENT, TasksDone(group, 0, 2, WORKER, blocks)))


def test_payloads_of_several_submissions_go_out_as_one_span() -> None:
    d = Driver(slots=4)
    group = d.graph()
    for start in range(0, 4, 2):
        d.extend(group, start, [[], []])
    (span,) = d.spans()
    assert (span.start, span.stop) == (0, 4)
    assert span.payload == bytes([0, 0, 0, 1, 0, 2, 0, 3])
    assert list(memoryview(span.lengths).cast("I")) == [2, 2, 2, 2]


def test_part_of_a_submission_goes_out() -> None:
    d = Driver(slots=2)
    group = d.graph()
    d.extend(group, 0, [[]] * 5)
    (span,) = d.spans()
    assert (span.start, span.stop, bytes(span.payload)) == (0, 2, bytes([0, 0, 0, 1]))


def test_spans_grow_with_what_is_learned() -> None:
    d = Driver(slots=2)
    d.each(100_000)
    lengths = []
    for _ in range(4):
        spans = d.spans()
        lengths.append(spans[0].stop - spans[0].start)
        for span in spans:
            count = span.stop - span.start
            seconds = 1e-5 * count
            d.say(
                WORKER,
                SpanDone(span.assignment, span.group, span.start, span.stop, 0, seconds, [], None),
            )
    assert lengths[0] == 2, "a probe for each slot"
    assert lengths[1] == 2 * 16, "not more than 16 times longer"
    assert lengths[3] == pytest.approx(2 * 0.04 / 1e-5, rel=0.01), "40 ms of work for each slot"


def test_long_tasks_are_not_queued() -> None:
    d = Driver(slots=2)
    group = d.each(6)
    (probe,) = d.spans()
    d.say(WORKER, SpanDone(probe.assignment, group, 0, 1, 0, 10.0, [], None))
    (span,) = d.spans()
    assert (span.start, span.stop) == (2, 3), "one slot is free: one task"
    assert not d.spans()


def test_the_end_of_a_group_is_shared_out() -> None:
    d = Driver(workers=2, slots=2)
    d.each(10)
    for span in d.spans():
        d.done(span)
    spans = d.spans()
    assert {d.peer_of(span) for span in spans} == {WORKER, OTHER_WORKER}
    shares: dict[int, int] = {}
    for span in spans:
        shares[d.peer_of(span)] = shares.get(d.peer_of(span), 0) + span.stop - span.start
    assert max(shares.values()) - min(shares.values()) <= 2


def test_a_late_worker_gets_its_share() -> None:
    d = Driver(workers=1)
    d.each(100)
    d.spans()
    d.add_worker(OTHER_WORKER)
    (span,) = d.spans()
    assert d.peer_of(span) == OTHER_WORKER


def test_nobody_is_there_to_work() -> None:
    d = Driver(workers=0)
    group = d.each(3)
    d.place()
    d.expect()
    assert d.counts(group) == {"ready": 3}
    d.add_worker(WORKER)
    assert len(d.spans()) == 1


def test_items_go_out_in_chunks_once() -> None:
    d = Driver(slots=2)
    digests = [bytes([k]) * 16 for k in range(3)]
    group = d.each(6, ["range", 0, 1], ["items", 2, digests])
    (span,) = d.spans()
    assert span.chunks == [[1, 0, b"items" + digests[0]]]
    d.say(WORKER, SpanDone(span.assignment, group, 0, 1, 0, 1e-3, [], None))
    (span,) = d.spans()
    assert (span.start, span.stop) == (2, 6)
    assert span.chunks == [[1, 1, b"items" + digests[1]], [1, 2, b"items" + digests[2]]]


def test_a_blob_goes_to_a_worker_once() -> None:
    d = Driver()
    first = d.each(1, ["blob", b"b" * 16, []])
    d.run_all()
    d.each(1, ["blob", b"b" * 16, []])
    define, _ = d.expect_after_place((WORKER, DefineGroup), (WORKER, RunSpan))
    assert define.blobs == {}
    d.say(CLIENT, ReleaseTasks(first, [0, 1]))
    assert set(d.core.ledger.blobs) == {FUNCTION, b"b" * 16}


def test_large_payloads_make_short_spans() -> None:
    d = Driver(slots=8, span_bytes=5)
    group = d.graph()
    d.extend(group, 0, [[]] * 6)
    spans = d.spans()
    assert [(span.start, span.stop) for span in spans] == [(0, 2), (2, 4), (4, 6)]


def test_same_index_of_another_group() -> None:
    d = Driver(slots=4)
    first = d.each(4)
    second = d.each(2, ["same", first, 1])
    assert d.counts(second) == {"waiting": 2}
    (span,) = d.spans()
    d.done(span, 0, 2)
    assert d.counts(second) == {"waiting": 1, "ready": 1}
    d.done(span, 2, 4)
    (span,) = d.spans()
    assert (span.group, span.start, span.stop, span.holders) == (second, 0, 2, [])


def test_inputs_are_listed_with_their_holders() -> None:
    d = Driver(workers=2, slots=2)
    first = d.each(2)
    for span in d.spans():
        d.done(span)
    d.each(1, ["blob", b"b" * 16, [first, 0, first, 1]])
    where = {index: d.core.ledger.groups[first].where.find(index).peer for index in (0, 1)}
    assert set(where.values()) == {WORKER, OTHER_WORKER}
    (span,) = d.spans()
    lacking = next(index for index in (0, 1) if where[index] != d.peer_of(span))
    peer = where[lacking]
    assert span.holders == [[first, lacking, lacking + 1, peer, f"memory://{peer}"]]


def test_consumers_go_where_their_inputs_are() -> None:
    d = Driver(workers=2, slots=4)
    first = d.each(64)
    d.run_all()
    second = d.each(64, ["same", first, 0])
    seen = 0
    while spans := d.spans():
        for span in spans:
            assert span.group == second and span.holders == []
            seen += span.stop - span.start
            d.done(span)
    assert seen == 64


def test_edges_inside_a_graph() -> None:
    d = Driver(slots=2)
    group = d.graph()
    d.extend(group, 0, [[], [], [(group, 0), (group, 1)], [(group, 2), (group, 2)]])
    assert d.counts(group) == {"ready": 2, "waiting": 2}
    (span,) = d.spans()
    d.done(span)
    (span,) = d.spans()
    assert (span.start, span.stop) == (2, 3)
    assert span.inputs == [
        array("I", [2]).tobytes(),
        array("q", [group, group]).tobytes(),
        array("I", [0, 1]).tobytes(),
    ]
    d.done(span)
    (span,) = d.spans()
    d.done(span)
    assert d.counts(group) == {"done": 4}


def test_results_that_are_wanted_later() -> None:
    d = Driver()
    group = d.each(3)
    (span,) = d.spans()
    d.done(span)
    d.sent()
    d.say(CLIENT, WantResults(group, [0, 3]))
    d.expect((CLIENT, TasksDone(group, 0, 2, WORKER, None)))
    (span,) = d.spans()
    assert span.inline


def test_scattered_data() -> None:
    d = Driver()
    group = d.data(3)
    d.say(CLIENT, PickWorkers(7, group, [100, 100, 100], False))
    d.expect((CLIENT, WorkersPicked(7, [[0, 3, WORKER, "memory://11"]])))
    d.say(WORKER, DataStored(group, 0, 3, 300))
    d.expect((CLIENT, TasksDone(group, 0, 3, WORKER, None)))
    second = d.each(3, ["same", group, 0])
    d.run_all()
    assert d.counts(second) == {"done": 3}


def test_places_for_data_are_spread_and_waited_for() -> None:
    d = Driver(workers=0)
    group = d.data(4)
    d.say(CLIENT, PickWorkers(1, group, [10, 10, 10, 10], False))
    d.expect()
    d.add_worker(WORKER)
    d.expect((CLIENT, WorkersPicked(1, [[0, 4, WORKER, "memory://11"]])))
    d.add_worker(OTHER_WORKER)
    d.say(CLIENT, PickWorkers(2, group, [30, 10, 10, 10], False))
    places = [[0, 1, WORKER, "memory://11"], [1, 4, OTHER_WORKER, "memory://12"]]
    d.expect((CLIENT, WorkersPicked(2, places)))
    d.say(CLIENT, PickWorkers(3, group, [5], True))
    places = [[0, 1, WORKER, "memory://11"], [0, 1, OTHER_WORKER, "memory://12"]]
    d.expect((CLIENT, WorkersPicked(3, places)))


def test_no_data_is_put_on_workers_that_drop_their_stores() -> None:
    d = Driver()
    d.core.forget_everything(d.now)
    group = d.data(1)
    d.say(CLIENT, PickWorkers(1, group, [10], False))
    d.expect()
    d.core.on_restarted(d.now)
    d.expect((CLIENT, WorkersPicked(1, [[0, 1, WORKER, "memory://11"]])))


def test_a_copy_is_a_holder_too() -> None:
    d = Driver(workers=2)
    group = d.each(1)
    (span,) = d.spans()
    first = d.peer_of(span)
    second = OTHER_WORKER if first == WORKER else WORKER
    d.done(span)
    d.sent()
    d.say(second, DataStored(group, 0, 1, 8))
    d.expect()
    d.core.remove_worker(first, "killed", d.now)
    d.expect((CLIENT, TasksDone(group, 0, 1, second, None)))
    d.say(CLIENT, ReleaseTasks(group, [0, 1]))
    d.expect((second, FreeResults(group, [0, 1])))


def test_addresses() -> None:
    d = Driver()
    d.say(CLIENT, GetAddress(1, WORKER))
    d.say(CLIENT, GetAddress(2, 99))
    d.expect((CLIENT, AddressFound(1, WORKER, "memory://11")), (CLIENT, AddressFound(2, 99, None)))


def test_a_bad_group_is_refused_and_leaves_nothing() -> None:
    d = Driver()
    group = d.each(2, ["same", 77, 0])
    d.expect((CLIENT, GroupRefused(group, "g1: argument 0: there is no group 4d (any more)")))
    assert not d.core.ledger.groups and not d.core.ledger.blobs
    group = d.each(2, retries=-1)
    (refusal,) = d.expect_kinds((CLIENT, GroupRefused))
    assert "retries is not negative, but -1" in refusal.text


def test_what_is_sent_again_changes_nothing() -> None:
    d = Driver()
    group = d.graph()
    d.extend(group, 0, [[], []])
    d.extend(group, 0, [[], []])
    d.say(CLIENT, SubmitGroup(group, "g1", {"kind": "graph", "function": FUNCTION}, {}, {}, False))
    assert d.counts(group) == {"ready": 2}
    (span,) = d.spans()
    d.done(span)
    d.sent()
    d.say(WORKER, SpanDone(span.assignment, group, 0, 2, 16, 2e-3, [], None))
    d.expect()


def test_peers_that_break_the_protocol() -> None:
    d = Driver(workers=2)
    group = d.each(2)
    (span, *_) = d.spans()
    peer = d.peer_of(span)
    other = OTHER_WORKER if peer == WORKER else WORKER
    graph = d.graph()
    d.sent()
    before = repr(vars(d.core.ledger.groups[group].counters.__class__)), d.counts(group)
    for sender, message in [
        (CLIENT, Hello(1, "", "client", "")),
        (CLIENT, SpanDone(span.assignment, group, 0, 1, 0, 0.0, [], None)),
        (peer, ReleaseTasks(group, [0, 1])),
        (peer, SpanDone(99, group, 0, 1, 0, 0.0, [], None)),
        (peer, SpanDone(span.assignment, group + 1, 0, 1, 0, 0.0, [], None)),
        (peer, SpanDone(span.assignment, group, 1, 1, 0, 0.0, [], None)),
        (other, SpanDone(span.assignment, group, 0, 1, 0, 0.0, [], None)),
        (CLIENT, ReleaseTasks(group, [1, 0])),
        (CLIENT, make_extension(group, 2, [[]])),
        (CLIENT, make_extension(graph, 1, [[]])),
        (OTHER_CLIENT, make_extension(graph, 0, [[]])),
        (OTHER_CLIENT, SubmitGroup((CLIENT << 32) + 50, "x", {}, {}, {}, False)),
        (CLIENT, ExtendGroup(graph, 0, 1, b"abc", b"\1\0\0\0", b"", b"", b"")),
        (CLIENT, PickWorkers(1, group, [-1], False)),
        (77, Heartbeat({})),
    ]:
        with pytest.raises(PeerError):
            d.say(sender, message)
    d.expect()
    assert d.counts(group) == before[1]


def test_a_worker_without_slots_is_not_taken() -> None:
    d = Driver(workers=0)
    with pytest.raises(PeerError):
        d.core.add_worker(WORKER, {"name": "w", "slots": 0, "address": "x"}, d.now)
    assert not d.core.ledger.workers


def test_clients_are_served_in_turn() -> None:
    d = Driver(slots=1)
    d.each(1000)
    (span,) = d.spans()
    d.done(span)  # 1 ms each is known
    for span in d.spans():
        assert span.group >> 32 == CLIENT
    theirs = (OTHER_CLIENT << 32) + 1
    layer = {"kind": "each", "n": 1, "function": FUNCTION, "args": [], "names": []}
    d.say(OTHER_CLIENT, SubmitGroup(theirs, "t", layer, {FUNCTION: b""}, {}, False))
    for assignment in list(d.core.ledger.assignments.values()):
        d.say(
            WORKER,
            SpanDone(
                assignment.id,
                assignment.group.id,
                assignment.start,
                assignment.stop,
                0,
                0.01,
                [],
                None,
            ),
        )
    assert d.spans()[0].group == theirs, "not behind the thousand"


def test_priority_then_depth() -> None:
    d = Driver(slots=1)
    first = d.each(2)
    (span,) = d.spans()
    d.done(span)
    consumer = d.each(1, ["same", first, 0])
    urgent = d.each(1, priority=1)
    order = []
    while spans := d.spans():
        order += [span.group for span in spans]
        for span in spans:
            d.done(span)
    assert order == [urgent, consumer, first]


def test_snapshot_and_status_tell_what_is_there() -> None:
    d = Driver(slots=2)
    group = d.each(10)
    (span,) = d.spans()
    d.done(span, 0, 1)
    d.say(WORKER, Heartbeat({"cpu": 0.5, "memory_bytes": 10, "store_bytes": 5}))
    snapshot = d.core.snapshot(d.now + 1)
    (row,) = snapshot.groups
    assert (row.total, row.ready, row.running, row.done) == (10, 8, 1, 1)
    assert row.client == "ada" and snapshot.workers.slots == 2 and snapshot.workers.store_bytes == 5
    status = d.core.status()
    assert status["tasks"]["done"] == 1 and status["clients"] == 2
    assert status["workers"][0]["running"] == 1 and status["workers"][0]["stats"]["cpu"] == 0.5
    d.say(CLIENT, ReleaseTasks(group, [0, 10]))
    (row,) = d.core.snapshot(d.now + 2).groups
    assert row.bytes_held == 0
    assert row.released == 10, "it is shown for a while after it was forgotten"


def test_the_tail_of_a_span_that_is_soon_over_is_not_asked_back_before_it_is_late() -> None:
    d = Driver(workers=1, slots=2)
    d.each(6)
    (span,) = d.spans()
    d.done(span)
    (span,) = d.spans()
    assert (span.start, span.stop) == (2, 6)
    d.add_worker(OTHER_WORKER)
    d.place()
    assert d.core.next_wakeup(d.now) is not None
    d.expect()  # two milliseconds of work are not worth a message
    d.now += 1.0
    d.place()
    (take,) = d.expect_kinds((WORKER, TakeBack))
    assert take == TakeBack(span.assignment, [5, 6], False)


def test_the_tail_of_a_long_span_is_asked_back_for_free_slots() -> None:
    d = Driver(workers=1, slots=2)
    group = d.each(34)
    (span,) = d.spans()
    d.done(span)
    (span,) = d.spans()
    assert (span.start, span.stop) == (2, 34)
    d.add_worker(OTHER_WORKER)
    d.place()
    (take,) = d.expect_kinds((WORKER, TakeBack))
    assert take == TakeBack(span.assignment, [19, 34], False)
    d.now += 1.0
    d.place()
    d.expect()  # asked already
    d.say(WORKER, SpanReturned(span.assignment, group, [20, 34], "taken back"))
    d.sent()
    spans = d.spans()
    assert spans and all(d.peer_of(span) == OTHER_WORKER for span in spans)
    for assignment in list(d.core.ledger.assignments.values()):
        for start, stop in [(assignment.left.min(), assignment.left.max() + 1)]:
            peer = assignment.worker.peer
            d.say(peer, SpanDone(assignment.id, group, start, stop, 0, 1e-3, [], None))
    d.run_all()
    assert d.counts(group) == {"done": 34}
    assert d.core.next_wakeup(d.now) is None


def test_small_inputs_do_not_keep_work_from_a_free_worker() -> None:
    d = Driver(workers=1, slots=1)
    first = d.each(8)
    d.run_all()
    d.add_worker(OTHER_WORKER, slots=1)
    d.each(8, ["same", first, 0])
    spans = d.spans()
    assert {d.peer_of(span) for span in spans} == {WORKER, OTHER_WORKER}


def test_large_inputs_are_waited_for_rather_than_moved() -> None:
    d = Driver(workers=1, slots=1)
    first = d.each(2)
    while spans := d.spans():
        for span in spans:
            d.say(
                WORKER,
                SpanDone(span.assignment, first, span.start, span.stop, 10**9, 1e-3, [], None),
            )
    d.add_worker(OTHER_WORKER, slots=1)
    second = d.each(2, ["same", first, 0])
    d.each(1)
    spans = d.spans()
    where = {span.group: d.peer_of(span) for span in spans}
    assert where[second] == WORKER


def test_reports_may_be_held_only_where_nobody_waits() -> None:
    d = Driver()
    d.each(1, ["range", 0, 1])
    _, alone = d.expect_after_place((WORKER, DefineGroup), (WORKER, RunSpan))
    d.each(1, ["range", 0, 1], wanted=True)
    _, wanted = d.expect_after_place((WORKER, DefineGroup), (WORKER, RunSpan))
    assert isinstance(alone, RunSpan) and alone.patient
    assert isinstance(wanted, RunSpan) and wanted.inline and not wanted.patient
