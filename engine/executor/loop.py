"""The executor process: takes pieces from its worker, one after the other, and reports what came
of them.

Law: single-threaded but for one thread that waits for the end of the worker; user code runs in
the main thread. A piece may be taken back until its token is read: worker and executor both can
read the token pipe, the kernel gives each token to one of them. Never forked, never re-runs the
user's `__main__`; ends at once when the worker is gone, and then removes the store folder.

The command line (made by worker/executors.py) is one JSON object: see `Settings`.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import mmap
import os
import select
import shutil
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, BinaryIO

from . import context, frames
from .calls import (
    CUT,
    EXHAUSTED,
    INDEX_WORD,
    PAGE_BYTES,
    PIECE_WORD,
    RAISED,
    Stretch,
    call_many,
    call_one,
    times_of,
)
from .chains import Chain, Link, LinkShape, Strand, shift_times
from .inputs import (
    Blobs,
    Blocks,
    EachArguments,
    InputGone,
    Rows,
    Thing,
    fold_rows,
    payload_rows,
)
from .results import Packer, describe_raised
from .shards import MergeRows, Shards, call_split
from .values import Part

TOKEN = struct.Struct("<Q")


@dataclass
class Settings:
    """`name`: of this executor in `ps`; `label`: unique within the worker, begins its file names;
    `sock`, `page`, `tokens`, `lifeline`: inherited file descriptors; `store`: the store
    folder; `spill`: a folder on disk for what does not fit there, empty if there is none."""

    name: str
    label: str
    sock: int
    page: int
    tokens: int
    lifeline: int
    store: str
    spill: str = ""


@dataclass
class Group:
    """What a `define` frame said of a group."""

    name: str
    layer: dict[str, Any]


@dataclass
class Piece:
    """One piece at work: `at` is the next task to run."""

    number: int
    group: int
    name: str
    at: int
    stop: int
    began_ns: int


class Executor:
    """Frames in, reports out."""

    def __init__(self, settings: Settings) -> None:
        self._sock = socket.socket(fileno=settings.sock)
        self._file: BinaryIO = io.BufferedReader(socket.SocketIO(self._sock, "r"), 1 << 16)
        self._map = mmap.mmap(settings.page, PAGE_BYTES)
        self._page: memoryview[int] = memoryview(self._map).cast("Q")
        self._tokens = settings.tokens
        self._token = 0
        self._groups: dict[int, Group] = {}
        self._blobs = Blobs()
        self._things: dict[int, Thing] = {}
        self._packer = Packer(settings.store, settings.label, settings.spill)

    def run(self) -> None:
        """Serve until the socket closes."""
        self._send({"ready": os.getpid(), "python": sys.version.split()[0]})
        while (frame := frames.receive(self._file)) is not None:
            header, buffers = frame
            match header["do"]:
                case "run":
                    self._take_things(header["things"], header["drop"], buffers)
                    if self._claim(header["piece"]):
                        context.call(header.get("resources"), self._run_piece, header, buffers)
                case "define":
                    self._define(header, buffers)
                case "drop":
                    self._take_things([], header["drop"], buffers)
                case "forget":
                    self._forget(header["group"])

    # --- what is known ---------------------------------------------------------------------------

    def _define(self, header: dict[str, Any], buffers: list[Part]) -> None:
        group = header["group"]
        self._groups[group] = Group(header["name"], header["layer"])
        new = dict(zip(header["new"], buffers, strict=True))
        self._blobs.add(group, header["digests"], new)

    def _forget(self, group: int) -> None:
        self._groups.pop(group, None)
        self._blobs.forget(group)
        self._packer.forget(group)

    def _take_things(self, new: list[list[Any]], drop: list[int], buffers: list[Part]) -> None:
        for number in drop:
            self._things.pop(number, None)
        for header in new:
            count = header[5]
            self._things[header[0]] = Thing(header, buffers[:count])
            del buffers[:count]

    def _claim(self, piece: int) -> bool:
        """Read the piece's token: False if the worker read it before, so the piece is taken
        back."""
        while (
            self._token < piece
        ):  # tokens come in the order of the pieces; those in between were taken
            try:
                data = os.read(self._tokens, TOKEN.size)
            except BlockingIOError:  # the worker reads it too, so it must not block
                select.select([self._tokens], [], [])
                continue
            if not data:
                os._exit(0)  # the worker is gone
            (self._token,) = TOKEN.unpack(data)
        return self._token == piece

    # --- running ---------------------------------------------------------------------------------

    def _run_piece(self, header: dict[str, Any], buffers: list[Part]) -> None:
        group = header["group"]
        piece = Piece(
            header["piece"],
            group,
            self._groups[group].name,
            header["start"],
            header["stop"],
            time.perf_counter_ns(),
        )
        self._packer.spills = header["spill"]
        self._page[INDEX_WORD] = piece.at
        self._page[PIECE_WORD] = piece.number
        if header.get("links"):
            self._run_chain(header, piece)
            self._page[PIECE_WORD] = 0
            return
        try:
            call = self._prepare(header, buffers, piece)
        except InputGone as gone:
            self._report(piece, gone=gone)
        except BaseException as error:  # unpickling runs user code: it may raise anything
            self._fail_all(piece, error)
        else:
            self._call_all(piece, call)
        self._page[PIECE_WORD] = 0

    def _prepare(
        self, header: dict[str, Any], buffers: list[Part], piece: Piece
    ) -> Callable[[int], Stretch]:
        """Return a function that calls tasks from an index on, until the loop has a reason to
        stop."""
        layer = self._groups[piece.group].layer
        function = self._blobs.get_value(layer["function"])
        blocks = Blocks(self._things[number] for number in header["blocks"])
        page = self._page
        rows: Rows
        if layer["kind"] == "graph":
            rows = payload_rows(buffers[0], header["lengths"], blocks if header["nested"] else None)
            if header["chained"]:
                blocks.own, memory = piece.group, blocks.memory
                return lambda at: call_many(function, rows, at, page, piece.number, memory)
        elif layer["kind"] == "fold":
            inputs = fold_rows(layer, piece.at, piece.stop, self._blobs, blocks)
            fold = partial(reduce, function)
            return lambda at: call_one(fold, inputs, at, page, piece.number)
        elif layer["kind"] == "exchange":
            call, inputs = self._prepare_exchange(layer, function, blocks, header, piece)
            return lambda at: call_one(call, inputs, at, page, piece.number)
        else:
            chunks = {(position, n): self._things[thing] for position, n, thing in header["chunks"]}
            arguments = EachArguments(
                layer,
                piece.at,
                piece.stop,
                self._blobs,
                blocks,
                lambda position, n: chunks[position, n].get_value(),
            )
            column = arguments.single_column()
            if column is not None:
                values: Iterator[Any] = column
                return lambda at: call_one(function, values, at, page, piece.number)
            rows = arguments.rows()
        return lambda at: call_many(function, rows, at, page, piece.number)

    def _prepare_exchange(
        self,
        layer: dict[str, Any],
        merge: Callable[[Any], Any],
        blocks: Blocks,
        header: dict[str, Any],
        piece: Piece,
    ) -> tuple[Callable[[Any], Any], Iterator[Any]]:
        """Return the function and the inputs of tasks of an exchange: all splits, or all merges."""
        count = layer["count"]
        if piece.at < count:
            call = partial(call_split, self._blobs.get_value(layer["split"]), layer["outputs"])
            first = layer["offset"]
            return call, iter(blocks.column(layer["group"], first + piece.at, first + piece.stop))
        things = [self._things[number] for number in header["blocks"]]
        return merge, MergeRows(things, piece.group, count, piece.at - count, piece.stop - count)

    def _call_all(self, piece: Piece, call: Callable[[int], Stretch]) -> None:
        while True:
            stretch = call(piece.at)
            start = piece.at
            piece.at += len(stretch.results)
            failure, exception = None, None
            if stretch.why == RAISED:
                assert stretch.error is not None
                if isinstance(stretch.error, InputGone):
                    self._report(piece, start, stretch, gone=stretch.error)
                    return
                failure, exception = describe_raised(piece.name, piece.at, stretch.error)
                failure["seconds"] = stretch.durations_ns[-1] / 1e9
                piece.at += 1
            over = stretch.why in (EXHAUSTED, CUT) or piece.at == piece.stop
            self._report(piece, start, stretch, failure, exception, over=over)
            if over:
                return

    # --- chains ----------------------------------------------------------------------------------

    def _run_chain(self, header: dict[str, Any], piece: Piece) -> None:
        """Run a piece whose tasks are followed by those of other groups, from hand to hand."""
        rows = [header, *header["links"]]
        try:
            links = [self._make_link(header, at) for at in range(len(rows))]
        except InputGone as gone:
            self._report(piece, gone=gone)
            return
        except BaseException:  # unlinked, each of them fails with what is its own
            self._report(piece, is_unlinked=True)
            return
        chain = Chain(links, piece.stop - piece.at, self._page, piece.number)
        while True:
            start = piece.at
            stretch, strands, raised = chain.run(start)
            piece.at += len(stretch.durations_ns)
            over = stretch.why in (EXHAUSTED, CUT) or piece.at == piece.stop
            self._report_chain(piece, rows, start, stretch, strands, raised, over)
            if over:
                return

    def _make_link(self, header: dict[str, Any], at: int) -> Link:
        links: list[dict[str, Any]] = header["links"]
        row = links[at - 1] if at else header
        layer = self._groups[row["group"]].layer
        chunks = {(position, n): self._things[thing] for position, n, thing in row["chunks"]}
        shift = row["shift"] if at else 0
        arguments = EachArguments(
            layer,
            header["start"] + shift,
            header["stop"] + shift,
            self._blobs,
            Blocks(self._things[number] for number in header["blocks"]),
            lambda position, n: chunks[position, n].get_value(),
            (links[at - 2] if at > 1 else header)["group"] if at else 0,
        )
        sources = arguments.sources()
        shape = LinkShape(tuple((source, name) for source, name, _ in sources), row["keep"])
        function = self._blobs.get_value(layer["function"])
        return Link(function, shape, [value for _, _, value in sources])

    def _report_chain(
        self,
        piece: Piece,
        rows: list[dict[str, Any]],
        start: int,
        stretch: Stretch,
        strands: list[Strand],
        raised: int,
        over: bool,
    ) -> None:
        buffers: list[Part] = []
        parts: list[dict[str, Any]] = []
        times = times_of(stretch.durations_ns)
        seconds = sum(stretch.durations_ns) / 1e9
        for at, (row, strand) in enumerate(zip(rows, strands, strict=True)):
            group, begin = row["group"], start + row.get("shift", 0)
            name = self._groups[group].name
            blocks: list[list[Any]] = []
            failures: list[dict[str, Any]] = []
            if strand.results is not None:
                blocks, new, failures = self._packer.pack(
                    group, name, begin, strand.results, stretch.large
                )
                buffers += new
            for failure in failures:
                failure["seconds"] = 0.0
            if at == raised:
                assert stretch.error is not None
                failure, exception = describe_raised(name, begin + strand.done, stretch.error)
                failure["seconds"] = stretch.durations_ns[-1] / 1e9 * strand.share
                failure["exception"] = exception is not None
                buffers += [] if exception is None else [exception]
                failures.append(failure)
            parts.append(
                {
                    "seconds": seconds * strand.share,
                    "times": shift_times(times, strand.share),
                    "blocks": blocks,
                    "failed": failures,
                }
            )
        self._finish_report(
            piece,
            {
                "start": start,
                "over": over,
                "links": parts,
                "raised": raised if raised < len(rows) else None,
                "gone": None,
            },
            buffers,
        )

    def _fail_all(self, piece: Piece, error: BaseException) -> None:
        """Function or arguments cannot be unpickled: every task of the piece fails with that."""
        failure, exception = describe_raised(piece.name, piece.at, error)
        failure["seconds"] = 0.0
        start, piece.at = piece.at, piece.stop
        failure["stop"] = piece.stop
        stretch = Stretch([], [], RAISED, error, False)
        self._report(piece, start, stretch, failure, exception, over=True)

    def _report(
        self,
        piece: Piece,
        start: int | None = None,
        stretch: Stretch | None = None,
        failure: dict[str, Any] | None = None,
        exception: bytes | None = None,
        gone: InputGone | None = None,
        over: bool = True,
        is_unlinked: bool = False,
    ) -> None:
        """Say what came of the tasks from `start` to the next one to run."""
        begin = piece.at if start is None else start
        blocks: list[list[Any]] = []
        failures: list[dict[str, Any]] = []
        buffers: list[Part] = []
        durations: list[int] = []
        if stretch is not None:
            # the last one is a failed task's, if there is one more than results
            durations = stretch.durations_ns[: len(stretch.results)]
            if stretch.results and type(stretch.results[0]) is Shards:
                blocks, buffers, failures = self._packer.pack_shards(
                    piece.name, begin, stretch.results
                )
            else:
                blocks, buffers, failures = self._packer.pack(
                    piece.group, piece.name, begin, stretch.results, stretch.large
                )
        for unpacked in failures:
            unpacked["seconds"] = durations[unpacked["index"] - begin] / 1e9
        if failure is not None:
            failures.append(failure)
            failure["exception"] = exception is not None
            if exception is not None:
                buffers.append(exception)
        header = {
            "start": begin,
            "over": over or gone is not None,
            "seconds": sum(durations) / 1e9,
            "times": times_of(durations),
            "blocks": blocks,
            "failed": failures,
            "gone": None if gone is None else [gone.group, gone.index],
        }
        if is_unlinked:
            header["unlinked"] = True
        self._finish_report(piece, header, buffers)

    def _finish_report(self, piece: Piece, header: dict[str, Any], buffers: list[Part]) -> None:
        now = time.perf_counter_ns()
        header["piece"] = piece.number
        header["stop"] = piece.at
        header["elapsed"] = (now - piece.began_ns) / 1e9
        piece.began_ns = now
        if header["over"]:
            self._page[PIECE_WORD] = (
                0  # before the worker can know: a kill from now on blames nobody
            )
        self._send(header, buffers)

    def _send(self, header: dict[str, Any], buffers: list[Part] | tuple[()] = ()) -> None:
        try:
            frames.send(self._sock, header, buffers)
        except OSError:
            os._exit(0)  # the worker is gone


# --- the process ---------------------------------------------------------------------------------


def main(argument: str) -> None:
    """Be an executor. `argument`: `Settings` as JSON."""
    settings = Settings(**json.loads(argument))
    sys.argv = [""]
    # A Python handler, not SIG_IGN: programs that tasks start shall take Ctrl-C as usual.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    for fd in (settings.sock, settings.page, settings.tokens, settings.lifeline):
        os.set_inheritable(fd, False)
    with contextlib.suppress(ImportError):
        from setproctitle import setproctitle

        setproctitle(f"cellspan executor {settings.name}")
    watch = threading.Thread(
        target=_end_with_worker,
        args=(settings.lifeline, settings),
        daemon=True,
        name="lifeline",
    )
    watch.start()
    executor = Executor(settings)
    gc.collect()
    gc.freeze()  # what the process begins with is never garbage
    executor.run()
    _leave(settings)


def _end_with_worker(lifeline: int, settings: Settings) -> None:
    while True:
        try:
            data = os.read(lifeline, 1)
        except InterruptedError:
            continue
        if not data:
            _leave(settings)


def _leave(settings: Settings) -> None:
    """The worker is gone: remove what it shared, and end with everything that tasks have started
    in this group."""
    for _ in range(5):  # another executor may be writing its last file
        folders = [folder for folder in (settings.store, settings.spill) if os.path.exists(folder)]
        if not folders:
            break
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)
