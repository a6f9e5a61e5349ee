"""Examples for the worker core: what comes in, what goes out, and nothing else."""

from __future__ import annotations

import struct

import pytest

from cellspan.engine.errors import PeerError
from cellspan.engine.ids import digest_of
from cellspan.engine.messages import (
    DataStored,
    ExecutorsRestarted,
    FreeResults,
    RestartExecutors,
    SpanDone,
    SpanReturned,
    TakeBack,
    TaskFailed,
)
from cellspan.engine.worker.store import StoredBlock

from .shell import FUNCTION, WORKER, Shell, define, each, forget, outcomes, span


@pytest.fixture
def shell() -> Shell:
    """Two executors that are ready, and a group 1 of 1000 tasks."""
    shell = Shell(2)
    shell.start_all()
    shell.handle(define(1, each(1000)))
    return shell


def frames(shell: Shell, do: str) -> list[tuple[int, dict]]:
    return [(n, f) for n, e in shell.executors.items() for f in e.frames if f["do"] == do]


def warm(shell: Shell) -> None:
    """Let group 1 be measured (1 ms a task), so that its pieces are 10 tasks long."""
    shell.handle(span(99, 1, 0, 40))
    shell.run_to_end()
    shell.sent.clear()


def test_every_executor_gets_a_piece_and_one_to_follow(shell: Shell) -> None:
    shell.handle(span(1, 1, 0, 100))
    pieces = sorted((f["start"], f["stop"], n) for n, f in frames(shell, "run"))
    assert [(a, b) for a, b, _ in pieces] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert sorted(n for _, _, n in pieces) == [1, 1, 2, 2]
    assert pieces[0][2] != pieces[1][2], "both run before either has one waiting"


def test_pieces_grow_with_what_was_measured(shell: Shell) -> None:
    shell.handle(span(1, 1, 0, 1000))
    shell.run_to_end()
    lengths = [f["stop"] - f["start"] for _, f in frames(shell, "run")]
    assert max(lengths) == 10, "10 ms of tasks that take 1 ms"
    assert outcomes(shell.sent) == {1: {i: ["done"] for i in range(1000)}}


def test_the_function_is_sent_once_to_each_executor(shell: Shell) -> None:
    shell.handle(span(1, 1, 0, 100))
    shell.run_to_end()
    shell.handle(define(2, each(5)))
    shell.handle(span(2, 2, 0, 5))
    shell.run_to_end()
    for executor in shell.executors.values():
        new = [f["new"] for f in executor.frames if f["do"] == "define"]
        assert new == [[digest_of(FUNCTION).hex()], []]


def test_small_results_travel_inline_when_asked(shell: Shell) -> None:
    shell.handle(span(1, 1, 5, 6, inline=True))
    shell.run_to_end()
    (done,) = [m for m in shell.sent if isinstance(m, SpanDone)]
    assert done.blocks == [[5, 6, True, [b"\x05"]]]
    assert (done.start, done.stop, done.nbytes, done.times) == (5, 6, 1, [40, 1])


def test_a_dead_executor_blames_the_task_that_ran_and_no_other(shell: Shell) -> None:
    warm(shell)
    shell.handle(span(1, 1, 0, 10))
    number = next(n for n, e in shell.executors.items() if e.waiting)
    shell.claim(number)
    piece = shell.executors[number].piece
    assert piece is not None and piece["stop"] - piece["start"] >= 4
    for _ in range(5):  # two tasks run to their end, the third is begun
        shell.step(number)
    shell.die(number)
    (failed,) = [m for m in shell.sent if isinstance(m, TaskFailed)]
    assert failed.index == piece["start"] + 2
    assert failed.failure["kind"] == "crashed"
    assert failed.failure["signal"] == "SIGSEGV"
    assert failed.failure["log"] == ["last words"]
    (returned,) = [m for m in shell.sent if isinstance(m, SpanReturned)]
    expected = [piece["start"], failed.index, failed.index + 1, piece["stop"]]
    assert returned.runs == expected and not returned.missing
    shell.run_to_end()
    assert set(shell.executors) != {1, 2}, "a new one was started"


def test_an_idle_executor_takes_the_piece_that_waits_behind_another(shell: Shell) -> None:
    shell.handle(span(1, 1, 0, 3))  # two run, one waits behind the first
    first, second = shell.executors
    for number in (first, second):
        shell.claim(number)
        shell.step(number)
    assert [len(shell.executors[n].waiting) for n in (first, second)] == [1, 0]
    shell.step(second)
    shell.report(second, over=True)
    assert [len(shell.executors[n].waiting) for n in (first, second)] == [0, 1]


