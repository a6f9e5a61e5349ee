"""A Jupyter server with our extension, in directories of its own."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cellspan.engine.deploy import manager


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    return {"ServerApp": {"jpserver_extensions": {"cellspan.labext": True}}}


@pytest.fixture
def clusters(jp_serverapp: Any) -> Any:
    """The service behind the routes; what a test has started is stopped."""
    yield jp_serverapp.web_app.settings["cellspan_service"]
    for info in manager.list_clusters():
        manager.stop_cluster(info.name)


@pytest.fixture
def ask(jp_fetch: Any, clusters: Any) -> Callable[..., Awaitable[tuple[int, Any]]]:
    """Make a request and return its status and JSON, whatever the status."""

    async def request(method: str, *path: str, body: Any = None, **params: str) -> tuple[int, Any]:
        response = await jp_fetch(
            "cellspan",
            *path,
            method=method,
            body=None if body is None else json.dumps(body),
            params=params,
            raise_error=False,
            allow_nonstandard_methods=True,
        )
        return response.code, json.loads(response.body) if response.body else None

    return request
