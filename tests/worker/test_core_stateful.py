"""The worker core under any order of events: every task of every assignment is reported exactly
once."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from cellspan.engine.messages import FreeResults, SpanReturned, TakeBack
from cellspan.engine.worker.store import StoredBlock

from .shell import Shell, define, each, outcomes, span

PLAIN, CONSUMER, INPUTS = 1, 2, 3
SIZE = 40


class AnyOrder(RuleBasedStateMachine):
    """Executors run, report, die; spans come and are taken back; inputs arrive or do not."""

    @initialize(slots=st.integers(1, 3), is_warm=st.sampled_from([True, True, True, False]))
    def begin(self, slots: int, is_warm: bool) -> None:
        self.shell = Shell(slots)
        self.shell.handle(define(PLAIN, each(SIZE)))
        self.shell.handle(define(CONSUMER, each(SIZE, ["same", INPUTS, 0])))
        self.spans: dict[int, tuple[int, int]] = {}
        self.questions = 0
        if is_warm:  # then executors are ready, and pieces of PLAIN are longer than one task
            self.assign(0, SIZE)
            self.shell.run_to_end()

    # --- the scheduler ---------------------------------------------------------------------------

    @rule(start=st.integers(0, SIZE - 1), count=st.integers(1, SIZE))
    def assign(self, start: int, count: int) -> None:
        number = len(self.spans) + 1
        self.spans[number] = start, min(SIZE, start + count)
        self.shell.handle(span(number, PLAIN, *self.spans[number]))

    @rule(start=st.integers(0, SIZE - 1), count=st.integers(1, 10), known=st.booleans())
    def assign_consumer(self, start: int, count: int, known: bool) -> None:
        number = len(self.spans) + 1
        self.spans[number] = start, min(SIZE, start + count)
        holders = [[INPUTS, 0, SIZE, 9, "unix:///there"]] if known else []
        self.shell.handle(span(number, CONSUMER, *self.spans[number], holders=holders))

    @precondition(lambda self: self.spans)
    @rule(data=st.data(), kill=st.booleans())
    def take_back(self, data: st.DataObject, kill: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.spans)))
        start, stop = self.spans[number]
        first = data.draw(st.integers(start, stop - 1))
        last = data.draw(st.integers(first + 1, stop))
        self.questions += 1
        self.shell.handle(TakeBack(number, [first, last], kill))

    @rule(start=st.integers(0, SIZE - 1), count=st.integers(1, SIZE))
    def free_inputs(self, start: int, count: int) -> None:
        self.shell.handle(FreeResults(INPUTS, [start, start + count]))

    # --- inputs ----------------------------------------------------------------------------------

    @precondition(lambda self: self.shell.fetches)
    @rule(data=st.data(), fate=st.sampled_from(["all", "half", "lost"]))
    def fetch_ends(self, data: st.DataObject, fate: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.shell.fetches)))
        self._end_fetch(number, fate)

    def _end_fetch(self, number: int, fate: str) -> None:
        fetch = self.shell.fetches.pop(number)
        if fate == "lost":
            self.shell.core.on_fetch_failed(number, "gone", self.shell.now)
        else:
            stop = fetch.stop if fate == "all" else (fetch.start + fetch.stop) // 2
            blocks = [
                StoredBlock(fetch.group, i, i + 1, True, [b"x"]) for i in range(fetch.start, stop)
            ]
            self.shell.core.on_fetched(number, blocks, self.shell.now)
        self.shell.perform()

    # --- executors -------------------------------------------------------------------------------

    @precondition(lambda self: not all(e.is_ready for e in self.shell.executors.values()))
    @rule(data=st.data())
    def executor_is_ready(self, data: st.DataObject) -> None:
        waiting = [n for n, e in self.shell.executors.items() if not e.is_ready]
        self.shell.ready(data.draw(st.sampled_from(waiting)))

    @precondition(lambda self: any(e.waiting or e.piece for e in self.shell.executors.values()))
    @rule(data=st.data(), steps=st.integers(0, 12), fails=st.booleans())
    def executor_works(self, data: st.DataObject, steps: int, fails: bool) -> None:
        busy = [n for n, e in self.shell.executors.items() if e.waiting or e.piece]
        number = data.draw(st.sampled_from(busy))
        self.shell.claim(number)
        for _ in range(steps):
            self.shell.step(number, fails)

    @precondition(lambda self: any(e.piece for e in self.shell.executors.values()))
    @rule(data=st.data(), over=st.booleans(), gone=st.booleans())
    def executor_reports(self, data: st.DataObject, over: bool, gone: bool) -> None:
        able = [
            n
            for n, e in self.shell.executors.items()
            if e.piece is not None and (not over or not e.begun)
        ]
        if able:
            number = data.draw(st.sampled_from(able))
            executor = self.shell.executors[number]
            assert executor.piece is not None
            early = executor.at < executor.piece["stop"] and executor.cut != executor.piece["piece"]
            if over and early and not gone:
                return  # an executor ends a piece early only if it is cut, or lacks an input
            self.shell.report(number, over, [INPUTS, 0] if over and early else None)

    @rule(data=st.data())
    def executor_dies(self, data: st.DataObject) -> None:
        self.shell.die(data.draw(st.sampled_from(sorted(self.shell.executors))))

    @precondition(lambda self: self.shell.cuts)
    @rule()
    def cut_is_answered(self) -> None:
        self.shell.answer_cut()

    @precondition(lambda self: self.shell.doomed)
    @rule()
    def killed_executor_is_dead(self) -> None:
        self.shell.die(min(self.shell.doomed), "SIGKILL")

    @rule(seconds=st.sampled_from([0.001, 0.03]))
    def time_passes(self, seconds: float) -> None:
        self.shell.now += seconds
        self.shell.core.on_timer(self.shell.now)
        self.shell.perform()

    # --- what must hold --------------------------------------------------------------------------

    @invariant()
    def nothing_is_said_twice(self) -> None:
        for assignment, tasks in outcomes(self.shell.sent).items():
            start, stop = self.spans[assignment]
            for index, said in tasks.items():
                assert start <= index < stop
                assert len(said) == 1, (assignment, index, said)

    @invariant()
    def open_tasks_are_counted(self) -> None:
        said = outcomes(self.shell.sent)
        for number, (start, stop) in self.spans.items():
            left = stop - start - len(said.get(number, {}))
            assignment = self.shell.core.assignments.get(number)
            assert (assignment.open if assignment is not None else 0) == left

    @invariant()
    def no_executor_idles_while_there_is_work(self) -> None:
        core = self.shell.core
        idle = [s for s in core.slots if s.is_open and s.running is None]
        ready = [a for a in core.assignments.values() if a.queued and not a.fetches]
        assert not (idle and ready)

    def teardown(self) -> None:
        if not hasattr(self, "shell"):
            return
        for number in list(self.shell.fetches):
            self._end_fetch(number, "lost")
        self.shell.run_to_end()
        said = outcomes(self.shell.sent)
        for number, (start, stop) in self.spans.items():
            assert sorted(said.get(number, {})) == list(range(start, stop)), number
        assert not self.shell.core.assignments
        answers = [
            m for m in self.shell.sent
            if isinstance(m, SpanReturned) and m.reason in ("taken back", "nothing was left")
        ]  # fmt: skip
        assert len(answers) == self.questions


AnyOrder.TestCase.settings = settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestAnyOrder = AnyOrder.TestCase