def test_a_long_piece_is_cut_for_an_idle_executor(shell: Shell) -> None:
    warm(shell)
    shell.handle(span(1, 1, 0, 8))
    first, second = shell.executors
    for number in (first, second):
        shell.claim(number)
    shell.step(first)  # it has begun its first task, which lasts
    while shell.executors[second].piece is not None or shell.claim(second):
        while shell.step(second):
            pass
        shell.report(second, over=True)
    due = shell.core.next_wakeup()
    assert due is not None
    shell.now = due
    shell.core.on_timer(shell.now)
    shell.perform()
    assert [c.executor for c in shell.cuts] == [first]
    shell.answer_cut()
    assert shell.executors[second].waiting, "the rest of the long piece goes to the idle one"
    shell.run_to_end()
    assert outcomes(shell.sent) == {1: {i: ["done"] for i in range(8)}}


def test_taking_back_answers_at_once_with_what_was_not_begun(shell: Shell) -> None:
    shell.handle(span(1, 1, 0, 100))
    for number in shell.executors:
        shell.claim(number)
        shell.step(number)
    shell.handle(TakeBack(1, [0, 100], False))
    while shell.cuts:
        shell.answer_cut()
    (returned,) = [m for m in shell.sent if isinstance(m, SpanReturned)]
    assert returned.runs == [2, 100], "two tasks run, all others come back"
    shell.run_to_end()
    assert outcomes(shell.sent)[1][0] == ["done"] == outcomes(shell.sent)[1][1]


def test_taking_back_with_kill_ends_the_executors_that_run_them(shell: Shell) -> None:
    shell.handle(span(1, 1, 0, 2))
    for number in shell.executors:
        shell.claim(number)
        shell.step(number)
    shell.handle(TakeBack(1, [0, 1], True))
    while shell.cuts:
        shell.answer_cut()
    assert len(shell.doomed) == 1
    assert not shell.sent, "no answer before the executor is dead"
    shell.die(min(shell.doomed), "SIGKILL")
    (returned,) = shell.sent
    assert isinstance(returned, SpanReturned) and returned.runs == [0, 1]


def test_a_piece_that_was_claimed_meanwhile_is_cut_when_it_runs(shell: Shell) -> None:
    warm(shell)
    shell.handle(span(1, 1, 0, 40))
    number = min(shell.executors)
    shell.claim(number)
    while shell.step(number):
        pass
    executor = shell.executors[number]
    behind = executor.waiting.popleft()  # the executor has read its token, its report is on its way
    shell.handle(TakeBack(1, [0, 40], False))
    shell.report(number, over=True)
    executor.piece, executor.at, executor.told = behind, behind["start"], behind["start"]
    assert executor.cut == behind["piece"]
    shell.run_to_end()
    said = outcomes(shell.sent)[1]
    assert all(said[i] == ["returned"] for i in range(behind["start"], behind["stop"]))


def test_inputs_are_fetched_once_and_announced(shell: Shell) -> None:
    shell.handle(define(2, each(10, ["same", 5, 2])))
    holders = [[5, 0, 12, 8, "unix:///there"]]
    shell.handle(span(1, 2, 0, 4, holders=holders))
    shell.handle(span(2, 2, 2, 6, holders=holders))
    assert [(f.start, f.stop, f.worker) for f in shell.fetches.values()] == [(2, 6, 8), (6, 8, 8)]
    for number, fetch in sorted(shell.fetches.items()):
        block = StoredBlock(5, 0, 12, False, [b"a list of 12"])
        shell.core.on_fetched(number, [block], shell.now)
        shell.perform()
        assert fetch.group == 5
    stored = [m for m in shell.sent if isinstance(m, DataStored)]
    assert [(m.start, m.stop) for m in stored] == [(2, 6), (6, 8)]
    shell.run_to_end()
    assert {k: len(v) for k, v in outcomes(shell.sent).items()} == {1: 4, 2: 4}


def test_inputs_that_cannot_be_had_return_the_span(shell: Shell) -> None:
    shell.handle(define(2, each(10, ["same", 5, 0])))
    shell.handle(span(1, 2, 0, 2, holders=[[5, 0, 10, 8, "unix:///there"]]))
    shell.core.on_fetch_failed(1, "nobody answers", shell.now)
    shell.perform()
    shell.handle(span(2, 2, 4, 5))
    first, second = shell.sent
    assert isinstance(first, SpanReturned) and first.missing == [[5, 0, 8], [5, 1, 8]]
    assert "nobody answers" in first.reason
    assert isinstance(second, SpanReturned) and second.missing == [[5, 4, WORKER]]


