"""kill -9 of every kind of process: nothing is orphaned, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from cellspan.engine.deploy import manager, processes
from cellspan.engine.errors import ClusterDead, ClusterNotFound

from .support import Remains, find_workers, until


def test_kill_the_scheduler(start: Any) -> None:
    info, remains = start("k", workers=2)
    until(lambda: len(find_workers(info)) == 2, "two workers")
    remains.add(info)
    os.kill(info.pid, signal.SIGKILL)
    until(lambda: not remains.find_alive(), "workers and executors end with the scheduler")
    with pytest.raises(ClusterDead, match="is dead"):
        manager.find_cluster("k")
    remains.check_gone(timeout_s=1)
    again, _ = start("k")
    manager.stop_cluster(again.name)


def test_kill_a_worker(start: Any) -> None:
    info, remains = start("k")
    [worker] = find_workers(info)
    executors = {p.pid: processes.find_start_time(p.pid) for p in worker.children()}
    stores = Remains().add(info).paths - {Path(info.path), Path(info.folder)}
    assert executors and stores
    worker.kill()
    until(
        lambda: not any(processes.is_alive(pid, when or 0) for pid, when in executors.items()),
        "the executors end with their worker",
    )
    until(lambda: not any(path.exists() for path in stores), "the store is removed")

    def replaced() -> bool:
        workers = manager.cluster_status("k")["workers"]
        return [(w["name"], w["state"]) for w in workers] == [("worker-2", "running")]

    until(replaced, "another worker takes its place")
    assert "signal 9" in str(manager.cluster_logs("k", "scheduler"))
    assert manager.find_cluster("k").state == "running"
    remains.add(info)
    manager.stop_cluster("k")
    remains.check_gone()


def test_a_worker_that_always_dies(start: Any) -> None:
    info, remains = start("k")
    for number in range(1, 5):
        name = f"worker-{number}"
        until(lambda name=name: [w["name"] for w in _running("k")] == [name], f"{name} runs")
        [worker] = find_workers(info)
        worker.kill()
    until(lambda: manager.cluster_status("k")["state"] == "failed", "the cluster gives up")
    assert "4 workers ended within a minute" in manager.cluster_status("k")["reason"]
    until(lambda: manager.find_cluster("k").state == "failed", "the file says so")
    manager.scale_cluster("k", 1)
    until(lambda: _running("k"), "scaling starts workers again")
    until(lambda: manager.find_cluster("k").state == "running", "the file says so")
    remains.add(info)
    manager.stop_cluster("k")
    remains.check_gone()


def _running(name: str) -> list[dict[str, Any]]:
    return [w for w in manager.cluster_status(name)["workers"] if w["state"] == "running"]


OWNER = """
import sys
from cellspan.engine.deploy import manager
manager.start_cluster("owned", cores=1, lifetime=sys.argv[1])
print("up", flush=True)
sys.stdin.read()
"""


def start_owner(lifetime: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    owner = subprocess.Popen(
        [sys.executable, "-P", "-c", OWNER, lifetime], env={**os.environ, **(env or {})},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert owner.stdout is not None and owner.stdin is not None
    assert owner.stdout.readline() == "up\n"
    return owner


def end(owner: subprocess.Popen[str]) -> None:
    owner.kill()
    owner.wait()
    assert owner.stdout is not None and owner.stdin is not None
    owner.stdout.close()
    owner.stdin.close()


def test_kill_the_kernel() -> None:
    owner = start_owner("kernel")
    remains = Remains().add(manager.find_cluster("owned"))
    end(owner)
    remains.check_gone(timeout_s=4)
    with pytest.raises(ClusterNotFound):
        manager.find_cluster("owned")


def test_kill_a_kernel_that_stays_a_zombie() -> None:
    owner = start_owner("kernel")
    remains = Remains().add(manager.find_cluster("owned"))
    owner.kill()  # and nobody waits for it
    remains.check_gone(timeout_s=4)
    end(owner)


def test_kill_the_server() -> None:
    """A cluster of lifetime 'server' outlives the kernel, and ends with the process that the kernel
    belongs to."""
    server = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=-1)
    owner = start_owner("server", {"JPY_PARENT_PID": str(server.pid)})
    info = manager.find_cluster("owned")
    assert info.owner_pid == server.pid
    remains = Remains().add(info)
    end(owner)
    assert manager.cluster_status("owned")["state"] == "running"
    server.kill()
    server.wait()
    assert server.stdin is not None
    server.stdin.close()
    remains.check_gone(timeout_s=4)


def test_a_detached_cluster_outlives_its_starter() -> None:
    owner = start_owner("detached")
    remains = Remains().add(manager.find_cluster("owned"))
    end(owner)
    assert manager.cluster_status("owned")["state"] == "running"
    manager.stop_cluster("owned")
    remains.check_gone()


def test_kill_everything_at_once(start: Any) -> None:
    _, remains = start("all")
    for pid in sorted(remains.processes, reverse=True):  # executors before their worker
        os.kill(pid, signal.SIGSTOP)
    for pid in remains.processes:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not remains.find_alive(), "all are dead")
    assert remains.find_paths()
    assert manager.list_clusters() == []
    remains.check_gone(timeout_s=1)


def test_a_scheduler_that_does_not_listen_is_killed(start: Any) -> None:
    info, remains = start("stuck")
    os.kill(info.pid, signal.SIGSTOP)
    manager.stop_cluster("stuck", timeout_s=0.5)
    remains.check_gone()


def test_sigterm_is_an_orderly_end(start: Any) -> None:
    info, remains = start("term")
    psutil.Process(info.pid).terminate()
    remains.check_gone()
    assert manager.list_clusters() == []
