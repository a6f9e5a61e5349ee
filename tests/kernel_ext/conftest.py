"""Fixtures of the notebook's tests: connection files in a folder of their own, a shell with the
magics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from cellspan.engine.deploy import manager


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Jupyter runtime directory that no other test and no user sees."""
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    return folder


@pytest.fixture
def shell(runtime: Path) -> Iterator[InteractiveShell]:
    """An IPython in this process with the extension loaded; its clusters are stopped afterwards."""
    config = Config()
    config.HistoryManager.enabled = False
    one = InteractiveShell(config=config)
    one.extension_manager.load_extension("cellspan")
    yield one
    one.extension_manager.unload_extension("cellspan")
    for info in manager.list_clusters():
        manager.stop_cluster(info.name)
