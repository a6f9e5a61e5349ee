"""What is right: the oracle, and what has really happened.

The oracle evaluates every group serially when it is submitted. Beside it stands what the simulation
did to tasks: how often one raised or took its executor down, who was cancelled, which workers went.
A result is right if it equals the oracle's; a failure is right if something that really happened
explains it.

Law: it learns nothing from the cluster under test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellspan.engine.messages import Failure

from . import work
from .work import Deps, Function, Values

Key = tuple[int, int]


class GroupTruth:
    """One group: the right values, and `doomed`: tasks that raise whatever one does, or take the
    result of one that does. `deps` (of a graph) are kept for the explanation of failures."""

    def __init__(self, group: int, function: Function | None, options: dict[str, Any]) -> None:
        self.group = group
        self.function = function
        self.options = options
        self.retries = int(options.get("retries", 0))
        self.allowed = int(options.get("allowed_failures", 2))
        self.is_data = function is None
        self.was_let_go = False
        """Somebody who held it does so no more: data is not kept for tasks that may be retried."""
        self.values: Values = np.zeros(0, np.uint64)
        self.doomed: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.cancelled: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.producers: set[int] = set()
        self.first = 0
        """Tasks before it are held by nobody."""

    def append(self, values: Values, doomed: NDArray[np.bool_]) -> None:
        """Add tasks."""
        self.values = np.concatenate([self.values, values])
        self.doomed = np.concatenate([self.doomed, doomed])
        self.cancelled = np.concatenate([self.cancelled, np.zeros(len(values), np.bool_)])


class Truth:
    """All groups that were ever submitted, and all misdeeds."""

    def __init__(self) -> None:
        self.groups: dict[int, GroupTruth] = {}
        self.raised: Counter[Key] = Counter()
        self.crashed: Counter[Key] = Counter()
        self.overran: Counter[Key] = Counter()
        self.begun: Counter[int] = Counter()
        self.finished: Counter[int] = Counter()
        """Tasks that executors began, and that they finished, by group."""
        self.moves: Counter[str] = Counter()
        """Shards: pushes that arrived, requests that were answered."""
        self.lost_workers = 0
        self.killed_executors = 0
        self.restarts = 0
        self.small_stores = False

    # --- the oracle -------------------------------------------------------------------------------

    def add_each(
        self, group: int, function: Function, n: int, args: list[list[Any]], options: dict[str, Any]
    ) -> None:
        """Evaluate an `Each`. `args`: ['const', value, deps], ['range', first, step], ['items',
        values] or ['same', group, offset] per argument."""
        truth = self.groups[group] = GroupTruth(group, function, options)
        columns: list[Values] = []
        doomed = work.raising(function, 0, n)
        for spec in args:
            match spec:
                case ["const", value, deps]:
                    resolved = work.read_call(work.pack_call(value, deps), self.value_of)
                    columns.append(np.full(1, resolved, np.uint64))
                    truth.producers |= {g for g, _ in deps}
                    if any(self.groups[g].doomed[i] for g, i in deps):
                        doomed = np.ones(n, np.bool_)
                case ["range", first, step]:
                    columns.append(work.range_column(first, step, 0, n))
                case ["items", values]:
                    columns.append(values)
                case ["same", other, offset]:
                    producer = self.groups[other]
                    columns.append(producer.values[offset : offset + n])
                    doomed = doomed | producer.doomed[offset : offset + n]
                    truth.producers.add(other)
        truth.append(work.call_arrays(function, columns, n), doomed)

    def add_exchange(
        self, group: int, split: Function, merge: Function, source: int, offset: int, count: int,
        outputs: int, options: dict[str, Any],
    ) -> None:  # fmt: skip
        """Evaluate an exchange over results of a group. Nobody is told values of splits."""
        truth = self.groups[group] = GroupTruth(group, merge, options)
        truth.producers.add(source)
        producer = self.groups[source]
        taken = slice(offset, offset + count)
        columns = [work.split_value(split, int(value), outputs) for value in producer.values[taken]]
        doomed = producer.doomed[taken] | work.raising(split, 0, count)
        truth.first = count
        truth.append(np.zeros(count, np.uint64), doomed)
        merged = work.call_arrays(merge, columns, outputs)
        raising = work.raising(merge, count, count + outputs)
        truth.append(merged, raising | bool(doomed.any()))

    def add_graph(self, group: int, function: Function, options: dict[str, Any]) -> None:
        """Begin an open graph."""
        self.groups[group] = GroupTruth(group, function, options)

    def extend_graph(self, group: int, calls: Iterable[tuple[int, Deps]]) -> None:
        """Evaluate tasks that are appended to a graph."""
        truth = self.groups[group]
        function = truth.function
        assert function is not None
        for constant, deps in calls:
            start = len(truth.values)
            value = work.read_call(work.pack_call(constant, deps), self.value_of)
            doomed = work.raising(function, start, start + 1)
            doomed |= any(self.groups[g].doomed[i] for g, i in deps)
            truth.producers |= {g for g, _ in deps if g != group}
            truth.append(np.array([work.call(function, [value])], np.uint64), doomed)

    def add_fold(
        self,
        group: int,
        function: Function,
        source: tuple[int, int, int, int],
        initial: int | None,
        options: dict[str, Any],
    ) -> int:
        """Evaluate a `Fold`, level by level. `source`: group, offset, count, fan-in. Returns the
        number of its tasks."""
        other, offset, count, fanin = source
        truth = self.groups[group] = GroupTruth(group, function, options)
        truth.producers.add(other)
        below = self.groups[other].values[offset : offset + count].tolist()
        doomed = self.groups[other].doomed[offset : offset + count]
        if initial is not None:
            initial = work.read_call(work.pack_call(initial, []), self.value_of)
        while not len(truth.values) or len(below) > 1:
            start, firsts = len(truth.values), range(0, len(below), fanin)
            rows = [below[at : at + fanin] for at in firsts]
            if not start and initial is not None:
                rows[0].insert(0, initial)
            raises = work.raising(function, start, start + len(rows))
            doomed = raises | np.array([doomed[at : at + fanin].any() for at in firsts])
            below = [work.call(function, row) for row in rows]
            truth.append(np.array(below, np.uint64), doomed)
        truth.first = len(truth.values) - 1
        return len(truth.values)

    def add_data(self, group: int, values: Values) -> None:
        """Take scattered values."""
        truth = self.groups[group] = GroupTruth(group, None, {})
        truth.append(values, np.zeros(len(values), np.bool_))

    def value_of(self, group: int, index: int) -> int:
        """Return the right value of a task."""
        return int(self.groups[group].values[index])

    # --- verdicts ---------------------------------------------------------------------------------

    def check_values(self, group: int, start: int, values: Values) -> str | None:
        """Return what is wrong with results of tasks from `start` on, None if they are right."""
        truth = self.groups[group]
        stop = start + len(values)
        if truth.doomed[start:stop].any():
            return f"a task of {group:x}[{start}, {stop}) has a result and cannot have one"
        wrong = np.nonzero(truth.values[start:stop] != values)[0]
        if len(wrong):
            return f"{len(wrong)} wrong results in {group:x}[{start}, {stop}), first at {wrong[0]}"
        return None

    def check_failure(self, group: int, index: int, failure: Failure) -> str | None:
        """Return why a task cannot have failed like this, None if it can."""
        origin_group, origin = failure.get("origin") or (group, index)
        what = f"{group:x}[{index}] failed with {failure.get('kind')!r} ({failure.get('text')!r})"
        if not failure.get("text"):
            return f"{what}: without a text"
        if (origin_group, origin) != (group, index) and not self._is_ancestor(origin_group, group):
            return f"{what} because of {origin_group:x}[{origin}], on which it does not depend"
        truth = self.groups[origin_group]
        match failure["kind"]:
            case "raised":
                tried = self.raised[origin_group, origin] + self.overran[origin_group, origin]
                is_right = tried > truth.retries
            case "timeout":
                tried = self.raised[origin_group, origin] + self.overran[origin_group, origin]
                is_right = tried > truth.retries and truth.options.get("timeout") is not None
            case "crashed":
                losses = self.crashed[origin_group, origin] + self.lost_workers
                is_right = losses + self.killed_executors > truth.allowed
            case "cancelled":
                is_right = bool(truth.cancelled[origin]) or self.restarts > 0
            case "lost":  # a restart forgets every group
                is_right = self._is_stranded(truth)
                is_right = is_right or (
                    truth.is_data and (truth.was_let_go or self.lost_workers > 0)
                )
                is_right = is_right or self.restarts > 0
            case "departed":
                is_right = self._is_stranded(truth)
            case "store":
                is_right = self.small_stores
            case _:
                is_right = False
        return None if is_right else f"{what}, and nothing that happened explains it"

    def _is_stranded(self, truth: GroupTruth) -> bool:
        """Perhaps it could run on one worker only, and that one is gone."""
        return bool(truth.options.get("once")) and self.lost_workers > 0

    def _is_ancestor(self, group: int, of: int) -> bool:
        seen, stack = {of}, [of]
        while stack:
            current = stack.pop()
            if current == group:
                return True
            for producer in sorted(self.groups[current].producers - seen):
                seen.add(producer)
                stack.append(producer)
        return False
