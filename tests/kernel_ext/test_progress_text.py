"""Progress in a terminal and in a log file, fed by a source that is moved by hand."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from cellspan.kernel_ext.progress_live import Progress, TextOutput
from cellspan.kernel_ext.progress_rows import Row

WORK = Row("work", 10, 0, 0, 0)


class Steps:
    """A source whose group has two more tasks done each time it is looked at."""

    def __init__(self, *, failing_at: int = 99, closing_at: int = 99, closed: str = "") -> None:
        self.looks = 0
        self.was_closed = self.was_settled = False
        self._failing_at, self._closing_at, self._closed = failing_at, closing_at, closed

    def rows(self) -> list[Row]:
        if self.looks >= self._failing_at:
            raise KeyboardInterrupt
        row = replace(WORK, done=min(10, 2 * self.looks), running=int(self.looks < 5))
        self.looks += 1
        return [row]

    def settle(self) -> None:
        self.was_settled = True

    def closed_reason(self) -> str | None:
        return self._closed if self.looks >= self._closing_at else None

    def close(self) -> None:
        self.was_closed = True


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_only_now_and_then_and_at_the_end() -> None:
    stream = io.StringIO()
    output = TextOutput(stream)
    for done in range(11):
        output.draw([replace(WORK, done=done)], done == 10)
    first, last = stream.getvalue().splitlines()
    assert first == "work  0 / 10 done (0 %)  10 waiting"
    assert last == "work  10 / 10 done (100 %)  done"


def test_a_terminal_is_redrawn_in_place_and_left_on_a_new_line() -> None:
    stream = Terminal()
    output = TextOutput(stream)
    rows = [WORK, replace(WORK, name="more")]
    output.draw(rows, False)
    begin = stream.tell()
    output.draw([replace(row, done=10) for row in rows], True)
    again = stream.getvalue()[begin:]
    assert again.startswith("\r\x1b[1A")  # one line up: there are two
    assert again.count("\x1b[K") == 2
    assert again.endswith("\n")
    assert stream.getvalue()[:begin].endswith("\r")


def test_lines_of_a_terminal_never_wrap() -> None:
    stream = Terminal()
    TextOutput(stream).draw([replace(WORK, name="n" * 50, running=3, failed=2, rate=1e6)], False)
    (line,) = stream.getvalue().strip("\r").splitlines()
    assert len(line.removesuffix("\x1b[K")) == 80


def test_outside_a_notebook_it_blocks_until_all_has_ended(
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = Steps()
    shown = Progress(source, interval_s=0.001)
    shown.start()
    assert shown.wait(0)
    assert source.was_closed and source.was_settled
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("work  10 / 10 done (100 %)  done in")


def test_ctrl_c_ends_the_display_and_says_that_the_work_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = Steps(failing_at=3)
    Progress(source, interval_s=0.001).start()
    assert "the tasks go on" in capsys.readouterr().out
    assert source.was_closed


def test_it_ends_when_the_cluster_is_gone_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress(Steps(closing_at=2, closed="The cluster ended."), interval_s=0.001)
    shown.start()
    assert shown.wait(0)
    assert capsys.readouterr().out.splitlines()[-1] == "The cluster ended."
