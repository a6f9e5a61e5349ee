"""The worker core with tasks that ask for resources, have a time limit, or run on each executor."""

from __future__ import annotations

from typing import Any

from cellspan.engine.messages import RestartExecutors, TakeBack, TaskFailed

from .shell import Shell, define, each, outcomes, span

LIMIT_S = 2.0


def make(slots: int, *, offer: dict[str, Any] | None = None, **options: Any) -> Shell:
    """Executors that are ready, and a group 1 with options."""
    shell = Shell(slots, **(offer or {}))
    shell.start_all()
    shell.handle(define(1, each(1000), **options))
    return shell


def running(shell: Shell) -> dict[int, Any]:
    """Return by executor what the pieces that it has were given."""
    return {
        number: [p.get("resources") for p in [executor.piece, *executor.waiting] if p]
        for number, executor in shell.executors.items()
        if executor.piece or executor.waiting
    }


def given(shell: Shell) -> list[Any]:
    return sorted((r["GPU"] for rows in running(shell).values() for r in rows if r), key=str)


# --- resources ------------------------------------------------------------------------------------


def test_a_device_is_with_one_piece_at_a_time() -> None:
    shell = make(4, offer={"GPU": [3, 5]}, resources={"GPU": 1})
    shell.handle(span(1, 1, 0, 6))
    assert given(shell) == [[3], [5]], "two of four executors have work"
    for _ in range(6):
        number = next(n for n, e in shell.executors.items() if e.piece or e.waiting)
        shell.claim(number)
        assert shell.executors[number].piece["stop"] - shell.executors[number].piece["start"] == 1
        while shell.step(number):
            pass
        shell.report(number, over=True)
        held = given(shell)
        assert len(held) == len({str(unit) for unit in held})
    assert outcomes(shell.sent) == {1: {i: ["done"] for i in range(6)}}


def test_others_go_on_while_a_device_is_busy() -> None:
    shell = make(2, offer={"GPU": 1}, resources={"GPU": 1})
    shell.handle(define(2, each(100)))
    shell.handle(span(1, 1, 0, 3))
    shell.handle(span(2, 2, 0, 3))
    assert given(shell) == [[0]]
    assert sum(map(len, running(shell).values())) == 4, "both executors have a piece and a next one"
    shell.run_to_end()
    assert outcomes(shell.sent) == {n: {i: ["done"] for i in range(3)} for n in (1, 2)}


def test_nobody_overtakes_who_asks_for_more_of_the_same() -> None:
    shell = make(4, offer={"GPU": 2}, resources={"GPU": 1})
    shell.handle(define(2, each(9), resources={"GPU": 2}))
    shell.handle(span(1, 1, 0, 1))
    shell.handle(span(2, 2, 0, 1))
    shell.handle(span(3, 1, 1, 3))
    assert given(shell) == [[0]], "the second device is kept for who needs both"
    shell.run_to_end()
    assert outcomes(shell.sent) == {
        1: {0: ["done"]},
        2: {0: ["done"]},
        3: {1: ["done"], 2: ["done"]},
    }


def test_a_device_comes_back_from_a_dead_executor() -> None:
    shell = make(1, offer={"GPU": 1}, resources={"GPU": 1})
    shell.handle(span(1, 1, 0, 2))
    (number,) = shell.executors
    shell.claim(number)
    shell.step(number)
    shell.die(number)
    shell.run_to_end()
    assert outcomes(shell.sent) == {1: {0: ["crashed"], 1: ["done"]}}


def test_a_device_comes_back_from_what_was_taken_back_or_swept_away() -> None:
    shell = make(1, offer={"GPU": 1}, resources={"GPU": 1})
    shell.handle(span(1, 1, 0, 2))
    shell.handle(TakeBack(1, [0, 2], True))
    shell.run_to_end()
    shell.handle(span(2, 1, 2, 3))
    shell.handle(RestartExecutors(5))
    shell.run_to_end()
    shell.handle(define(1, each(1000), resources={"GPU": 1}))
    shell.handle(span(3, 1, 3, 5))
    shell.run_to_end()
    assert outcomes(shell.sent) == {
        1: {0: ["returned"], 1: ["returned"]},
        3: {3: ["done"], 4: ["done"]},
    }


# --- time limits ----------------------------------------------------------------------------------


