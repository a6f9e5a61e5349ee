"""A scheduler or a worker in this very process: `cellspan scheduler`, `cellspan worker`.

Law: what these leave behind is nothing, as for clusters that the manager starts; they log to the
terminal.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
from pathlib import Path

from ..errors import ClusterDead, ClusterNotFound, InvalidArgument
from ..resources import GPU, Offer
from ..worker.config import WorkerConfig
from . import (
    arguments,
    connection_file,
    folders,
    leftovers,
    manager,
    plan,
    processes,
    scheduler_main,
)
from .connection_file import ClusterInfo


def run_scheduler(
    name: str | None,
    *,
    listen: str,
    workers: int,
    cores: int | None,
    memory: str | None,
    resources: str | None,
    idle_timeout_s: float | None,
) -> int:
    """Run a cluster's scheduler until it is stopped; returns the exit code. It may have no workers
    of its own.

    Raises:
        InvalidArgument, ClusterExists: as `manager.start_cluster`.
    """
    info = plan.plan_cluster(
        name, workers=workers or 1, cores=cores, memory=memory, resources=resources,
        listen=listen, lifetime="detached", idle_timeout_s=idle_timeout_s,
    )  # fmt: skip
    info.workers = workers
    info.idle_timeout_s = idle_timeout_s  # whoever keeps a terminal open for it ends it there
    _log_to_terminal()
    leftovers.sweep()
    info.folder = str(folders.make_folder(info.id))
    try:
        with connection_file.lock() as directory:
            manager.choose_path(info, directory)
            info.pid = os.getpid()
            info.start_time = processes.find_start_time(info.pid) or 0.0
            connection_file.write(info, None)
        print(f"cluster {info.name!r}: connection file {info.path}", flush=True)
        return scheduler_main.run_cluster(info, must_tell=False)
    finally:
        folders.remove_folder(info.folder)


def run_one_worker(
    cluster: str,
    *,
    name: str | None,
    cores: int | None,
    memory: str | None,
    resources: str | None,
    interpreter: str | None,
    host: str | None,
    topology: str | None = None,
) -> int:
    """Run a worker for a cluster, given by name or connection file, until it ends; returns the exit
    code. `topology`: site and rack of this machine, as ``site/rack``.

    Raises:
        ClusterNotFound, ClusterDead, InvalidArgument: as `manager.find_cluster`.
    """
    from ..worker.server import run_worker

    info = _resolve(cluster)
    credentials = info.get_credentials()
    folder = folders.make_folder(secrets.token_hex(8))
    try:
        paths = None
        if credentials is not None:
            paths = {}
            for part in ("ca", "cert", "key"):
                connection_file.write_private(folder / f"{part}.pem", getattr(credentials, part))
                paths[part] = str(folder / f"{part}.pem")
            listen = f"tls://{host or scheduler_main.find_own_host()}:0"
        else:
            listen = f"unix://{folder}/worker.sock"
        config = WorkerConfig(
            scheduler=info.address,
            cluster_id=info.id,
            cluster_name=info.name,
            name=name or f"{socket.gethostname()}-{os.getpid()}",
            cores=plan.detect_cores() if cores is None else arguments.check_cores(cores),
            memory_limit_bytes=(
                plan.detect_memory(1) if memory is None else arguments.parse_memory(memory)
            ),
            listen=listen,
            folder=str(folder),
            cwd=os.getcwd(),
            interpreter=interpreter or sys.executable,
            credentials=paths,
            topology=arguments.check_topology(topology),
            resources=_choose_resources(resources),
        )
        _log_to_terminal()
        run_worker(config)
        return 0
    finally:
        folders.remove_folder(folder)


def _choose_resources(resources: str | None) -> Offer:
    if resources is not None:
        return arguments.check_resources(resources)
    gpus = plan.detect_gpus()
    return {GPU: gpus} if gpus else {}


def _resolve(cluster: str) -> ClusterInfo:
    if "/" not in cluster and not cluster.endswith(".json"):
        return manager.find_cluster(cluster)
    path = Path(cluster).absolute()
    try:
        info, _ = connection_file.read(path)
    except ClusterNotFound as error:
        raise InvalidArgument(f"there is no file {cluster}: give a connection file") from error
    if not info.is_alive():
        raise ClusterDead(f"the cluster of {cluster} is dead: its scheduler is gone")
    return info


def _log_to_terminal() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=scheduler_main.LOG_FORMAT)
