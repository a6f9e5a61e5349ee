"""`%cluster`: start, list, scale, stop and attach to clusters from a cell.

Law: only words on top of the manager API (`engine.deploy.manager`) and the client; every rule about
clusters lives there. What a user can cause comes out as one or two sentences (IPython's
`UsageError`, which also stops Run All), never as a traceback; what only a bug of ours can cause is
not caught.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class

from cellspan.engine.errors import CellspanError, ClusterNotFound

from .attachment import Attachment, default_lifetime, find_kernel_id
from .command_line import BadLine, HelpAsked, make_parsers, parse_line, suggest
from .completion import Completer
from .formats import UNKNOWN, format_bytes, format_count, format_seconds, plural
from .outputs import show
from .tables import Table

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from cellspan.engine.deploy.connection_file import ClusterInfo

LIST_TIMEOUT_S = 2.0
"""How long `%cluster list` waits for a cluster that hangs."""


@magics_class
class ClusterMagics(Magics):  # type: ignore[misc, unused-ignore]
    """The magic `%cluster` and its completion."""

    def __init__(self, shell: InteractiveShell) -> None:
        """`shell`: the IPython that the magic is registered in."""
        super().__init__(shell)
        self.attachment = Attachment(shell.user_ns)
        self._parsers = make_parsers()
        self.completer = Completer(self._parsers, self._list_names, self._list_sources)
        self._commands: dict[str, Callable[[argparse.Namespace], None]] = {
            "start": self._start,
            "list": lambda arguments: show_list(),
            "status": self._status,
            "scale": self._scale,
            "stop": self._stop,
            "attach": self._attach,
            "logs": self._logs,
            "view": self._view,
        }

    @line_magic
    def cluster(self, line: str) -> None:
        """Start, list, scale, stop and attach to clusters.

            %cluster start [NAME] [--workers N] [--cores N] [--memory SIZE]
                           [--resources WHAT] [--lifetime kernel|server|detached]
                           [--listen unix|tcp] [--reuse] [--as VARIABLE]
            %cluster list
            %cluster status [NAME]
            %cluster scale [NAME] N
            %cluster stop [NAME]
            %cluster attach [NAME] [--as VARIABLE]
            %cluster logs [NAME] [--source WORKER] [--lines N]
            %cluster view groups|activity [NAME]

        `start` and `attach` make a client in the variable `client`. Without NAME the commands speak
        of the cluster this notebook is attached to, or of the only one there is. `%cluster COMMAND
        --help` says more about one command; `%cluster` alone lists your clusters.
        """
        try:
            arguments = parse_line(line, self._parsers)
            self._commands[arguments.command](arguments)
        except HelpAsked as asked:
            print(asked)
            if not line.strip():
                print()
                show_list()
        except (BadLine, CellspanError) as problem:
            raise UsageError(as_sentence(str(problem))) from None

    def _start(self, arguments: argparse.Namespace) -> None:
        from cellspan.engine.deploy import manager

        variable = self.attachment.check_variable(arguments.variable)
        if arguments.reuse and arguments.name in self._list_names():
            self._attach(arguments)
            return
        lifetime = arguments.lifetime or default_lifetime()
        began = time.monotonic()
        info = manager.start_cluster(
            arguments.name,
            workers=arguments.workers,
            cores=arguments.cores,
            memory=arguments.memory,
            resources=arguments.resources,
            lifetime=lifetime,
            listen=arguments.listen,
            kernel_id=find_kernel_id(),
        )
        took = format_seconds(time.monotonic() - began)
        self.attachment.attach(info, variable)
        print(f"{describe(info)} Started in {took}. {describe_end(info)}")
        print(f"The variable `{variable}` is its client.")

    def _attach(self, arguments: argparse.Namespace) -> None:
        variable = self.attachment.check_variable(arguments.variable)
        info = self._find(arguments.name)
        self.attachment.attach(info, variable)
        print(f"{describe(info)} The variable `{variable}` is its client.")

    def _status(self, arguments: argparse.Namespace) -> None:
        from cellspan.engine.deploy import manager

        info = self._find(arguments.name)
        show_status(info, manager.cluster_status(info.name))

    def _scale(self, arguments: argparse.Namespace) -> None:
        from cellspan.engine.deploy import manager

        info = self._find(arguments.name)
        manager.scale_cluster(info.name, arguments.workers)
        print(f"Cluster {info.name!r} is asked to have {plural(arguments.workers, 'worker')}.")

    def _stop(self, arguments: argparse.Namespace) -> None:
        from cellspan.engine.deploy import manager

        info = self._find(arguments.name)
        self.attachment.detach(info)
        manager.stop_cluster(info.name)
        print(f"Cluster {info.name!r} is stopped.")

    def _logs(self, arguments: argparse.Namespace) -> None:
        from cellspan.engine.deploy import manager

        if arguments.lines < 1:
            raise BadLine(f"--lines must be at least 1, not {arguments.lines}.")
        info = self._find(arguments.name)
        entries = manager.cluster_logs(info.name, source=arguments.source, lines=arguments.lines)
        show_logs(info, entries, arguments.source)

    def _view(self, arguments: argparse.Namespace) -> None:
        from .views import show_view

        show_view(self._find(arguments.name), arguments.view)

    def _find(self, name: str | None) -> ClusterInfo:
        """Return the cluster of that name, or the one that is meant when there is no name."""
        from cellspan.engine.deploy import manager

        try:
            return manager.find_cluster(name or self._implied_name())
        except ClusterNotFound as error:
            hint = suggest(name, self._list_names()) if name else ""
            raise ClusterNotFound(f"{as_sentence(str(error))}{hint}") from None

    def _implied_name(self) -> str:
        names = self._list_names()
        attached = self.attachment.cluster_name
        if attached in names:
            assert attached is not None
            return attached
        if len(names) == 1:
            return names[0]
        if not names:
            raise ClusterNotFound("No cluster is running. `%cluster start` starts one.")
        raise ClusterNotFound(
            f"Which cluster? There are {', '.join(names)}: write the name behind the command."
        )

    def _list_names(self) -> Sequence[str]:
        from cellspan.engine.deploy import manager

        return [info.name for info in manager.list_clusters()]

    def _list_sources(self) -> Sequence[str]:
        from cellspan.engine.deploy import manager

        status = manager.cluster_status(self._implied_name())
        return ["scheduler", *(worker["name"] for worker in status["workers"])]


def register(shell: InteractiveShell) -> None:
    """Make `%cluster` known to a shell."""
    magics = ClusterMagics(shell)
    shell.register_magics(magics)
    shell.Completer.custom_matchers.append(magics.completer.matcher)


def unregister(shell: InteractiveShell) -> None:
    """Undo `register`: close the clients that were made, forget the magic and its completion."""
    magics = shell.magics_manager.registry.pop(ClusterMagics.__name__, None)
    if magics is None:
        return
    magics.attachment.close()
    shell.magics_manager.magics["line"].pop("cluster", None)
    shell.Completer.custom_matchers.remove(magics.completer.matcher)


def as_sentence(text: str) -> str:
    """Return an error's text as people write sentences; what follows its first line (a log) stays
    as it is."""
    first, newline, rest = text.partition("\n")
    end = "" if first.endswith((".", "?", "!", ":")) else ":" if rest else "."
    return f"{first[:1].upper()}{first[1:]}{end}{newline}{rest}"


def describe(info: ClusterInfo) -> str:
    """Return a sentence on a cluster: state and size."""
    each = " each" if info.workers > 1 else ""
    size = f"{plural(info.workers, 'worker')} with {plural(info.cores, 'core')}{each}"
    return f"Cluster {info.name!r} is {info.state}: {size}."


def describe_end(info: ClusterInfo) -> str:
    """Return a sentence on when a cluster ends by itself."""
    return {
        "kernel": "It ends with this kernel.",
        "server": "It ends with the Jupyter server, and outlives this kernel.",
        "detached": f"It ends with `%cluster stop {info.name}`, or when it has been idle for long.",
    }[info.lifetime]


def show_list() -> None:
    """Display all clusters of this user."""
    from cellspan.engine.deploy import manager

    infos = manager.list_clusters()
    if not infos:
        show(Table((), (), note="No cluster is running. `%cluster start` starts one."))
        return
    headings = ("Name", "State", "Workers", "Cores each", "Memory each", "Tasks", "Lifetime", "Age")
    right = ("Workers", "Cores each", "Memory each", "Age")
    rows = [_cluster_row(info, find_status(info)) for info in infos]
    problems = [f"{info.name}: {info.reason}" for info in infos if info.reason]
    show(Table(headings, rows, right=right, note=" ".join(problems)))


def find_status(info: ClusterInfo) -> dict[str, Any] | None:
    """Return what a cluster says of itself, None if it does not answer soon."""
    from cellspan.engine.deploy import control

    try:
        return control.ask_blocking(info, lambda connection: connection.status(), LIST_TIMEOUT_S)
    except CellspanError:
        return None


def _cluster_row(info: ClusterInfo, status: dict[str, Any] | None) -> tuple[str, ...]:
    state = info.state if status is None else status["state"]
    if status is None and state == "running":
        state = "does not answer"
    return (
        info.name,
        state,
        str(info.workers if status is None else len(status["workers"])),
        str(info.cores),
        format_bytes(info.memory_bytes),
        UNKNOWN if status is None else describe_tasks(status["tasks"]),
        info.lifetime,
        format_seconds(max(0.0, time.time() - info.created)),
    )


def show_status(info: ClusterInfo, status: dict[str, Any]) -> None:
    """Display a cluster's workers and tasks. `status`: as in `messages.StatusGiven`."""
    tasks = describe_tasks(status["tasks"])
    rows = sorted(_worker_row(worker) for worker in status["workers"])
    uptime = format_seconds(status["uptime_s"])
    print(f"Cluster {info.name!r} is {status['state']}, up for {uptime}. Tasks: {tasks}.")
    note = ""
    if len(rows) < status["wanted"]:
        note = f"{plural(status['wanted'], 'worker')} wanted, {len(rows)} there."
    headings = ("Worker", "State", "Cores", "Running", "CPU", "Memory", "Limit", "Results")
    show(Table(headings, rows, right=headings[2:], note=note))