def test_a_task_that_runs_too_long_fails_alone() -> None:
    shell = make(1, timeout=LIMIT_S, span=[4, 4])
    shell.handle(span(1, 1, 0, 8))
    (number,) = shell.executors
    shell.claim(number)
    for _ in range(3):  # one task ends, the second is begun
        shell.step(number)
    shell.pass_time(LIMIT_S * 0.9)
    assert not shell.doomed
    shell.pass_time(LIMIT_S)
    assert shell.doomed == {number}
    shell.run_to_end()
    (failed,) = [m for m in shell.sent if isinstance(m, TaskFailed)]
    assert failed.index == 1 and failed.failure["kind"] == "timeout"
    assert failed.failure["text"] == (
        "g1[1] ran longer than its limit of 2 s on worker w, and was ended"
    )
    expected = {i: ["timeout" if i == 1 else "done"] for i in range(8)}
    assert outcomes(shell.sent) == {1: expected}


def test_many_tasks_that_keep_to_it_may_take_longer_together() -> None:
    shell = make(1, timeout=LIMIT_S, span=[5, 5])
    shell.handle(span(1, 1, 0, 5))
    (number,) = shell.executors
    shell.claim(number)
    while shell.step(number):
        if shell.executors[number].begun:
            shell.pass_time(LIMIT_S * 0.9)
    assert not shell.doomed
    shell.report(number, over=True)
    assert outcomes(shell.sent) == {1: {i: ["done"] for i in range(5)}}


def test_a_task_that_ends_just_before_the_blow_is_not_blamed() -> None:
    shell = make(1, timeout=LIMIT_S)
    shell.handle(span(1, 1, 0, 2))
    (number,) = shell.executors
    shell.claim(number)
    shell.step(number)
    shell.pass_time(LIMIT_S * 1.5)
    assert shell.doomed == {number}
    shell.step(number)
    shell.report(number, over=True)  # it was on its way
    shell.run_to_end()
    assert outcomes(shell.sent) == {1: {0: ["done"], 1: ["done"]}}


def test_nothing_is_looked_at_without_a_limit() -> None:
    shell = make(1)
    shell.handle(span(1, 1, 0, 2))
    shell.claim(next(iter(shell.executors)))
    shell.pass_time(60.0)
    assert not shell.looks and not shell.doomed


# --- once on each executor ------------------------------------------------------------------------


def test_each_executor_gets_it_next() -> None:
    shell = make(3, once=True)
    shell.handle(define(2, each(1000)))
    shell.handle(span(2, 2, 0, 100))  # all have a piece and a next one
    shell.handle(span(1, 1, 0, 3))
    shell.run_to_end()
    for executor in shell.executors.values():
        assert executor.claimed[:4].count(1) == executor.claimed.count(1) == 1
    assert outcomes(shell.sent)[1] == {i: ["done"] for i in range(3)}


def test_a_new_executor_stands_in_for_one_that_had_not_run_it() -> None:
    shell = make(2, once=True)
    shell.handle(define(2, each(9)))
    first, second = shell.executors
    shell.handle(span(2, 2, 0, 2))
    for number in (first, second):
        shell.claim(number)
        shell.step(number)
    shell.handle(span(1, 1, 0, 2))
    shell.die(first)  # in another task: its call goes to whoever replaces it
    third = max(shell.executors)
    shell.run_to_end()
    assert {number: executor.claimed.count(1) for number, executor in shell.executors.items()} == {
        second: 1,
        third: 1,
    }
    assert outcomes(shell.sent)[1] == {0: ["done"], 1: ["done"]}


def test_a_new_executor_does_not_stand_in_for_one_that_has_run_it() -> None:
    shell = make(2, once=True)
    shell.handle(define(2, each(9)))
    shell.handle(span(2, 2, 0, 1))
    busy = next(n for n, e in shell.executors.items() if e.waiting)
    idle = next(n for n in shell.executors if n != busy)
    shell.claim(busy)
    shell.step(busy)
    shell.handle(span(1, 1, 0, 2))
    shell.claim(idle)
    while shell.step(idle):
        pass
    shell.report(idle, over=True)
    shell.die(idle)
    third = max(shell.executors)
    shell.ready(third)
    assert not shell.executors[third].waiting, "the call that is left is for the busy one"
    shell.run_to_end()
    assert outcomes(shell.sent)[1] == {0: ["done"], 1: ["done"]}


# --- spans ----------------------------------------------------------------------------------------


def test_pieces_keep_to_the_span_hint() -> None:
    shell = make(2, span=[3, 5])
    shell.handle(span(1, 1, 0, 60))
    shell.run_to_end()
    frames = [f for e in shell.executors.values() for f in e.frames if f["do"] == "run"]
    lengths = [f["stop"] - f["start"] for f in frames]
    assert max(lengths) == 5 and sorted(lengths)[1] >= 3, "one is what was left over"
