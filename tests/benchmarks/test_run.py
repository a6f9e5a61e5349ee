"""A system that fails takes nothing with it but the job that it failed in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import run

HEAD = """
import json, os, sys, threading
def say(**row):
    print(json.dumps(row), flush=True)
for job in sys.argv[1:]:
    say(begin=job)
"""
TAIL = """
    say(measure=job, value=1.0, unit='s', n=1)
    say(end=job)
"""


@pytest.fixture
def make_runner(tmp_path: Path) -> Callable[[str], run.Runner]:
    def make(deed: str) -> run.Runner:
        script = tmp_path / "system.py"
        script.write_text(f"{HEAD}    {deed}{TAIL}")
        return run.Runner("peer", [sys.executable, str(script)])

    return make


def test_all_rows_are_kept(make_runner: Callable[[str], run.Runner]) -> None:
    runner = make_runner("pass")
    runner.run(["a", "b"])
    assert list(runner.rows) == ["a", "b"] and not runner.failures


def test_jobs_after_a_crash_are_run_in_a_new_process(
    make_runner: Callable[[str], run.Runner],
) -> None:
    runner = make_runner("if job == 'b': print('out of luck', file=sys.stderr); os._exit(3)")
    runner.run(["a", "b", "c"])
    assert list(runner.rows) == ["a", "c"]
    assert runner.failures == [("peer", "b", "its process ended with code 3: out of luck")]


def test_what_says_nothing_is_ended(
    make_runner: Callable[[str], run.Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = make_runner("if job == 'b': threading.Event().wait()")
    take = runner._take

    def take_and_lose_patience(line: str) -> None:
        take(line)
        monkeypatch.setattr(run, "SILENT_S", 0.0 if runner._job == "b" else 60.0)

    def fail(job: str, reason: str) -> None:
        monkeypatch.setattr(run, "SILENT_S", 60.0)
        runner.failures.append(("peer", job, reason))

    monkeypatch.setattr(runner, "_take", take_and_lose_patience)
    monkeypatch.setattr(runner, "_fail", fail)
    runner.run(["a", "b", "c"])
    assert list(runner.rows) == ["a", "c"]
    assert runner.failures == [("peer", "b", "no answer within 0 s")]


def test_a_system_that_does_not_begin_is_given_up(
    make_runner: Callable[[str], run.Runner],
) -> None:
    runner = make_runner("pass")
    runner._command = [sys.executable, "-c", "raise ImportError('no such library')"]
    runner.run(["a", "b"])
    assert [job for _, job, _ in runner.failures] == ["a", "b"]
    assert "no such library" in runner.failures[0][2] and not runner.rows


def test_a_job_that_cannot_be_had_is_a_reason_and_no_fault(
    make_runner: Callable[[str], run.Runner], capsys: pytest.CaptureFixture[str]
) -> None:
    runner = make_runner("say(job=job, error='there is no map', is_offered=False)")
    runner.run(["a"])
    assert runner.failures == [("peer", "a", "there is no map")]
    assert "FAILED" not in capsys.readouterr().out
