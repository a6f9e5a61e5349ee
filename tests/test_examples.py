"""The examples run as they stand, and come to the right numbers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Jupyter runtime directory of our own; whatever runs there at the end is stopped."""
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
    yield folder
    from cellspan.engine.deploy import manager

    for info in manager.list_clusters():
        manager.stop_cluster(info.name)


def test_the_tour(runtime: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "tour.py")],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ},
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert "root  1,000 / 1,000 done (100 %)" in ran.stdout
    assert lines[-2] == "the sum of the first thousand roots is 21065.833"
    assert lines[-1] == "the root of -1: math domain error"
    assert list((runtime / "cellspan").glob("*.json")) == []


def test_notebooks_are_stored_without_outputs() -> None:
    for path in EXAMPLES.glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert code
        assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)


@pytest.mark.timeout(300)
def test_the_flights(runtime: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(EXAMPLES / "flights.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.metadata["trusted"] = True
    check = nbformat.v4.new_code_cell(CHECK)
    notebook.cells.append(check)
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute()

    (found,) = [output["text"] for output in check.outputs if output["output_type"] == "stream"]
    numbers = json.loads(found)
    assert numbers["tasks"] == 100_000
    # From the flights themselves, computed without cellspan:
    assert numbers["flights"] == 326_915
    assert numbers["mean_at_19"] == pytest.approx(24.862, abs=1e-3)
    assert numbers["extra_at_19"] == pytest.approx(34.793, abs=1e-3)
    # From the resamples: each draws its own random numbers, so these are the same everywhere.
    assert numbers["range_at_19"] == pytest.approx([24.231, 25.530], abs=1e-3)
    assert numbers["extra_range_at_19"] == pytest.approx([31.023, 38.743], abs=1e-3)
    assert numbers["at_five"][:3] == ["US", "DL", "MQ"]
    assert_outputs(notebook)


CHECK = """
import json
evening = result.loc[("all", 19)]
print(json.dumps({
    "tasks": len(futures),
    "flights": len(joined),
    "mean_at_19": evening["mean"],
    "extra_at_19": evening["extra"],
    "range_at_19": [evening["mean_low"], evening["mean_high"]],
    "extra_range_at_19": [evening["extra_low"], evening["extra_high"]],
    "at_five": list(table.index),
}))
"""


def assert_outputs(notebook: Any) -> None:
    """The notebook shows what it should: progress that has ended, a plot, a table."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [o for o in outputs if o["output_type"] == "error"] == []
    plain = [o["data"].get("text/plain", "") for o in outputs if "data" in o]
    assert any(re.search(r"resample .*100,000 / 100,000 done \(100 %\)", text) for text in plain)
    assert sum("image/png" in o["data"] for o in outputs if "data" in o) == 1
    assert any("Southwest Airlines Co." in text for text in plain)
