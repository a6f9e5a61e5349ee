"""What the scheduler's own process has logged, and the last lines of workers that are gone.

Law: bounded: old lines give way to new ones. An entry is ``[source, stream, unix time, text]``, as
in `LogsGiven`.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

OWN = "scheduler"
OWN_LINES = 2000
GONE_LINES = 200
GONE_WORKERS = 20


class Logbook(logging.Handler):
    """A log handler that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self._own: deque[list[Any]] = deque(maxlen=OWN_LINES)
        self._gone: dict[str, list[list[Any]]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).splitlines():
            self._own.append([OWN, "log", record.created, f"{record.levelname} {line}"])

    def keep(self, worker: str, entries: list[list[Any]]) -> None:
        """Keep the last lines of a worker that is gone."""
        if entries:
            self._gone[worker] = (self._gone.pop(worker, []) + entries)[-GONE_LINES:]
        while len(self._gone) > GONE_WORKERS:
            del self._gone[next(iter(self._gone))]

    def read(self, source: str | None, lines: int) -> list[list[Any]]:
        """Return the newest `lines` entries of each source that is kept here, or of the one asked
        for."""
        found: list[list[Any]] = []
        if source in (None, OWN):
            found += list(self._own)[-lines:]
        for worker, entries in self._gone.items():
            if source in (None, worker):
                found += entries[-lines:]
        return found

    def knows(self, source: str) -> bool:
        """Tell whether there is anything of that source here."""
        return source == OWN or source in self._gone
