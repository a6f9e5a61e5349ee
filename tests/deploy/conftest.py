"""Every test has a Jupyter runtime directory and a folder for sockets of its own, and no cluster
outlives it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cellspan.engine.deploy import connection_file, manager, processes
from cellspan.engine.deploy.connection_file import ClusterInfo

from .support import Remains


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cst-", dir="/tmp"))  # short: there are sockets in it
    (folder / "run").mkdir(mode=0o700)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "jupyter"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    yield folder
    for path in (folder / "jupyter" / "cellspan").glob("*.json"):
        try:
            info, _ = connection_file.read(path)
        except Exception:  # a test's broken file
            continue
        processes.end_process(info.pid, info.start_time, signal.SIGTERM)
        if info.pid != os.getpid():
            processes.wait_for_end(info.pid, info.start_time, 10)
    shutil.rmtree(folder)


@pytest.fixture
def start() -> Callable[..., tuple[ClusterInfo, Remains]]:
    """Start a small cluster; returns it, and all that it consists of."""

    def start(name: str | None = None, **options: Any) -> tuple[ClusterInfo, Remains]:
        info = manager.start_cluster(name, **{"cores": 1, "memory": "500MB", **options})
        return info, Remains().add(info)

    return start