def test_graph_pieces_carry_their_own_payload_and_inputs(shell: Shell) -> None:
    layer = {"kind": "graph", "function": digest_of(FUNCTION)}
    shell.handle(define(3, layer))
    shell.core.put([StoredBlock(5, i, i + 1, True, [b"v%d" % i]) for i in range(3)])
    payload = b"aabbbc"
    inputs = [
        struct.pack("<3I", 0, 2, 1),
        struct.pack("<3q", 5, 5, 5),
        struct.pack("<3I", 0, 2, 1),
    ]
    lengths = struct.pack("<3I", 2, 3, 1)
    shell.handle(span(1, 3, 10, 13, payload=payload, lengths=lengths, inputs=inputs))
    runs = {f["start"]: f for _, f in frames(shell, "run")}
    assert [runs[i]["lengths"] for i in (10, 11, 12)] == [[2], [3], [1]]
    assert [runs[i]["nested"] for i in (10, 11, 12)] == [False, True, True]
    assert [len(runs[i]["blocks"]) for i in (10, 11, 12)] == [0, 2, 1]


def test_items_travel_in_chunks_once_per_executor(shell: Shell) -> None:
    items = [["items", 10, [b"0" * 16, b"1" * 16]]]
    shell.handle(define(2, each(20, *items)))
    shell.handle(span(1, 2, 0, 20, chunks=[[0, 0, b"\x80first"], [0, 1, b"\x80second"]]))
    shell.run_to_end()
    for executor in shell.executors.values():
        sent = [thing[0] for f in executor.frames if f["do"] == "run" for thing in f["things"]]
        assert len(sent) == len(set(sent)) <= 2
    with pytest.raises(PeerError, match="lacks chunks"):
        shell.handle(define(3, each(20, *items)))
        shell.handle(span(2, 3, 0, 20, chunks=[[0, 0, b"\x80first"]]))


def test_freed_results_are_dropped_everywhere(shell: Shell) -> None:
    shell.core.put([StoredBlock(5, 0, 1, True, [], "/store/a", [0, 100])])
    shell.handle(define(2, each(1, ["same", 5, 0])))
    shell.handle(span(1, 2, 0, 1))
    shell.run_to_end()
    shell.handle(FreeResults(5, [0, 1]))
    assert shell.unlinked == ["/store/a"]
    assert [f["drop"] for _, f in frames(shell, "drop")] == [[1]]
    shell.handle(forget(2))
    assert len(frames(shell, "forget")) == 1


def test_a_full_store_fails_the_task_and_says_what_to_do() -> None:
    shell = Shell(1, limit_bytes=0)
    shell.start_all()
    shell.handle(define(1, each(1)))
    shell.handle(span(1, 1, 0, 1))
    shell.run_to_end()
    (failed,) = shell.sent
    assert isinstance(failed, TaskFailed) and failed.failure["kind"] == "store"
    assert "Release futures" in failed.failure["text"]


def test_a_restart_drops_everything_and_answers_when_all_are_back(shell: Shell) -> None:
    shell.handle(span(1, 1, 0, 100))
    shell.handle(RestartExecutors(17))
    assert shell.doomed == {1, 2}
    for number in (1, 2):
        shell.die(number, "SIGKILL")
    assert not shell.sent
    shell.start_all()
    assert shell.sent == [ExecutorsRestarted(17)]
    with pytest.raises(PeerError, match="not defined"):
        shell.handle(span(2, 1, 0, 1))


def test_neighbouring_pieces_of_one_turn_are_one_message(shell: Shell) -> None:
    core = shell.core
    core.handle(span(1, 1, 0, 2))
    core.dispatch(0.0)
    shell.perform()
    for number in list(shell.executors):
        shell.claim(number)
        executor = shell.executors[number]
        assert executor.piece is not None
        start = executor.piece["start"]
        header = {
            "piece": executor.piece["piece"], "start": start, "stop": start + 1, "over": True,
            "seconds": 0.5, "elapsed": 0.5, "times": [7, 1], "failed": [], "gone": None,
            "blocks": [[start, start + 1, True, 1]],
        }  # fmt: skip
        core.on_report(number, header, [b"r"], 0.0)
    (done,) = core.take_sends()
    assert isinstance(done, SpanDone)
    assert (done.start, done.stop, done.nbytes, done.seconds) == (0, 2, 2, 1.0)
    assert done.times == [7, 2]


def test_a_restart_that_is_asked_for_twice_is_answered_twice(shell: Shell) -> None:
    shell.handle_all([RestartExecutors(5), RestartExecutors(6)])
    shell.run_to_end()
    shell.start_all()
    answers = [m for m in shell.sent if isinstance(m, ExecutorsRestarted)]
    assert answers == [ExecutorsRestarted(5), ExecutorsRestarted(6)]
