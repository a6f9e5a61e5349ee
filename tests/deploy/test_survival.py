"""kill -9 in the middle of the flights example, run by a real kernel, under a real JupyterLab:
right results or a clear error, and nothing orphaned."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from cellspan import Client
from cellspan.engine.deploy import manager, processes
from cellspan.engine.deploy.connection_file import ClusterInfo

from .support import Remains, find_workers, until

pytestmark = pytest.mark.timeout(300)

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "flights.ipynb"
CLUSTER = "flights"
TOKEN = "survival"


RUN = """
import nbformat, sys
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
check = 'print(len(futures), round(result.loc[("all", 19)].mean_low, 3))'
notebook.cells.append(nbformat.v4.new_code_cell(check))
NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
print(notebook.cells[-1].outputs[0]["text"].strip())
"""


class Run:
    """The example in a kernel of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(EXAMPLE)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_tasks(self, count: int) -> ClusterInfo:
        """Return the cluster when so many of its tasks are done."""

        def is_there() -> bool:
            assert self.process.poll() is None, self.process.communicate()[1]
            found = [info for info in manager.list_clusters() if info.state == "running"]
            return bool(found) and self._count_done() >= count

        until(is_there, f"{count} tasks are done", 120)
        return manager.find_cluster(CLUSTER)

    def _count_done(self) -> int:
        counts = manager.cluster_status(CLUSTER)["tasks"]
        return int(counts["done"]) + int(counts["released"])

    def end(self) -> tuple[str, str]:
        """Return what the check printed, and the error of the cell that failed."""
        out, error = self.process.communicate(timeout=250)
        return out.strip(), error


def kill(pid: int) -> None:
    psutil.Process(pid).kill()


def find_executors(info: ClusterInfo) -> list[int]:
    return [child.pid for worker in find_workers(info) for child in worker.children()]


def test_an_executor_is_killed() -> None:
    run = Run()
    info = run.wait_for_tasks(5_000)
    remains = Remains().add(info)
    kill(find_executors(info)[0])
    out, error = run.end()
    assert out == "100000 24.231", error
    manager.stop_cluster(CLUSTER)
    remains.check_gone()


def test_the_worker_is_killed_with_the_only_copy_of_the_data() -> None:
    run = Run()
    info = run.wait_for_tasks(5_000)
    remains = Remains().add(info)
    find_workers(info)[0].kill()
    out, error = run.end()
    assert out == ""
    assert "DataLost" in error and "scatter" in error
    with Client(CLUSTER) as client:  # the cluster lives on, with another worker
        assert client.gather(client.map(abs, range(-10, 0)), timeout=60) == list(range(10, 0, -1))
    remains.add(info)
    manager.stop_cluster(CLUSTER)
    remains.check_gone()


# --- under JupyterLab ---------------------------------------------------------------------------

WORK = """
import time
def step(i):
    time.sleep(0.01)
    return i
futures = client.map(step, range(100_000))
print(futures[100].result())
"""


class Lab:
    """A real JupyterLab with a cluster of lifetime 'server' and a kernel that uses it."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.kernel: BlockingKernelClient | None = None
        self.log = (folder / "lab.log").open("w")
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
                f"--ServerApp.port={self.url.rsplit(':', 1)[1]}", "--ServerApp.port_retries=0",
                f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}",
            ],
            stdout=self.log, stderr=self.log, env={**os.environ, "HOME": str(folder)},
        )  # fmt: skip

    def begin(self) -> None:
        """Start a cluster and a kernel, and have the kernel work on the cluster."""
        until(self._answers, "JupyterLab answers", 60)
        self.ask("cellspan/clusters", {"name": CLUSTER, "cores": 2, "lifetime": "server"})
        until(lambda: [i.state for i in manager.list_clusters()] == ["running"], "a cluster runs")
        self.info = manager.find_cluster(CLUSTER)
        kernel_id = self.ask("api/kernels", {"name": "python3"})["id"]
        file = Path(os.environ["JUPYTER_RUNTIME_DIR"]) / f"kernel-{kernel_id}.json"
        until(file.exists, "the kernel's connection file")
        self.kernel = BlockingKernelClient(connection_file=str(file))
        self.kernel.load_connection_file()
        self.kernel.start_channels()
        self.kernel.wait_for_ready(timeout=60)
        self.run(f"%load_ext cellspan\n%cluster attach {CLUSTER}")
        self.kernel_pid = int(self.run("import os; print(os.getpid())"))
        assert self.run(WORK) == "100"
        self.remains = Remains().add(self.info)
        self.remains.processes[self.kernel_pid] = psutil.Process(self.kernel_pid).create_time()

    def _answers(self) -> bool:
        try:
            return bool(self.ask("api/status"))
        except OSError:
            assert self.process.poll() is None, "JupyterLab has ended"
            return False

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {TOKEN}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def run(self, code: str) -> str:
        """Run a cell and return what it printed."""
        printed: list[str] = []

        def note(message: dict[str, Any]) -> None:
            assert message["msg_type"] != "error", message["content"]
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        assert self.kernel is not None
        self.kernel.execute_interactive(code, timeout=60, output_hook=note)
        return "".join(printed).strip()

    def end(self) -> None:
        if self.kernel is not None:
            self.kernel.stop_channels()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)
        self.log.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    try:
        lab.begin()
        yield lab
    finally:
        lab.end()


def test_the_kernel_is_killed(lab: Lab) -> None:
    kill(lab.kernel_pid)

    def is_dropped() -> bool:
        status = manager.cluster_status(CLUSTER)
        left = status["tasks"]["ready"] + status["tasks"]["waiting"]
        return status["clients"] == 0 and left == 0

    until(is_dropped, "what nobody wants any more is dropped")
    with Client(CLUSTER) as client:
        assert client.submit(sum, [1, 2, 3]).result(timeout=60) == 6
    manager.stop_cluster(CLUSTER)
    lab.remains.processes.pop(lab.kernel_pid)  # JupyterLab starts it anew
    lab.remains.check_gone()


def test_jupyterlab_is_killed(lab: Lab) -> None:
    kill(lab.process.pid)
    lab.process.wait(30)
    lab.remains.check_gone()
    assert manager.list_clusters() == []
    assert not processes.is_alive(lab.info.pid, lab.info.start_time)
