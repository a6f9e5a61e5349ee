"""The running counters of one group, kept while spans change state: a summary never lists tasks.

Law: a call costs a few microseconds, and memory does not grow with the number of tasks or of
calls. No clock: `now` comes in, in seconds of one clock of the caller's choice. Standard library
only, because the scheduler process loads this file.

Durations are counted in fixed logarithmic bins, four per octave from one microsecond, so that
histograms of different groups, workers and runs can be added bin by bin; a quantile read from
them is right within 10 % of its value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import log2
from typing import Any

STATES = ("waiting", "ready", "assigned", "done", "failed", "released")
"""States of a task, as `GroupCounters.on_move` names them."""

BINS_PER_OCTAVE = 4
FIRST_EDGE_S = 1e-6
BIN_COUNT = 160
"""160 bins reach 2**40 microseconds, 12.7 days. Longer tasks are counted in the last bin."""

MAX_ERROR_CHARS = 200

RATE_BIN_S = 0.5
RATE_BINS = 10
RATE_MIN_REPORTS = 4
"""Fewer reports than this in the ring say little: then the mean since the start is the rate."""

_LAST_BIN = BIN_COUNT - 1
_BIN_EDGES = tuple(FIRST_EDGE_S * 2 ** (i / BINS_PER_OCTAVE) for i in range(BIN_COUNT + 1))


def bin_of(seconds: float) -> int:
    """Return the histogram bin of a duration in seconds."""
    if seconds <= FIRST_EDGE_S:  # also negative: a clock that was set back
        return 0
    found = int(BINS_PER_OCTAVE * log2(seconds * 1e6))
    return found if found < _LAST_BIN else _LAST_BIN


def bin_edges() -> tuple[float, ...]:
    """Return the ``BIN_COUNT + 1`` edges of the duration bins in seconds.

    Bin `i` counts durations in ``[edges[i], edges[i + 1])``; the first bin also what is shorter,
    the last one also what is longer.
    """
    return _BIN_EDGES


def times_of(durations: Iterable[float]) -> list[int]:
    """Return durations in seconds as the flat histogram ``[bin, count, ...]`` of `SpanDone`."""
    counts: dict[int, int] = {}
    for seconds in durations:
        found = bin_of(seconds)
        counts[found] = counts.get(found, 0) + 1
    return [number for pair in counts.items() for number in pair]


def quantile_of(histogram: Mapping[int, int], q: float) -> float | None:
    """Return the duration in seconds below which a share `q` of a histogram lies.

    `histogram` maps bin to count; None if it is empty. Inside a bin durations are taken to lie
    evenly on the logarithmic scale.
    """
    total = sum(histogram.values())
    if not total:
        return None
    wanted, below, share = q * total, 0, 0.0
    found = min(histogram)
    for found in sorted(histogram):
        count = histogram[found]
        if count and below + count >= wanted:
            share = max(0.0, (wanted - below) / count)
            break
        below += count
    edge: float = _BIN_EDGES[found] * 2 ** (share / BINS_PER_OCTAVE)
    return edge


class GroupCounters:
    """What is known of a group as a whole.

    `counts` is the number of tasks by state. `seconds` is time spent in the user's function, summed
    over tasks, and `histogram` its distribution (bin to count). `bytes_held` is the size of the
    results that are kept now. `started` is when its first task was given to a worker, None before.
    `metadata` was given by whoever submitted it; `warning` says why it cannot go on, if so.
    """

    __slots__ = (
        "_last_end", "_released_done", "_reported", "_ring", "_ring_at", "_ring_reports",
        "bytes_held", "client", "counts", "created", "depth", "error", "group", "histogram",
        "layer", "metadata", "name", "seconds", "started", "warning",
    )  # fmt: skip

    def __init__(
        self,
        group: int,
        name: str,
        client: str = "",
        layer: str = "",
        created: float = 0.0,
        depth: int = 0,
    ) -> None:
        self.group = group
        self.name = name
        self.client = client
        self.layer = layer
        self.created = created
        self.depth = depth
        self.counts: dict[str, int] = dict.fromkeys(STATES, 0)
        self.histogram: dict[int, int] = {}
        self.seconds = 0.0
        self.bytes_held = 0
        self.error: str | None = None
        self.warning: str | None = None
        self.metadata: dict[str, Any] = {}
        self.started: float | None = None
        self._last_end: float | None = None
        self._released_done = 0
        self._reported = 0
        self._ring = [0] * RATE_BINS
        self._ring_reports = [0] * RATE_BINS
        self._ring_at = 0

    # --- what happened ------------------------------------------------------------------------

    def on_move(self, old: str | None, new: str, count: int, now: float | None = None) -> None:
        """Count `count` tasks that went from state `old` to state `new`.

        `old` is None for new tasks. `now` may be left out where the caller has no clock at hand;
        start and end of the group are then taken from the other calls.
        """
        counts = self.counts
        if old is not None:
            counts[old] -= count
            if old == "released":  # computed again: results that were let go come first
                self._released_done -= min(count, self._released_done)
            elif old == "done" and new == "released":
                self._released_done += count
        counts[new] += count
        if now is None:
            return
        if new == "assigned":
            if self.started is None:
                self.started = now
        elif new == "done" or new == "failed":
            self._last_end = now

    def on_done(
        self, count: int, seconds: float, times: Sequence[int], nbytes: int, now: float
    ) -> None:
        """Add what a report of `count` finished tasks says; `on_move` counts their states.

        `seconds` and `nbytes` are sums over the tasks, `times` is the histogram of `SpanDone`.
        """
        self.seconds += seconds
        self.bytes_held += nbytes
        self._reported += count
        histogram = self.histogram
        for i in range(0, len(times) - 1, 2):
            found = times[i]
            if 0 <= found < BIN_COUNT:  # it came over the wire
                histogram[found] = histogram.get(found, 0) + times[i + 1]
        if self.started is None:
            self.started = now - seconds / count if count else now
        self._last_end = now
        at = int(now / RATE_BIN_S)
        if at != self._ring_at:
            self._turn_ring(at)
        slot = at % RATE_BINS
        self._ring[slot] += count
        self._ring_reports[slot] += 1

    def on_failed(self, text: str, now: float, seconds: float = 0.0) -> None:
        """Add time spent in a task that failed, and keep the text of the first failure."""
        if self.error is None:
            text = " ".join(text.split())
            over = len(text) > MAX_ERROR_CHARS
            self.error = text[: MAX_ERROR_CHARS - 1] + "…" if over else text
        self.seconds += seconds
        self._last_end = now

    def on_retried(self) -> None:
        """Forget the kept failure: the failed tasks run again."""
        self.error = None

    def on_freed(self, nbytes: int) -> None:
        """Results of this size are kept no longer."""
        self.bytes_held = max(0, self.bytes_held - nbytes)

    def _turn_ring(self, at: int) -> None:
        for i in range(max(self._ring_at + 1, at - RATE_BINS + 1), at + 1):
            self._ring[i % RATE_BINS] = 0
            self._ring_reports[i % RATE_BINS] = 0
        self._ring_at = max(at, self._ring_at)

    # --- what can be read from it -------------------------------------------------------------

    @property
    def total(self) -> int:
        """All tasks of the group."""
        return sum(self.counts.values())

    @property
    def unfinished(self) -> int:
        """Tasks that are still to be computed."""
        counts = self.counts
        return counts["waiting"] + counts["ready"] + counts["assigned"]

    @property
    def done(self) -> int:
        """Tasks that have been computed, those whose results were let go since included."""
        return self.counts["done"] + self._released_done

    @property
    def last_end(self) -> float | None:
        """When a task last finished or failed; None before."""
        return self._last_end

    @property
    def finished(self) -> float | None:
        """When the last task finished or failed; None while there is something to compute."""
        return None if self.unfinished else self._last_end

    def rate(self, now: float) -> float:
        """Return finished tasks per second.

        Recent ones while the group runs (mean of some seconds, or since the start where there were
        few reports), the mean over its life once it is finished.
        """
        if self.started is None or not self._reported:
            return 0.0
        finished = self.finished
        if finished is not None:  # what took no time at all, such as scattered data, has no rate
            took = finished - self.started
            return self._reported / took if took > 0 else 0.0
        at = int(now / RATE_BIN_S)
        kept = range(max(at - RATE_BINS + 1, self._ring_at - RATE_BINS + 1), self._ring_at + 1)
        if sum(self._ring_reports[i % RATE_BINS] for i in kept) >= RATE_MIN_REPORTS:
            begin = max(self.started, (at - RATE_BINS + 1) * RATE_BIN_S)
            return sum(self._ring[i % RATE_BINS] for i in kept) / max(now - begin, RATE_BIN_S)
        return self._reported / max(now - self.started, 1e-6)
