"""The user functions that every system runs: the same code for all, importable in every worker
process.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any

import numpy as np

PAGE_BYTES = 4096
TEN_US_SPINS = 35
"""How many spins take about 10 us on a machine of today; the results say how long it really was."""


def noop(_: object = None) -> None:
    """Do nothing: what is left is the system's own cost."""


def spin(count: int) -> None:
    """Compute for a time that depends on `count` (at least 1) only and not on any clock, without
    memory traffic and without holding the interpreter's lock (which Dask's workers need meanwhile;
    Task Bench's own kernel is C code as well)."""
    hashlib.pbkdf2_hmac("sha256", b"cellspan", b"benchmark", count)


def digest(label: bytes, *inputs: bytes) -> bytes:
    """Return 16 bytes that depend on the label and on all inputs: so the last results of a graph
    prove that all of it was run as it should be."""
    return hashlib.blake2b(label + b"".join(inputs), digest_size=16).digest()


def point(spins: int, label: bytes, *inputs: bytes) -> bytes:
    """A task of a Task Bench graph: takes 16 bytes of each task before it, computes, and returns 16
    bytes (the least of the reference implementation)."""
    spin(spins)
    return digest(label, *inputs)


def increment(x: int) -> int:
    """A link of a chain that does next to nothing."""
    return x + 1


def increment_ten(x: int) -> int:
    """Ten links of `increment` in one call."""
    for _ in range(10):
        x = increment(x)
    return x


def increment_slowly(x: int) -> int:
    """A link of a chain that takes about 10 us."""
    spin(TEN_US_SPINS)
    return x + 1


def increment_slowly_ten(x: int) -> int:
    """Ten links of `increment_slowly` in one call."""
    for _ in range(10):
        x = increment_slowly(x)
    return x


def make_array(nbytes: int) -> np.ndarray[Any, Any]:
    """Return `nbytes` of ones that were really touched."""
    return np.ones(nbytes // 8)


def make_array_timed(nbytes: int) -> tuple[np.ndarray[Any, Any], float]:
    """Return `make_array` and the time (unix s) at which it was there."""
    array = make_array(nbytes)
    return array, time.time()


def read_array(array: np.ndarray[Any, Any], hold_s: float = 0.0) -> tuple[int, float, float]:
    """Return this process's id, the time (unix s) at which the array was there, its first and last
    page read, and the time at which a number of every page had been read; then stay busy for
    `hold_s`, so that the next reader has to run elsewhere.
    """
    assert array[0] == 1 and array[-1] == 1
    arrived = time.time()
    pages = array[:: PAGE_BYTES // array.itemsize]
    assert pages.sum() == len(pages)
    touched = time.time()
    if hold_s:
        time.sleep(hold_s)
    return os.getpid(), arrived, touched


def wait_for_file(path: str) -> None:
    """Keep a slot busy until the file appears."""
    while not os.path.exists(path):
        time.sleep(0.05)


def add(left: int, right: int) -> int:
    """Add two numbers (trees of sums)."""
    return left + right
