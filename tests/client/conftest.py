"""A small real cluster for the tests of this folder, in a Jupyter runtime directory of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cellspan.engine.client import Client
from cellspan.engine.deploy import LocalCluster


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="csc-", dir="/tmp"))  # short: there are sockets in it
    (folder / "run").mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "jupyter"))
        patch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
        patch.delenv("JPY_PARENT_PID", raising=False)
        yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def cluster(place: Path) -> Iterator[LocalCluster]:
    """Two workers with an executor each."""
    with LocalCluster(workers=2, cores=1, memory="1GB", name="tests") as cluster:
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster, name="tester") as client:
        yield client
