"""Layers: how the tasks of a group get their arguments and dependencies, as data, without listing
them.

The closed registry: `Each` (here), `Fold` (fold.py), `Exchange` (exchange.py), `Graph` (graph.py),
`Data` (here). A layer answers about sets of its tasks: what they take as inputs, who takes a
result, whose inputs are complete. `Each`, `Fold` and `Exchange` answer in closed form: their cost
follows runs, not tasks.

Law: a layer from the wire is checked here, once, and is right afterwards; an unknown one is
refused. A layer knows no state of any task: the sets it needs come as arguments. It never sees a
user's value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

from pyroaring import BitMap

from ..ids import MAX_TASKS, Digest, GroupId
from .closed import ClosedForm, SetOf
from .exchange import Exchange
from .fold import Fold, make_levels
from .graph import Graph
from .runs import set_of

DIGEST_BYTES = 16
MAX_ARGUMENTS = 1000
MAX_FANIN = 1 << 16


class LayerRefused(Exception):
    """A layer from the wire that cannot be: the text says why, for the user."""


class Each(ClosedForm):
    """`n` tasks, each argument one shared blob, a symbolic range, chunked items, or the same index
    of a group.
    """

    kind: ClassVar[str] = "each"
    __slots__ = ("chunked", "item_bytes", "n", "same", "shared", "wire")

    def __init__(self, wire: dict[str, Any]) -> None:
        """`wire` has been checked."""
        self.wire = wire
        self.n: int = wire["n"]
        self.item_bytes = 0  # of all chunks together; set by who has them
        self.same: list[tuple[GroupId, int]] = []
        self.shared: dict[GroupId, BitMap] = {}
        self.chunked: list[tuple[int, int, list[Digest]]] = []
        for position, spec in enumerate(wire["args"]):
            if spec[0] == "same":
                self.same.append((spec[1], spec[2]))
            elif spec[0] == "blob":
                for group, index in zip(spec[2][::2], spec[2][1::2], strict=True):
                    self.shared.setdefault(group, BitMap()).add(index)
            elif spec[0] == "items":
                self.chunked.append((position, spec[1], spec[2]))

    @property
    def has_inputs(self) -> bool:
        """Does any task take results of others?"""
        return bool(self.same or self.shared)

    def producers(self) -> set[GroupId]:
        """Return the groups that it takes results of."""
        return {group for group, _ in self.same} | set(self.shared)

    def define_blobs(self) -> list[Digest]:
        """Return the blobs that a worker must have before its first span."""
        blobs = [spec[1] for spec in self.wire["args"] if spec[0] == "blob"]
        return [self.wire["function"], *blobs]

    def all_blobs(self) -> list[Digest]:
        """Return all blobs that it names."""
        return self.define_blobs() + [d for _, _, digests in self.chunked for d in digests]

    def inputs_of(self, tasks: BitMap) -> dict[GroupId, BitMap]:
        """Return the results that these tasks take, by group."""
        if not tasks:
            return {}
        found = {group: indices.copy() for group, indices in self.shared.items()}
        for group, offset in self.same:
            taken = tasks.shift(offset) if offset else tasks
            found[group] = found[group] | taken if group in found else taken
        return found

    def consumers_of(self, group: GroupId, results: BitMap) -> BitMap:
        """Return the tasks here that take any of these results of a group."""
        if group in self.shared and not self.shared[group].isdisjoint(results):
            return set_of(0, self.n)
        found = BitMap()
        for producer, offset in self.same:
            if producer == group:
                found |= results.shift(-offset)
        return found & set_of(0, self.n)

    def needed(self, group: GroupId, results: BitMap, unfinished: BitMap) -> BitMap:
        """Return which of these results are taken by the unfinished among the tasks here."""
        if not unfinished:
            return BitMap()
        found = self.shared[group] & results if group in self.shared else BitMap()
        for producer, offset in self.same:
            if producer == group:
                found |= unfinished.shift(offset) & results
        return found

    def complete(self, tasks: BitMap, done: SetOf) -> BitMap:
        """Return those of these tasks whose inputs are all done."""
        for group, indices in self.shared.items():
            if not indices.issubset(done(group)):
                return BitMap()
        found = tasks
        for group, offset in self.same:
            found = found & done(group).shift(-offset)
        return found

    def bytes_per_task(self) -> float:
        """Return what of the layer travels with a task, in bytes."""
        return self.item_bytes / self.n if self.n else 0.0

    def find_local(self, tasks: BitMap, held: SetOf) -> BitMap:
        """Return those of these tasks whose own inputs (not the shared ones) are all held."""
        found = tasks
        for group, offset in self.same:  # a shift is a copy of all that the worker holds
            found = found & (held(group).shift(-offset) if offset else held(group))
        return found


class Data:
    """`n` results that clients put on workers; they are never computed."""

    kind: ClassVar[str] = "data"
    __slots__ = ("n", "wire")
    has_inputs: ClassVar[bool] = False

    def __init__(self, wire: dict[str, Any]) -> None:
        self.wire = wire
        self.n: int = wire["n"]

    def producers(self) -> set[GroupId]:
        """Return the groups that it takes results of: none."""
        return set()

    def define_blobs(self) -> list[Digest]:
        """Return the blobs that a worker must have: none."""
        return []

    def all_blobs(self) -> list[Digest]:
        """Return all blobs that it names: none."""
        return []

    def inputs_of(self, tasks: BitMap) -> dict[GroupId, BitMap]:
        """Return the results that these tasks take: none."""
        return {}

    def consumers_of(self, group: GroupId, results: BitMap) -> BitMap:
        """Return the tasks here that take any of these results: none."""
        return BitMap()

    def needed(self, group: GroupId, results: BitMap, unfinished: BitMap) -> BitMap:
        """Return which of these results are taken by tasks here: none."""
        return BitMap()

    def complete(self, tasks: BitMap, done: SetOf) -> BitMap:
        """Return those of these tasks that could run: none, they wait to be put."""
        return BitMap()

    def on_done(self, group: GroupId, results: BitMap, waiting: BitMap, done: SetOf) -> BitMap:
        """Return the tasks that are complete by these results: none."""
        return BitMap()

    def on_lost(self, group: GroupId, results: BitMap, waiting: BitMap) -> None:
        """These results are not done any more: it takes none."""

    def count_again(self, tasks: BitMap, done: SetOf) -> BitMap:
        """Return those that could run: none, they wait to be put."""
        return BitMap()

    def can_run_again(self, tasks: BitMap) -> BitMap:
        """Return those of these tasks that can be computed once more: none."""
        return BitMap()

    def bytes_per_task(self) -> float:
        """Return what of the layer travels with a task, in bytes."""
        return 0.0

    def find_local(self, tasks: BitMap, held: SetOf) -> BitMap:
        """Return those whose inputs are held: it takes none."""
        return tasks


Layer: TypeAlias = Each | Fold | Exchange | Graph | Data


def make_layer(
    wire: dict[str, Any],
    size_of: Callable[[GroupId], int | None],
    has_blob: Callable[[Digest], bool],
    own: GroupId = 0,
) -> Layer:
    """Return the layer that a wire form describes.

    `size_of` gives the number of tasks of a group that there is, None for one that there is not;
    `own` is the group that the layer is of.

    Raises:
        LayerRefused: there is no such kind of layer, or the form is not one of its kind.
    """
    kind = wire.get("kind")
    if kind == "each":
        _check_count(wire)
        _check_function(wire, has_blob)
        _check_arguments(wire, size_of, has_blob)
        return Each(wire)
    if kind == "fold":
        _check_count(wire)
        _check_function(wire, has_blob)
        _check_fold(wire, size_of, has_blob)
        return Fold(wire, own)
    if kind == "exchange":
        _check_count(wire)
        _check_function(wire, has_blob)
        _check_exchange(wire, size_of, has_blob)
        return Exchange(wire, own)
    if kind == "graph":
        _check_function(wire, has_blob)
        return Graph(wire)
    if kind == "data":
        _check_count(wire)
        return Data(wire)
    raise LayerRefused(
        f"this scheduler knows no layer of kind {kind!r}; it knows each, fold, exchange, "
        "graph, data"
    )


def _check_count(wire: dict[str, Any]) -> None:
    n = wire.get("n")
    if type(n) is not int or n < 0:
        raise LayerRefused(f"the number of tasks is {n!r}; it must be 0 or more")
    if n > MAX_TASKS:
        raise LayerRefused(f"{n} tasks in one group; the limit is {MAX_TASKS}")


def _check_function(wire: dict[str, Any], has_blob: Callable[[Digest], bool]) -> None:
    _check_blob(wire.get("function"), "function", has_blob)


def _check_blob(digest: Any, what: str, has_blob: Callable[[Digest], bool]) -> None:
    if not isinstance(digest, bytes) or len(digest) != DIGEST_BYTES:
        raise LayerRefused(f"the {what} is not named by a digest of {DIGEST_BYTES} bytes")
    if not has_blob(digest):
        raise LayerRefused(f"the {what} {digest.hex()} did not come with the submission")


def _check_fold(
    wire: dict[str, Any],
    size_of: Callable[[GroupId], int | None],
    has_blob: Callable[[Digest], bool],
) -> None:
    fanin, count, offset = wire.get("fanin"), wire.get("count"), wire.get("offset")
    if type(fanin) is not int or not 2 <= fanin <= MAX_FANIN:
        raise LayerRefused(f"the fan-in is {fanin!r}; it must be from 2 to {MAX_FANIN}")
    count = _check_source(wire.get("group"), offset, count, "fold", size_of)
    tasks = make_levels(0, 0, 0, count, fanin)[-1].stop
    if wire["n"] != tasks:
        raise LayerRefused(f"{wire['n']} tasks; {count} results by {fanin} take {tasks}")
    if wire.get("initial") is not None:
        _check_blob(wire["initial"], "initial value", has_blob)
    elif "initial" not in wire:
        raise LayerRefused("it does not say whether there is an initial value")


def _check_exchange(
    wire: dict[str, Any],
    size_of: Callable[[GroupId], int | None],
    has_blob: Callable[[Digest], bool],
) -> None:
    _check_blob(wire.get("split"), "function that splits", has_blob)
    group, offset, count = wire.get("group"), wire.get("offset"), wire.get("count")
    count = _check_source(group, offset, count, "exchange", size_of)
    outputs = wire.get("outputs")
    if type(outputs) is not int or outputs < 1:
        raise LayerRefused(f"the number of outputs is {outputs!r}; it must be 1 or more")
    if wire["n"] != count + outputs:
        raise LayerRefused(f"{wire['n']} tasks, for {count} splits and {outputs} merges")


def _check_source(
    group: Any, offset: Any, count: Any, verb: str, size_of: Callable[[GroupId], int | None]
) -> int:
    """Check that there are the results ``[offset, offset + count)`` of a group; return `count`."""
    if type(count) is not int or type(offset) is not int or count < 1 or offset < 0:
        raise LayerRefused(f"there is no way to {verb} {count!r} results from {offset!r} on")
    size = size_of(group) if type(group) is int else None
    if size is None:
        what = f"{group:x}" if type(group) is int else repr(group)
        raise LayerRefused(f"there is no group {what} to {verb} (any more)")
    if offset + count > size:
        raise LayerRefused(f"results [{offset}, {offset + count}) of a group of {size} tasks")
    return count


def _check_arguments(
    wire: dict[str, Any],
    size_of: Callable[[GroupId], int | None],
    has_blob: Callable[[Digest], bool],
) -> None:
    args, names = wire.get("args"), wire.get("names")
    if not isinstance(args, list) or len(args) > MAX_ARGUMENTS:
        raise LayerRefused(f"args must be a list of at most {MAX_ARGUMENTS} specifications")
    if not isinstance(names, list) or len(names) > len(args):
        raise LayerRefused("names must be a list, not longer than args")
    if not all(isinstance(name, str) for name in names):
        raise LayerRefused("names must be strings")
    for position, spec in enumerate(args):
        what = f"argument {position}"
        match spec:
            case ["blob", digest, list() as deps]:
                _check_blob(digest, what, has_blob)
                _check_deps(deps, what, size_of)
            case ["range", int(), int()]:
                pass
            case ["items", int() as chunk, list() as digests]:
                if chunk < 1 or len(digests) != -(-wire["n"] // chunk):
                    raise LayerRefused(
                        f"{what}: {len(digests)} chunks of {chunk} items for {wire['n']} tasks"
                    )
                for digest in digests:
                    _check_blob(digest, f"chunk of {what}", has_blob)
            case ["same", int() as group, int() as offset]:
                size = size_of(group)
                if size is None:
                    raise LayerRefused(f"{what}: there is no group {group:x} (any more)")
                if offset < 0 or offset + wire["n"] > size:
                    last = offset + wire["n"]
                    raise LayerRefused(
                        f"{what}: results [{offset}, {last}) of a group of {size} tasks"
                    )
            case _:
                raise LayerRefused(f"{what}: {str(spec)[:80]} is no specification of an argument")


def _check_deps(deps: list[Any], what: str, size_of: Callable[[GroupId], int | None]) -> None:
    if len(deps) % 2 or not all(type(number) is int for number in deps):
        raise LayerRefused(f"{what}: dependencies are pairs of group and index")
    for group, index in zip(deps[::2], deps[1::2], strict=True):
        size = size_of(group)
        if size is None:
            raise LayerRefused(f"{what}: there is no group {group:x} (any more)")
        if not 0 <= index < size:
            raise LayerRefused(f"{what}: there is no task {index} in a group of {size}")
