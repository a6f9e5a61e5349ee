"""What tasks print: the last lines of all executors of a worker.

Law: bounded in lines and in the length of a line. An entry is ``[source, stream, unix time,
text]`` (LogsGiven); the source of an executor is ``WORKER/NUMBER``.
"""

from __future__ import annotations

from collections import deque
from typing import Any

MAX_LINES = 5000
MAX_LINE_CHARS = 4000
Entry = list[Any]


class Logs:
    """A ring of lines."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._entries: deque[Entry] = deque(maxlen=MAX_LINES)
        self._partial: dict[tuple[int, str], bytes] = {}

    def feed(self, executor: int, stream: str, data: bytes, time: float) -> None:
        """Take bytes that an executor wrote; whole lines are kept at once, the rest when its line
        ends."""
        data = self._partial.pop((executor, stream), b"") + data
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._add(executor, stream, line, time)
        if len(rest) > MAX_LINE_CHARS:
            self._add(executor, stream, rest, time)
        elif rest:
            self._partial[executor, stream] = rest

    def end(self, executor: int, time: float) -> None:
        """The executor writes no more: keep what it began to write."""
        for key in [key for key in self._partial if key[0] == executor]:
            self._add(executor, key[1], self._partial.pop(key), time)

    def read(self, lines: int) -> list[Entry]:
        """Return the newest entries, oldest first."""
        entries = list(self._entries)
        return entries[-lines:] if lines > 0 else []

    def tail(self, executor: int, lines: int) -> list[str]:
        """Return the last lines of one executor."""
        source = self._source(executor)
        return [entry[3] for entry in self._entries if entry[0] == source][-lines:]

    def _add(self, executor: int, stream: str, line: bytes, time: float) -> None:
        text = line[:MAX_LINE_CHARS].decode(errors="replace").rstrip("\r")
        self._entries.append([self._source(executor), stream, time, text])

    def _source(self, executor: int) -> str:
        return f"{self._worker}/{executor}"
