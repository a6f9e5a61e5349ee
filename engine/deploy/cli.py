"""The command ``cellspan``.

Law: thin over the manager. What goes wrong is one line in words on standard error, never a
traceback; exit code 1 for what failed, 2 for what was asked wrongly, 130 for Ctrl-C. `--json`
prints what programs read, nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import CellspanError, ClusterDead, ClusterNotFound, InvalidArgument
from . import arguments, manager
from .connection_file import ClusterInfo
from .local import count, describe, format_bytes

RESOURCES_HELP = "like GPU=2,licence=1 or GPU=0+3 by device (default: the GPUs that are found)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    if sys.platform == "win32":
        print("cellspan runs on Linux and macOS; on Windows, use it inside WSL", file=sys.stderr)
        return 1
    options = _make_parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        code = run(options)
        sys.stdout.flush()
        return code
    except InvalidArgument as error:
        return _complain(error, 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read our output has enough
        return 0
    except (CellspanError, OSError) as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return 130


def _complain(error: Exception, code: int) -> int:
    print(f"cellspan: {error}", file=sys.stderr)
    return code


# --- the commands ---------------------------------------------------------------------------------


def _start(options: argparse.Namespace) -> int:
    owner_pid = options.owner_pid
    if options.lifetime == "kernel" and owner_pid is None:
        owner_pid = os.getppid()  # this process ends in a moment; the shell is what was meant
    info = manager.start_cluster(
        options.name, workers=options.workers, cores=options.cores, memory=options.memory,
        resources=options.resources, lifetime=options.lifetime, idle_timeout_s=options.idle_timeout,
        listen=options.listen, interpreter=options.interpreter, owner_pid=owner_pid,
        timeout_s=options.timeout,
    )  # fmt: skip
    if options.json:
        _print_json(info.to_json())
    else:
        size = f"{count(info.workers, 'worker')} of {count(info.cores, 'core')}"
        print(
            f"cluster {info.name!r} is running: {size} and {format_bytes(info.memory_bytes)} each"
        )
        print(f'use it: Client("{info.name}"); end it: cellspan cluster stop {info.name}')
    return 0


def _list(options: argparse.Namespace) -> int:
    infos = manager.list_clusters()
    if options.json:
        _print_json([info.to_json() for info in infos])
    elif not infos:
        print("no cluster is running; start one: cellspan cluster start")
    else:
        rows = [_describe_row(info) for info in infos]
        _print_table(("NAME", "STATE", "WORKERS", "CORES", "MEMORY", "LIFETIME", "PID"), rows)
    return 0


def _describe_row(info: ClusterInfo) -> tuple[str, ...]:
    try:
        status = manager.cluster_status(info.name)
    except CellspanError:
        status = {"state": info.state, "workers": [], "wanted": info.workers}
    workers = status["workers"]
    ready = sum(worker["state"] == "running" for worker in workers)
    slots = sum(worker["slots"] for worker in workers)
    memory = sum(worker["memory_limit_bytes"] for worker in workers)
    return (
        info.name, status["state"], f"{ready}/{status['wanted']}", str(slots),
        format_bytes(memory), info.lifetime, str(info.pid),
    )  # fmt: skip


def _scale(options: argparse.Namespace) -> int:
    manager.scale_cluster(options.name, options.workers)
    text = f"cluster {options.name!r} will have {count(options.workers, 'worker')}"
    return _confirm(options, {"name": options.name, "workers": options.workers}, text)


def _stop(options: argparse.Namespace) -> int:
    names = options.names
    if options.all:
        names = [info.name for info in manager.list_clusters()]
    elif not names:
        raise InvalidArgument("give the name of a cluster, several names, or --all")
    code, stopped = 0, []
    for name in names:
        try:
            manager.stop_cluster(name, options.timeout)
            stopped.append(name)
        except ClusterDead:
            stopped.append(name)
        except ClusterNotFound as error:
            if not options.all:  # with --all: it has ended by itself meanwhile
                code = _complain(error, 1)
        except CellspanError as error:
            code = _complain(error, 1)
    if stopped or not code:
        text = f"stopped: {', '.join(stopped)}" if stopped else "there was none to stop"
        _confirm(options, {"stopped": stopped}, text)
    return code


def _status(options: argparse.Namespace) -> int:
    status = manager.cluster_status(_choose_name(options.name))
    if options.json:
        _print_json(status)
        return 0
    info = status["info"]
    print(f"cluster {info['name']}: {describe(status)}")
    print(f"lifetime {info['lifetime']}, up {status['uptime_s']:.0f} s, "
          f"{count(status['clients'], 'client')}, scheduler pid {info['pid']} at "
          f"{info['addresses']['scheduler']}")  # fmt: skip
    counts = ", ".join(f"{number:,} {name}" for name, number in status["tasks"].items())
    print(f"tasks: {counts or 'none'}")
    rows = [_describe_worker(worker) for worker in status["workers"]]
    _print_table(("WORKER", "STATE", "SLOTS", "RUNNING", "CPU", "MEMORY", "PID", ""), rows)
    return 0


def _describe_worker(worker: dict[str, Any]) -> tuple[str, ...]:
    stats = worker["stats"]
    used = format_bytes(stats.get("memory_bytes", 0))
    return (
        worker["name"], worker["state"], str(worker["slots"]), f"{stats.get('running', 0):.0f}",
        f"{100 * stats.get('cpu', 0):.0f} %",
        f"{used} of {format_bytes(worker['memory_limit_bytes'])}",
        str(worker["pid"]), worker["reason"],
    )  # fmt: skip


def _logs(options: argparse.Namespace) -> int:
    entries = manager.cluster_logs(_choose_name(options.name), options.source, options.lines)
    if options.json:
        keys = ("source", "stream", "time", "text")
        _print_json([dict(zip(keys, entry, strict=True)) for entry in entries])
        return 0
    for source, stream, when, text in entries:
        clock = time.strftime("%H:%M:%S", time.localtime(when))
        print(f"{clock} {source} {stream}: {text}")
    return 0


def _scheduler(options: argparse.Namespace) -> int:
    from . import by_hand

    return by_hand.run_scheduler(
        options.name, listen=options.listen, workers=options.workers, cores=options.cores,
        memory=options.memory, resources=options.resources, idle_timeout_s=options.idle_timeout,
    )  # fmt: skip


def _worker(options: argparse.Namespace) -> int:
    from . import by_hand

    return by_hand.run_one_worker(
        options.cluster, name=options.name, cores=options.cores, memory=options.memory,
        resources=options.resources, interpreter=options.interpreter, host=options.host,
        topology=options.topology,
    )  # fmt: skip


def _choose_name(name: str | None) -> str:
    """Return the name, or that of the only cluster there is."""
    if name is not None:
        return name
    names = [info.name for info in manager.list_clusters()]
    if len(names) == 1:
        return names[0]
    there_are = f"there are: {', '.join(names)}" if names else "there is none"
    raise InvalidArgument(f"give the name of a cluster; {there_are}")


# --- what is printed ------------------------------------------------------------------------------


def _confirm(options: argparse.Namespace, data: dict[str, Any], text: str) -> int:
    if options.json:
        _print_json(data)
    else:
        print(text)
    return 0


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2))


def _print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


# --- what is understood ---------------------------------------------------------------------------


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cellspan", description="Clusters for notebooks and scripts: start, look at, stop."
    )
    from .plan import get_version

    parser.add_argument("--version", action="version", version=f"cellspan {get_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    cluster = commands.add_parser("cluster", help="the clusters of this user on this machine")
    _add_cluster_commands(cluster.add_subparsers(required=True, metavar="COMMAND"))
    _add_processes(commands)
    return parser


def _add_cluster_commands(actions: Any) -> None:
    start = _add(actions, "start", _start, "start a cluster")
    start.add_argument("name", nargs="?", help="its name (default: local, local-2, ...)")
    _add_sizes(start, default_workers=1)
    start.add_argument(
        "--lifetime", default="detached", choices=arguments.LIFETIMES,
        help="detached: until stopped or idle (default); kernel: until the process --owner-pid "
        "(default: this shell) ends; server: until the Jupyter server ends",
    )  # fmt: skip
    start.add_argument("--owner-pid", type=int, metavar="PID", help="whose end ends the cluster")
    start.add_argument("--interpreter", metavar="PATH", help="Python to run it with")
    start.add_argument(
        "--timeout", type=float, default=30, metavar="SECONDS", help="how long to wait for it"
    )
    _add(actions, "list", _list, "list the clusters that are alive")
    scale = _add(actions, "scale", _scale, "change the number of workers")
    scale.add_argument("name")
    scale.add_argument("workers", type=int)
    stop = _add(actions, "stop", _stop, "end clusters")
    stop.add_argument("names", nargs="*", metavar="name")
    stop.add_argument("--all", action="store_true", help="all clusters of this user")
    stop.add_argument(
        "--timeout", type=float, default=10, metavar="SECONDS", help="then they are killed"
    )
    logs = _add(actions, "logs", _logs, "print what scheduler, workers and tasks have written")
    logs.add_argument("name", nargs="?", help="may be left out if there is only one cluster")
    logs.add_argument("--source", metavar="NAME", help="'scheduler' or the name of a worker")
    logs.add_argument("--lines", type=int, default=100, help="the newest of each (default: 100)")
    status = _add(actions, "status", _status, "print the state of a cluster and its workers")
    status.add_argument("name", nargs="?", help="may be left out if there is only one cluster")


def _add(actions: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=run)
    return parser


def _add_sizes(parser: argparse.ArgumentParser, default_workers: int) -> None:
    parser.add_argument(
        "--workers", type=int, default=default_workers,
        help=f"worker processes, each like a machine of its own (default: {default_workers})",
    )  # fmt: skip
    parser.add_argument("--cores", type=int, help="of each worker (default: all)")
    parser.add_argument("--memory", help="of each worker, like 4GB (default: a fair share)")
    parser.add_argument("--resources", metavar="WHAT", help=f"of each worker, {RESOURCES_HELP}")
    parser.add_argument(
        "--listen", default="unix", metavar="WHERE",
        help="unix (this machine, default), tcp (TLS) or tcp://HOST:PORT",
    )  # fmt: skip
    parser.add_argument(
        "--idle-timeout", type=float, metavar="SECONDS",
        help="end when without clients and work for so long (default: an hour when detached)",
    )  # fmt: skip


def _add_processes(commands: Any) -> None:
    scheduler = commands.add_parser(
        "scheduler", help="run a scheduler here, until Ctrl-C",
        description="Run a scheduler in this terminal, until Ctrl-C. Workers on this or other "
        "machines join it by `cellspan worker` and its connection file.",
    )  # fmt: skip
    scheduler.add_argument("name", nargs="?", help="the cluster's name")
    _add_sizes(scheduler, default_workers=0)
    scheduler.set_defaults(run=_scheduler)
    worker = commands.add_parser(
        "worker", help="run a worker here, until Ctrl-C",
        description="Run one worker for a cluster in this terminal, until Ctrl-C.",
    )  # fmt: skip
    worker.add_argument("cluster", help="name of a cluster, or path of a connection file")
    worker.add_argument("--name", help="the worker's name (default: host and pid)")
    worker.add_argument("--cores", type=int, help="default: all")
    worker.add_argument("--memory", help="like 4GB (default: what there is)")
    worker.add_argument("--resources", metavar="WHAT", help=RESOURCES_HELP)
    worker.add_argument("--interpreter", metavar="PATH", help="Python that executors run with")
    worker.add_argument(
        "--host", help="address of this machine that other machines reach (TLS clusters)"
    )
    worker.add_argument(
        "--topology", metavar="SITE/RACK",
        help="where this machine is: placement moves less between workers that are further apart",
    )  # fmt: skip
    worker.set_defaults(run=_worker)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
