"""LocalCluster as users meet it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cellspan import LocalCluster
from cellspan.engine.deploy import local, manager
from cellspan.engine.errors import ClusterDead, ClusterNotFound, InvalidArgument

from .support import Remains, until


def test_a_context_manager_leaves_nothing() -> None:
    with LocalCluster(cores=1, memory="500MB", name="ctx") as cluster:
        remains = Remains().add(cluster.info)
        assert cluster.name == "ctx"
        assert cluster.address == cluster.info.address
        assert cluster.info.memory_bytes == 500_000_000
        assert repr(cluster) == "<LocalCluster 'ctx': running, 1 worker, 1 core, 500 MB>"
        assert cluster.status()["state"] == "running"
        assert cluster.logs("scheduler")
        cluster.scale(2)
        until(lambda: len(cluster.status()["workers"]) == 2, "two workers")
        remains.add(cluster.info)
        with pytest.raises(InvalidArgument):
            cluster.scale(0)
    remains.check_gone()
    assert "stopped" in repr(cluster)
    cluster.stop()  # once more does no harm
    with pytest.raises(ClusterNotFound):
        cluster.status()


def test_another_cluster_of_the_same_name_is_not_touched() -> None:
    first = LocalCluster(cores=1, memory="500MB", name="same")
    manager.stop_cluster("same")
    with LocalCluster(cores=1, memory="500MB", name="same") as second:
        with pytest.raises(ClusterDead, match="another one"):
            first.scale(2)
        first.stop()
        assert second.status()["state"] == "running"


def test_html_uses_the_theme_and_escapes() -> None:
    with LocalCluster(cores=1, memory="500MB") as cluster:
        text = cluster._repr_html_()
    assert "var(--jp-" in text and "<b>Cluster local</b>" in text
    info = cluster.info
    info.name = "<script>"
    assert "<script>" not in local.render_html(info, {"state": "<b>", "workers": []})


def test_inside_a_running_loop() -> None:
    async def check() -> str:
        with LocalCluster(cores=1, memory="500MB") as cluster:
            await asyncio.sleep(0)
            return str(cluster.status()["state"])

    assert asyncio.run(check()) == "running"


SCRIPT = """
import os
from cellspan import LocalCluster
cluster = LocalCluster(cores=1, memory="500MB", name="script")
print(cluster.info.pid, cluster.info.folder, cluster.info.path, flush=True)
{end}
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("raise SystemExit(3)", 3), ("1/0", 1), ("os.fork() or os._exit(0); os.wait()", 0)],
)
def test_a_script_that_ends_leaves_nothing(end: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT.format(end=end)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code
    _, folder, path = done.stdout.split()
    assert not Path(folder).exists() and not Path(path).exists()
    assert manager.list_clusters() == []


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (250e6, "250 MB"), (3.9e9, "3.9 GB"),
     (2e12, "2.0 TB")],
)  # fmt: skip
def test_sizes_for_people(size: float, text: str) -> None:
    assert local.format_bytes(size) == text


def test_the_status_of_a_failed_one_in_words() -> None:
    status: dict[str, Any] = {"state": "failed", "reason": "no room", "workers": []}
    assert local.describe(status) == "failed: no room"
