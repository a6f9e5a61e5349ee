"""The simulated user functions agree with themselves.

Law: the oracle counts on the integer forms, the executors on the array forms.
"""

from __future__ import annotations

from random import Random

import numpy as np

from . import work
from .truth import Truth
from .work import Function


def test_arrays_and_integers_give_the_same_values() -> None:
    random = Random(1)
    function = Function(random.getrandbits(63), 0.01)
    first = np.array([random.getrandbits(63) for _ in range(50)], np.uint64)
    second = work.range_column(3, 5, 10, 60)
    values = work.call_arrays(function, [first, second], 50)
    assert [int(v) for v in values] == [
        work.call(function, [int(a), int(b)]) for a, b in zip(first, second, strict=True)
    ]


def test_function_without_arguments_has_one_value() -> None:
    function = Function(7, 0.01)
    assert set(work.call_arrays(function, [], 3).tolist()) == {work.call(function, [])}


def test_durations_of_a_part_are_a_part_of_the_durations() -> None:
    function = Function(7, 0.01)
    whole = work.durations(function, 0, 3 * work.PAGE)
    low, high = work.PAGE - 5, 2 * work.PAGE + 7
    assert (work.durations(function, low, high) == whole[low:high]).all()
    assert 0.005 < whole.mean() < 0.02


def test_oracle_refuses_a_wrong_result_and_an_unexplained_failure() -> None:
    truth = Truth()
    function = Function(7, 0.01, raises=3)
    truth.add_each(1, function, 100, [["range", 0, 1]], {})
    doomed = truth.groups[1].doomed
    good = int(np.argmin(doomed))
    value = truth.groups[1].values[good : good + 1]
    assert truth.check_values(1, good, value) is None
    assert truth.check_values(1, good, value + np.uint64(1)) is not None
    bad = int(np.argmax(doomed))
    assert truth.check_values(1, bad, truth.groups[1].values[bad : bad + 1]) is not None
    failure = {"kind": "raised", "text": "ValueError"}
    assert truth.check_failure(1, bad, failure) is not None
    truth.raised[1, bad] = 1
    assert truth.check_failure(1, bad, failure) is None


def test_oracle_folds_level_by_level() -> None:
    truth = Truth()
    make, fold = Function(7, 0.01), Function(8, 0.01)
    truth.add_each(1, make, 9, [["range", 0, 1]], {})
    assert truth.add_fold(2, fold, (1, 1, 7, 3), 5, {}) == 3 + 1
    a = [truth.value_of(1, i) for i in range(9)]
    initial = work.read_call(work.pack_call(5, []), truth.value_of)
    below = [
        work.call(fold, row) for row in ([initial, a[1], a[2], a[3]], [a[4], a[5], a[6]], [a[7]])
    ]
    expected = [*below, work.call(fold, below)]
    assert truth.groups[2].values.tolist() == expected
