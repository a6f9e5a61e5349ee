"""Connection files: how a cluster is found.

``<Jupyter's runtime directory>/cellspan/<name>.json``, mode 0600, replaced atomically: what a
cluster is, where it is, and the credentials of its clients. This module owns their form and nothing
else.

Law: a file is believed only as far as its process is alive. A file of another host is never judged
or removed here.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import ClusterDead, ClusterError, ClusterNotFound, InvalidArgument
from ..transport.credentials import Credentials
from . import processes

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(slots=True)
class ClusterInfo:
    """What a cluster is. Sizes in bytes, times in unix seconds (`start_time`: see processes.py).
    `resources`: what each worker offers; None: its share of `gpus`, which the machine has.
    """

    name: str
    id: str
    state: str = "starting"  # 'starting', 'running', 'stopping', 'failed'
    reason: str = ""
    pid: int = 0
    start_time: float = 0.0
    host: str = ""
    addresses: dict[str, str] = field(default_factory=dict)
    listen: str = "unix"
    lifetime: str = "kernel"
    idle_timeout_s: float | None = None
    workers: int = 1
    cores: int = 1
    memory_bytes: int = 0
    resources: dict[str, Any] | None = None
    gpus: list[int | str] = field(default_factory=list)
    interpreter: str = ""
    cwd: str = ""
    kernel_id: str | None = None
    owner_pid: int | None = None
    owner_start_time: float | None = None
    created: float = 0.0
    version: str = ""
    folder: str = ""
    path: str = ""

    @property
    def address(self) -> str:
        """Where the scheduler listens; empty before it does."""
        return self.addresses.get("scheduler", "")

    def to_json(self) -> dict[str, Any]:
        """Return plain data, without credentials."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ClusterInfo:
        """Return the ClusterInfo of plain data; unknown keys, of a later version, are left out.

        Raises:
            ValueError: it is not the data of a cluster.
        """
        known = {f.name for f in fields(cls)}
        info = cls(**{key: value for key, value in data.items() if key in known})
        if not isinstance(info.pid, int) or not isinstance(info.addresses, dict):
            raise ValueError("fields of the wrong type")
        return info

    def is_alive(self) -> bool:
        """Tell whether its scheduler is alive, as far as that can be known from here."""
        return self.host != socket.gethostname() or processes.is_alive(self.pid, self.start_time)

    def get_credentials(self) -> Credentials | None:
        """Read the client's credentials from the connection file; None for a cluster on a unix
        socket.

        Raises:
            ClusterDead: the file is gone or cannot be read.
        """
        if not self.address.startswith("tls://"):
            return None
        return read(Path(self.path))[1]


def get_directory() -> Path:
    """Return the directory of this user's connection files, made if it was not there.

    Raises:
        ClusterError: it cannot be made.
    """
    from jupyter_core.paths import jupyter_runtime_dir

    directory = Path(jupyter_runtime_dir()) / "cellspan"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ClusterError(
            f"no directory for connection files: {error}; set JUPYTER_RUNTIME_DIR to one of yours"
        ) from error
    return directory


def check_name(name: str) -> str:
    """Return the name.

    Raises:
        InvalidArgument: it cannot be a cluster's name.
    """
    if not isinstance(name, str) or NAME_PATTERN.fullmatch(name) is None:
        shown = repr(name if not isinstance(name, str) or len(name) < 80 else name[:77] + "...")
        raise InvalidArgument(
            f"{shown} cannot be the name of a cluster: use 1 to 63 letters, digits, dots, dashes "
            "or underscores, beginning with a letter or digit"
        )
    return name


def get_path(name: str) -> Path:
    """Return where the connection file of that name is, if there is one."""
    return get_directory() / f"{check_name(name)}.json"


def read(path: Path) -> tuple[ClusterInfo, Credentials | None]:
    """Return what a connection file says.

    Raises:
        ClusterNotFound: there is no such file.
        ClusterDead: it is not a connection file.
    """
    try:
        data = json.loads(path.read_text())
        info = ClusterInfo.from_json(data)
        info.path = str(path)
        pems = data.get("credentials")
        return info, Credentials(**pems) if pems else None
    except FileNotFoundError as error:
        raise ClusterNotFound(f"there is no connection file {path}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ClusterDead(f"{path} is not a connection file ({error}): remove it") from error


def write(info: ClusterInfo, credentials: Credentials | None) -> None:
    """Put the file in place, as a whole, readable by its owner only."""
    data = info.to_json()
    if credentials is not None:
        data["credentials"] = {
            "ca": credentials.ca, "cert": credentials.cert, "key": credentials.key,
        }  # fmt: skip
    write_private(Path(info.path), json.dumps(data, indent=1))


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically by one of mode 0600."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(fresh, path)


def remove(info: ClusterInfo) -> None:
    """Remove the file, unless by now it is another cluster's."""
    path = Path(info.path)
    with contextlib.suppress(OSError, ClusterNotFound, ClusterDead):
        if read(path)[0].id == info.id:
            path.unlink()


@contextlib.contextmanager
def lock() -> Iterator[Path]:
    """Keep other processes of this user from choosing names meanwhile; yields the directory."""
    directory = get_directory()
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield directory
    finally:
        os.close(descriptor)
