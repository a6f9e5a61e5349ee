"""No route of ours answers without a login, without the authoriser's consent, or to a foreign
page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from jupyter_server.auth import Authorizer
from tornado.httpclient import HTTPClientError

from cellspan.labext.app import ROUTES
from cellspan.labext.sockets import CellspanSocket

VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def registered_routes(app: Any) -> Iterator[tuple[str, type]]:
    """Yield path and handler of every rule under /cellspan/ that the server really has."""
    for group in app.web_app.default_router.rules:
        for rule in group.target.rules:
            pattern = rule.matcher.regex.pattern.rstrip("$")
            if "/cellspan/" in pattern:
                yield pattern.replace("([^/]+)", "some"), rule.target


def test_all_routes_are_seen(jp_serverapp: Any) -> None:
    assert len(list(registered_routes(jp_serverapp))) == len(ROUTES)


async def test_no_route_answers_unauthenticated(
    jp_serverapp: Any, jp_base_url: str, http_server_client: Any
) -> None:
    for path, handler in registered_routes(jp_serverapp):
        for verb in VERBS:
            response = await http_server_client.fetch(
                path,
                method=verb,
                body="{}" if verb in ("POST", "PUT", "PATCH") else None,
                raise_error=False,
                follow_redirects=False,
                allow_nonstandard_methods=True,
            )
            is_there = verb.lower() in vars(handler) or issubclass(handler, CellspanSocket)
            refused = {401, 403} if is_there and verb == "GET" else {401, 403, 405}
            assert response.code in refused, (verb, path, response.code)
            assert b"clusters" not in response.body.lower().replace(b"/clusters", b"")


async def test_writing_needs_the_xsrf_cookie(
    jp_serverapp: Any, http_server_client: Any, jp_base_url: str
) -> None:
    """With a login by cookie, as in a browser, a page without the XSRF token can change nothing."""
    headers = await login_headers(jp_serverapp, http_server_client, jp_base_url)
    for path, verb in (("clusters", "POST"), ("clusters/x", "PATCH"), ("clusters/x", "DELETE")):
        response = await http_server_client.fetch(
            f"{jp_base_url}cellspan/{path}",
            method=verb,
            headers=headers,
            body=None if verb == "DELETE" else "{}",
            raise_error=False,
        )
        assert response.code == 403
        assert b"XSRF" in response.body.upper()
    response = await http_server_client.fetch(f"{jp_base_url}cellspan/clusters", headers=headers)
    assert json.loads(response.body) == []  # the same cookie may read


async def login_headers(app: Any, client: Any, base_url: str) -> dict[str, str]:
    """Log in as a browser does, and return what it sends from then on, but for XSRF."""
    response = await client.fetch(f"{base_url}api/status?token={app.identity_provider.token}")
    pairs = [value.split(";")[0] for value in response.headers.get_list("Set-Cookie")]
    cookie = "; ".join(pair for pair in pairs if not pair.startswith("_xsrf"))
    return {"Cookie": cookie, "Host": urlsplit(response.request.url).netloc}


class Denier(Authorizer):
    """Refuses our resource, to everybody, and remembers for what it was asked."""

    asked: list[tuple[str, str]]

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        if resource == "cellspan":
            self.asked.append((handler.request.method, action))
            return False
        return True


@pytest.fixture
def denier(jp_serverapp: Any) -> Denier:
    denier = Denier(parent=jp_serverapp)
    denier.asked = []
    jp_serverapp.web_app.settings["authorizer"] = denier
    return denier


async def test_the_authoriser_is_asked_for_every_verb(
    jp_serverapp: Any, jp_fetch: Any, jp_base_url: str, denier: Denier
) -> None:
    expected = {"GET": "read", "POST": "write", "PATCH": "write", "DELETE": "write"}
    for path, handler in registered_routes(jp_serverapp):
        for verb, action in expected.items():
            if verb.lower() not in vars(handler) or issubclass(handler, CellspanSocket):
                continue
            denier.asked.clear()
            response = await jp_fetch(
                path.removeprefix(jp_base_url),
                method=verb,
                body="{}" if verb in ("POST", "PATCH") else None,
                raise_error=False,
            )
            assert response.code == 403, (verb, path)
            assert denier.asked == [(verb, action)]


async def test_denied_sockets_do_not_open(
    jp_serverapp: Any, jp_ws_fetch: Any, denier: Denier
) -> None:
    for path in (["events"], ["clusters", "x", "watch"]):
        denier.asked.clear()
        with pytest.raises(HTTPClientError) as caught:
            await jp_ws_fetch("cellspan", *path)
        assert caught.value.code == 403
        assert denier.asked == [("GET", "read")]


async def test_sockets_refuse_foreign_pages(
    jp_serverapp: Any, jp_ws_fetch: Any, http_server_client: Any, jp_base_url: str
) -> None:
    """With a login by cookie: a page of another origin would send it along."""
    headers = await login_headers(jp_serverapp, http_server_client, jp_base_url)
    headers["Authorization"] = ""  # no token, or the origin would not matter
    for path in (["events"], ["clusters", "x", "watch"]):
        with pytest.raises(HTTPClientError) as caught:
            foreign = {**headers, "Origin": "http://elsewhere.example"}
            await jp_ws_fetch("cellspan", *path, headers=foreign)
        assert caught.value.code == 403
        (await jp_ws_fetch("cellspan", *path, headers=dict(headers))).close()
