"""What placement learns and decides, one rule at a time.

Law: rules by examples; how good all of them are together is the judge's business
(tests/simulation/judge).
"""

from __future__ import annotations

from itertools import count, cycle

import pytest

from cellspan.engine.ids import make_group_id
from cellspan.engine.messages import DataStored, RunSpan, SpanDone, SubmitGroup
from cellspan.engine.scheduler.core import SchedulerCore
from cellspan.engine.scheduler.distance import LATENCY_S, Distances, level_between
from cellspan.engine.scheduler.indices import Buckets
from cellspan.engine.scheduler.lengths import SPANS_PER_S, Lengths
from cellspan.engine.scheduler.pace import Pace
from cellspan.engine.scheduler.peers import Worker
from cellspan.engine.scheduler.placement_random import RandomPlacement

from .driver import CLIENT, FUNCTION, OTHER_WORKER, WORKER, Driver

_peers = count(100)


def make_worker(topology: str | None = None, slots: int = 1) -> Worker:
    info: dict[str, object] = {"slots": slots, "address": "a", "host": "h"}
    if topology is not None:
        info["topology"] = topology
    return Worker(next(_peers), info, 0.0)


# --- distances --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "level"),
    [
        ("s/r/h", "s/r/h", 0), ("s/r/h", "s/r/i", 1), ("s/r/h", "s/q/h", 2), ("s/r/h", "t/r/h", 3),
        ("/h", "/h", 0), ("/h", "/i", 1), (None, "/h", 0), ("a/b/c/d/e", "v/w/x/y/z", 3),
        ("s/h", "s/r/h", 2),
    ],
)  # fmt: skip
def test_workers_are_as_far_apart_as_their_paths(one: str, other: str, level: int) -> None:
    assert level_between(make_worker(one), make_worker(other)) == level
    assert level_between(make_worker(other), make_worker(one)) == level


def test_bandwidth_and_latency_are_learned_by_level() -> None:
    here, near, far = make_worker("s/r/h"), make_worker("s/r/i"), make_worker("t/r/h")
    distances = Distances(1e9)
    assert distances.slowest_byte_s() == 1e-9  # nothing was seen
    for _ in range(60):
        distances.learn(here, far, 10_000_000, 1.01)
        distances.learn(here, far, 100, 0.01)
    assert distances.seconds(here, far, 10_000_000) == pytest.approx(1.01, rel=0.05)
    assert distances.seconds(here, far, 0) == pytest.approx(0.01, rel=0.05)
    assert distances.seconds(here, near, 10**9) == pytest.approx(LATENCY_S + 1.0)
    assert distances.slowest_byte_s() == pytest.approx(1e-7, rel=0.05)


def test_one_strange_report_does_not_turn_an_estimate_over() -> None:
    here, near = make_worker("h"), make_worker("i")
    distances = Distances(1e9)
    for _ in range(50):
        distances.learn(here, near, 10**9, 1.0)
    distances.learn(here, near, 10**9, 1e6)
    distances.learn(here, near, 10**9, 0.0)  # not known: does not count
    assert 1.0 < distances.seconds(here, near, 10**9) < 2.0


def test_the_scheduler_learns_from_what_was_fetched() -> None:
    d = Driver(workers=2, slots=1)
    group = d.each(2)
    for span in d.spans():
        d.done(span)
    held = d.core.ledger.groups[group].holders[WORKER].min()
    ends = [d.core.ledger.workers[peer] for peer in (WORKER, OTHER_WORKER)]

    def moving_s() -> float:
        return d.core.ledger.placement.distances.seconds(*ends, 10**8)

    before = moving_s()
    d.say(OTHER_WORKER, DataStored(group, held, held + 1, 10**8, WORKER, 1.0))
    after = moving_s()
    assert after > 2 * before
    d.say(OTHER_WORKER, DataStored(group, held, held + 1, 10**8))
    d.say(OTHER_WORKER, DataStored(group, held, held + 1, 10**8, 4711, 1.0))  # it is gone
    assert moving_s() == after


# --- speeds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.25, 0.5, 2.0, 4.0])
def test_a_speed_is_learned_from_some_dozens_of_tasks(factor: float) -> None:
    pace = Pace()
    for _ in range(40):
        pace.learn(1, 0.01, 0.01 / factor)
    assert 0.7 < pace.speed / factor < 1.5
    for _ in range(800):
        pace.learn(1, 0.01, 0.01)
    assert pace.speed == 1.0


def test_chance_among_durations_is_no_difference_of_speed() -> None:
    pace = Pace()
    for taken in [0.007, 0.013, 0.009, 0.011] * 50:
        assert not pace.learn(1, 0.01, taken)
    assert pace.speed == 1.0


def test_a_report_without_time_says_nothing() -> None:
    pace = Pace()
    assert not pace.learn(100, 0.0, 1.0) and not pace.learn(100, 1.0, 0.0)


