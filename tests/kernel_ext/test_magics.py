"""`%cluster` in a real IPython, with real clusters."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from cellspan import Client
from cellspan.engine.deploy import manager
from cellspan.engine.deploy.connection_file import get_directory

Say = Callable[[str], str]


@pytest.fixture
def say(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a cell; return all that it printed, errors in words included."""

    def run(cell: str) -> str:
        capsys.readouterr()
        shell.run_cell(cell)
        captured = capsys.readouterr()
        return captured.out + captured.err

    return run


def complete(shell: InteractiveShell, text: str) -> list[str]:
    with provisionalcompleter():
        return [found.text for found in shell.Completer.completions(text, len(text))]


def await_that(condition: Callable[[], bool], what: str, timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"in vain waited for {what}"
        time.sleep(0.02)


def test_a_cluster_from_start_to_stop(shell: InteractiveShell, say: Say) -> None:
    said = say("%cluster start demo --workers 1 --cores 1 --memory 300MB")
    assert "Cluster 'demo' is running: 1 worker with 1 core." in said
    assert "It ends with this kernel." in said
    assert "The variable `client` is its client." in said
    client = shell.user_ns["client"]
    assert isinstance(client, Client)
    assert client.submit(pow, 2, 10).result(timeout=20) == 1024

    assert "demo" in say("%cluster list")
    status = say("%cluster status")
    assert "Cluster 'demo' is running" in status
    assert "300 MB" in status

    shell.run_cell("def shout(): print('heard in the log')")
    shell.run_cell("client.submit(shout).result(timeout=20)")
    await_that(lambda: "heard in the log" in say("%cluster logs"), "the line that a task printed")
    assert "heard in the log" not in say("%cluster logs --source scheduler")

    assert "asked to have 2 workers" in say("%cluster scale 2")
    await_that(
        lambda: len(manager.cluster_status("demo")["workers"]) == 2, "the second worker of two"
    )

    assert "Cluster 'demo' is stopped." in say("%cluster stop")
    assert manager.list_clusters() == []
    assert "No cluster is running. `%cluster start` starts one." in say("%cluster status")


def test_what_is_started_is_described_in_its_connection_file(say: Say) -> None:
    say("%cluster start demo --cores 1")
    info = manager.find_cluster("demo")
    assert (info.lifetime, info.owner_pid, info.cores) == ("kernel", os.getpid(), 1)


def test_attach_from_elsewhere_and_again(shell: InteractiveShell, say: Say) -> None:
    manager.start_cluster("other", cores=1)
    assert "The variable `client` is its client." in say("%cluster attach other")
    first = shell.user_ns["client"]
    assert first.submit(abs, -7).result(timeout=20) == 7
    say("%cluster attach")  # the only one there is; its client is kept
    assert shell.user_ns["client"] is first
    assert "The variable `mine` is its client." in say("%cluster attach other --as mine")
    assert shell.user_ns["mine"] is first
    assert "is its client" in say("%cluster start other --reuse")
    assert len(manager.list_clusters()) == 1


def test_a_variable_of_the_users_own_is_left_alone(shell: InteractiveShell, say: Say) -> None:
    shell.user_ns["client"] = mine = ["my", "clients"]
    said = say("%cluster start demo --cores 1")
    assert "`client` is a variable of your own (list)" in said
    assert "--as" in said
    assert shell.user_ns["client"] is mine
    assert manager.list_clusters() == []  # nothing was started for nothing


def test_a_second_cluster_of_the_same_name(say: Say) -> None:
    say("%cluster start demo --cores 1")
    before = manager.find_cluster("demo").id
    said = say("%cluster start demo --cores 1")
    assert "'demo'" in said and "another name" in said
    assert "Traceback" not in said
    assert manager.find_cluster("demo").id == before


@pytest.mark.parametrize("number", [0, -1])
def test_no_workers_are_refused(say: Say, number: int) -> None:
    said = say(f"%cluster start demo --cores 1 --workers {number}")
    assert f"orkers={number}" in said
    assert "Traceback" not in said
    assert manager.list_clusters() == []
    manager.start_cluster("demo", cores=1)
    said = say(f"%cluster scale demo {number}")
    assert f"orkers={number}" in said
    assert len(manager.cluster_status("demo")["workers"]) == 1


def test_a_wrong_name_is_answered_with_the_right_one(say: Say) -> None:
    manager.start_cluster("demo", cores=1)
    for command in ("attach", "status", "stop", "logs", "scale"):
        said = say(f"%cluster {command} dmeo" + (" 2" if command == "scale" else ""))
        assert "'dmeo'" in said
        assert "Did you mean demo?" in said
        assert "Traceback" not in said
    assert manager.find_cluster("demo").state == "running"


def test_a_name_that_cannot_be_one(say: Say) -> None:
    said = say("%cluster start ../../etc")
    assert "cannot be the name of a cluster" in said
    assert "Traceback" not in said


def test_without_a_name_among_several_the_names_are_listed(say: Say) -> None:
    manager.start_cluster("one", cores=1)
    manager.start_cluster("two", cores=1)
    assert "Which cluster? There are one, two" in say("%cluster status")


def test_a_dead_cluster_is_said_to_be_dead(say: Say) -> None:
    info = manager.start_cluster("demo", cores=1)
    path = get_directory() / "demo.json"
    text = path.read_text()
    manager.stop_cluster("demo")
    path.write_text(text)  # what a power cut leaves behind
    path.chmod(0o600)
    said = say("%cluster attach demo")
    assert "dead" in said
    assert str(info.pid) in said
    assert "Traceback" not in said
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "{", json.dumps({"name": 5})])
def test_a_connection_file_that_is_none(say: Say, runtime: Path, content: str) -> None:
    path = get_directory() / "demo.json"
    path.write_text(content)
    path.chmod(0o600)
    for command in ("attach demo", "list", "status demo"):
        assert "Traceback" not in say(f"%cluster {command}")
    assert "demo" in say("%cluster attach demo")


