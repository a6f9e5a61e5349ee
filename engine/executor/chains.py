"""Chains: tasks of several groups, each taking the result of the one before, run as one piece.

For each index the functions are called one after the other, results go from hand to hand, and only
those that somebody else takes are collected. The loop is made for the shape of the chain (how many
links, which arguments, what is kept) and compiled: then a link costs little more than its call.

Law: as in calls.py. Every call stands on a line of its own, so the line where an exception passed
says which link raised. Only numbers and quoted names get into the source, no text of a user. How
the time of a chain is shared among its links is measured: for each task where the clock does not
matter, else for the first SAMPLE of a stretch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import repeat
from math import log2
from time import perf_counter_ns
from typing import Any, NamedTuple

from .calls import (
    CUT,
    EXHAUSTED,
    FLUSH,
    FLUSH_BYTES,
    FLUSH_NS,
    FLUSH_TASKS,
    RAISED,
    Stretch,
    size_of,
)
from .inputs import COLUMN, CONSTANT, TAKEN

SAMPLE = 4
CLOCK_NS = 2000
"""Links that take longer than this on average are each measured."""
BINS_PER_OCTAVE = 4

Argument = tuple[int, str | None]
"""(TAKEN, CONSTANT or COLUMN, its keyword if it has one)"""


class LinkShape(NamedTuple):
    """What of a link the loop depends on."""

    arguments: tuple[Argument, ...]
    is_kept: bool


class Link(NamedTuple):
    """A link: its function, and for each argument of its shape the constant or column."""

    function: Callable[..., Any]
    shape: LinkShape
    values: list[Any]


class Strand(NamedTuple):
    """What came of one link in a stretch: how many tasks are `done`, their `results` if it is kept,
    and its share of the stretch's time.
    """

    done: int
    results: list[Any] | None
    share: float


class Chain:
    """The links of a piece of `count` tasks. `run` goes on from an index until the loop has a
    reason to stop.
    """

    def __init__(self, links: list[Link], count: int, page: memoryview[int], piece: int) -> None:
        self._shapes = tuple(link.shape for link in links)
        self._page = page
        self._piece = piece
        self._functions = tuple(link.function for link in links)
        flat = [
            (source, value)
            for link in links
            for (source, _), value in zip(link.shape.arguments, link.values, strict=True)
        ]
        self._constants = tuple(value for source, value in flat if source == CONSTANT)
        columns = [value for source, value in flat if source == COLUMN]
        self._rows: Iterator[Any] = zip(*columns, strict=False) if columns else repeat((), count)

    def run(self, index: int) -> tuple[Stretch, list[Strand], int]:
        """Run tasks from `index` on. Return the stretch, with the results of the last link; what
        came of each link; and the link that raised, if one did.
        """
        shapes = self._shapes
        kept: list[list[Any]] = [[] for _ in shapes]
        ends: list[int] = []
        spent = [0] * len(shapes)
        begin = perf_counter_ns()
        why, error, raised, size = EXHAUSTED, None, len(shapes), 0
        last = index + FLUSH_TASKS
        try:
            why, size = self._call(True, index, index + SAMPLE, begin, kept, ends, spent)
            if why is None:
                is_slow = sum(spent) > SAMPLE * CLOCK_NS * len(shapes)
                start = index + len(ends)
                why, size = self._call(is_slow, start, last, begin, kept, ends, spent)
                why = FLUSH if why is None else why
        except BaseException as caught:
            why, error = RAISED, caught
            ends.append(perf_counter_ns())
            raised = _find_link(caught, shapes)
        durations = [end - start for start, end in zip([begin, *ends], ends, strict=False)]
        count = len(durations) - (error is not None)
        total = sum(spent) or 1
        strands = [
            Strand(
                count + (at < raised < len(shapes)), results if shape.is_kept else None, s / total
            )
            for at, (shape, results, s) in enumerate(zip(shapes, kept, spent, strict=True))
        ]
        is_large = size > FLUSH_BYTES
        return Stretch(kept[-1], durations, why, error, is_large), strands, raised

    def _call(
        self,
        is_measured: bool,
        index: int,
        last: int,
        begin: int,
        kept: list[list[Any]],
        ends: list[int],
        spent: list[int],
    ) -> tuple[Any, int]:
        """Run until `last`: then the reason is None."""
        loop = _make_loop(self._shapes, is_measured)
        keeps = tuple(
            results.append
            for shape, results in zip(self._shapes, kept, strict=True)
            if shape.is_kept
        )
        outcome: tuple[Any, int] = loop(
            self._functions, self._constants, self._rows, keeps, self._page, self._piece, index,
            last, begin + FLUSH_NS, ends.append, spent,
        )  # fmt: skip
        return outcome


def _find_link(error: BaseException, shapes: tuple[LinkShape, ...]) -> int:
    """Return which link raised; the frame of the loop is the second of the trail."""
    trail = error.__traceback__
    while trail is not None and trail.tb_frame.f_code.co_name != _LOOP:
        trail = trail.tb_next
    if trail is None:
        return 0
    error.__traceback__ = trail
    is_measured = trail.tb_frame.f_locals["is_measured"]
    lines = _write(shapes, is_measured)[1]
    return max(at for at, line in enumerate(lines) if line <= trail.tb_lineno or at == 0)


def shift_times(times: list[int], share: float) -> list[int]:
    """Return a histogram ``[bin, count, ...]`` of durations, each made `share` of what it was: bins
    are logarithmic, so it moves as a whole.
    """
    bins = round(BINS_PER_OCTAVE * log2(share)) if share > 0 else -BINS_PER_OCTAVE * 40
    found: dict[int, int] = {}
    for at, count in zip(times[::2], times[1::2], strict=True):
        moved = max(0, at + bins)
        found[moved] = found.get(moved, 0) + count
    return [number for pair in found.items() for number in pair]


# --- the loop -----------------------------------------------------------------------------------

_LOOP = "run_chain"


@cache
def _make_loop(shapes: tuple[LinkShape, ...], is_measured: bool) -> Callable[..., Any]:
    source, _ = _write(shapes, is_measured)
    scope: dict[str, Any] = {
        "clock": perf_counter_ns,
        "size_of": size_of,
        "tiny": frozenset({type(None), bool, int, float}),
    }
    exec(compile(source, "<chain>", "exec"), scope)
    loop: Callable[..., Any] = scope[_LOOP]
    return loop


@cache
def _write(shapes: tuple[LinkShape, ...], is_measured: bool) -> tuple[str, list[int]]:
    """Return the source of the loop, and the line of each link's call."""
    constants = columns = keeps = 0
    calls: list[list[str]] = []
    for at, shape in enumerate(shapes):
        arguments: list[str] = []
        for source, keyword in shape.arguments:
            if source == TAKEN:
                name = "value"
            elif source == CONSTANT:
                name, constants = f"c{constants}", constants + 1
            else:
                name, columns = f"x{columns}", columns + 1
            arguments.append(name if keyword is None else f"**{{{keyword!r}: {name}}}")
        call = [f"value = f{at}({', '.join(arguments)})"]
        if shape.is_kept:
            call.append(f"k{keeps}(value)")
            keeps += 1
        if shape.is_kept or at == len(shapes) - 1:
            call += ["if type(value) not in tiny:", " size += size_of(value)"]
        if is_measured:
            call += ["now = clock()", f"spent[{at}] += now - then", "then = now"]
        calls.append(call)
    head = [
        f"def {_LOOP}(f, c, rows, k, page, piece, index, last, deadline, tick, spent):",
        f" is_measured = {is_measured}",
        " size = 0",
        f" {_names('f', len(shapes))} = f",
        f" {_names('c', constants)} = c",
        f" {_names('k', keeps)} = k",
        *([" then = clock()"] if is_measured else []),
        f" for {_names('x', columns)} in rows:",
        "  page[1] = index",  # INDEX_WORD
        "  if page[2] == piece:",  # CUT_WORD
        f"   return {CUT}, size",
    ]
    lines: list[int] = []
    for call in calls:
        lines.append(len(head) + 1)
        head += [f"  {line}" for line in call]
    head += [
        *([] if is_measured else ["  now = clock()"]),
        "  tick(now)",
        "  index += 1",
        f"  if now > deadline or size > {FLUSH_BYTES}:",
        f"   return {FLUSH}, size",
        "  if index >= last:",
        "   return None, size",
        f" return {EXHAUSTED}, size",
    ]
    return "\n".join(head), lines


def _names(letter: str, count: int) -> str:
    return "(" + "".join(f"{letter}{at}, " for at in range(count)) + ")"
