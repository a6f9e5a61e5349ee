"""The examples of this room run as they stand, and come to the right numbers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cse-", dir="/tmp"))  # short: there are sockets in it
    (folder / "run").mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder)


def run_example(name: str, folder: Path) -> list[str]:
    env = {**os.environ, "JUPYTER_RUNTIME_DIR": str(folder), "XDG_RUNTIME_DIR": str(folder / "run")}
    env.pop("JPY_PARENT_PID", None)
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / name)], capture_output=True, text=True, timeout=100, env=env
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert list((folder / "cellspan").glob("*.json")) == []
    return ran.stdout.splitlines()


def test_dask_and_xarray(folder: Path) -> None:
    assert run_example("dask_collections.py", folder) == [
        "array: variance 83333333333.2",  # (n * n - 1) / 12
        "dataframe: spent [16668333, 16661667, 16665000]",
        "bag: lengths [(1, 2), (2, 1), (4, 1), (5, 1), (7, 1), (8, 1)]",
        "delayed: pi is about 3.141",  # of these seeds
        "xarray: warmest at 15:00, 42.0 C",
        "groups: 1 called 'simulate'",
    ]


def test_grid_search(folder: Path) -> None:
    lines = run_example("grid_search.py", folder)
    assert lines[0] == "12 fits on the cluster"  # 4 points, 3 folds
    assert lines[1] == "best: {'C': 10, 'gamma': 0.001}, right in 97.6% of the cases"  # as alone
