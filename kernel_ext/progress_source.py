"""Where the rows of a progress display come from: what `progress()` was given, as rows.

Law: reads what the client knows anyway, which includes the scheduler's latest snapshot; it waits
for nothing. The futures it was given are held while the display lives, so that tasks whose only
reader is the display are not dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol

from cellspan.engine.client import Client, Future, Futures
from cellspan.engine.client.default import find_default
from cellspan.engine.client.futures import indices_of, place_of
from cellspan.engine.client.progress import GroupProgress, progress_of
from cellspan.engine.client.runs import RunSet
from cellspan.engine.client.session import Session
from cellspan.engine.client.state import GroupState
from cellspan.engine.errors import CellspanError, InvalidArgument

from .progress_rows import Row

NEWS_TIMEOUT_S = 1.0
REMEDY = (
    "give what `map` or `submit` returned, a list of such, a client, or nothing for all groups of "
    "this process's client"
)


class Source(Protocol):
    """Something that can be shown as rows."""

    def rows(self) -> list[Row]:
        """Return one row per group, as of now; never blocks."""

    def settle(self) -> None:
        """All has ended: ask once for the last word on times. May wait a moment."""

    def closed_reason(self) -> str | None:
        """Return a sentence if nothing will be heard any more, else None."""

    def close(self) -> None:
        """Let go of what was needed to watch."""


def make_source(what: Any) -> Source:
    """Return the source for what `progress()` was given.

    Raises:
        TypeError: it is nothing that has progress.
        InvalidArgument: there is no client in this process, or a future was released.
    """
    if what is None:
        what = find_default()
        if what is None:
            raise InvalidArgument(f"there is no client whose groups could be shown: {REMEDY}")
    if isinstance(what, Client):
        return ClientSource(what)
    items = [what] if isinstance(what, (Future, Futures)) else what
    if isinstance(items, (str, bytes, dict)) or not isinstance(items, Iterable):
        raise TypeError(f"progress() cannot show a {type(what).__name__}: {REMEDY}")
    return FuturesSource(list(items))


class FuturesSource:
    """Rows of given futures: those of one group make one row, whatever they were given as."""

    def __init__(self, items: list[Any]) -> None:
        """`items`: Future, Futures, or lists of them.

        Raises:
            TypeError: something else is among them.
        """
        self._held: list[Any] = items
        self._parts: dict[int, tuple[GroupState, RunSet]] = {}
        for item in items:
            self._add(item)
        self.settle()  # so that the first drawing has rates and times

    def _add(self, item: Any) -> None:
        if isinstance(item, Futures):
            group, _ = indices_of(item)
            runs = self._runs_of(group)
            for start, stop in item.runs():
                runs.add(start, stop)
        elif isinstance(item, Future):
            group, index = place_of(item)
            self._runs_of(group).add(index, index + 1)
        elif isinstance(item, (list, tuple, set)):
            for inner in item:
                self._add(inner)
        else:
            raise TypeError(f"progress() cannot show a {type(item).__name__} in a list: {REMEDY}")

    def _runs_of(self, group: GroupState) -> RunSet:
        return self._parts.setdefault(group.id, (group, RunSet()))[1]

    def rows(self) -> list[Row]:
        """Return one row per group, in the order in which they were given."""
        return [
            row_of([progress_of(group, range(start, stop)) for start, stop in runs], group.session)
            for group, runs in self._parts.values()
            if runs
        ]

    def settle(self) -> None:
        """Get a fresh snapshot of each cluster."""
        clusters = {group.session.cluster_id for group, _ in self._parts.values()}
        for client in map(find_default, clusters):
            if client is not None:
                ask_for_news(client)

    def closed_reason(self) -> str | None:
        """Return why nothing will be heard any more, if so."""
        for group, _ in self._parts.values():
            if group.session.closed is not None:
                return f"No longer updated: {group.session.closed}"
        return None

    def close(self) -> None:
        """Drop the futures."""
        self._held = []


class ClientSource:
    """Rows of all groups of a client, those included that are submitted while it is looked at."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.settle()

    def rows(self) -> list[Row]:
        """Return one row per group, in the order in which they were submitted."""
        session = self._client.session
        return [row_of([group], session) for group in self._client.groups()]

    def settle(self) -> None:
        """Get a fresh snapshot."""
        ask_for_news(self._client)

    def closed_reason(self) -> str | None:
        """Return why nothing will be heard any more, if so."""
        closed = self._client.closed
        return f"No longer updated: {closed}" if closed else None

    def close(self) -> None:
        """Nothing is held."""


def ask_for_news(client: Client) -> None:
    """Have a client get a snapshot, which its groups' rates and times are read from."""
    if client.asynchronous:  # its loop is the caller's, and may be this very thread's
        return
    with suppress(TimeoutError, CellspanError):  # what is known stays good enough
        client.snapshot(timeout=NEWS_TIMEOUT_S)


def row_of(parts: list[GroupProgress], session: Session) -> Row:
    """Return one row for parts of one group; its times are the scheduler's."""
    first = parts[0]
    known = session.rows.get(first.group)
    left = sum(part.total - part.done - part.failed for part in parts)
    rate = max(part.rate for part in parts)
    return Row(
        first.name,
        sum(part.total for part in parts),
        sum(part.done for part in parts),
        sum(part.failed for part in parts),
        min(left, sum(part.running for part in parts)),
        rate,
        left / rate if rate > 0 and left else None,
        key=first.group,
        started=known.started if known is not None else None,
        ended=known.finished if known is not None else None,
    )