def describe_tasks(counts: dict[str, int]) -> str:
    """Return the numbers of tasks by state that are not zero; keys as in `Snapshot.totals`."""
    waiting = counts.get("waiting", 0) + counts.get("ready", 0)
    shown = {
        "running": counts.get("running", 0),
        "waiting": waiting,
        "done": counts.get("done", 0),
        "failed": counts.get("failed", 0),
    }
    parts = [f"{format_count(count)} {state}" for state, count in shown.items() if count]
    return ", ".join(parts) or "none"


def _worker_row(worker: dict[str, Any]) -> tuple[str, ...]:
    stats = worker.get("stats") or {}
    reason = f" ({worker['reason']})" if worker.get("reason") else ""
    return (
        worker["name"],
        f"{worker['state']}{reason}",
        str(worker["slots"]),
        format_count(int(stats.get("running", 0))),
        f"{100 * stats.get('cpu', 0.0):.0f} %",
        format_bytes(stats.get("memory_bytes")),
        format_bytes(worker.get("memory_limit_bytes")),
        format_bytes(stats.get("store_bytes")),
    )


def show_logs(info: ClusterInfo, entries: Sequence[Any], source: str | None) -> None:
    """Print log lines in order of time: clock, source, text."""
    if not entries:
        whose = f"{source!r} in cluster {info.name!r}" if source else f"cluster {info.name!r}"
        print(f"No log lines of {whose} yet.")
    for name, _stream, unix_time, text in entries:
        clock = time.strftime("%H:%M:%S", time.localtime(unix_time))
        print(f"{clock} {name}: {text.rstrip()}")
