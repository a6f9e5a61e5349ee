"""The client's questions about results: which workers hold them, how large they are, and what the
processes of the cluster are made of.

Law: as in cluster.py: each goes over the client's own connection, with a face for threads and one
for coroutines. Results themselves are never touched.
"""

from __future__ import annotations

import platform
from typing import Any, NamedTuple

from ..errors import ClusterError, InvalidArgument
from ..messages import GetHolders, GetMetadata, GetStatus
from .cluster import DEFAULT_TIMEOUT_S, Asking
from .collecting import check_futures, select
from .futures import Future
from .runs import RunSet


class Held(NamedTuple):
    """Results of one group on one worker: of how many `tasks`, their indices as flat `runs`, and
    about how large they are in bytes.
    """

    name: str
    group: int
    tasks: int
    runs: list[int]
    nbytes: int


class Holdings(Asking):
    """The part of Client that asks where results are."""

    def who_has(self, futures: Any, *, timeout: float | None = DEFAULT_TIMEOUT_S) -> Any:
        """Return for each future the names of the workers that hold its result: a dict from Future
        to a list of names, empty while there is no result.

        Raises:
            InvalidArgument: not futures. TimeoutError: no answer in `timeout` seconds.
            ConnectionClosed: the cluster is out of reach.
        """
        checked = check_futures(futures, "who_has")

        def take(answer: Any) -> dict[Future, list[str]]:
            homes: dict[tuple[int, int], list[str]] = {}
            for group, _, worker, runs, _ in answer.rows:
                for start, stop in zip(runs[::2], runs[1::2], strict=True):
                    for index in range(start, stop):
                        homes.setdefault((group, index), []).append(worker)
            return {f: sorted(homes.get((f.key.group, f.index), ())) for f in checked}

        return self._ask_holders(checked, take, timeout, "who_has")

    def has_what(self, *, timeout: float | None = DEFAULT_TIMEOUT_S) -> Any:
        """Return what each worker holds, of all clients: a dict from its name to a list of Held,
        one for each group. Workers that hold nothing are not in it.

        Raises: TimeoutError, ConnectionClosed: as `who_has`.
        """

        def take(answer: Any) -> dict[str, list[Held]]:
            found: dict[str, list[Held]] = {}
            for group, name, worker, runs, each in sorted(answer.rows, key=lambda row: row[2]):
                count = RunSet(runs).count
                held = Held(name, group, count, list(runs), round(count * each))
                found.setdefault(worker, []).append(held)
            return found

        return self._ask_holders(None, take, timeout, "has_what")

    def nbytes(self, futures: Any, *, timeout: float | None = DEFAULT_TIMEOUT_S) -> Any:
        """Return about how many bytes the results of futures take, each counted once, those that
        are not there yet not at all.

        The scheduler keeps no size of single results: the mean of its group stands for each.

        Raises: as `who_has`.
        """
        checked = check_futures(futures, "nbytes")

        def take(answer: Any) -> int:
            counted: dict[int, tuple[RunSet, float]] = {}
            for group, _, _, runs, each in answer.rows:
                union, _ = counted.setdefault(group, (RunSet(), each))
                for start, stop in zip(runs[::2], runs[1::2], strict=True):
                    union.add(start, stop)
            return round(sum(union.count * each for union, each in counted.values()))

        return self._ask_holders(checked, take, timeout, "nbytes")

    def get_metadata(self, futures: Any, *, timeout: float | None = DEFAULT_TIMEOUT_S) -> Any:
        """Return what was given as `metadata` when the tasks of futures were submitted, by this
        client or another: a dict; of futures of several groups a list of dicts, one for each group
        in the order of the futures. Empty where nothing was given.

        Raises: as `who_has`.
        """
        checked = check_futures(futures, "get_metadata")
        numbers = list(dict.fromkeys(group.id for group, _, _ in select(checked).runs()))
        if not numbers:
            raise InvalidArgument("get_metadata needs the future of a task, and was given none")
        return self._ask(
            lambda number: GetMetadata(number, numbers),
            lambda answer: answer.found[0] if len(numbers) == 1 else list(answer.found),
            timeout,
            "get_metadata",
        )

    def _ask_holders(self, futures: Any, take: Any, timeout: float | None, what: str) -> Any:
        rows = None
        if futures is not None:
            rows = [[group.id, [start, stop]] for group, start, stop in select(futures).runs()]
        return self._ask(lambda number: GetHolders(number, rows), take, timeout, what)

    def get_versions(
        self, check: bool = False, *, timeout: float | None = DEFAULT_TIMEOUT_S
    ) -> Any:
        """Return the versions of cellspan and Python of this client, the scheduler and each worker:
        a dict with ``client``, ``scheduler`` and ``workers`` (a dict by name).

        Raises:
            ClusterError: with `check`, when they do not fit each other: another cellspan, or
            another minor version of Python, between which pickled functions do not travel; the text
            says which. TimeoutError, ConnectionClosed: as `who_has`.
        """
        from cellspan._version import __version__

        here = {"cellspan": __version__, "python": platform.python_version()}

        def take(answer: Any) -> dict[str, Any]:
            status = answer.status
            versions = {
                "client": here,
                "scheduler": {"cellspan": status["version"], "python": status["python"]},
                "workers": {
                    worker["name"]: {"cellspan": worker["version"], "python": worker["python"]}
                    for worker in status["workers"]
                    if worker["state"] != "starting" or worker["version"]
                },
            }
            if check:
                check_versions(versions)
            return versions

        return self._ask(GetStatus, take, timeout, "the cluster's versions")


def check_versions(versions: dict[str, Any]) -> None:
    """Raises: ClusterError: these do not fit each other; see `Holdings.get_versions`."""
    here = versions["client"]
    others = {"the scheduler": versions["scheduler"]}
    others |= {f"worker {name}": found for name, found in versions["workers"].items()}
    wrong = []
    for who, found in others.items():
        if found["cellspan"] != here["cellspan"]:
            wrong.append(f"{who} has cellspan {found['cellspan']}")
        if minor_of(found["python"]) != minor_of(here["python"]):
            wrong.append(f"{who} has Python {found['python']}")
    if wrong:
        raise ClusterError(
            f"versions differ: this client has cellspan {here['cellspan']} and Python "
            f"{here['python']}, but {', '.join(wrong)}. Start the cluster from this environment, "
            "or connect from its own"
        )


def minor_of(version: str) -> list[str]:
    """Return ``["3", "12"]`` of ``"3.12.1"``."""
    return version.split(".")[:2]
