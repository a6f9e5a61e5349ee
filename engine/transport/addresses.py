"""Addresses, and sockets that are bound to them.

``unix:///absolute/path``, ``tls://host:port`` (port 0: any free one), ``memory://name`` (tests).

Law: no asyncio here, so that a process may bind its address before it imports what takes time.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..errors import InvalidArgument

BACKLOG = 1024


class Place(NamedTuple):
    scheme: str
    path: str
    host: str
    port: int


def parse_address(address: str) -> Place:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidArgument(f"{address!r} is no address: {error}") from error
    if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
        return Place("unix", parts.path, "", 0)
    if parts.scheme == "tls" and host and port is not None:
        return Place("tls", "", host, port)
    if parts.scheme == "memory" and parts.netloc:
        return Place("memory", "", "", 0)
    raise InvalidArgument(
        f"{address!r} is no address: it is unix:///absolute/path or tls://host:port"
    )


def bind(address: str) -> tuple[socket.socket, str]:
    """Return a socket that takes connections at `address` from now on, and the address with the
    real port. Whoever connects waits until `listen` is given that socket.

    Raises:
        InvalidArgument: no such kind of address, or no room for the path.
        OSError: the address cannot be had.
    """
    place = parse_address(address)
    if place.scheme == "unix":
        if len(os.fsencode(place.path)) > 103:  # macOS has 104 bytes for it, Linux 108
            raise InvalidArgument(f"the socket's path is too long: {place.path}")
        family: int = socket.AF_UNIX
        where: Any = place.path
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place.path)  # what a killed process left; nobody else writes to that folder
    else:
        family, _, _, _, where = socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if place.scheme == "tls":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        if place.scheme == "unix":
            os.chmod(place.path, 0o600)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock, name_address(place, sock)


def name_address(place: Place, sock: socket.socket) -> str:
    if place.scheme == "unix":
        return f"unix://{place.path}"
    host = f"[{place.host}]" if ":" in place.host else place.host
    return f"tls://{host}:{sock.getsockname()[1]}"
