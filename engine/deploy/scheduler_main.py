"""The scheduler's process: ``python -m cellspan.engine.deploy.scheduler_main < cluster.json``.

Reads what the cluster is to be from its standard input, starts the workers, says on its standard
output (one line of JSON) how it went, and lives until it is stopped or its lease ends.

Law: whatever way it ends in order, nothing is left: workers, sockets, folder, connection file.
Imports stay lean and the heavy ones come after the first worker has been started, because users
wait for both.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from ..transport.addresses import bind
from ..transport.credentials import Credentials
from . import connection_file, folders, processes
from .connection_file import ClusterInfo
from .launcher import LaunchSpec, LocalLauncher
from .lease import CHECK_S, Lease

if TYPE_CHECKING:
    from ..scheduler.crew import Crew
    from ..scheduler.server import SchedulerServer

logger = logging.getLogger("cellspan.scheduler")

LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"


class Reporter:
    """Keeps the connection file true, and tells whoever started us how the start went."""

    def __init__(self, info: ClusterInfo, client: Credentials | None, must_tell: bool) -> None:
        self._info = info
        self._client = client
        self._must_tell = must_tell
        self.crew: Crew | None = None

    def write(self) -> None:
        """Put the connection file in place."""
        if self.crew is not None:
            self._info.workers = self.crew.wanted
        with contextlib.suppress(OSError):
            connection_file.write(self._info, self._client)

    def on_state(self, state: str, reason: str) -> None:
        """Write the state down."""
        logger.info("state: %s %s", state, reason)
        self._info.state, self._info.reason = state, reason
        self.write()
        if state != "starting":
            self.tell({"state": state, "reason": reason, "info": self._info.to_json()})

    def tell(self, answer: dict[str, Any]) -> None:
        """Say how the start went, once; nobody need listen any more."""
        if not self._must_tell:
            return
        self._must_tell = False
        with contextlib.suppress(OSError):
            os.write(1, json.dumps(answer).encode() + b"\n")
        os.dup2(2, 1)  # that was the only line; what else is printed goes to the log


def main() -> int:
    """Run one cluster to its end; returns the exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=LOG_FORMAT)
    info = ClusterInfo.from_json(json.load(sys.stdin))
    return run_cluster(info, must_tell=True)


def run_cluster(info: ClusterInfo, must_tell: bool) -> int:
    """Be the scheduler of a planned cluster, whose name and folder are there, to its end; returns
    the exit code.

    `must_tell`: somebody waits for a line on our standard output.
    """
    processes.set_title(f"cellspan scheduler {info.name}")
    info.pid = os.getpid()
    info.start_time = processes.find_start_time(info.pid) or 0.0
    try:
        _run(info, must_tell)
        return 0
    except Exception as error:
        logger.exception("the scheduler cannot go on")
        Reporter(info, None, must_tell).tell({"state": "failed", "reason": str(error)})
        return 1
    finally:
        connection_file.remove(info)
        folders.remove_folder(info.folder)


def _run(info: ClusterInfo, must_tell: bool) -> None:
    made: dict[str, Credentials] = {}
    if info.listen == "unix":
        wish = f"unix://{info.folder}/{folders.SOCKET}"
        workers_listen = f"unix://{info.folder}/{{name}}.sock"
    else:
        from ..transport.certificates import make_credentials

        made = make_credentials(info.id, ("scheduler", "worker", "client"))
        host, port = _choose_host(info.listen)
        wish, workers_listen = f"tls://{host}:{port}", f"tls://{host}:0"
    sock, address = bind(wish)
    info.addresses = {"scheduler": address}
    launcher = LocalLauncher(
        LaunchSpec(
            scheduler=address,
            cluster_id=info.id,
            cluster_name=info.name,
            cores=info.cores,
            memory_limit_bytes=info.memory_bytes,
            listen=workers_listen,
            folder=info.folder,
            cwd=info.cwd,
            interpreter=info.interpreter,
            credentials=made.get("worker"),
            resources=info.resources,
            devices=info.gpus,
            workers=info.workers,
        )
    )
    reporter = Reporter(info, made.get("client"), must_tell)
    reporter.write()  # from here on it can be asked and stopped, though it is only starting
    try:
        _serve(info, launcher, reporter, made.get("scheduler"), sock)
    finally:
        launcher.end_all()


def _serve(
    info: ClusterInfo,
    launcher: LocalLauncher,
    reporter: Reporter,
    credentials: Credentials | None,
    sock: socket.socket,
) -> None:
    from ..scheduler.crew import Crew

    crew = reporter.crew = Crew(info.workers)
    for name in crew.hire():
        launcher.launch(name)
    # From here on the workers' processes come up beside ours.
    import asyncio

    from ..transport import calm_garbage_collector

    async def run() -> None:
        server = _make_server(info, launcher, crew, reporter)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, server.stop, f"signal {number.name}")
        await server.start(info.address, credentials, sock)
        calm_garbage_collector()
        lease = Lease(info.lifetime, info.owner_pid, info.owner_start_time, info.idle_timeout_s)
        await _live(server, lease)

    asyncio.run(run())


def _make_server(
    info: ClusterInfo, launcher: LocalLauncher, crew: Crew, reporter: Reporter
) -> SchedulerServer:
    from ..scheduler.core import SchedulerCore
    from ..scheduler.logbook import Logbook
    from ..scheduler.server import ClusterFacts, SchedulerServer

    logbook = Logbook()
    logging.getLogger().addHandler(logbook)
    facts = ClusterFacts(info.name, info.id, info.version, info.lifetime, info.created)
    core = SchedulerCore(cluster=info.name, version=info.version, now=time.time())
    return SchedulerServer(core, launcher, crew, facts, logbook, reporter.on_state)


async def _live(server: SchedulerServer, lease: Lease) -> None:
    """Return when the cluster has ended."""
    import asyncio

    while True:
        done, _ = await asyncio.wait([server.stopped], timeout=CHECK_S)
        if done:
            return
        idle_s = 0.0 if server.idle_since is None else server.now() - server.idle_since
        reason = lease.find_end(idle_s)
        if reason is not None:
            server.stop(reason)


def _choose_host(listen: str) -> tuple[str, int]:
    """Return where to listen: as asked, or where this machine is reached by others."""
    if "://" in listen:
        host, _, port = listen.split("://", 1)[1].partition(":")
        return host, int(port or 0)
    return find_own_host(), 0


def find_own_host() -> str:
    """Return the address by which other machines reach this one, or the loopback if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses a way out
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


if __name__ == "__main__":
    sys.exit(main())
