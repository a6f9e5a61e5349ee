"""User values to bytes and back."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspan.engine.diagnostics.counters import bin_of
from cellspan.engine.executor import calls, frames, values


@dataclass
class Promise:
    """Stands for a client's future."""

    group: int
    index: int


def key(value: Any) -> tuple[int, int] | None:
    return (value.group, value.index) if isinstance(value, Promise) else None


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(plain)
def test_plain_values_come_back(value: Any) -> None:
    parts, deps = values.dump_value(value, key)
    assert deps == [] and values.load_value(parts) == value
    blob, _ = values.dump_blob(value, key)
    assert values.load_blob(blob) == value


@given(st.lists(st.tuples(st.integers(0, 2**60), st.integers(0, 2**32 - 1)), max_size=6))
def test_futures_are_found_wherever_they_are(ids: list[tuple[int, int]]) -> None:
    promises = [Promise(*pair) for pair in ids]
    value = {"list": promises, "deep": ({"x": [tuple(promises)]}, 1)}
    blob, deps = values.dump_blob(value, key)
    assert deps == list(dict.fromkeys(ids))
    if ids:
        loaded = values.load_blob(blob, lambda group, index: (group, index))
        assert loaded == {"list": ids, "deep": ({"x": [tuple(ids)]}, 1)}


def test_futures_in_closures_and_objects_are_found() -> None:
    promise = Promise(4, 2)

    class Holder:
        def __init__(self) -> None:
            self.kept = [promise]

    def closure() -> Any:
        return promise

    blob, deps = values.dump_call((Holder(),), {"f": closure}, key)
    assert deps == [(4, 2)]
    args, kwargs = values.load_blob(blob, lambda group, index: f"{group}.{index}")
    assert args[0].kept == ["4.2"] and kwargs["f"]() == "4.2"


def test_large_buffers_are_neither_copied_nor_writable() -> None:
    array = np.arange(100_000)
    parts, _ = values.dump_value({"a": array, "small": np.arange(3)})
    assert len(parts) == 2 and parts[1].nbytes == array.nbytes
    assert np.shares_memory(np.frombuffer(parts[1], array.dtype), array)
    loaded = values.load_blob(values.pack(parts))
    np.testing.assert_array_equal(loaded["a"], array)
    assert not loaded["a"].flags.writeable and loaded["small"].flags.writeable


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_packed_parts_come_back(parts: list[bytes]) -> None:
    if len(parts) == 1:
        parts = [b"\x80" + parts[0]]  # one part is always a pickle
    assert [bytes(p) for p in values.unpack(values.pack(parts))] == parts


def test_functions_travel_by_value() -> None:
    factor = 3
    function = values.load_blob(values.dump_function(lambda x: x * factor))
    assert function(14) == 42


@pytest.mark.parametrize("value", [threading.Lock(), [threading.Lock()]])
def test_what_cannot_be_pickled_is_named(value: Any) -> None:
    with pytest.raises(values.DumpFailed, match=rf"{type(value).__qualname__} cannot be pickled"):
        values.dump_value(value, key)


def test_blocks_hold_lists_or_single_results() -> None:
    several = values.make_block(5, [1, "two", {"three": 3}])
    assert several[:3] == [5, 8, False] and values.load_block(several) == [1, "two", {"three": 3}]
    single = values.make_single_block(9, [1, 2])
    assert single[:3] == [9, 10, True] and values.load_block(single) == [[1, 2]]


@given(st.integers(1, 2**52))
def test_durations_fall_into_the_bins_of_the_diagnostics(duration_ns: int) -> None:
    (found, count) = calls.times_of([duration_ns])
    expected = bin_of(duration_ns / 1e9)
    at_an_edge = abs(np.log2(duration_ns / 1e3) * 4 - max(found, expected)) < 1e-9
    assert count == 1 and (found == expected or (at_an_edge and abs(found - expected) == 1))


@given(
    st.lists(st.tuples(st.dictionaries(st.text(), st.integers()), st.lists(st.binary()))),
    st.integers(1, 50),
)
def test_frames_survive_any_cutting(sent: list[tuple[dict, list[bytes]]], size: int) -> None:
    stream = b"".join(b"".join(frames.encode(header, buffers)) for header, buffers in sent)
    found: list[tuple[dict, list[Any]]] = []
    decoder = frames.Decoder(lambda header, buffers: found.append((header, buffers)))
    for start in range(0, len(stream), size):
        decoder.feed(stream[start : start + size])
    assert found == sent
