"""The search for METG, on systems whose overhead is known; no clock is involved."""

from __future__ import annotations

import pytest

from benchmarks.metg import CLOSE, Kernel, digest_all, search
from benchmarks.patterns import make_graph


@pytest.mark.parametrize("overhead_s", [2e-5, 3e-4, 1e-3, 7e-3])
def test_constant_overhead_is_found_exactly(overhead_s: float) -> None:
    found = search(lambda length_s: length_s / (length_s + overhead_s), lambda: True, 1e-3)
    assert found.kernel_s == pytest.approx(overhead_s)
    assert not found.bound
    assert len(found.curve) < 14


def test_a_step_is_found_within_the_last_two_lengths() -> None:
    found = search(lambda length_s: 0.9 if length_s > 4.2e-4 else 0.1, lambda: True, 1e-3)
    assert 4.2e-4 / CLOSE < found.kernel_s < 4.2e-4 * CLOSE


def test_what_is_never_half_busy_or_always_is_is_said_to_be_beyond() -> None:
    never, always = (
        search(lambda _: 0.2, lambda: True, 1e-3),
        search(lambda _: 0.8, lambda: True, 1e-3),
    )
    assert never.bound == ">" and never.kernel_s >= 10e-3
    assert always.bound == "<" and always.kernel_s <= 20e-6


def test_without_time_the_bracket_stands() -> None:
    tried: list[float] = []

    def efficiency_at(length_s: float) -> float:
        tried.append(length_s)
        return length_s / (length_s + 3e-4)

    found = search(efficiency_at, lambda: len(tried) < 2, 2e-4)
    assert len(tried) == 2 and not found.bound
    assert min(tried) < found.kernel_s < max(tried)


def test_kernel_lengths_and_spins() -> None:
    kernel = Kernel(2e-6, 0.25e-6)
    assert kernel.spins_of(1e-9) == 1
    assert kernel.length_of(kernel.spins_of(1e-3)) == pytest.approx(1e-3, rel=1e-3)


def test_results_of_a_graph_depend_on_every_task_before() -> None:
    graph = make_graph("stencil_1d", 4, 6)
    truth = digest_all(graph)
    assert len(truth) == 4 and all(len(result) == 16 for result in truth)
    tasks = list(graph.tasks)
    tasks[1] = (b"another label...", ())
    changed = digest_all(graph._replace(tasks=tasks))
    assert all(one != other for one, other in zip(truth, changed, strict=True))
