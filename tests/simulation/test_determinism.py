"""The same seed gives the same trace: in this process, and in others with other hash seeds.

Law: without this no failing seed could be replayed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .scenario import run_faulty

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
from tests.simulation.scenario import run_faulty
print(run_faulty(5, 4, 40, actions=20, check_every=0).digest)
"""


def test_same_seed_same_trace() -> None:
    first, second = (run_faulty(5, 4, 40, actions=20, check_every=0) for _ in range(2))
    assert first == second
    assert first.calls > 100


def test_checking_does_not_change_the_trace() -> None:
    first, second = (run_faulty(5, 4, 40, actions=20, check_every=n).digest for n in (0, 50))
    assert first == second


def test_other_seed_other_trace() -> None:
    first, second = (run_faulty(seed, 4, 40, actions=10, check_every=0) for seed in (5, 6))
    assert first.digest != second.digest


def test_order_of_strings_in_sets_does_not_matter() -> None:
    expected = run_faulty(5, 4, 40, actions=20, check_every=0).digest
    for hash_seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=ROOT, text=True, check=True, capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed}, timeout=60,
        )  # fmt: skip
        assert found.stdout.strip() == expected
