"""The command line: what it prints, its exit codes, and that errors are one line in words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cellspan.engine.deploy import cli, connection_file, manager
from cellspan.engine.errors import CellspanError

from .support import Remains, until


def run(*words: str) -> int:
    return cli.main(words)


def run_for_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert cli.main(words) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def test_a_life(capsys: pytest.CaptureFixture[str]) -> None:
    info = run_for_json(capsys, "cluster", "start", "c", "--cores", "1", "--json")
    assert (info["name"], info["state"], info["lifetime"]) == ("c", "running", "detached")
    assert info["idle_timeout_s"] == 3600
    remains = Remains().add(manager.find_cluster("c"))
    [listed] = run_for_json(capsys, "cluster", "list", "--json")
    assert listed["id"] == info["id"]
    assert run("cluster", "list") == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["NAME", "STATE", "WORKERS"]
    assert row.split()[:4] == ["c", "running", "1/1", "1"]
    status = run_for_json(capsys, "cluster", "status", "--json")
    assert status["workers"][0]["name"] == "worker-1"
    assert run("cluster", "status", "c") == 0
    assert "cluster c: running, 1 worker, 1 core" in capsys.readouterr().out
    assert run("cluster", "logs", "c", "--source", "scheduler") == 0
    assert "worker-1 has come" in capsys.readouterr().out
    entries = run_for_json(capsys, "cluster", "logs", "c", "--json", "--lines", "1")
    assert set(entries[0]) == {"source", "stream", "time", "text"}
    assert run("cluster", "scale", "c", "2") == 0
    assert "2 workers" in capsys.readouterr().out
    until(lambda: len(manager.cluster_status("c")["workers"]) == 2, "two workers")
    remains.add(manager.find_cluster("c"))
    assert run_for_json(capsys, "cluster", "stop", "c", "--json") == {"stopped": ["c"]}
    remains.check_gone()
    assert run("cluster", "list") == 0
    assert "no cluster is running" in capsys.readouterr().out


def test_a_cluster_for_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    info = run_for_json(
        capsys, "cluster", "start", "--cores", "1", "--lifetime", "kernel", "--json"
    )
    assert info["owner_pid"] == os.getppid() and info["name"] == "local"
    manager.stop_cluster("local")


def test_stop_all(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        manager.start_cluster(name, cores=1, memory="500MB")
    assert run("cluster", "stop", "--all") == 0
    assert capsys.readouterr().out == "stopped: a, b\n"
    assert manager.list_clusters() == []
    assert run("cluster", "stop", "--all") == 0


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("cluster stop nonesuch", 1, "no cluster is called 'nonesuch'"),
        ("cluster status nonesuch", 1, "none at all"),
        ("cluster status", 2, "there is none"),
        ("cluster logs ../etc", 2, "cannot be the name"),
        ("cluster scale x 0", 2, "workers=0"),
        ("cluster scale x -1", 2, "workers=-1"),
        ("cluster start x --workers 0", 2, "workers=0"),
        ("cluster start x --cores 0", 2, "cores=0"),
        ("cluster start x --memory abc", 2, "memory='abc'"),
        ("cluster start ../x", 2, "cannot be the name"),
        ("cluster start x --lifetime server", 2, "owner_pid"),
        ("cluster stop", 2, "--all"),
        ("worker nonesuch", 1, "no cluster is called"),
        ("worker /nonexistent/file.json", 2, "there is no file"),
        ("scheduler ../x", 2, "cannot be the name"),
    ],
)
def test_errors_are_one_line(
    words: str, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words.split()) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert text in captured.err
    assert captured.err.startswith("cellspan: ") and captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "words", ["", "cluster", "nonsense", "cluster start --workers many", "cluster scale x"]
)
def test_what_is_not_understood(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*words.split())
    assert caught.value.code == 2
    assert "usage: cellspan" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--help", "cluster --help", "cluster start --help"])
def test_help(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*words.split())
    assert caught.value.code == 0
    assert "cellspan" in capsys.readouterr().out


def test_a_second_one_of_the_same_name(capsys: pytest.CaptureFixture[str]) -> None:
    manager.start_cluster("x", cores=1, memory="500MB")
    assert run("cluster", "start", "x", "--cores", "1") == 1
    assert "cellspan cluster stop x" in capsys.readouterr().err
    manager.stop_cluster("x")


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(manager, "list_clusters", interrupt)
    assert run("cluster", "list") == 130


# --- by hand -----------------------------------------------------------------------------------


def spawn(place: Path, *words: str) -> subprocess.Popen[bytes]:
    with open(place / f"{words[0]}.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "cellspan", *words], stdout=log, stderr=log
        )


@pytest.mark.parametrize("listen", ["unix", "tcp://127.0.0.1"])
def test_scheduler_and_worker_by_hand(place: Path, listen: str) -> None:
    scheduler = spawn(place, "scheduler", "hand", "--listen", listen)

    def answers() -> bool:
        try:
            return manager.cluster_status("hand")["state"] == "running"
        except CellspanError:
            return False

    until(answers, "the scheduler answers")
    path = str(connection_file.get_path("hand"))
    worker = spawn(place, "worker", path, "--cores", "1", "--name", "mine", "--host", "127.0.0.1")

    def workers() -> list[tuple[str, str]]:
        return [(w["name"], w["state"]) for w in manager.cluster_status("hand")["workers"]]

    until(lambda: workers() == [("mine", "running")], "the worker has joined")
    remains = Remains().add(manager.find_cluster("hand"))
    worker.send_signal(signal.SIGINT)
    assert worker.wait(10) == 0
    until(lambda: workers() == [], "the worker has left")
    more = ("--topology", "berlin/r17", "--resources", "GPU=3,x=0.5")
    other = spawn(place, "worker", "hand", "--cores", "1", "--host", "127.0.0.1", *more)
    until(lambda: len(workers()) == 1, "another one by the cluster's name")
    offered = manager.cluster_status("hand")["workers"][0]["resources"]
    assert offered.pop("memory") > 0 and offered == {"GPU": 3, "x": 0.5}
    scheduler.send_signal(signal.SIGINT)  # Ctrl-C
    assert scheduler.wait(10) == 0
    assert other.wait(10) == 0
    remains.check_gone()
    assert not list((place / "run" / "cellspan").iterdir())
    assert "Traceback" not in (place / "scheduler.log").read_text()
    assert "Traceback" not in (place / "worker.log").read_text()


def test_output_that_nobody_reads(place: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cellspan", "cluster", "list"],
        stdout=writer, stderr=subprocess.PIPE, timeout=30, check=False,
    )  # fmt: skip
    os.close(writer)
    assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr
