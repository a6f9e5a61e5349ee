"""What a user may ask of a cluster, checked before anything is done.

Law: each refusal names the argument, what came, and what would do.
"""

from __future__ import annotations

import re
from typing import Any

from ..errors import InvalidArgument
from ..resources import Offer, check_offer, parse_offer

LIFETIMES = ("kernel", "server", "detached")
DEFAULT_IDLE_TIMEOUT_S = 3600.0
"""How long a detached cluster may have no client and nothing to do before it ends."""
MAX_WORKERS = 1000
MAX_CORES = 4096
MIN_MEMORY_BYTES = 64 << 20

_MEMORY = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def check_workers(workers: Any) -> int:
    """Return the number of workers, 1 or more."""
    return _check_count("workers", workers, MAX_WORKERS, "to have none, stop the cluster")


def check_cores(cores: Any) -> int:
    """Return the number of cores of each worker, 1 or more."""
    return _check_count("cores", cores, MAX_CORES, "leave it out to use all cores")


def _check_count(name: str, value: Any, most: int, remedy: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidArgument(
            f"{name}={value!r}: give a whole number from 1 to {most}, or {remedy}"
        )
    return value


def parse_memory(memory: Any) -> int:
    """Return a size in bytes from a number of bytes or a text such as '4GB' (10**9) or '512 MiB'
    (2**20)."""
    size: int | None = None
    if isinstance(memory, int) and not isinstance(memory, bool):
        size = memory
    elif isinstance(memory, str) and (match := _MEMORY.fullmatch(memory)) is not None:
        unit = 1024 if match[3] else 1000
        size = int(float(match[1]) * unit ** _POWERS[match[2].lower()])
    if size is None or size < MIN_MEMORY_BYTES:
        raise InvalidArgument(
            f"memory={memory!r}: give the bytes of each worker as a number, or as a text like "
            f"'4GB' or '512MiB', at least {MIN_MEMORY_BYTES >> 20} MiB; or leave it out"
        )
    return size


def check_resources(resources: Any) -> Offer:
    """Return what each worker offers, from a dict like ``{"GPU": 1}`` or a text like ``GPU=1``."""
    return parse_offer(resources) if isinstance(resources, str) else check_offer(resources)


def check_lifetime(lifetime: Any) -> str:
    """Return the lifetime."""
    if lifetime not in LIFETIMES:
        raise InvalidArgument(
            f"lifetime={lifetime!r}: give 'kernel' (ends with the process that started it), "
            "'server' (ends with the Jupyter server) or 'detached' (ends when stopped or idle)"
        )
    return str(lifetime)


def check_idle_timeout(idle_timeout_s: Any, lifetime: str) -> float | None:
    """Return the idle time-out in seconds: an hour for a detached cluster if none is given,
    otherwise none."""
    if idle_timeout_s is None:
        return DEFAULT_IDLE_TIMEOUT_S if lifetime == "detached" else None
    if isinstance(idle_timeout_s, bool) or not isinstance(idle_timeout_s, int | float):
        raise InvalidArgument(f"idle_timeout_s={idle_timeout_s!r}: give a number of seconds")
    if not 0 < idle_timeout_s < 1e9:
        raise InvalidArgument(f"idle_timeout_s={idle_timeout_s!r}: give seconds, more than 0")
    return float(idle_timeout_s)


def check_listen(listen: Any) -> str:
    """Return 'unix', 'tcp', or 'tcp://host' / 'tcp://host:port'."""
    is_text = isinstance(listen, str)
    if is_text and (listen in ("unix", "tcp") or re.fullmatch(r"tcp://[^/:]+(:\d+)?", listen)):
        return str(listen)
    raise InvalidArgument(
        f"listen={listen!r}: give 'unix' (this machine only), 'tcp' (TLS, on this machine's "
        "address) or 'tcp://host:port'"
    )


def check_topology(topology: Any) -> str:
    """Return where a machine is, as ``site/rack``; '' if nobody says."""
    if topology is None:
        return ""
    if isinstance(topology, str) and re.fullmatch(r"[^/\s]+/[^/\s]+", topology):
        return topology
    raise InvalidArgument(f"topology={topology!r}: give site and rack, like 'berlin/r17'")
