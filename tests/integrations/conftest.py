"""One small real cluster for the tests of this folder, in a runtime directory of its own."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cellspan.engine.client import Client
from cellspan.engine.deploy import LocalCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One worker with two executors."""
    folder = Path(tempfile.mkdtemp(prefix="csi-", dir="/tmp"))  # short: there are sockets in it
    (folder / "run").mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "jupyter"))
        patch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
        patch.delenv("JPY_PARENT_PID", raising=False)
        with LocalCluster(workers=1, cores=2, memory="1GB", name="plugs") as cluster:
            yield cluster
    shutil.rmtree(folder)


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    client = Client(cluster, name="tester")
    yield client
    client.close()


class Door:
    """Tasks wait before it until it is opened; how many stand there can be seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def open(self) -> None:
        (Path(self.folder) / "open").touch()

    def waiting(self) -> int:
        return len(list(Path(self.folder).glob("at-*")))

    def await_waiting(self, count: int) -> None:
        deadline = time.monotonic() + 20
        while self.waiting() < count:
            assert time.monotonic() < deadline, f"{self.waiting()} tasks began, not {count}"
            time.sleep(0.005)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    door = Door(tmp_path)
    yield door
    door.open()
