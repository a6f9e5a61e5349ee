"""What the docs say and the code can prove."""

from __future__ import annotations

import re
from pathlib import Path

from cellspan.engine.scheduler.moves import draw_diagram

ROOT = Path(__file__).resolve().parents[1]


def test_the_diagram_of_states_is_the_table() -> None:
    assert draw_diagram() in (ROOT / "docs" / "architecture.md").read_text()


def test_files_that_the_architecture_names_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    names = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", text))
    parts = ("engine", "tests")
    files = [file.as_posix() for part in parts for file in (ROOT / part).rglob("*.py")]
    assert len(names) > 20
    for name in names:
        assert any(file.endswith(f"/{name}") for file in files), name


def test_links_of_the_readme_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), target


def test_the_tour_of_the_readme_is_the_one_that_is_run() -> None:
    tour = (ROOT / "examples" / "tour.py").read_text().split('"""\n\n', 1)[1]
    assert f"```python\n{tour}```" in (ROOT / "README.md").read_text()
