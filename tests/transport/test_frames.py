"""The frame reader against the encoder, however the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellspan.engine.codec import PREFIX, decode, encode
from cellspan.engine.errors import PeerError
from cellspan.engine.messages import (
    Hello,
    Message,
    PutResults,
    ReleaseTasks,
    RunSpan,
    TakeBack,
)
from cellspan.engine.transport.frames import DIRECT_BYTES, PAGES_BYTES, FrameReader


def to_bytes(messages: list[Message]) -> bytes:
    return b"".join(bytes(part) for part in encode(messages))


def put(*sizes: int) -> PutResults:
    parts = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
    return PutResults(1, 2, [[0, 1, True, parts]])


messages = st.lists(
    st.one_of(
        st.builds(ReleaseTasks, st.integers(0, 2**62), st.just([0, 5, 7, 9])),
        st.builds(TakeBack, st.integers(0, 2**62), st.just([]), st.booleans()),
        st.builds(put, st.integers(0, 6000), st.integers(0, 80_000)),
        st.builds(
            lambda size: RunSpan(1, 2, 3, 4, True, payload=b"p" * size), st.integers(0, 200_000)
        ),
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=60)
@given(frames=st.lists(messages, min_size=1, max_size=4), data=st.data())
def test_any_cut_gives_the_same_messages(frames: list[list[Message]], data: st.DataObject) -> None:
    stream = b"".join(to_bytes(frame) for frame in frames)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    edges = [0, *sorted(cuts), len(stream)]
    reader = FrameReader()
    found = []
    for start, stop in itertools.pairwise(edges):
        for header, buffers in reader.feed(stream[start:stop]):
            found.append(decode(header, buffers))
        assert reader.is_between_frames == (stop in ends_of(frames))
    assert found == frames


def ends_of(frames: list[list[Message]]) -> set[int]:
    ends, end = {0}, 0
    for frame in frames:
        end += len(to_bytes(frame))
        ends.add(end)
    return ends


def test_byte_by_byte() -> None:
    frame: list[Message] = [put(10, 5000), Hello(1, "0", "client", "c", {"a": [1, None, 2.5]})]
    reader = FrameReader()
    frames = [f for byte in to_bytes(frame) for f in reader.feed(bytes([byte]))]
    assert [decode(*f) for f in frames] == [frame]


@pytest.mark.parametrize("size", [DIRECT_BYTES - 1, DIRECT_BYTES, PAGES_BYTES, 5 * PAGES_BYTES + 3])
def test_large_buffer_is_received_into_its_own_memory(size: int) -> None:
    frame = to_bytes([put(size)])
    reader = FrameReader()
    reader.feed(frame[:100])
    room = reader.get_buffer()
    if size >= DIRECT_BYTES:
        assert len(room) > size - 100  # not the scratch: all that is missing fits
    [(header, buffers)] = reader.feed(frame[100:])
    assert decode(header, buffers) == [put(size)]


def test_get_buffer_is_never_empty() -> None:
    reader = FrameReader()
    stream = to_bytes([put(40_000, 40_000, 3, 70_000)]) * 20
    while stream:
        room = reader.get_buffer()
        assert len(room) > 0
        count = min(len(room), len(stream))
        room[:count] = stream[:count]
        reader.advance(count)
        stream = stream[count:]
    assert reader.is_between_frames


@pytest.mark.parametrize(
    "garbage",
    [
        PREFIX.pack(1 << 30, 0),
        PREFIX.pack(10, (1 << 20) + 1),
        PREFIX.pack(1, 1) + (1 << 60).to_bytes(8, "little"),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_lengths_beyond_the_limits_are_refused(garbage: bytes) -> None:
    with pytest.raises(PeerError):
        FrameReader().feed(garbage)


def test_limits_can_be_narrow() -> None:
    frame = to_bytes([Hello(1, "0", "client", "c", {"text": "x" * 70_000})])
    with pytest.raises(PeerError):
        FrameReader(header_limit_bytes=65536).feed(frame)
    with pytest.raises(PeerError):
        FrameReader(max_buffers=0).feed(to_bytes([put(5000)]))


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_garbage_gives_peer_error_or_nothing(garbage: bytes) -> None:
    reader = FrameReader(header_limit_bytes=1000, max_buffers=4)
    try:
        for header, buffers in reader.feed(garbage):
            decode(header, buffers)
    except PeerError:
        return
    assert len(garbage) < 8 or not reader.is_between_frames or garbage[:4] == b"\0\0\0\0"
