"""The routes with real clusters: what a browser can do, and what it is told when it cannot."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cellspan.engine.deploy import manager

Ask = Callable[..., Awaitable[tuple[int, Any]]]

SMALL = {"workers": 1, "cores": 1, "memory_bytes": 1 << 30}


async def wait_for_state(ask: Ask, name: str, state: str, timeout_s: float = 30.0) -> Any:
    async with asyncio.timeout(timeout_s):
        while True:
            status, entry = await ask("GET", "clusters", name)
            if status == 200 and entry["state"] == state:
                return entry
            await asyncio.sleep(0.05)


async def test_start_scale_logs_stop(ask: Ask) -> None:
    assert await ask("GET", "clusters") == (200, [])

    begun = time.monotonic()
    status, entry = await ask("POST", "clusters", body={"name": "one", **SMALL})
    assert (status, entry["state"], entry["name"]) == (202, "starting", "one")
    assert time.monotonic() - begun < 1.0
    entry = await wait_for_state(ask, "one", "running")
    assert (entry["workers"], entry["wanted"], entry["slots"]) == (1, 1, 1)
    assert entry["memory_limit_bytes"] == 1 << 30
    assert entry["tasks"] == {"done": 0, "running": 0, "waiting": 0, "failed": 0}

    status, entry = await ask("PATCH", "clusters", "one", body={"workers": 2})
    assert (status, entry["wanted"]) == (200, 2)
    async with asyncio.timeout(20):
        while entry["workers"] != 2:
            _, entry = await ask("GET", "clusters", "one")

    status, logs = await ask("GET", "clusters", "one", "logs", lines="50")
    assert status == 200
    assert {source for source, *_ in logs["entries"]} >= {"scheduler"}
    status, answer = await ask("GET", "clusters", "one", "logs", source="nobody")
    assert status == 502
    assert "nobody" in answer["message"]

    assert await ask("DELETE", "clusters", "one") == (204, None)
    assert await ask("GET", "clusters") == (200, [])
    assert await asyncio.to_thread(manager.list_clusters) == []


async def test_nothing_secret_is_told(ask: Ask) -> None:
    await ask("POST", "clusters", body={"name": "quiet", **SMALL})
    await wait_for_state(ask, "quiet", "running")
    info = await asyncio.to_thread(manager.find_cluster, "quiet")
    _, entries = await ask("GET", "clusters")
    text = json.dumps(entries)
    for secret in (info.address, info.path, info.folder):
        assert secret and secret not in text


async def test_a_name_is_chosen_and_conflicts_are_told(ask: Ask) -> None:
    status, first = await ask("POST", "clusters", body=SMALL)
    assert (status, first["name"]) == (202, "local")
    status, second = await ask("POST", "clusters", body={"name": "local", **SMALL})
    assert status == 409
    assert "local" in second["message"]
    status, third = await ask("POST", "clusters", body=SMALL)
    assert (status, third["name"]) == (202, "local-2")
    await wait_for_state(ask, "local", "running")
    await wait_for_state(ask, "local-2", "running")
    status, _ = await ask("POST", "clusters", body={"name": "local", **SMALL})
    assert status == 409


async def test_a_failed_start_says_why_until_dismissed(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "SCHEDULER_MODULE", "no_such_module_of_cellspan")
    await ask("POST", "clusters", body={"name": "broken", **SMALL})
    entry = await wait_for_state(ask, "broken", "failed")
    assert "no_such_module_of_cellspan" in entry["reason"]
    monkeypatch.undo()

    status, _ = await ask("POST", "clusters", body={"name": "broken", **SMALL})
    assert status == 202  # the name was not taken by the failure
    await wait_for_state(ask, "broken", "running")
    assert await ask("DELETE", "clusters", "broken") == (204, None)

    monkeypatch.setattr(manager, "SCHEDULER_MODULE", "no_such_module_of_cellspan")
    await ask("POST", "clusters", body={"name": "broken", **SMALL})
    await wait_for_state(ask, "broken", "failed")
    assert await ask("DELETE", "clusters", "broken") == (204, None)
    assert await ask("GET", "clusters") == (200, [])


async def test_a_start_can_be_given_up(ask: Ask) -> None:
    await ask("POST", "clusters", body={"name": "hasty", **SMALL})
    assert await ask("DELETE", "clusters", "hasty") == (204, None)
    async with asyncio.timeout(20):
        while (await ask("GET", "clusters"))[1] or await asyncio.to_thread(manager.list_clusters):
            await asyncio.sleep(0.05)


async def test_bad_fields_are_named(ask: Ask) -> None:
    for body, field in (
        ({"name": "../evil", "workers": 0}, "name"),
        ({"name": "fine", "workers": 0}, "workers"),
        ({"lifetime": "kernel"}, "lifetime"),
        ({"lifetime": "kernel", "kernel_id": "no-such-kernel"}, "lifetime"),
        ({"kernel_name": "no-such-kernel"}, "kernel_name"),
        ({"interpreter": "/bin/sh"}, "interpreter"),
    ):
        status, answer = await ask("POST", "clusters", body=body)
        assert status == 400, body
        assert answer["fields"][field]
        assert answer["message"]
    assert await ask("GET", "clusters") == (200, [])


async def test_bodies_that_are_no_objects(jp_fetch: Any, clusters: Any) -> None:
    for body in (b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000):
        response = await jp_fetch(
            "cellspan", "clusters", method="POST", body=body, raise_error=False
        )
        assert response.code == 400
        assert json.loads(response.body)["message"].startswith("The body ")


async def test_unknown_things(ask: Ask) -> None:
    for name in ("nobody", "..%2f..%2fsecret", "a b"):
        for method, path, body in (
            ("GET", [], None),
            ("PATCH", [], {"workers": 2}),
            ("DELETE", [], None),
            ("GET", ["logs"], None),
        ):
            status, answer = await ask(method, "clusters", name, *path, body=body)
            assert status == 404, (method, name, path)
            assert answer["message"]
    status, answer = await ask("GET", "views", "nobody")
    assert status == 404
    assert "groups" in answer["message"]


async def test_bad_scale(ask: Ask) -> None:
    await ask("POST", "clusters", body={"name": "one", **SMALL})
    await wait_for_state(ask, "one", "running")
    for workers in (0, -1, "2", None, 1.5):
        status, answer = await ask("PATCH", "clusters", "one", body={"workers": workers})
        assert (status, list(answer["fields"])) == (400, ["workers"]), workers
    _, entry = await ask("GET", "clusters", "one")
    assert entry["wanted"] == 1


async def test_bad_lines(ask: Ask) -> None:
    for lines in ("0", "-1", "many", "99999999999"):
        status, answer = await ask("GET", "clusters", "one", "logs", lines=lines)
        assert status == 400, lines
        assert "lines" in answer["message"]


async def test_views(ask: Ask) -> None:
    status, listed = await ask("GET", "views")
    assert status == 200
    assert [view["name"] for view in listed] == ["groups", "activity"]
    for view in listed:
        status, item = await ask("GET", "views", view["name"])
        assert status == 200
        assert item["doc"]["roots"]


async def test_the_loop_is_free_while_a_cluster_starts(ask: Ask) -> None:
    """A start takes a second or so of processes coming up; no turn of the loop may."""
    loop = asyncio.get_running_loop()
    longest = 0.0
    is_over = False

    async def feel() -> None:
        nonlocal longest
        while not is_over:
            begun = loop.time()
            await asyncio.sleep(0.005)
            longest = max(longest, loop.time() - begun)

    await ask("GET", "views")  # what is imported once is imported
    feeling = asyncio.create_task(feel())
    await ask("POST", "clusters", body={"name": "one", **SMALL})
    await wait_for_state(ask, "one", "running")
    is_over = True
    await feeling
    assert longest < 0.5


async def test_a_cluster_ends_with_its_kernel(ask: Ask, jp_fetch: Any) -> None:
    response = await jp_fetch("api", "kernels", method="POST", body="{}")
    kernel_id = json.loads(response.body)["id"]
    body = {"name": "tied", "lifetime": "kernel", "kernel_id": kernel_id, **SMALL}
    status, _ = await ask("POST", "clusters", body=body)
    assert status == 202
    await wait_for_state(ask, "tied", "running")
    await jp_fetch("api", "kernels", kernel_id, method="DELETE")
    async with asyncio.timeout(20):
        while (await ask("GET", "clusters"))[1]:
            await asyncio.sleep(0.1)


async def test_a_cluster_that_hangs_holds_up_nothing(ask: Ask) -> None:
    for name in ("hung", "well"):
        await ask("POST", "clusters", body={"name": name, **SMALL})
        await wait_for_state(ask, name, "running")
    info = await asyncio.to_thread(manager.find_cluster, "hung")
    os.kill(info.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            while (await ask("GET", "clusters", "hung"))[1]["answers"]:
                await asyncio.sleep(0.1)
        begun = time.monotonic()
        _, entries = await ask("GET", "clusters")
        assert time.monotonic() - begun < 1.0
        assert [(entry["name"], entry["answers"]) for entry in entries] == [
            ("hung", False),
            ("well", True),
        ]
    finally:
        os.kill(info.pid, signal.SIGCONT)
    async with asyncio.timeout(20):
        while not (await ask("GET", "clusters", "hung"))[1]["answers"]:
            await asyncio.sleep(0.1)
