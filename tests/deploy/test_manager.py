"""The manager with real processes: what it starts is there, what it stops is gone."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from cellspan.engine.deploy import connection_file, control, folders, manager, processes
from cellspan.engine.errors import (
    ClusterDead,
    ClusterError,
    ClusterExists,
    ClusterNotFound,
    InvalidArgument,
    Refused,
    StartFailed,
)
from cellspan.engine.transport.certificates import make_credentials

from .support import Remains, find_workers, until


def test_a_life(start: Any, place: Path) -> None:
    info, remains = start("one", workers=2)
    assert (info.state, info.name, info.workers, info.cores) == ("running", "one", 2, 1)
    assert info.lifetime == "kernel" and info.owner_pid == os.getpid()
    assert stat.S_IMODE(os.stat(info.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(info.folder).st_mode) == 0o700
    assert [found.id for found in manager.list_clusters()] == [info.id]
    assert manager.find_cluster("one") == info
    titles = [" ".join(p.cmdline()) for p in [psutil.Process(info.pid), *find_workers(info)]]
    assert titles[0].startswith("cellspan scheduler one")
    until(lambda: len(manager.cluster_status("one")["workers"]) == 2, "two workers")
    status = manager.cluster_status("one")
    assert (status["state"], status["wanted"], status["clients"]) == ("running", 2, 0)
    assert status["info"]["name"] == "one" and status["tasks"]["total"] == 0
    remains.add(info)
    manager.stop_cluster("one")
    assert manager.list_clusters() == []
    remains.check_gone(timeout_s=2)
    assert list((place / "run" / "cellspan").iterdir()) == []


def test_scale_up_and_down(start: Any) -> None:
    info, remains = start("s")

    def running() -> int:
        return sum(w["state"] == "running" for w in manager.cluster_status("s")["workers"])

    manager.scale_cluster("s", 3)
    assert manager.find_cluster("s").workers == 3
    until(lambda: running() == 3, "three workers run")
    remains.add(info)
    manager.scale_cluster("s", 1)
    until(lambda: len(find_workers(info)) == 1, "one worker is left")
    status = manager.cluster_status("s")
    assert status["wanted"] == 1 and len(status["workers"]) == 1
    manager.stop_cluster("s")
    remains.check_gone()


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2", 10**9])
def test_numbers_of_workers_that_cannot_be(workers: Any) -> None:
    with pytest.raises(InvalidArgument, match="workers="):
        manager.start_cluster("x", workers=workers)
    with pytest.raises(InvalidArgument, match="workers="):
        manager.scale_cluster("x", workers)
    assert manager.list_clusters() == []


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"cores": 0}, "cores=0"),
        ({"cores": -3}, "leave it out"),
        ({"memory": "abc"}, "memory='abc'"),
        ({"memory": 0}, "at least 64 MiB"),
        ({"memory": "12 kB"}, "at least 64 MiB"),
        ({"name": "../x"}, "cannot be the name"),
        ({"name": ""}, "cannot be the name"),
        ({"name": "x" * 64}, "cannot be the name"),
        ({"name": "a b"}, "cannot be the name"),
        ({"name": ".hidden"}, "cannot be the name"),
        ({"lifetime": "forever"}, "'detached'"),
        ({"lifetime": "server"}, "owner_pid"),
        ({"owner_pid": 2**22 + 5}, "no such process"),
        ({"listen": "udp"}, "'tcp'"),
        ({"idle_timeout_s": 0}, "more than 0"),
        ({"idle_timeout_s": "soon"}, "number of seconds"),
        ({"interpreter": "/nonexistent/python"}, "absolute path"),
        ({"interpreter": "python"}, "absolute path"),
        ({"cwd": "/nonexistent"}, "no such folder"),
    ],
)
def test_bad_arguments_name_the_remedy(options: dict[str, Any], word: str, place: Path) -> None:
    with pytest.raises(InvalidArgument) as caught:
        manager.start_cluster(**{"name": "x", **options})
    assert word in str(caught.value)
    assert not list(place.glob("jupyter/cellspan/*.json"))


def test_a_second_one_of_the_same_name(start: Any) -> None:
    info, _ = start("twin")
    with pytest.raises(ClusterExists, match="cellspan cluster stop twin"):
        start("twin")
    assert manager.find_cluster("twin").pid == info.pid
    assert manager.cluster_status("twin")["state"] == "running"
    assert len(list(Path(info.folder).parent.iterdir())) == 1  # nothing left of the attempt
    manager.stop_cluster("twin")


def test_free_names(start: Any) -> None:
    names = [start()[0].name for _ in range(2)]
    assert names == ["local", "local-2"]
    with pytest.raises(ClusterNotFound, match="there are: local, local-2"):
        manager.find_cluster("nonesuch")
    for name in names:
        manager.stop_cluster(name)
    with pytest.raises(ClusterNotFound, match="none at all"):
        manager.find_cluster("local")


def test_dead_connection_file(start: Any) -> None:
    info, remains = start("dead")
    text = Path(info.path).read_text()
    manager.stop_cluster("dead")
    remains.check_gone()
    Path(info.path).write_text(text)
    with pytest.raises(ClusterDead, match="is dead"):
        manager.find_cluster("dead")
    with pytest.raises(ClusterNotFound):  # it was cleaned up
        manager.find_cluster("dead")
    Path(info.path).write_text(text)
    assert manager.list_clusters() == []
    Path(info.path).write_text(text)
    again, _ = start("dead")
    assert again.id != info.id
    manager.stop_cluster("dead")


def test_a_pid_that_is_another_process_by_now(start: Any) -> None:
    info, _ = start("reused")
    manager.stop_cluster("reused")
    info.pid = os.getpid()  # alive, but it started at another time
    connection_file.write(info, None)
    assert manager.list_clusters() == []
    assert processes.is_alive(os.getpid(), processes.find_start_time(os.getpid()) or 0)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"name": 3}', "\0\xff"])
def test_a_file_that_is_no_connection_file(start: Any, content: str) -> None:
    path = connection_file.get_path("odd")
    path.write_text(content)
    assert manager.list_clusters() == []
    with pytest.raises(ClusterDead, match="remove it"):
        manager.find_cluster("odd")


def test_a_file_of_another_host_is_left_alone(start: Any) -> None:
    info, _ = start("far")
    manager.stop_cluster("far")
    info.host = "another-host"
    connection_file.write(info, None)
    assert [found.name for found in manager.list_clusters()] == ["far"]
    with pytest.raises(ClusterExists, match="on host another-host"):
        start("far")
    Path(info.path).unlink()


def test_tls_and_wrong_credentials(start: Any) -> None:
    info, remains = start("tls", listen="tcp://127.0.0.1")
    assert info.address.startswith("tls://127.0.0.1:")
    assert manager.cluster_status("tls")["state"] == "running"
    assert "BEGIN" not in json.dumps(info.to_json())
    good = info.get_credentials()
    connection_file.write(info, make_credentials("c", ("client",))["client"])
    with pytest.raises(Refused, match="connection file"):
        manager.cluster_status("tls")
    connection_file.write(info, good)
    other = manager.find_cluster("tls")
    other.id = "0" * 16
    with pytest.raises(Refused, match="another cluster"):
        control.ask_blocking(other, lambda c: c.status())
    manager.stop_cluster("tls")
    remains.check_gone()


def test_garbage_on_the_socket(start: Any) -> None:
    info, _ = start("g")
    for garbage in (b"GET / HTTP/1.0\r\n\r\n", bytes(64), b"\xff" * 64):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(info.address.removeprefix("unix://"))
            peer.sendall(garbage)
            assert peer.recv(100) == b""
    assert manager.cluster_status("g")["state"] == "running"
    assert "connection dropped" in str(manager.cluster_logs("g", "scheduler"))
    manager.stop_cluster("g")


def test_logs(start: Any) -> None:
    start("l")
    entries = manager.cluster_logs("l")
    assert any(source == "scheduler" and "worker-1" in text for source, _, _, text in entries)
    assert [entry[2] for entry in entries] == sorted(entry[2] for entry in entries)
    assert len(manager.cluster_logs("l", "scheduler", 1)) == 1
    with pytest.raises(ClusterError, match="there are: scheduler, worker-1"):
        manager.cluster_logs("l", "worker-77")
    manager.stop_cluster("l")


def test_a_start_that_fails_leaves_nothing(start: Any, place: Path) -> None:
    bad = place / "python"
    bad.write_text("#!/bin/sh\necho nothing of the kind is installed >&2\nexit 3\n")
    bad.chmod(0o755)
    with pytest.raises(StartFailed, match="nothing of the kind"):
        start("x", interpreter=str(bad))
    mute = place / "mute"
    mute.write_text("#!/bin/sh\nexec sleep 60\n")
    mute.chmod(0o755)
    with pytest.raises(StartFailed, match="not ready in"):
        start("x", interpreter=str(mute), timeout_s=0.3)
    assert manager.list_clusters() == []
    assert list((place / "run" / "cellspan").iterdir()) == []
    assert not list(place.glob("jupyter/cellspan/*.json"))
    assert not [p for p in psutil.Process().children() if "sleep" in p.name()]


@pytest.mark.parametrize(
    ("script", "end"),
    [
        ("exit 3", "ended with exit code 3"),
        ("kill -9 $$", "was killed by SIGKILL"),
        ("kill -40 $$", "was killed by signal 40"),
        ("exec >&-; exec sleep 60", "runs, but does not answer"),
    ],
)
def test_an_interpreter_that_ends_at_once_is_named(
    start: Any, place: Path, monkeypatch: pytest.MonkeyPatch, script: str, end: str
) -> None:
    monkeypatch.setattr(manager, "END_WAIT_S", 0.5)
    bad = place / "python"
    bad.write_text(f"#!/bin/sh\necho its last words >&2\n{script}\n")
    bad.chmod(0o755)
    with pytest.raises(StartFailed) as caught:
        start("x", interpreter=str(bad))
    lines = str(caught.value).splitlines()
    assert lines[0] == f"cluster 'x' did not start: {bad} {end}"
    assert lines[1:] == ["--- last lines of scheduler.log ---", "its last words"]
    assert list((place / "run" / "cellspan").iterdir()) == []


def test_workers_that_cannot_start(
    start: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "site").mkdir()
    (place / "site" / "sitecustomize.py").write_text(
        "import sys\nif any('engine.worker' in a for a in sys.orig_argv):\n"
        "    sys.exit('this worker will not work')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(place / "site"))
    with pytest.raises(StartFailed) as caught:
        start("x")
    assert "workers ended within a minute" in str(caught.value)
    assert "this worker will not work" in str(caught.value)
    assert list((place / "run" / "cellspan").iterdir()) == []


def test_a_folder_that_is_not_ours(place: Path) -> None:
    (place / "run" / "elsewhere").mkdir()
    (place / "run" / "cellspan").symlink_to(place / "run" / "elsewhere")
    with pytest.raises(StartFailed, match="not a folder of yours"):
        manager.start_cluster("x", cores=1)


def test_sweep_spares_what_is_alive(place: Path) -> None:
    mine = folders.make_folder("a" * 16)
    dead = folders.make_folder("b" * 16)
    folders.set_holder(dead, os.getpid(), 1.0)
    fresh = mine.parent / ("c" * 16)
    fresh.mkdir()
    folders.sweep()
    assert mine.exists() and fresh.exists() and not dead.exists()


def test_idle_time_out(start: Any) -> None:
    _, remains = start("idle", lifetime="detached", idle_timeout_s=0.6)
    remains.check_gone()
    assert manager.list_clusters() == []


def test_looking_at_a_cluster_does_not_keep_it(start: Any) -> None:
    info, remains = start("watched", lifetime="detached", idle_timeout_s=1.2)

    async def watch() -> int:
        count = 0
        async with control.open(info) as connection:
            try:
                async for snapshot in connection.watch(0.5):
                    assert snapshot.cluster == "watched"
                    count += 1
            except ClusterError:
                pass
            except Exception as error:
                assert "closed" in str(error)
        return count

    assert control.run_apart(watch) >= 1
    remains.check_gone()


def test_names_are_claimed_once(place: Path) -> None:
    """Several processes start a cluster of the same name at once: one gets it, the others hear why
    not."""
    code = (
        "from cellspan.engine.deploy import manager\n"
        "from cellspan.engine.errors import ClusterExists\n"
        "try:\n    manager.start_cluster('same', cores=1, lifetime='detached')\n"
        "    print('started')\nexcept ClusterExists:\n    print('exists')\n"
    )
    import subprocess

    runs = [
        subprocess.Popen([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = sorted(run.communicate(timeout=60)[0].strip() for run in runs)
    assert said == ["exists", "exists", "started"]
    remains = Remains().add(manager.find_cluster("same"))
    manager.stop_cluster("same")
    remains.check_gone()