def test_a_fast_worker_gets_the_larger_part_and_longer_spans() -> None:
    d = Driver(workers=2, slots=1)
    group = d.each(4000)
    done = {WORKER: 0, OTHER_WORKER: 0}
    longest = dict(done)
    clock = {WORKER: 0.0, OTHER_WORKER: 0.0}
    spans = d.spans()
    while spans:
        spans.sort(key=lambda span: clock[d.peer_of(span)])
        span = spans.pop(0)
        peer, length = d.peer_of(span), span.stop - span.start
        seconds = length * (0.001 if peer == WORKER else 0.004)
        clock[peer] += seconds
        done[peer] += length
        longest[peer] = max(longest[peer], length)
        d.say(
            peer,
            SpanDone(span.assignment, group, span.start, span.stop, 0, seconds, [], None),
        )
        spans += d.spans()
    assert done[WORKER] + done[OTHER_WORKER] == 4000
    assert done[WORKER] > 3 * done[OTHER_WORKER]
    assert longest[WORKER] > 2 * longest[OTHER_WORKER]
    assert max(clock.values()) < 1.1 * min(clock.values())


# --- indices and lengths ----------------------------------------------------------------------


def test_workers_of_the_lowest_bucket_take_turns() -> None:
    buckets = Buckets(3)
    a, b, c = (make_worker() for _ in range(3))
    for worker, bucket in ((a, 2), (b, 1), (c, 1)):
        buckets.put(worker, bucket)
    assert [buckets.get_first() for _ in range(3)] == [b, c, b]
    buckets.put(a, 0)
    assert buckets.get_first() is a and len(buckets) == 3 and a.peer in buckets
    for worker in (a, b, c, c):
        buckets.drop(worker.peer)
    assert not len(buckets)
    with pytest.raises(AssertionError, match="no worker"):
        buckets.get_first()


def test_spans_are_longer_in_a_large_cluster() -> None:
    lengths = Lengths(0.04, 0.08, 1 << 16, 1 << 20)
    for _ in range(100):
        lengths.on_workers(1, 2.0)
    assert lengths.span_s == 0.04
    for _ in range(9900):
        lengths.on_workers(1, 2.0)
    assert lengths.span_s == pytest.approx(10_000 / SPANS_PER_S)
    assert lengths.queue_s == pytest.approx(2 * lengths.span_s)
    for _ in range(9900):
        lengths.on_workers(-1, -2.0)
    assert lengths.span_s == pytest.approx(0.04)


def test_what_is_ready_elsewhere_keeps_the_spans_of_a_group_long() -> None:
    """A map over a map gets ready a few tasks at a time: that is no end to be shared out."""
    d = Driver(workers=2, slots=1)
    group = d.core.ledger.groups[d.each(16)]
    group.learn(64, 0.064, 64, 64)
    worker = d.core.ledger.workers[WORKER]
    lengths = d.core.ledger.placement.lengths
    assert lengths.find_length(group, worker, 0.0) == 4
    assert lengths.find_length(group, worker, 10.0) == 40


def test_of_what_is_ready_in_pieces_a_long_piece_is_taken_first() -> None:
    d = Driver(workers=2, slots=1)
    data = make_group_id(CLIENT, 900)
    d.say(CLIENT, SubmitGroup(data, "data", {"kind": "data", "n": 400}, {}, {}, False))
    for start, stop in ((0, 1), (2, 3), (4, 5), (10, 60)):
        d.say(WORKER, DataStored(data, start, stop, stop - start))
    second = d.each(400, ["same", data, 0])
    d.core.ledger.groups[second].learn(1000, 1.0, 0, 64)
    d.each(100_000)  # enough work that nothing has to be shared out
    first = d.spans()[0]
    assert first.group == second and first.stop - first.start >= 30


# --- another policy ---------------------------------------------------------------------------


def test_another_policy_is_an_argument_of_the_core() -> None:
    drawn = cycle([1, 1, 0])
    core = SchedulerCore(placement=RandomPlacement(lambda n: next(drawn) % n), validate=True)
    core.add_client(CLIENT, {"name": "ada"}, 0.0)
    for peer in (WORKER, OTHER_WORKER):
        core.add_worker(peer, {"name": f"w{peer}", "slots": 4, "address": "a"}, 0.0)
    layer = {"kind": "each", "n": 500, "function": FUNCTION, "args": [], "names": []}
    message = SubmitGroup(
        make_group_id(CLIENT, 1), "map", layer, {FUNCTION: b"function"}, {}, False
    )
    core.handle(CLIENT, message, 0.0)
    now, where, done = 0.0, [], 0
    while done < 500:
        now += 0.001
        core.place(now)
        spans = [(p, m) for p, m in core.take_sends() if isinstance(m, RunSpan)]
        assert spans
        for peer, span in spans:
            where.append(peer)
            done += span.stop - span.start
            report = SpanDone(
                span.assignment, span.group, span.start, span.stop, 0, 0.001, [], None
            )
            core.handle(peer, report, now)
    assert where[0] == OTHER_WORKER and set(where) == {WORKER, OTHER_WORKER}
    core.remove_worker(WORKER, "gone", now)
