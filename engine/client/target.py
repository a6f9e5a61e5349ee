"""What `Client(...)` is given, turned into an address, a cluster id and credentials.

Law: the only place of the client that knows `deploy`, and it asks for it only when a client is
made. Blocks: it reads connection files and may start a cluster.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ClusterDead, ClusterExists, ClusterNotFound, InvalidArgument
from ..transport import Credentials

DEFAULT_NAME = "default"


class Target(NamedTuple):
    """Where to connect. `started`: the cluster that was started for this client."""

    address: str
    cluster_id: str
    credentials: Credentials | None
    started: Any = None


def resolve(
    target: Any, connection: str | os.PathLike[str] | None, credentials: Credentials | None
) -> Target:
    """Return where a client is to connect.

    Raises:
        ClusterNotFound: no cluster of that name, address or file; the text lists those that there
        are. ClusterDead: there was one, but its scheduler is gone. InvalidArgument: the target is
        none of the things that it can be.
    """
    if target is None and connection is None:
        return _find_or_start()
    if connection is not None:
        found = _of_file(connection)
        if isinstance(target, str) and "://" in target:  # the same cluster, by another way
            return found._replace(address=target, credentials=credentials or found.credentials)
        return found
    if isinstance(target, str):
        if "://" in target:
            return _of_address(target, credentials)
        if os.sep in target or target.endswith(".json"):
            return _of_file(target)
        return _of_name(target)
    if isinstance(target, os.PathLike):
        return _of_file(target)
    info = getattr(target, "info", target)  # a LocalCluster, or a ClusterInfo
    if hasattr(info, "addresses") and hasattr(info, "id"):
        return _of_info(info)
    raise InvalidArgument(
        "a client is made of a cluster's name, address or connection file, of a LocalCluster, or "
        "of nothing "
        f"(the default cluster), not of a {type(target).__name__}"
    )


def _of_info(info: Any) -> Target:
    if not info.address:
        raise ClusterDead(f"cluster {info.name!r} has no address yet: it is {info.state}")
    return Target(info.address, info.id, info.get_credentials())


def _of_name(name: str) -> Target:
    from ..deploy import manager

    return _of_info(manager.find_cluster(name))


def _of_file(path: str | os.PathLike[str]) -> Target:
    from ..deploy import connection_file

    info, credentials = connection_file.read(Path(path))
    if not info.is_alive():
        raise ClusterDead(
            f"cluster {info.name!r} of {path} is dead: its scheduler (pid {info.pid}) is gone. "
            "Start a new one"
        )
    return _of_info(info)._replace(credentials=credentials)


def _of_address(address: str, credentials: Credentials | None) -> Target:
    from ..deploy import manager

    for info in manager.list_clusters():
        if address in info.addresses.values():
            found = _of_info(info)
            return found._replace(address=address, credentials=credentials or found.credentials)
    raise ClusterNotFound(
        f"no connection file of this user names {address}: pass connection=PATH, the cluster's "
        "connection file "
        "(it holds the id and the credentials that the cluster asks for)"
    )


def _find_or_start() -> Target:
    from ..deploy import LocalCluster, manager

    try:
        return _of_info(manager.find_cluster(DEFAULT_NAME))
    except (ClusterNotFound, ClusterDead):
        pass
    try:
        cluster = LocalCluster(name=DEFAULT_NAME)
    except ClusterExists:  # another process was faster
        return _of_info(manager.find_cluster(DEFAULT_NAME))
    return _of_info(cluster.info)._replace(started=cluster)
