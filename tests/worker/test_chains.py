"""Chains: the loop that runs tasks of several groups from hand to hand, against one that calls
them one by one.
"""

from __future__ import annotations

import mmap
import traceback
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cellspan.engine.executor.calls import CUT, EXHAUSTED, RAISED
from cellspan.engine.executor.chains import Chain, Link, LinkShape, shift_times
from cellspan.engine.executor.inputs import COLUMN, CONSTANT, TAKEN

PIECE = 5


def make_page() -> memoryview[int]:
    return memoryview(mmap.mmap(-1, 4096)).cast("Q")


def make_function(number: int, bad: int | None) -> Callable[..., Any]:
    """Return a function that mixes what it is given, and raises for one value of `n`."""

    def mix(*args: int, **named: int) -> int:
        value = hash((number, args, tuple(sorted(named.items()))))
        if bad is not None and named.get("n") == bad:
            raise ValueError(f"link {number} at {bad}")
        return value

    return mix


argument = st.tuples(
    st.sampled_from([CONSTANT, COLUMN, TAKEN]), st.sampled_from([None, "a b", "k"])
)
link = st.tuples(st.lists(argument, max_size=3), st.booleans(), st.none() | st.integers(0, 7))


@given(st.lists(link, min_size=2, max_size=5), st.integers(1, 8))
def test_a_chain_is_its_functions_one_after_the_other(
    drawn: list[tuple[list[tuple[int, str | None]], bool, int | None]], count: int
) -> None:
    links: list[Link] = []
    for at, (arguments, is_kept, bad) in enumerate(drawn):
        # by position first, each name once, and at the head nothing is taken; `n`: which task
        seen: dict[str | None, tuple[int, str | None]] = {}
        positional = [a for a in arguments if a[1] is None]
        for source, name in arguments:
            if name is not None:
                seen[name] = source, name
        chosen = [*positional, *seen.values(), (COLUMN, "n")]
        if not at:
            chosen = [(COLUMN if source == TAKEN else source, name) for source, name in chosen]
        values = [
            list(range(count)) if name == "n"
            else [at * 100 + i for i in range(count)] if source == COLUMN
            else at if source == CONSTANT
            else None
            for source, name in chosen
        ]  # fmt: skip
        shape = LinkShape(tuple(chosen), is_kept or at == len(drawn) - 1)
        links.append(Link(make_function(at, bad), shape, values))

    expected: list[list[int]] = [[] for _ in links]
    failures: list[tuple[int, int]] = []
    for i in range(count):
        value: Any = None
        for at, (function, shape, values) in enumerate(links):
            args: list[Any] = []
            named: dict[str, Any] = {}
            for (source, name), given_value in zip(shape.arguments, values, strict=True):
                one = {TAKEN: value, CONSTANT: given_value}.get(source)
                one = given_value[i] if source == COLUMN else one
                if name is None:
                    args.append(one)
                else:
                    named[name] = one
            try:
                value = function(*args, **named)
            except ValueError:
                failures.append((i, at))
                break
            expected[at].append(value)

    chain = Chain(links, count, make_page(), PIECE)
    found: list[list[int]] = [[] for _ in links]
    raised: list[tuple[int, int]] = []
    index = 0
    while index < count:
        stretch, strands, who = chain.run(index)
        for at, strand in enumerate(strands):
            done = len(stretch.durations_ns) - (stretch.why == RAISED and at >= who)
            assert strand.done == done
            if links[at].shape.is_kept:
                assert strand.results is not None and len(strand.results) == done
                found[at] += strand.results
        index += len(stretch.durations_ns)
        if stretch.why == RAISED:
            raised.append((index - 1, who))
            assert str(stretch.error) == f"link {who} at {index - 1}"
            trail = traceback.extract_tb(stretch.error.__traceback__)
            assert [frame.name for frame in trail] == ["run_chain", "mix"]
        else:
            assert stretch.why == EXHAUSTED and index == count
    assert raised == failures
    for at, shape in enumerate(link.shape for link in links):
        assert found[at] == (expected[at] if shape.is_kept else [])


def test_a_chain_that_is_cut_begins_no_task_more() -> None:
    page = make_page()
    ran: list[int] = []

    def note(value: int) -> int:
        ran.append(value)
        if value == 6:
            page[2] = PIECE
        return value

    links = [
        Link(note, LinkShape(((COLUMN, None),), False), [range(100)]),
        Link(abs, LinkShape(((TAKEN, None),), True), [None]),
    ]
    stretch, strands, _ = Chain(links, 100, page, PIECE).run(0)
    assert ran == list(range(7)) and strands[1].results == ran
    assert stretch.why == CUT and page[1] == 7


def test_the_time_of_a_chain_is_shared_among_its_links() -> None:
    def spin(value: int) -> int:
        return sum(range(20_000)) + value

    links = [
        Link(abs, LinkShape(((COLUMN, None),), False), [range(50)]),
        Link(spin, LinkShape(((TAKEN, None),), False), [None]),
        Link(abs, LinkShape(((TAKEN, None),), True), [None]),
    ]
    _, strands, _ = Chain(links, 50, make_page(), PIECE).run(0)
    shares = [strand.share for strand in strands]
    assert abs(sum(shares) - 1) < 1e-9 and max(shares) == shares[1]


def test_a_histogram_is_shifted_as_a_whole() -> None:
    assert shift_times([10, 2, 14, 1], 0.5) == [6, 2, 10, 1]  # four bins to the octave
    assert shift_times([1, 2, 3, 1], 1e-6) == [0, 3]
    assert shift_times([7, 1], 0.0) == [0, 1]
