"""Tasks that wait for results which this worker is computing itself: they were sent along with
their producers, and run as soon as those are done.

Law: a waiting task stands in `awaiting` of its assignment and not in its queue; it is looked at
only when a result comes that it takes. Only results that are expected here are waited for: what is
not, the core returns.
"""

from __future__ import annotations

from collections.abc import Iterable

from pyroaring import BitMap

from ..ids import AssignmentId, GroupId
from ..messages import Runs
from . import runs as runs_
from .assignments import Assignment, Needs, WorkGroup
from .slots import Link
from .store import Store

BY_RUNS = ("each", "fold")
"""Layers that tell in closed form who takes a result; of others every single input is noted."""


class Expected:
    """The tasks of each group that are with this worker and were not reported yet."""

    def __init__(self) -> None:
        self._groups: dict[GroupId, BitMap] = {}

    def add(self, group: GroupId, start: int, stop: int) -> None:
        """A span came."""
        found = self._groups.get(group)
        if found is None:
            found = self._groups[group] = BitMap()
        found.add_range(start, stop)

    def remove(self, group: GroupId, runs: Runs) -> None:
        """Tasks were reported: done, failed or returned."""
        found = self._groups.get(group)
        if found is None:
            return
        for start, stop in runs_.pairs(runs):
            found.remove_range(start, stop)
        if not found:
            del self._groups[group]

    def has(self, needs: Needs) -> bool:
        """Return whether all these results will be computed here."""
        for group, runs in needs.items():
            found = self._groups.get(group)
            if found is None:
                return False
            if not all(found.contains_range(a, b) for a, b in runs_.pairs(runs)):
                return False
        return True

    def clear(self) -> None:
        """Forget everything."""
        self._groups.clear()


