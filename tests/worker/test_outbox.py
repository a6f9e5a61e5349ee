"""News of finished stretches: joined where that is right, in an order that can be taken."""

from __future__ import annotations

from cellspan.engine.messages import SpanDone
from cellspan.engine.worker.outbox import Outbox


def done(assignment: int, start: int, stop: int, *, passed: bool = False) -> SpanDone:
    count = stop - start
    return SpanDone(assignment, assignment, start, stop, 0, 0.0, [40, count], None, passed)


def runs(outbox: Outbox) -> list[tuple[int, int, int]]:
    return [(m.assignment, m.start, m.stop) for m in outbox.take() if isinstance(m, SpanDone)]


def test_stretches_of_a_chain_are_joined_link_by_link() -> None:
    outbox = Outbox()
    for start in (0, 10, 20):
        outbox.add_done(done(1, start, start + 10, passed=True))
        outbox.add_done(done(2, start, start + 10))
    assert runs(outbox) == [(1, 0, 30), (2, 0, 30)]


def test_no_stretch_comes_to_stand_before_its_inputs() -> None:
    outbox = Outbox()
    outbox.add_done(done(2, 0, 10))  # its inputs were told before
    outbox.add_done(done(1, 10, 20))
    outbox.add_done(done(2, 10, 20))  # takes the results of the one before
    assert runs(outbox) == [(2, 0, 10), (1, 10, 20), (2, 10, 20)]


def test_what_was_passed_on_is_not_joined_with_what_is_here() -> None:
    outbox = Outbox()
    outbox.add_done(done(1, 0, 10, passed=True))
    outbox.add_done(done(1, 10, 20))
    assert runs(outbox) == [(1, 0, 10), (1, 10, 20)]
