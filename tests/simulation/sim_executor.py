"""A simulated executor process: what executor/loop.py does, in simulated time.

It takes the worker's real frames, keeps what they say it keeps, and reports as the real one does:
a stretch at a time, cut short where its cut word says so. It computes every result from the blobs
and blocks that it was given, so that a frame that lacks something fails here.

Law: it drops nothing by itself, and begins no piece whose token was taken back.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellspan.engine.diagnostics.counters import times_of
from cellspan.engine.messages import Blob

from . import work
from .truth import Truth
from .work import Function, Values
from .world import World

PIPE_S = 30e-6
FLUSH_S = 0.05
SINGLE_BYTES = 4096
FILE_BYTES = 65_536
PADDING = memoryview(bytes(1 << 20))

Disk = dict[str, list[Blob]]
Report = Callable[[int, dict[str, Any], list[Blob]], None]


@dataclass
class _Thing:
    group: int
    start: int
    stop: int
    parts: list[Blob]
    path: str | None


@dataclass
class _Known:
    """A group as its `define` frame said."""

    name: str
    layer: dict[str, Any]
    digests: list[str]
    function: Function


class _Run:
    """A piece at work. `ends` are times at which its tasks end if nothing happens."""

    def __init__(self, number: int, group: int, name: str, start: int, stop: int) -> None:
        self.number = number
        self.group = group
        self.name = name
        self.start = self.at = start
        self.stop = stop
        self.began = 0.0
        self.flush_at = 0.0
        self.is_cut = False
        self.values: Values = np.zeros(0, np.uint64)
        self.ends: NDArray[np.float64] = np.zeros(0)
        self.raises: set[int] = set()
        self.crash: int | None = None
        self.version = 0
        self.resources: dict[str, Any] = {}

    def seconds_at(self, now: float) -> float:
        """Return how long the task that is running has been running."""
        index = self.index_at(now)
        before = self.began if index == self.start else float(self.ends[index - self.start - 1])
        return now - before

    def index_at(self, now: float) -> int:
        """Return the task that is running, or the last one."""
        ended = int(np.searchsorted(self.ends, now, side="right"))
        return min(self.start + ended, self.stop - 1)


class InputGone(Exception):
    """A file that a block lies in is not there (any more)."""


class SimExecutor:
    """One executor. `slowness` multiplies durations."""

    def __init__(
        self,
        world: World,
        truth: Truth,
        label: str,
        number: int,
        disk: Disk,
        slowness: float,
        on_report: Report,
        on_crash: Callable[[int, str], None],
        is_small: bool,
    ) -> None:
        self._world = world
        self._truth = truth
        self.label = label
        self.number = number
        self._disk = disk
        self.slowness = slowness
        self._on_report = on_report
        self._on_crash = on_crash
        self._is_small = is_small
        self.is_dead = False
        self.check: Callable[[list[str] | None], None] | None = None
        """Called when a piece begins: may it run on this worker, beside the others?"""
        self._arrival = 0.0
        self._frames: deque[tuple[dict[str, Any], list[Blob]]] = deque()
        self._revoked: set[int] = set()
        self._last_claimed = 0
        self._cut_word = 0
        self._groups: dict[int, _Known] = {}
        self._contents: dict[str, Blob] = {}
        self._users: dict[str, set[int]] = {}
        self._things: dict[int, _Thing] = {}
        self._run: _Run | None = None
        self._files = 0

    # --- what the worker does to it ---------------------------------------------------------------

    def send(self, header: dict[str, Any], buffers: list[Blob]) -> None:
        """Take a frame; it arrives a little later, in order."""
        if self._is_small:
            header = json.loads(json.dumps(header))
        self._arrival = max(self._arrival + 1e-9, self._world.now + PIPE_S)
        self._world.at(self._arrival, f"{self.label} {header['do']}", self._arrive, header, buffers)

    def revoke(self, piece: int) -> bool:
        """Try to take a piece's token back."""
        if self.is_dead or piece <= self._last_claimed:
            return False
        self._revoked.add(piece)
        return True

    def cut(self, piece: int) -> None:
        """Write the cut word."""
        self._cut_word = piece
        run = self._run
        if run is not None and run.number == piece and not run.is_cut:
            run.is_cut = True
            self._plan_stop(run)

    def read_page(self) -> tuple[int, int]:
        """Return the running piece and its task; 0 when there is none."""
        run = self._run
        return (0, 0) if run is None else (run.number, run.index_at(self._world.now))

    # --- frames -----------------------------------------------------------------------------------

    def _arrive(self, header: dict[str, Any], buffers: list[Blob]) -> None:
        if self.is_dead:
            return
        self._frames.append((header, buffers))
        self._serve()

    def _serve(self) -> None:
        while self._frames and self._run is None and not self.is_dead:
            header, buffers = self._frames.popleft()
            buffers = list(buffers)
            match header["do"]:
                case "run":
                    self._take_things(header["things"], header["drop"], buffers)
                    if header["piece"] in self._revoked:
                        self._revoked.discard(header["piece"])
                    else:
                        self._last_claimed = header["piece"]
                        self._begin(header, buffers)
                case "define":
                    self._define(header, buffers)
                case "drop":
                    self._take_things([], header["drop"], buffers)
                case "forget":
                    self._forget(header["group"])

    def _define(self, header: dict[str, Any], buffers: list[Blob]) -> None:
        self._contents.update(zip(header["new"], buffers, strict=True))
        for digest in header["digests"]:
            self._users.setdefault(digest, set()).add(header["group"])
        function = work.read_function(bytes(self._contents[header["layer"]["function"]]))
        self._groups[header["group"]] = _Known(
            header["name"], header["layer"], header["digests"], function
        )

    def _forget(self, group: int) -> None:
        for digest in self._groups.pop(group).digests:
            if digest in self._users:
                self._users[digest].discard(group)
                if not self._users[digest]:
                    del self._users[digest], self._contents[digest]

    def _take_things(self, new: list[list[Any]], drop: list[int], buffers: list[Blob]) -> None:
        for number in drop:
            del self._things[number]
        for number, group, start, stop, _, count, path, _ in new:
            assert number not in self._things, f"thing {number} came twice"
            self._things[number] = _Thing(group, start, stop, buffers[:count], path)
            del buffers[:count]

    # --- running ----------------------------------------------------------------------------------

    def _begin(self, header: dict[str, Any], buffers: list[Blob]) -> None:
        known = self._groups[header["group"]]
        function = known.function
        start, stop = header["start"], header["stop"]
        run = self._run = _Run(header["piece"], header["group"], known.name, start, stop)
        run.began = run.flush_at = self._world.now
        run.resources = header.get("resources") or {}
        self._check_place(run)
        try:
            if known.layer["kind"] == "graph":
                run.values = self._graph_values(header, buffers[0], function)
            else:
                run.values = self._each_values(header, known, start, stop)
        except InputGone as gone:
            self._report(run, start, [], True, gone=list(gone.args))
            return
        run.ends = run.began + np.cumsum(work.durations(function, start, stop)) * self.slowness
        run.raises, run.crash = self._misdeeds(run, function)
        run.is_cut = self._cut_word == run.number
        if run.is_cut:  # seen before the first task
            self._report(run, start, [], True)
            return
        self._plan_stop(run)

    def _check_place(self, run: _Run) -> None:
        """A task runs where it may, and with what it asked for."""
        options = self._truth.groups[run.group].options
        ask = options.get("resources") or {}
        given = {n: len(g) if isinstance(g, list) else g for n, g in run.resources.items()}
        if given != ask or (ask and run.stop - run.start > 1):
            raise self._world.fail(f"{self.label} asks for {ask} and got {run.resources}")
        if self.check is not None:
            self.check(options.get("workers"))

    def overran(self, limit_s: float) -> tuple[int, int] | None:
        """Return the task that is running if it has run for so long, else None."""
        run = self._run
        if run is None or run.seconds_at(self._world.now) < limit_s:
            return None
        return run.group, run.index_at(self._world.now)

    @property
    def running(self) -> dict[str, Any] | None:
        """What the piece that is running was given; None if there is none."""
        return None if self._run is None or self.is_dead else self._run.resources

    @property
    def group(self) -> int:
        """The group that is running."""
        return self._run.group if self._run is not None else 0

    def _misdeeds(self, run: _Run, function: Function) -> tuple[set[int], int | None]:
        """Return the tasks of the piece that will raise, and the first that will crash."""
        start, stop, truth = run.start, run.stop, self._truth
        if not (function.raises or function.flaky or function.crashes):
            return set(), None
        raises = {start + int(i) for i in np.nonzero(work.raising(function, start, stop))[0]}
        for i in np.nonzero(work.flaky(function, start, stop))[0]:
            if truth.raised[run.group, start + int(i)] < function.flaky_times:
                raises.add(start + int(i))
        for i in np.nonzero(work.crashing(function, start, stop))[0]:
            if truth.crashed[run.group, start + int(i)] < function.crash_times:
                return raises, start + int(i)
        return raises, None

    def _plan_stop(self, run: _Run) -> None:
        """Find where it stops next, and be there in time."""
        run.version += 1
        last = run.stop - 1
        if run.is_cut:
            last = min(last, max(run.at, run.index_at(self._world.now)))
        flush = int(np.searchsorted(run.ends, run.flush_at + FLUSH_S, side="right")) + run.start
        last = min(last, max(flush, run.at))
        raising = [i for i in run.raises if run.at <= i <= last]
        if raising:
            last = min(raising)
        is_crash = run.crash is not None and run.at <= run.crash <= last
        if is_crash:
            assert run.crash is not None
            last = run.crash
        time = float(run.ends[last - run.start])
        if is_crash:  # in the middle of the task
            time = max(self._world.now, time - self._seconds(run, last, last + 1) / 2)
        label = f"{self.label} stops piece {run.number} at {last}"
        self._world.at(time, label, self._stop_at, run, run.version, last, is_crash)

    def _stop_at(self, run: _Run, version: int, last: int, is_crash: bool) -> None:
        if self.is_dead or run is not self._run or run.version != version:
            return
        if is_crash:
            self._truth.crashed[run.group, last] += 1
            self._on_crash(self.number, "SIGSEGV")
            return
        failed: list[dict[str, Any]] = []
        begin = run.at
        run.at = last + 1
        end = run.at
        if last in run.raises:
            self._truth.raised[run.group, last] += 1
            run.raises.discard(last)
            end = last
            failed.append({
                "index": last, "kind": "raised", "text": f"ValueError: {last}", "traceback": "...",
                "seconds": self._seconds(run, last, last + 1), "exception": True,
            })  # fmt: skip
        over = run.at == run.stop or run.is_cut
        self._report(run, begin, failed, over, end=end)

    @staticmethod
    def _seconds(run: _Run, start: int, stop: int) -> float:
        before = run.began if start == run.start else float(run.ends[start - run.start - 1])
        return float(run.ends[stop - run.start - 1]) - before if stop > start else 0.0

    def _report(
        self,
        run: _Run,
        begin: int,
        failed: list[dict[str, Any]],
        over: bool,
        end: int | None = None,
        gone: list[int] | None = None,
    ) -> None:
        """Say what came of tasks `[begin, run.at)`; those from `end` on have failed."""
        end = run.at if end is None else end
        now = self._world.now
        blocks, buffers = self._pack(run, begin, end)
        if failed:
            buffers.append(b"pickled exception")
        ends = run.ends[begin - run.start : run.at - run.start]
        spent = ends.copy()
        spent[1:] -= ends[:-1]
        spent[:1] -= run.flush_at
        header = {
            "piece": run.number, "start": begin, "stop": run.at, "over": over,
            "seconds": self._seconds(run, begin, run.at), "elapsed": now - run.flush_at,
            "times": times_of(spent.tolist()), "blocks": blocks, "failed": failed,
            "gone": gone,
        }  # fmt: skip
        self._truth.finished[run.group] += end - begin
        run.flush_at = now
        if over:
            self._run = None
        label = f"{self.label} reports [{begin},{run.at}) of piece {run.number}"
        self._world.after(PIPE_S, label, self._on_report, self.number, header, buffers)
        if over:
            self._serve()
        else:
            self._plan_stop(run)

    def _pack(self, run: _Run, start: int, stop: int) -> tuple[list[list[Any]], list[Blob]]:
        """Return blocks and buffers of results, in files where they are large."""
        blocks: list[list[Any]] = []
        buffers: list[Blob] = []
        size = self._groups[run.group].function.nbytes - 8
        step = 1 if size + 8 >= SINGLE_BYTES else max(1, stop - start)
        for first in range(start, stop, step):
            last = min(stop, first + step)
            parts: list[Blob] = [run.values[first - run.start : last - run.start].tobytes()]
            if size:
                parts.append(PADDING[: size * (last - first)])
            nbytes = sum(map(len, parts))
            if nbytes < FILE_BYTES:
                blocks.append([first, last, last - first == 1, len(parts)])
                buffers += parts
                continue
            self._files += 1
            path = f"{self.label}-{self._files}"
            self._disk[path] = parts
            places = [0, len(parts[0]), 64 + len(parts[0]), nbytes - len(parts[0])]
            blocks.append([first, last, last - first == 1, path, places])
        return blocks, buffers

    # --- arguments --------------------------------------------------------------------------------

    def _graph_values(self, header: dict[str, Any], payload: Blob, function: Function) -> Values:
        values = []
        view, position = memoryview(payload), 0
        for length in header["lengths"]:
            call = view[position : position + length]
            position += length
            value = work.read_call(call, lambda g, i: self._result(header["blocks"], g, i))
            values.append(work.call(function, [value]))
        return np.array(values, np.uint64)

    def _each_values(self, header: dict[str, Any], known: _Known, start: int, stop: int) -> Values:
        columns = []
        chunks = {(p, n): self._things[thing] for p, n, thing in header["chunks"]}
        for position, spec in enumerate(known.layer["args"]):
            match spec:
                case ["blob", digest, _]:
                    blob = self._contents[digest]
                    value = work.read_call(
                        bytes(blob), lambda g, i: self._result(header["blocks"], g, i)
                    )
                    columns.append(np.full(1, value, np.uint64))
                case ["range", first, step]:
                    columns.append(work.range_column(first, step, start, stop))
                case ["items", size, _]:
                    parts = []
                    for number in range(start // size, (stop - 1) // size + 1):
                        items = work.read_items(chunks[position, number].parts[0])
                        low = max(start - number * size, 0)
                        parts.append(items[low : min(stop - number * size, size)])
                    columns.append(np.concatenate(parts))
                case ["same", group, offset]:
                    columns.append(
                        self._column(header["blocks"], group, start + offset, stop + offset)
                    )
        return work.call_arrays(known.function, columns, stop - start)

    def _result(self, numbers: list[int], group: int, index: int) -> int:
        return int(self._column(numbers, group, index, index + 1)[0])

    def _column(self, numbers: list[int], group: int, start: int, stop: int) -> Values:
        found = np.zeros(stop - start, np.uint64)
        is_there = np.zeros(stop - start, np.bool_)
        for number in numbers:
            thing = self._things[number]
            low, high = max(start, thing.start), min(stop, thing.stop)
            if thing.group != group or low >= high:
                continue
            parts = thing.parts
            if thing.path is not None:
                if thing.path not in self._disk:
                    raise InputGone(group, low)
                parts = self._disk[thing.path]
            values = np.frombuffer(parts[0], np.uint64)
            found[low - start : high - start] = values[low - thing.start : high - thing.start]
            is_there[low - start : high - start] = True
        if not is_there.all():
            raise InputGone(group, start + int(np.argmin(is_there)))
        return found