class Waiting:
    """The assignments that have waiting tasks, by the groups whose results these take."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_group: dict[GroupId, dict[AssignmentId, Assignment]] = {}
        self._singles: dict[GroupId, dict[int, list[tuple[Assignment, int]]]] = {}
        """Of groups whose tasks have inputs of their own each: who takes a result, by index."""

    def admit(self, assignment: Assignment) -> None:
        """Let those tasks of a new assignment wait whose inputs are not all here; the others stay
        in its queue.
        """
        tasks = runs_.to_set(runs_.normalize(assignment.queue))
        waiting = tasks - self._find_runnable(assignment, tasks)
        if not waiting:
            return
        assignment.drop_queued(runs_.of_set(waiting))
        assignment.awaiting |= waiting
        self._watch(assignment, waiting)

    def _watch(self, assignment: Assignment, tasks: BitMap) -> None:
        """Have an eye on the results that these tasks of an assignment lack."""
        if assignment.group.kind in BY_RUNS:
            for group in assignment.needs(assignment.start, assignment.stop):
                self._by_group.setdefault(group, {})[assignment.assignment] = assignment
            return
        for task in tasks:
            for group, index in assignment.inputs_of(task):
                if not self._store.has(group, index):
                    takers = self._singles.setdefault(group, {})
                    takers.setdefault(index, []).append((assignment, task))

    def on_stored(self, group: GroupId, start: int, stop: int) -> list[tuple[Assignment, Runs]]:
        """Results have come to be here. Return the tasks that can run by that; they wait no
        more.
        """
        found: list[tuple[Assignment, Runs]] = []
        for assignment in list(self.find(group)):
            taking = _takers(assignment.group, group, start, stop, assignment.awaiting)
            runnable = self._find_runnable(assignment, taking) if taking else taking
            if runnable:
                assignment.awaiting -= runnable
                found.append((assignment, runs_.of_set(runnable)))
            if not assignment.awaiting:
                self._forget(assignment)
        if group in self._singles:
            found += self._on_single(group, start, stop)
        return found

    def _on_single(self, group: GroupId, start: int, stop: int) -> list[tuple[Assignment, Runs]]:
        takers = self._singles[group]
        indices: Iterable[int] = range(start, stop)
        if stop - start > len(takers):
            indices = [index for index in takers if start <= index < stop]
        found: dict[AssignmentId, tuple[Assignment, list[int]]] = {}
        for index in indices:
            for assignment, task in takers.pop(index, ()):
                if task in assignment.awaiting and not self._lacks(assignment, task):
                    assignment.awaiting.remove(task)
                    found.setdefault(assignment.assignment, (assignment, []))[1].append(task)
        if not takers:
            del self._singles[group]
        return [(assignment, runs_.of_indices(tasks)) for assignment, tasks in found.values()]

    def find(self, group: GroupId) -> Iterable[Assignment]:
        """Return the assignments with waiting tasks that take results of a group."""
        waiting = self._by_group.get(group)
        return () if waiting is None else waiting.values()

    # --- chains --------------------------------------------------------------------------------

    def find_follower(self, link: Link, start: int) -> Link | None:
        """Return an assignment whose tasks can follow those of another one from hand to hand, from
        task `start` of the chain on: each of them waits for that one result only.
        """
        assignment, shift = link
        group = assignment.group
        if group.kind != "each" or group.is_unlinked or start + shift in assignment.alone:
            return None
        for follower in self.find(group.group):
            theirs = follower.group
            if theirs.kind != "each" or theirs.is_unlinked or group.group in theirs.shared:
                continue
            offsets = {offset for number, offset in theirs.same if number == group.group}
            if len(offsets) != 1:
                continue
            at = start + shift - offsets.pop()
            if at < 0 or at not in follower.awaiting or at in follower.alone:
                continue
            needs = follower.needs(at, at + 1)
            del needs[group.group]
            if not self._lacks_any(needs):
                return Link(follower, at - start)
        return None

    def limit(self, assignment: Assignment, links: list[Link], length: int) -> int:
        """Return how many of the next `length` tasks can be followed by those of all links, none of
        which is to be alone but the first.
        """
        start, end = assignment.queue[0]
        stop = min(end, start + length)
        for alone in assignment.alone:
            if start <= alone < stop:
                stop = alone if alone > start else start + 1
        for follower, shift in links:
            waiting = follower.awaiting
            if not waiting.contains_range(start + shift, stop + shift):
                gap = waiting.flip(start + shift, stop + shift).next_set_bit(start + shift)
                stop = gap - shift
            stop = self._limit_inputs(follower, start + shift, stop + shift) - shift
        return stop - start

    def _limit_inputs(self, follower: Assignment, start: int, stop: int) -> int:
        """Return up to where the inputs that are not expected here are all here."""
        for group, offset in follower.group.same:
            gaps = self._store.missing(group, start + offset, stop + offset)
            if gaps and gaps[0] > start + offset:
                stop = min(stop, gaps[0] - offset)
        return stop

    def lengthen(self, assignment: Assignment, start: int, stop: int, length: int) -> int:
        """Return how far the next tasks of a graph reach if each takes the result of the one before
        it, at most `length` tasks; those from `stop` on wait no more.
        """
        group, end = assignment.group.group, stop
        while end in assignment.awaiting and end - start < length:
            needs = assignment.needs(end, end + 1)
            own, before = runs_.split(needs.get(group, []), [start, end])
            needs[group] = before
            if not own or own[-1] != end or self._lacks_any(needs):
                break
            end += 1
        if end > stop:
            assignment.awaiting.remove_range(stop, end)
        return end

    def take(self, links: list[Link], start: int, stop: int) -> None:
        """These tasks follow others in a piece: they wait no more."""
        for follower, shift in links:
            follower.awaiting.remove_range(start + shift, stop + shift)
            if not follower.awaiting:
                self._forget(follower)

    def put_back(self, assignment: Assignment, runs: Runs) -> Runs:
        """Tasks that were in a piece wait again for their inputs. Return those that need not."""
        tasks = runs_.to_set(runs)
        runnable = self._find_runnable(assignment, tasks)
        tasks -= runnable
        if tasks:
            assignment.awaiting |= tasks
            self._watch(assignment, tasks)
        return runs_.of_set(runnable)

    def forget_group(self, group: GroupId) -> None:
        """No result of a group will come any more."""
        self._by_group.pop(group, None)
        self._singles.pop(group, None)

    def clear(self) -> None:
        """Forget everything."""
        self._by_group.clear()
        self._singles.clear()

    def _forget(self, assignment: Assignment) -> None:
        number = assignment.assignment
        for group in assignment.needs(assignment.start, assignment.stop):
            waiting = self._by_group.get(group)
            if waiting is not None:
                waiting.pop(number, None)
                if not waiting:
                    del self._by_group[group]

    def _find_runnable(self, assignment: Assignment, tasks: BitMap) -> BitMap:
        """Return those of these tasks whose inputs are all here."""
        if assignment.group.kind not in BY_RUNS:
            return BitMap([task for task in tasks if not self._lacks(assignment, task)])
        found = tasks.copy()
        for start, stop in runs_.pairs(runs_.of_set(tasks)):
            for group, runs in assignment.needs(start, stop).items():
                for first, last in runs_.pairs(runs):
                    for a, b in runs_.pairs(self._store.missing(group, first, last)):
                        found -= _takers(assignment.group, group, a, b, tasks)
        return found

    def _lacks(self, assignment: Assignment, task: int) -> bool:
        has = self._store.has
        return not all(has(group, index) for group, index in assignment.inputs_of(task))

    def _lacks_any(self, needs: Needs) -> bool:
        return any(
            self._store.missing(group, start, stop)
            for group, runs in needs.items()
            for start, stop in runs_.pairs(runs)
        )


def _takers(group: WorkGroup, number: GroupId, start: int, stop: int, among: BitMap) -> BitMap:
    """Return which tasks of a group, an `Each` or a `Fold`, take any of these results of another
    one (or of its own).
    """
    found = BitMap()
    if group.kind == "fold":
        fanin = group.layer["fanin"]
        for begin, _, producer, low, high in group.layer["levels"]:
            first, last = max(start, low) - low, min(stop, high) - low
            if producer == number and first < last:
                found.add_range(begin + first // fanin, begin + (last - 1) // fanin + 1)
        return found & among
    if runs_.intersect(group.shared.get(number, ()), start, stop):
        return among
    for producer, offset in group.same:
        if producer == number and stop > offset:
            found.add_range(max(0, start - offset), stop - offset)
    return found & among
