"""Which bodies are taken, and what is said about the others. No server is needed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cellspan.labext.bodies import (
    BadBody,
    StartRequest,
    parse_lines,
    parse_scale,
    parse_start,
    parse_subscription,
)


def encode(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_an_empty_request_asks_for_the_defaults() -> None:
    assert parse_start(b"{}") == StartRequest(None, 1, None, None, "server", None, None, None)


def test_a_full_request() -> None:
    body = encode(
        name="a-b.c_1",
        workers=3,
        cores=2,
        memory_bytes=1 << 30,
        lifetime="kernel",
        idle_timeout_s=1.5,
        kernel_name="python3",
        kernel_id="x",
    )
    expected = StartRequest("a-b.c_1", 3, 2, 1 << 30, "kernel", 1.5, "python3", "x")
    assert parse_start(body) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("name", value) for value in ("", "../evil", "a b", "-a", "a" * 64, "ä", "a\n", 7, [])),
        *(("workers", value) for value in (0, -1, 1.5, True, "1", 10**9)),
        *(("cores", value) for value in (0, -1, 0.5, False, 10**6)),
        *(("memory_bytes", value) for value in (12, -1, 1e9, "4GB", 1 << 61)),
        *(("lifetime", value) for value in ("forever", "", 1, ["server"])),
        *(("idle_timeout_s", value) for value in (0, -1, True, "60")),
        *(("kernel_name", value) for value in ("", 3, "x" * 500)),
        *(("kernel_id", value) for value in ("", 3)),
        *((name, 1) for name in ("interpreter", "cwd", "listen", "owner_pid")),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    with pytest.raises(BadBody) as caught:
        parse_start(encode(**{field: value}))
    assert list(caught.value.fields) == [field]
    assert str(caught.value)


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(BadBody) as caught:
        parse_start(encode(name="", workers=0, cores=0, memory_bytes=0))
    assert list(caught.value.fields) == ["name", "workers", "cores", "memory_bytes"]


def test_not_a_number_is_no_idle_time() -> None:
    for text in (b"NaN", b"-Infinity"):
        with pytest.raises(BadBody):
            parse_start(b'{"idle_timeout_s": ' + text + b"}")


def test_lifetime_kernel_needs_a_kernel() -> None:
    with pytest.raises(BadBody) as caught:
        parse_start(encode(lifetime="kernel"))
    assert list(caught.value.fields) == ["lifetime"]


def test_scale() -> None:
    assert parse_scale(encode(workers=4)) == 4
    for body in (b"{}", b'{"workers": null}', encode(workers=0), encode(workers="4")):
        with pytest.raises(BadBody) as caught:
            parse_scale(body)
        assert list(caught.value.fields) == ["workers"]


def test_lines() -> None:
    assert parse_lines("200") == 200
    for text in ("", "0", "-1", "1.5", "²", "9999999999999"):
        with pytest.raises(BadBody):
            parse_lines(text)


def test_subscription() -> None:
    known = frozenset({"groups", "activity"})
    assert parse_subscription('{"views": ["groups", "groups"]}', known) == ("groups",)
    assert parse_subscription('{"views": []}', known) == ()
    for text in (b"\xff", "{}", '{"views": "groups"}', '{"views": [1]}', '{"views": ["x"]}'):
        with pytest.raises(BadBody):
            parse_subscription(text, known)
