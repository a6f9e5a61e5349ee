"""Tasks of a Dask layer that differ by their place alone, as one symbolic group.

What Dask makes of a blockwise layer (also after it has fused several, and of partition-wise
expressions on tables) are tasks of one function whose arguments are, position by position: equal
for all, the result of the task at the same place in another layer, or small values of their own.
That is what an `Each` says without listing them: constants travel once, results of another layer
are a reference, and only the values of their own travel in chunks.

Law: looks at tasks and pickles their literals; submits nothing. Whatever does not fit is left to be
sent task by task (None): never an error, for that way names what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dask._task_spec import Alias, GraphNode, Task

from ..executor import values
from ..ids import Digest, digest_of
from ..messages import Blob
from .dask_plan import Key

MIN_TASKS = 8
"""Fewer tasks are not worth a look."""
MAX_ITEM_BYTES = 4096
"""Larger values of single tasks are sent task by task, while the rest is still being pickled."""
CHUNK_BYTES = 64 << 10
CHUNK_ITEMS = 8192
LIMIT_BYTES = 64 << 20
SAMPLE_ITEMS = 16

TaskAt = tuple[int, int]
"""A task of this cluster: its group and its index."""
_FLAT = frozenset({type(None), bool, int, str, bytes})


class EachPlan(NamedTuple):
    """A group as an `Each`: `keys` of its tasks by index, and what the layer says."""

    keys: list[Key]
    args: list[list[Any]]
    names: list[str]
    blobs: dict[Digest, Blob]


class _NotEach(Exception):
    """The tasks have to be listed."""


def find_each(
    keys: Sequence[Key],
    nodes: Sequence[Task],
    value_of: Callable[[Any], Any],
    task_of: Callable[[Any], TaskAt | None],
) -> EachPlan | None:
    """Return tasks of one function as an `Each`, None if they are none.

    `value_of` gives what an argument stands for; of that `task_of` gives the task whose result it
    is, if it is one. Raises: KeyError: `value_of` does, for a result that is not submitted yet.
    """
    first = nodes[0]
    names = list(first.kwargs)
    count = len(first.args)
    rows = [(*node.args, *node.kwargs.values()) for node in nodes]
    if any(len(node.args) != count or list(node.kwargs) != names for node in nodes):
        return None
    if any(map(_is_made_of_results, rows[0])):
        return None  # lists of results, as reductions take them
    columns = [list(map(value_of, column)) for column in zip(*rows, strict=True)]
    packer = _Columns(task_of)
    try:
        order = packer.find_order(columns)
        if order is not None:
            columns = [[column[at] for at in order] for column in columns]
            keys = [keys[at] for at in order]
        args = [packer.pack(column) for column in columns]
    except (_NotEach, values.DumpFailed):
        return None
    return EachPlan(list(keys), args, names, packer.blobs)


def _is_made_of_results(arg: Any) -> bool:
    return isinstance(arg, GraphNode) and not isinstance(arg, Alias) and bool(arg.dependencies)


class _Columns:
    """Makes specifications of the arguments of all tasks, position by position."""

    def __init__(self, task_of: Callable[[Any], TaskAt | None]) -> None:
        self._task_of = task_of
        self.blobs: dict[Digest, Blob] = {}

    def find_order(self, columns: list[list[Any]]) -> list[int] | None:
        """Return in which order the tasks take the results of a run of another group one after
        the other; None if they do, or never can.
        """
        for column in columns:
            tasks = self._find_tasks(column)
            if tasks is None or tasks[0] == tasks[-1]:
                continue
            if len({group for group, _ in tasks}) > 1:
                raise _NotEach
            indices = [index for _, index in tasks]
            start, stop = min(indices), max(indices) + 1
            if len(set(indices)) < len(tasks) or stop - start != len(tasks):
                raise _NotEach
            if indices[0] == start and indices == list(range(start, stop)):
                return None
            order = [0] * len(tasks)
            for at, index in enumerate(indices):
                order[index - start] = at
            return order
        return None

    def pack(self, column: list[Any]) -> list[Any]:
        """Return one argument of all tasks as an `Each` says it."""
        tasks = self._find_tasks(column)
        if tasks is None:
            if all(_is_equal(column[0], value) for value in column):
                return self._pack_constant(column[0])
            return self._pack_items(column)
        group, start = tasks[0]
        if tasks == [(group, start + at) for at in range(len(tasks))]:
            return ["same", group, start]
        if all(task == tasks[0] for task in tasks):
            return self._pack_constant(column[0])
        raise _NotEach

    def _find_tasks(self, column: list[Any]) -> list[TaskAt] | None:
        """Return the tasks whose results an argument is, None if it is values."""
        found = list(map(self._task_of, column)) if self._task_of(column[0]) is not None else None
        if found is None:
            return None
        tasks = [task for task in found if task is not None]
        if len(tasks) < len(column):
            raise _NotEach
        return tasks

    def _pack_constant(self, value: Any) -> list[Any]:
        blob, deps = values.dump_blob(value, self._task_of)
        return ["blob", self._keep(blob), [number for dep in deps for number in dep]]

    def _pack_items(self, column: list[Any]) -> list[Any]:
        start = _find_range(column)
        if start is not None:
            return ["range", start, 1]
        sample = len(self._dump_items(column[:SAMPLE_ITEMS])) // min(len(column), SAMPLE_ITEMS)
        chunk = max(1, min(len(column), CHUNK_BYTES // (sample + 1), CHUNK_ITEMS))
        digests = []
        total = 0
        for start in range(0, len(column), chunk):
            some = column[start : start + chunk]
            blob = self._dump_items(some)
            total += len(blob)
            if len(blob) > MAX_ITEM_BYTES * len(some) or total > LIMIT_BYTES:
                raise _NotEach
            digests.append(self._keep(blob))
        return ["items", chunk, digests]

    def _dump_items(self, items: list[Any]) -> bytes:
        blob, deps = values.dump_blob(items, self._task_of)
        if deps:
            raise _NotEach
        return blob

    def _keep(self, blob: bytes) -> Digest:
        digest = digest_of(blob)
        self.blobs[digest] = blob
        return digest


def _find_range(column: list[Any]) -> int | None:
    """Return where numbers that count up by one begin, None if they do not."""
    start = column[0]
    if type(start) is not int or not -(1 << 62) < start < 1 << 62:
        return None
    counted = list(range(start, start + len(column)))
    return start if column == counted and {*map(type, column)} == {int} else None


def _is_equal(one: Any, other: Any) -> bool:
    """Tell whether one object can stand for both: not where a task may change what it is given."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) in _FLAT:
        return bool(one == other)
    if type(one) is tuple:
        return len(one) == len(other) and all(map(_is_equal, one, other))
    return type(one) is slice and _is_equal(
        (one.start, one.stop, one.step), (other.start, other.stop, other.step)
    )
