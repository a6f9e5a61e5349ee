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
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellspan.engine.diagnostics.counters import times_of
from cellspan.engine.executor.inputs import take_levels
from cellspan.engine.executor.values import SHARDS
from cellspan.engine.messages import Blob

from . import work
from .sim_shards import merge_column, pack_split
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
    output: int = 0
    splits: list[int] = field(default_factory=list)


@dataclass
class _Known:
    """A group as its `define` frame said."""

    name: str
    layer: dict[str, Any]
    digests: list[str]
    function: Function
    split: Function | None = None

    def function_of(self, task: int) -> Function:
        """Return what a task does."""
        return (
            self.split if self.split is not None and task < self.layer["count"] else self.function
        )


@dataclass
class _Strand:
    """The tasks of one group in a piece: task `i` of the piece is its task `i + shift`."""

    group: int
    name: str
    function: Function
    shift: int
    is_kept: bool
    values: Values


class _Run:
    """A piece at work. `strands`: its own tasks, and those that follow them. `ends` are times at
    which its tasks end if nothing happens. `raises`: which strand raises, by task; `crash`: the
    task and strand that crash.
    """

    def __init__(self, number: int, start: int, stop: int) -> None:
        self.number = number
        self.start = self.at = start
        self.stop = stop
        self.began = 0.0
        self.flush_at = 0.0
        self.is_cut = False
        self.is_chained = False
        self.strands: list[_Strand] = []
        self.ends: NDArray[np.float64] = np.zeros(0)
        self.raises: dict[int, int] = {}
        self.crash: tuple[int, int] | None = None
        self.version = 0
        self.resources: dict[str, Any] = {}
        self.group = 0
        """The group of its first strand."""

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
        self._spills = False

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
        split = None
        if "split" in header["layer"]:
            split = work.read_function(bytes(self._contents[header["layer"]["split"]]))
        self._groups[header["group"]] = _Known(
            header["name"], header["layer"], header["digests"], function, split
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
        for number, group, start, stop, _, count, path, _, *shards in new:
            assert number not in self._things, f"thing {number} came twice"
            more = shards[0] if shards else ()
            self._things[number] = _Thing(group, start, stop, buffers[:count], path, *more)
            del buffers[:count]

    # --- running ----------------------------------------------------------------------------------

    def _begin(self, header: dict[str, Any], buffers: list[Blob]) -> None:
        self._spills = header["spill"]
        start, stop = header["start"], header["stop"]
        run = self._run = _Run(header["piece"], start, stop)
        run.began = run.flush_at = self._world.now
        run.resources = header.get("resources") or {}
        self._check_place(run, header["group"])
        run.is_chained = header.get("chained", False)
        lengths = np.zeros(stop - start)
        try:
            for row in (header, *header.get("links", ())):
                run.strands.append(self._make_strand(run, header, row, buffers))
        except InputGone as gone:
            self._report(run, start, [], True, gone=list(gone.args))
            return
        for at, strand in enumerate(run.strands):
            first, last = start + strand.shift, stop + strand.shift
            lengths += work.durations(strand.function, first, last)
            self._find_misdeeds(run, at, strand)
        run.ends = run.began + np.cumsum(lengths) * self.slowness
        run.is_cut = self._cut_word == run.number
        if run.is_cut:  # seen before the first task
            self._report(run, start, [], True)
            return
        self._plan_stop(run)

    def _check_place(self, run: _Run, group: int) -> None:
        """A task runs where it may, and with what it asked for."""
        run.group = group
        options = self._truth.groups[group].options
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

    def _make_strand(
        self, run: _Run, header: dict[str, Any], row: dict[str, Any], buffers: list[Blob]
    ) -> _Strand:
        known, shift = self._groups[row["group"]], row.get("shift", 0)
        function = known.function_of(header["start"] + shift)
        if known.layer["kind"] == "graph":
            values = self._graph_values(header, buffers[0], function)
        elif known.layer["kind"] == "exchange":
            values = self._exchange_values(header, known, header["start"], header["stop"])
        elif known.layer["kind"] == "fold":
            values = self._fold_values(header["blocks"], known, header["start"], header["stop"])
        else:
            before = run.strands[-1] if run.strands else None
            span = header["start"] + shift, header["stop"] + shift
            values = self._each_values(header["blocks"], row["chunks"], known, *span, before)
        is_kept = row.get("keep", True)
        return _Strand(row["group"], known.name, function, shift, is_kept, values)

    def _find_misdeeds(self, run: _Run, at: int, strand: _Strand) -> None:
        """Note the tasks of a strand that will raise, and the first that will crash."""
        function, truth, shift = strand.function, self._truth, strand.shift
        start, stop = run.start + shift, run.stop + shift
        for i in np.nonzero(work.raising(function, start, stop))[0]:
            run.raises.setdefault(run.start + int(i), at)
        for i in np.nonzero(work.flaky(function, start, stop))[0]:
            if truth.raised[strand.group, start + int(i)] < function.flaky_times:
                run.raises.setdefault(run.start + int(i), at)
        for i in np.nonzero(work.crashing(function, start, stop))[0]:
            index = run.start + int(i)
            if run.raises.get(index, at) < at or (run.crash is not None and run.crash[0] <= index):
                continue
            if truth.crashed[strand.group, start + int(i)] < function.crash_times:
                run.crash = index, at
                break

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
        is_crash = run.crash is not None and run.at <= run.crash[0] <= last
        if is_crash:
            assert run.crash is not None
            last = run.crash[0]
        time = float(run.ends[last - run.start])
        if is_crash:  # in the middle of the task
            time = max(self._world.now, time - self._seconds(run, last, last + 1) / 2)
        label = f"{self.label} stops piece {run.number} at {last}"
        self._world.at(time, label, self._stop_at, run, run.version, last, is_crash)

    def _stop_at(self, run: _Run, version: int, last: int, is_crash: bool) -> None:
        if self.is_dead or run is not self._run or run.version != version:
            return
        if is_crash:
            assert run.crash is not None
            strand = run.strands[run.crash[1]]
            self._truth.crashed[strand.group, last + strand.shift] += 1
            self._on_crash(self.number, "SIGSEGV")
            return
        failed: list[dict[str, Any]] = []
        begin = run.at
        run.at = last + 1
        raised = run.raises.pop(last, None)
        if raised is not None:
            strand = run.strands[raised]
            index = last + strand.shift
            self._truth.raised[strand.group, index] += 1
            failed.append({
                "index": index, "kind": "raised", "text": f"ValueError: {index}",
                "traceback": "...", "seconds": self._seconds(run, last, last + 1),
                "exception": True,
            })  # fmt: skip
        over = run.at == run.stop or run.is_cut
        self._report(run, begin, failed, over, raised=raised)
        if run.is_chained and failed and not over:  # the next one would take its result
            self._report(run, run.at, [], True, gone=[run.strands[0].group, last])

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
        raised: int | None = None,
        gone: list[int] | None = None,
    ) -> None:
        """Say what came of tasks `[begin, run.at)`; in the last one the strand `raised` has
        failed, and those behind it have not begun.
        """
        now = self._world.now
        ends = run.ends[begin - run.start : run.at - run.start]
        spent = ends.copy()
        spent[1:] -= ends[:-1]
        spent[:1] -= run.flush_at
        seconds = self._seconds(run, begin, run.at)
        buffers: list[Blob] = []
        parts: list[dict[str, Any]] = []
        for at, strand in enumerate(run.strands):
            end = run.at if raised is None or at < raised else run.at - 1
            blocks: list[list[Any]] = []
            if strand.is_kept:
                blocks, new = self._pack(run, strand, begin, end)
                buffers += new
            if at == raised:
                buffers.append(b"pickled exception")
            self._truth.finished[strand.group] += end - begin
            parts.append({
                "seconds": seconds / len(run.strands), "times": times_of(spent.tolist()),
                "blocks": blocks, "failed": failed if at == raised else [],
            })  # fmt: skip
        header: dict[str, Any] = {
            "piece": run.number, "start": begin, "stop": run.at, "over": over,
            "elapsed": now - run.flush_at, "gone": gone,
        }  # fmt: skip
        if len(run.strands) > 1 and gone is None:
            header.update(links=parts, raised=raised)
        elif gone is None:
            header.update(parts[0])
        else:
            header.update(seconds=0.0, times=[], blocks=[], failed=[])
        run.flush_at = now
        if over:
            self._run = None
        label = f"{self.label} reports [{begin},{run.at}) of piece {run.number}"
        self._world.after(PIPE_S, label, self._on_report, self.number, header, buffers)
        if over:
            self._serve()
        else:
            self._plan_stop(run)

    def _pack(
        self, run: _Run, strand: _Strand, start: int, stop: int
    ) -> tuple[list[list[Any]], list[Blob]]:
        """Return blocks and buffers of results, in files where they are large."""
        blocks: list[list[Any]] = []
        buffers: list[Blob] = []
        known = self._groups[strand.group]
        if strand.function is known.split:
            return self._pack_splits(run, known, start, stop)
        size, shift = strand.function.nbytes - 8, strand.shift
        step = 1 if size + 8 >= SINGLE_BYTES else max(1, stop - start)
        for first in range(start, stop, step):
            last = min(stop, first + step)
            parts: list[Blob] = [strand.values[first - run.start : last - run.start].tobytes()]
            if size:
                parts.append(PADDING[: size * (last - first)])
            nbytes = sum(map(len, parts))
            if nbytes < FILE_BYTES:
                blocks.append([first + shift, last + shift, last - first == 1, len(parts)])
                buffers += parts
                continue
            place = self._write(parts)
            blocks.append([first + shift, last + shift, last - first == 1, *place])
        return blocks, buffers

    def _pack_splits(
        self, run: _Run, known: _Known, start: int, stop: int
    ) -> tuple[list[list[Any]], list[Blob]]:
        blocks: list[list[Any]] = []
        buffers: list[Blob] = []
        assert known.split is not None
        for task in range(start, stop):
            value = int(run.strands[0].values[task - run.start])
            parts = pack_split(known.split, value, known.layer["outputs"])
            if sum(map(len, parts)) < FILE_BYTES:
                blocks.append([task, task + 1, SHARDS, len(parts)])
                buffers += parts
            else:
                blocks.append([task, task + 1, SHARDS, *self._write(parts)])
        return blocks, buffers

    def _write(self, parts: list[Blob]) -> tuple[str, list[int]]:
        self._files += 1
        path = f"{'on disk/' if self._spills else ''}{self.label}-{self._files}"
        self._disk[path] = parts
        return path, [0, len(parts[0]), 64 + len(parts[0]), sum(map(len, parts[1:]))]

    # --- arguments --------------------------------------------------------------------------------

    def _graph_values(self, header: dict[str, Any], payload: Blob, function: Function) -> Values:
        values: list[int] = []
        view, position = memoryview(payload), 0
        own, start = header["group"] if header["chained"] else 0, header["start"]

        def result_of(group: int, index: int) -> int:
            if group == own and 0 <= index - start < len(values):
                return values[index - start]
            return self._result(header["blocks"], group, index)

        for length in header["lengths"]:
            call = view[position : position + length]
            position += length
            value = work.read_call(call, result_of)
            values.append(work.call(function, [value]))
        return np.array(values, np.uint64)

    def _fold_values(self, numbers: list[int], known: _Known, start: int, stop: int) -> Values:
        layer, rows = known.layer, []
        for group, first, last in take_levels(layer, start, stop):
            column = self._column(numbers, group, first, last).tolist()
            rows += [
                column[at : at + layer["fanin"]] for at in range(0, len(column), layer["fanin"])
            ]
        if not start and layer["initial"] is not None:
            blob = bytes(self._contents[layer["initial"]])
            rows[0].insert(0, work.read_call(blob, lambda g, i: self._result(numbers, g, i)))
        return np.array([work.call(known.function, row) for row in rows], np.uint64)

    def _each_values(
        self,
        blocks: list[int],
        chunk_rows: list[list[int]],
        known: _Known,
        start: int,
        stop: int,
        before: _Strand | None,
    ) -> Values:
        columns = []
        chunks = {(p, n): self._things[thing] for p, n, thing in chunk_rows}
        for position, spec in enumerate(known.layer["args"]):
            match spec:
                case ["blob", digest, _]:
                    blob = self._contents[digest]
                    value = work.read_call(bytes(blob), lambda g, i: self._result(blocks, g, i))
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
                case ["same", group, _] if before is not None and before.group == group:
                    columns.append(before.values)
                case ["same", group, offset]:
                    columns.append(self._column(blocks, group, start + offset, stop + offset))
        return work.call_arrays(known.function, columns, stop - start)

    def _exchange_values(
        self, header: dict[str, Any], known: _Known, start: int, stop: int
    ) -> Values:
        """Return for splits their inputs, for merges their results."""
        layer = known.layer
        count, offset = layer["count"], layer["offset"]
        if start < count:
            return self._column(header["blocks"], layer["group"], offset + start, offset + stop)

        def parts_of(thing: _Thing) -> list[Blob]:
            if thing.path is None:
                return thing.parts
            if thing.path not in self._disk:
                raise InputGone(header["group"], thing.start)
            return self._disk[thing.path]

        things = [self._things[number] for number in header["blocks"]]
        columns = merge_column(things, parts_of, count, start - count, stop - count)
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