def test_an_error_stops_the_run_of_all_cells(shell: InteractiveShell) -> None:
    outcome = shell.run_cell("%cluster attach nobody")
    assert isinstance(outcome.error_in_exec, UsageError)


def test_help_and_an_empty_line(say: Say) -> None:
    said = say("%cluster")
    assert "start a cluster and attach" in said
    assert "No cluster is running" in said
    assert "--lifetime" in say("%cluster start --help")
    assert "%cluster scale [NAME] N" in say("%cluster?")


def test_tab_completes_commands_options_and_names(shell: InteractiveShell) -> None:
    assert complete(shell, "%cluster st") == ["start", "status", "stop"]
    assert complete(shell, "cluster sta") == ["start", "status"]
    assert complete(shell, "%cluster start --li") == ["--lifetime", "--listen"]
    assert complete(shell, "%cluster start --lifetime ") == ["kernel", "server", "detached"]
    assert complete(shell, "x = 1\n%cluster view ")[:2] == ["groups", "activity"]
    assert complete(shell, "%cluster start --workers 3 --work") == []
    manager.start_cluster("alpha", cores=1)
    manager.start_cluster("beta", cores=1)
    assert complete(shell, "%cluster stop ")[:2] == ["alpha", "beta"]
    assert complete(shell, "%cluster attach b") == ["beta"]
    assert complete(shell, "%cluster view groups a") == ["alpha"]
    assert "cluster" in complete(shell, "%clus")[0]


def test_unload_takes_all_back_and_leaves_clusters_alone(shell: InteractiveShell, say: Say) -> None:
    say("%cluster start demo --cores 1")
    client = shell.user_ns["client"]
    shell.extension_manager.unload_extension("cellspan")
    assert client.closed
    assert "not found" in say("%cluster list")
    assert complete(shell, "%cluster st") == []
    assert manager.find_cluster("demo").state == "running"
    shell.extension_manager.load_extension("cellspan")
    assert "demo" in say("%cluster list")
