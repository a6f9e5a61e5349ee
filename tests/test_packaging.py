"""What an installation must hold: files in their places, one name per part, a light import."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import bokeh
import pytest
from jupyter_core.paths import jupyter_config_path, jupyter_path

import cellspan

ROOT = Path(__file__).resolve().parents[1]
PACKAGE_JSON = json.loads((ROOT / "package.json").read_text())


def run_python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )


def is_in_one_of(folders: list[str], tail: str) -> bool:
    return any((Path(folder) / tail).exists() for folder in folders)


def test_the_lab_extension_is_installed() -> None:
    assert is_in_one_of(jupyter_path("labextensions"), "@cellspan/labextension/package.json")


def test_the_server_extension_is_enabled() -> None:
    assert is_in_one_of(jupyter_config_path(), "jupyter_server_config.d/cellspan.json")


@pytest.mark.parametrize("part", ["engine", "kernel_ext", "labext"])
def test_each_part_has_one_name(part: str, tmp_path: Path) -> None:
    assert run_python(f"import cellspan.{part}", cwd=tmp_path).returncode == 0
    second = run_python(f"import {part}", cwd=ROOT)  # by its folder: a second copy
    assert second.returncode != 0
    assert f"import this as cellspan.{part}" in second.stderr


def test_import_is_light(tmp_path: Path) -> None:
    """Every kernel, server and executor pays for `import cellspan`. Its seconds depend on the
    machine, what it imports does not."""
    code = (
        "import sys\nbefore = set(sys.modules)\nimport cellspan\nprint(*set(sys.modules) - before)"
    )
    run = run_python(code, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert set(run.stdout.split()) <= {"__future__", "cellspan", "cellspan._version"}


@pytest.mark.parametrize("name", cellspan.__all__)
def test_each_public_name_is_there(name: str) -> None:
    assert name in dir(cellspan)
    assert getattr(cellspan, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Clinet'"):
        _ = cellspan.Clinet  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["Client", "LocalCluster"])
def test_windows_is_refused_with_the_remedy(name: str, tmp_path: Path) -> None:
    run = run_python(
        f"import sys; sys.platform = 'win32'\nfrom cellspan import {name}", cwd=tmp_path
    )
    assert run.returncode != 0
    assert re.search(r"ImportError: .* WSL ", run.stderr)


def test_one_version_everywhere() -> None:
    assert PACKAGE_JSON["version"] == cellspan.__version__


def test_bokehjs_is_the_version_of_bokeh() -> None:
    """A figure described by one version is not promised to be drawn by another."""
    assert PACKAGE_JSON["dependencies"]["@bokeh/bokehjs"] == bokeh.__version__


@pytest.mark.parametrize("lock", ["yarn.lock", "ui-tests/yarn.lock"])
def test_lock_files_name_no_host(lock: str) -> None:
    """A lock file resolved behind a mirror must install everywhere else."""
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "__archiveUrl" not in text


@pytest.mark.parametrize("package", [".", "ui-tests"])
def test_every_npm_dependency_has_its_reason(package: str) -> None:
    reasons = (ROOT / "docs/dependencies.md").read_text()
    wanted = json.loads((ROOT / package / "package.json").read_text())
    names = {*wanted.get("dependencies", {}), *wanted["devDependencies"], *wanted["resolutions"]}
    assert sorted(name for name in names if f"`{name}`" not in reasons) == []


def test_every_python_dependency_has_its_reason() -> None:
    import tomllib

    reasons = (ROOT / "docs/dependencies.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    names = {re.split(r"[\[=<>]", requirement)[0] for requirement in wanted} - {"cellspan"}
    assert sorted(name for name in names if f"`{name}`" not in reasons) == []
