"""The user functions that every system runs: the same code for all, importable in every worker
process.
"""

from __future__ import annotations

import os
import time

import numpy as np


def noop(_: object = None) -> None:
    """Do nothing: what is left is the system's own cost."""


def make_array(nbytes: int) -> np.ndarray:
    """Return `nbytes` of ones that were really touched."""
    return np.ones(nbytes // 8)


def read_array(array: np.ndarray, hold_s: float = 0.0) -> tuple[int, float]:
    """Return this process's id and the time (unix s) at which the array was there, a page of it
    read; then stay busy for `hold_s`, so that the next reader has to run elsewhere.
    """
    assert array[0] == 1 and array[-1] == 1
    arrived = time.time()
    if hold_s:
        time.sleep(hold_s)
    return os.getpid(), arrived


def wait_for_file(path: str) -> None:
    """Keep a slot busy until the file appears."""
    while not os.path.exists(path):
        time.sleep(0.05)


def add(left: int, right: int) -> int:
    """Add two numbers (tree of sums)."""
    return left + right


def own_pid(_: object = None) -> int:
    """Return the process id of the executor that runs this."""
    return os.getpid()
