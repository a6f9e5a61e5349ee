"""Which groups kept the slots busy over time, in bins that are coarser the longer ago it was.

Law: memory is bounded whatever happens (LEVELS x MAX_ROWS rows of BINS numbers), and busy time is
neither lost nor invented: what is added is found again in every level whose window reaches back to
it, under the group's own name or under "other". No clock: `now` comes in, in seconds. Standard
library only, because the scheduler process loads this file.

Level `k` is a ring of BINS bins of ``FINEST_BIN_S * 2**k`` seconds: one minute in half seconds up
to days in hours. All levels are kept at once, so a reader sees ten seconds of work in fine bins
even when the cluster has lived for a week.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from math import floor

BINS = 120
FINEST_BIN_S = 0.5
LEVELS = 14
"""The coarsest bins are 68 minutes wide, their ring reaches back 5.7 days."""

MAX_ROWS = 32
RECENT_BINS = 16
OTHER = -1
"""Stands for all groups that have no row of their own."""

_SLOTS = -2


@dataclass(slots=True)
class ActivityBins:
    """What `ActivityRing.read` gives: `busy` and `slots` are averages (slots) per bin.

    The first bin begins at `start` seconds, each is `bin_s` long; the last may be cut off by now.
    """

    start: float
    bin_s: float
    busy: dict[int, list[float]]
    slots: list[float]


class ActivityRing:
    """Busy time by group and bin of time, and the slots that there were."""

    def __init__(self, now: float, bin_s: float = FINEST_BIN_S, levels: int = LEVELS) -> None:
        self.origin = now
        self._levels = [_Level(bin_s * 2**k, now) for k in range(levels)]
        self._bin_s = bin_s
        self._at = floor(now / bin_s)
        self._pending: dict[int, float] = {}
        self._slots = 0
        self._slots_since = now

    def add(self, group: int, seconds: float, now: float, begun: float | None = None) -> None:
        """Add `seconds` of work of a group that was reported at `now`.

        The work is spread evenly over the time just before now: as long as one slot would take
        for it, but not back beyond `begun`, when it was handed out, if that is given: then several
        slots did it side by side.
        """
        if seconds <= 0:
            return
        bin_s = self._bin_s
        at = floor(now / bin_s)
        if at != self._at:
            self._flush(at)
        first = now - seconds if begun is None else max(now - seconds, min(begun, now))
        if first >= at * bin_s:  # the usual case: short spans wait here for the bin to end
            self._pending[group] = self._pending.get(group, 0.0) + seconds
            return
        self._spread(group, seconds, max(first, self.origin), now)

    def set_slots(self, slots: int, now: float) -> None:
        """From now on there are this many slots."""
        self._count_slots(now)
        self._slots = slots

    def read(self, now: float, since: float | None = None) -> ActivityBins:
        """Return the finest bins that reach back to `since` (default: to the beginning).

        Bins from before `since` are left out. Groups without busy time are left out.
        """
        self._count_slots(now)
        self._flush(floor(now / self._bin_s))
        since = self.origin if since is None else max(self.origin, min(since, now))
        for level in self._levels:
            if level.reaches(since, now):
                return level.read(since, now, self.origin)
        return self._levels[-1].read(since, now, self.origin)

    def _count_slots(self, now: float) -> None:
        if self._slots and now > self._slots_since:
            length = now - self._slots_since
            self._spread(_SLOTS, self._slots * length, self._slots_since, now)
        self._slots_since = max(now, self._slots_since)

    def _flush(self, at: int) -> None:
        if self._pending:
            moment = (self._at + 0.5) * self._bin_s
            for group, seconds in self._pending.items():
                for level in self._levels:
                    level.put(group, seconds, floor(moment / level.bin_s))
            self._pending.clear()
        self._at = at

    def _spread(self, group: int, seconds: float, first: float, last: float) -> None:
        for level in self._levels:
            level.spread(group, seconds, first, last)


class _Level:
    """One ring of bins of one width; a row per group, in seconds of work per bin, and the number
    of the bin that it last was added to."""

    __slots__ = ("bin_s", "latest", "newest", "rows")

    def __init__(self, bin_s: float, now: float) -> None:
        self.bin_s = bin_s
        self.newest = floor(now / bin_s)
        self.rows: dict[int, array[float]] = {}
        self.latest: dict[int, int] = {}

    def put(self, group: int, seconds: float, at: int) -> None:
        """Add to the bin with the absolute number `at`; a bin that has left the ring is gone."""
        if at > self.newest:
            self._turn(at)
        if at > self.newest - BINS:
            self._row_of(group)[at % BINS] += seconds
            self.latest[group] = at

    def spread(self, group: int, seconds: float, first: float, last: float) -> None:
        """Add evenly over the time from `first` to `last`."""
        bin_s = self.bin_s
        low, high = floor(first / bin_s), floor(last / bin_s)
        if low == high:
            self.put(group, seconds, low)
            return
        per_s = seconds / (last - first)
        if high > self.newest:
            self._turn(high)
        row = self._row_of(group)
        self.latest[group] = high
        oldest = self.newest - BINS + 1
        if low >= oldest:
            row[low % BINS] += per_s * ((low + 1) * bin_s - first)
        if high >= oldest:
            row[high % BINS] += per_s * (last - high * bin_s)
        per_bin = per_s * bin_s
        for at in range(max(low + 1, oldest), high):
            row[at % BINS] += per_bin

    def reaches(self, since: float, now: float) -> bool:
        return floor(now / self.bin_s) - floor(since / self.bin_s) < BINS

    def read(self, since: float, now: float, origin: float) -> ActivityBins:
        bin_s = self.bin_s
        last = floor(now / bin_s)
        if last > self.newest:
            self._turn(last)
        low = max(floor(since / bin_s), last - BINS + 1)
        # A bin that has just begun says little: wait until half of it has passed.
        if last > low and now - last * bin_s < bin_s / 2:
            last -= 1
        numbers = range(low, last + 1)
        lengths = [
            max(min(now, (at + 1) * bin_s) - max(origin, at * bin_s), 1e-3) for at in numbers
        ]
        found = {
            group: [row[at % BINS] / n for at, n in zip(numbers, lengths, strict=True)]
            for group, row in self.rows.items()
        }
        slots = found.pop(_SLOTS, [0.0] * len(lengths))
        busy = {group: values for group, values in found.items() if any(values)}
        return ActivityBins(low * bin_s, bin_s, busy, slots)

    def _turn(self, at: int) -> None:
        """Make `at` the newest bin: those that it pushes out of the ring are emptied."""
        gone = range(max(self.newest + 1, at - BINS + 1), at + 1)
        for row in self.rows.values():
            for i in gone:
                row[i % BINS] = 0.0
        self.newest = at

    def _row_of(self, group: int) -> array[float]:
        row = self.rows.get(group)
        if row is None:
            if len(self.rows) >= MAX_ROWS and group >= 0:
                self._fold()
            row = self.rows[group] = array("d", bytes(8 * BINS))
        return row

    def _fold(self) -> None:
        """Put half of the groups together as OTHER: who ended first or did least."""
        own = sorted(
            (self.latest[group] // RECENT_BINS, sum(row), group)
            for group, row in self.rows.items()
            if group >= 0
        )
        other = self._row_of(OTHER)
        for _, _, group in own[: len(own) // 2]:
            del self.latest[group]
            for i, seconds in enumerate(self.rows.pop(group)):
                if seconds:
                    other[i] += seconds
