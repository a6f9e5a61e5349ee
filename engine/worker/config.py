"""What a worker is told when it is started: one JSON file, of mode 0600, written by a launcher.

Law: data only. A file that cannot mean anything is refused with a text that names the key.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument
from ..resources import Offer, check_offer
from ..transport import Credentials


@dataclass(slots=True)
class WorkerConfig:
    """`scheduler`: its address. `cluster_id`, `cluster_name`: of the connection file. `name`: of
    this worker. `cores`: executors to run. `listen`: where to serve data. `folder`: for logs.
    `cwd`, `interpreter`: of executors. `credentials`: paths of the PEM files ``ca``, ``cert``,
    ``key``; None on unix sockets. `topology`: ``site/rack`` of this machine, if anybody said so.
    `resources`: what it offers beside slots (resources.py); its memory is always among it."""

    scheduler: str
    cluster_id: str
    name: str
    cores: int
    memory_limit_bytes: int
    listen: str
    cwd: str
    interpreter: str
    folder: str = ""
    cluster_name: str = ""
    credentials: dict[str, str] | None = None
    topology: str = ""
    resources: Offer = field(default_factory=dict)

    def find_resources(self) -> Offer:
        """Return all that the worker offers."""
        return {"memory": float(self.memory_limit_bytes), **self.resources}

    def read_credentials(self) -> Credentials | None:
        """Return the credentials that `credentials` names.

        Raises:
            OSError: one of the files cannot be read.
        """
        if self.credentials is None:
            return None
        texts = {part: Path(self.credentials[part]).read_text() for part in ("ca", "cert", "key")}
        return Credentials(**texts)


def read_config(path: str) -> WorkerConfig:
    """Read a worker's configuration.

    Raises:
        InvalidArgument: it cannot be read, or lacks something, or has a value that cannot be.
    """
    try:
        found: Any = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise InvalidArgument(
            f"the worker's configuration {path} cannot be read: {error}"
        ) from error
    if not isinstance(found, dict):
        raise InvalidArgument(f"the worker's configuration {path} is no JSON object")
    known = {setting.name: setting for setting in fields(WorkerConfig)}
    for name in found.keys() - known.keys():
        raise InvalidArgument(f"{path}: a worker has no setting {name!r}")
    for name, setting in known.items():
        is_needed = setting.default is MISSING and setting.default_factory is MISSING
        if is_needed and name not in found:
            raise InvalidArgument(f"{path}: {name!r} is missing")
    for name in ("cores", "memory_limit_bytes"):
        if not isinstance(found[name], int) or found[name] < 1:
            raise InvalidArgument(f"{path}: {name} is {found[name]!r}; it must be 1 or more")
    if found.get("resources"):
        found["resources"] = check_offer(found["resources"])
    return WorkerConfig(**found)
