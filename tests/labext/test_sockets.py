"""What is pushed: the list when it changes, the columns of views while somebody looks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from cellspan import Client
from cellspan.engine.deploy import manager

start = partial(manager.start_cluster, workers=1, cores=1, memory=1 << 30)


async def next_message(socket: Any, fits: Callable[[Any], bool], timeout_s: float = 15.0) -> Any:
    """Read messages until one fits, and return it."""
    async with asyncio.timeout(timeout_s):
        while True:
            text = await socket.read_message()
            assert text is not None, "the socket was closed"
            message = json.loads(text)
            if fits(message):
                return message


def has(name: str, state: str) -> Callable[[Any], bool]:
    def fits(message: Any) -> bool:
        return any(
            entry["name"] == name and entry["state"] == state for entry in message["clusters"]
        )

    return fits


async def test_the_list_is_pushed(jp_ws_fetch: Any, clusters: Any) -> None:
    socket = await jp_ws_fetch("cellspan", "events")
    first = await next_message(socket, lambda message: True)
    assert first == {"type": "clusters", "clusters": []}

    # Started elsewhere: this server is not told, it sees.
    await asyncio.to_thread(start, "elsewhere")
    begun = time.monotonic()
    await next_message(socket, has("elsewhere", "running"))
    assert time.monotonic() - begun < 1.5

    await asyncio.to_thread(manager.stop_cluster, "elsewhere")
    await next_message(socket, lambda message: message["clusters"] == [], 2.0)
    socket.close()


async def test_two_sockets_are_told_both(jp_ws_fetch: Any, clusters: Any) -> None:
    first, second = [await jp_ws_fetch("cellspan", "events") for _ in range(2)]
    for socket in (first, second):
        assert (await next_message(socket, lambda message: True))["clusters"] == []
    await asyncio.to_thread(start, "both")
    for socket in (first, second):
        await next_message(socket, has("both", "running"))
        socket.close()


async def test_columns_follow_the_work_and_the_cluster(jp_ws_fetch: Any, clusters: Any) -> None:
    await asyncio.to_thread(start, "seen")
    socket = await jp_ws_fetch("cellspan", "clusters", "seen", "watch")
    await socket.write_message(json.dumps({"views": ["groups", "activity"]}))
    message = await next_message(socket, lambda message: message["type"] == "snapshot")
    assert set(message["views"]) == {"groups", "activity"}
    assert message["summary"]["slots"] == 1

    await asyncio.to_thread(run_some_work, "seen")
    message = await next_message(socket, lambda message: message["summary"]["tasks"]["done"] == 10)
    assert "double" in json.dumps(message["views"]["groups"])

    await asyncio.to_thread(manager.stop_cluster, "seen")
    await asyncio.to_thread(start, "seen")  # another cluster of that name
    await next_message(
        socket,
        lambda message: (
            message["summary"]["tasks"]["done"] == 0 and message["summary"]["slots"] == 1
        ),
    )
    socket.close()


def run_some_work(name: str) -> None:
    def double(x: int) -> int:
        return 2 * x

    with Client(name) as client:
        assert sum(future.result(20) for future in client.map(double, range(10))) == 90


async def test_nothing_is_asked_while_nobody_looks(jp_ws_fetch: Any, clusters: Any) -> None:
    await asyncio.to_thread(start, "alone")
    socket = await jp_ws_fetch("cellspan", "clusters", "alone", "watch")
    await socket.write_message(json.dumps({"views": ["groups"]}))
    await next_message(socket, lambda message: message["type"] == "snapshot")
    feed = clusters.lookout.feed_of("alone")
    assert feed.snapshot is not None
    await socket.write_message(json.dumps({"views": []}))
    async with asyncio.timeout(5):
        while feed.snapshot is not None:
            await asyncio.sleep(0.02)
    socket.close()


async def test_bad_subscriptions_are_told(jp_ws_fetch: Any, clusters: Any) -> None:
    socket = await jp_ws_fetch("cellspan", "clusters", "nobody", "watch")
    for text in ("{", "[]", '{"views": "groups"}', '{"views": ["nothing"]}', '{"orders": 1}'):
        await socket.write_message(text)
        message = await next_message(socket, lambda message: True)
        assert message["type"] == "error"
        assert message["message"]
    socket.close()
