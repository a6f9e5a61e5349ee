"""What a simulated user does: submits, chains, scatters, wants, releases, cancels, retries, leaves.

Law: it takes as inputs only what it holds, as a real client does; all its choices come from one
random source of its own.
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np

from cellspan.engine.codec import content_digest
from cellspan.engine.ids import digest_of, make_shared_id
from cellspan.engine.messages import Blob, ExtendGroup, SubmitGroup, WantResults

from . import work
from .sim_client import DONE, FAILED, PENDING, Mirror, SimClient
from .sim_worker import HOST
from .work import Deps, Function

MAX_SPLITS = 30
"""Inputs of an exchange: its shards are inputs times outputs, and all of them are made."""


class Habits:
    """`tasks`: largest group; `mean_s`: mean durations are drawn around it; `raises`, `crashes`:
    every so-many-th task does, 0 for none; `may_undo`: releases, cancels, retries; `large`: also
    large results; `has_options`: restrictions, time limits, shared work.
    """

    def __init__(
        self,
        tasks: int = 60,
        mean_s: float = 0.01,
        raises: int = 0,
        crashes: int = 0,
        may_undo: bool = True,
        large: bool = True,
        has_options: bool = False,
    ) -> None:
        self.tasks = tasks
        self.mean_s = mean_s
        self.raises = raises
        self.crashes = crashes
        self.may_undo = may_undo
        self.large = large
        self.has_options = has_options


class User:
    """Drives one client. `board` lists groups of all clients, for those who adopt them."""

    def __init__(
        self, client: SimClient, random: Random, habits: Habits, board: list[tuple[int, str]]
    ) -> None:
        self.client = client
        self.random = random
        self.habits = habits
        self.board = board
        self.submitted = 0

    def act(self) -> None:
        """Do one thing."""
        choices: list[tuple[float, Any]] = [
            (3, self.map_plain), (3, self.map_results), (2, self.grow_graph), (0.7, self.scatter),
            (1, self.fold_results), (1, self.want_some), (0.5, self.adopt_some), (1, self.chain),
            (1.5, self.shuffle_results),
        ]  # fmt: skip
        if self.habits.may_undo:
            choices += [
                (1.5, self.release_some), (0.7, self.release_group), (0.6, self.cancel_some),
                (0.8, self.retry_some),
            ]  # fmt: skip
        if self.habits.has_options:
            choices += [(2, self.map_shared), (1, self.run_everywhere)]
        weights = [weight for weight, _ in choices]
        self.random.choices([action for _, action in choices], weights)[0]()
        self.client.flush()

    # --- submitting -------------------------------------------------------------------------------

    def make_function(self) -> Function:
        """Draw what the tasks of a group do."""
        random, habits = self.random, self.habits
        sizes = [8, 8, 8, 40, 3000, 5000, 80_000] if habits.large else [8]
        return Function(
            tag=random.getrandbits(63),
            mean_s=habits.mean_s * 10 ** random.uniform(-1.5, 0.7),
            nbytes=random.choice(sizes),
            raises=habits.raises if random.random() < 0.3 else 0,
            flaky=habits.raises if random.random() < 0.3 else 0,
            flaky_times=random.randint(1, 3),
            crashes=habits.crashes if random.random() < 0.3 else 0,
            crash_times=random.randint(1, 4),
        )

    def make_options(self) -> dict[str, Any]:
        """Draw the options of a group."""
        options: dict[str, Any] = {}
        if self.random.random() < 0.5:
            options["retries"] = self.random.randint(0, 3)
        if self.random.random() < 0.3:
            options["allowed_failures"] = self.random.randint(0, 3)
        if self.random.random() < 0.3:
            options["priority"] = self.random.randint(-2, 2)
        return options | self.draw_restrictions() if self.habits.has_options else options

    def draw_restrictions(self) -> dict[str, Any]:
        """Draw where tasks may run, with what, and how long."""
        random, options = self.random, dict[str, Any]()
        if random.random() < 0.4:
            names = random.sample(["GPU", "scratch", "tape"], random.randint(1, 2))
            amounts = {"GPU": [1, 1, 2], "scratch": [0.5, 1, 2.5, 4], "tape": [1, 2]}
            options["resources"] = {name: random.choice(amounts[name]) for name in names}
        if random.random() < 0.2:
            options["workers"] = random.choice([[HOST], ["w1", HOST], [HOST, "nobody"]])
        if random.random() < 0.3:
            options["timeout"] = self.habits.mean_s * 10 ** random.uniform(-0.5, 1.5)
        if random.random() < 0.2:
            least = random.randint(1, 20)
            options["span"] = [least, least + random.randint(0, 20)]
        return options

    def run_everywhere(self) -> None:
        """Once on each executor of a worker, if it is there."""
        worker = self.client.find_worker(f"sim://w{self.random.randint(1, 20)}")
        if worker is None or worker.is_dead:
            return
        options = {"workers": [worker.name], "once": True, "allowed_failures": 0}
        self.submit_each(worker.slots, [self._range_spec()], options=options)

    def map_shared(self) -> None:
        """A map that others may have submitted, too: all follows from a small number."""
        number = self.random.randint(1, 6)
        function = Function(number << 40, self.habits.mean_s, raises=self.habits.raises)
        options = {"resources": {"GPU": 1}} if number == 1 else {}
        n, client = 5 * number, self.client
        blob = function.to_blob()
        layer = {"kind": "each", "n": n, "function": digest_of(blob), "args": [["range", 3, 2]],
                 "names": []}  # fmt: skip
        group = make_shared_id(content_digest(layer, options))
        if group in client.groups:
            return
        mirror = client.groups[group] = Mirror(group, "each")
        mirror.wants_all = True
        if group not in client.truth.groups:
            client.truth.add_each(group, function, n, [["range", 3, 2]], options)
        mirror.grow(n)
        client.say(
            SubmitGroup(group, f"shared-{number}", layer, {digest_of(blob): blob}, options, True)
        )

    def map_plain(self) -> None:
        """A map over ranges and items."""
        n = max(1, int(self.random.random() ** 2 * self.habits.tasks))
        specs: list[list[Any]] = []
        for _ in range(self.random.randint(0, 2)):
            specs.append(self.random.choice([self._range_spec, self._const_spec])())
        if self.random.random() < 0.4:
            values = np.array([self.random.getrandbits(63) for _ in range(n)], np.uint64)
            specs.append(["items", values])
        self.submit_each(n, specs)

    def map_results(self) -> None:
        """A map over results of earlier groups."""
        runs = [run for mirror in self._sources() for run in self._held_runs(mirror)]
        if not runs:
            self.map_plain()
            return
        group, start, stop = self.random.choice(runs)
        n = self.random.randint(1, min(stop - start, self.habits.tasks))
        specs: list[list[Any]] = [["same", group, self.random.randint(start, stop - n)]]
        if self.random.random() < 0.4:
            fitting = [run for run in runs if run[2] - run[1] >= n]
            other, low, high = self.random.choice(fitting)
            specs.append(["same", other, self.random.randint(low, high - n)])
        if self.random.random() < 0.3:
            specs.append(self._const_spec())
        self.random.shuffle(specs)
        self.submit_each(n, specs)

    def chain(self) -> None:
        """Maps over one another, of which mostly only the last one is kept."""
        n = max(1, int(self.random.random() ** 2 * self.habits.tasks))
        last = self.submit_each(n, [self._range_spec()])
        for _ in range(self.random.randint(1, 5)):
            offset = self.random.randint(0, min(3, n - 1)) if self.random.random() < 0.3 else 0
            n -= offset
            specs = [["same", last.group, offset]]
            if self.random.random() < 0.3:
                specs.append(self._range_spec())
            before, last = last, self.submit_each(n, specs)
            if self.random.random() < 0.7:
                self.client.release(before, 0, before.n)

    def shuffle_results(self) -> None:
        """An exchange over results of an earlier group."""
        runs = [run for mirror in self._sources() for run in self._held_runs(mirror)]
        if not runs:
            self.map_plain()
            return
        source, start, stop = self.random.choice(runs)
        count = self.random.randint(1, min(stop - start, self.habits.tasks, MAX_SPLITS))
        offset = self.random.randint(start, stop - count)
        outputs = max(1, int(self.random.random() ** 2 * self.habits.tasks))
        sizes = [8, 8, 40, 3000] if self.habits.large else [8]
        split = replace(self.make_function(), nbytes=self.random.choice(sizes))
        self.submit_exchange(source, offset, count, outputs, split, self.make_function())

    def submit_exchange(
        self,
        source: int,
        offset: int,
        count: int,
        outputs: int,
        split: Function,
        merge: Function,
        options: dict[str, Any] | None = None,
    ) -> Mirror:
        """Submit an exchange over results of a group, and want its outputs."""
        options, client = self.make_options() if options is None else options, self.client
        mirror = self._add(Mirror(client.next_group(), "exchange"), True)
        client.truth.add_exchange(
            mirror.group, split, merge, source, offset, count, outputs, options
        )
        mirror.grow(count + outputs)
        mirror.held[:count] = False
        blobs = {digest_of(blob): blob for blob in (split.to_blob(), merge.to_blob())}
        layer = {
            "kind": "exchange", "n": mirror.n, "split": digest_of(split.to_blob()),
            "function": digest_of(merge.to_blob()), "group": source, "offset": offset,
            "count": count, "outputs": outputs,
        }  # fmt: skip
        name = f"exchange-{mirror.group & 0xFFFF}"
        client.say(
            SubmitGroup(mirror.group, name, layer, blobs, options, False),
            WantResults(mirror.group, [count, mirror.n]),
        )
        return mirror

    def fold_results(self) -> None:
        """A tree over results of an earlier group; of its tasks the root alone is held."""
        runs = [run for mirror in self._sources() for run in self._held_runs(mirror)]
        if not runs:
            self.map_plain()
            return
        random, client = self.random, self.client
        group, start, stop = random.choice(runs)
        count = random.randint(1, min(stop - start, self.habits.tasks))
        offset, fanin = random.randint(start, stop - count), random.randint(2, 5)
        initial = random.getrandbits(63) if random.random() < 0.3 else None
        function, options, wanted = self.make_function(), self.make_options(), random.random() < 0.8
        mirror = self._add(Mirror(client.next_group(), "fold"), wanted)
        n = client.truth.add_fold(
            mirror.group, function, (group, offset, count, fanin), initial, options
        )
        mirror.grow(n)
        mirror.held[: n - 1] = False
        contents = [function.to_blob()]
        if initial is not None:
            contents.append(work.pack_call(initial, []))
        digests = [digest_of(blob) for blob in contents]
        layer = {
            "kind": "fold", "n": n, "function": digests[0], "group": group, "offset": offset,
            "count": count, "fanin": fanin, "initial": digests[1] if len(digests) > 1 else None,
        }  # fmt: skip
        name, blobs = f"fold-{mirror.group & 0xFFFF}", dict(zip(digests, contents, strict=True))
        client.say(SubmitGroup(mirror.group, name, layer, {**blobs}, options, wanted))

    def _range_spec(self) -> list[Any]:
        return ["range", self.random.randint(0, 1 << 40), self.random.randint(0, 9)]

    def _const_spec(self) -> list[Any]:
        deps = self._draw_deps(self.random.randint(1, 3)) if self.random.random() < 0.4 else []
        return ["const", self.random.getrandbits(63), deps]

    def submit_each(
        self,
        n: int,
        specs: list[list[Any]],
        function: Function | None = None,
        wanted: bool = True,
        options: dict[str, Any] | None = None,
    ) -> Mirror:
        """Submit a map; the arguments as in `Truth.add_each`."""
        client = self.client
        function = function or self.make_function()
        blobs: dict[bytes, Blob] = {}

        def add(blob: bytes) -> bytes:
            digest = digest_of(blob)
            blobs[digest] = blob
            return digest

        args: list[list[Any]] = []
        for spec in specs:
            match spec:
                case ["const", value, deps]:
                    flat = [number for dep in deps for number in dep]
                    args.append(["blob", add(work.pack_call(value, deps)), flat])
                case ["items", values]:
                    size = self.random.randint(1, len(values))
                    chunks = [values[at : at + size] for at in range(0, n, size)]
                    args.append(["items", size, [add(work.pack_items(chunk)) for chunk in chunks]])
                case _:
                    args.append(list(spec))
        layer = {"kind": "each", "n": n, "function": add(function.to_blob()), "args": args,
                 "names": []}  # fmt: skip
        options = self.make_options() if options is None else options
        mirror = self._add(Mirror(client.next_group(), "each"), wanted)
        client.truth.add_each(mirror.group, function, n, specs, options)
        mirror.grow(n)
        name = f"each-{mirror.group & 0xFFFF}"
        client.say(SubmitGroup(mirror.group, name, layer, blobs, options, wanted))
        return mirror

    def _add(self, mirror: Mirror, wanted: bool) -> Mirror:
        mirror.wants_all = wanted
        self.client.groups[mirror.group] = mirror
        self.board.append((mirror.group, mirror.kind))
        return mirror

    def grow_graph(self) -> None:
        """Append tasks to an open graph, or to a new one; sometimes close it."""
        client = self.client
        graphs = [m for m in client.groups.values() if m.is_open]
        if graphs and self.random.random() < 0.7:
            mirror = self.random.choice(graphs)
        else:
            function, options = self.make_function(), self.make_options()
            wanted = self.random.random() < 0.8
            mirror = self._add(Mirror(client.next_group(), "graph"), wanted)
            client.truth.add_graph(mirror.group, function, options)
            blob = function.to_blob()
            layer = {"kind": "graph", "function": digest_of(blob)}
            name = f"graph-{mirror.group & 0xFFFF}"
            client.say(
                SubmitGroup(mirror.group, name, layer, {digest_of(blob): blob}, options, wanted)
            )
        self.extend(mirror, max(1, int(self.random.random() ** 2 * self.habits.tasks)))
        if self.random.random() < 0.2:
            client.close_graph(mirror)

    def extend(self, mirror: Mirror, count: int) -> None:
        """Append tasks to a graph, with inputs drawn from what is held."""
        start = mirror.n
        calls: list[tuple[int, Deps]] = []
        for at in range(count):
            deps: Deps = []
            if self.random.random() < 0.5:
                deps = self._draw_deps(self.random.randint(1, 4))
            if at and self.random.random() < 0.3:
                deps.append((mirror.group, start + self.random.randrange(at)))
            calls.append((self.random.getrandbits(63), list(dict.fromkeys(deps))))
        payloads = [work.pack_call(constant, deps) for constant, deps in calls]
        edges = [dep for _, deps in calls for dep in deps]
        counts = array("I", [len(deps) for _, deps in calls]) if edges else array("I")
        self.client.say(ExtendGroup(
            mirror.group, start, count, b"".join(payloads),
            array("I", map(len, payloads)).tobytes(), counts.tobytes(),
            array("q", [group for group, _ in edges]).tobytes(),
            array("I", [index for _, index in edges]).tobytes(),
        ))  # fmt: skip
        self.client.truth.extend_graph(mirror.group, calls)
        mirror.grow(count)

    def scatter(self) -> None:
        """Put data on workers."""
        n = self.random.randint(1, 12)
        values = np.array([self.random.getrandbits(63) for _ in range(n)], np.uint64)
        client = self.client
        mirror = self._add(Mirror(client.next_group(), "data"), self.random.random() < 0.5)
        client.truth.add_data(mirror.group, values)
        mirror.grow(n)
        layer = {"kind": "data", "n": n}
        client.say(SubmitGroup(mirror.group, "data", layer, {}, {}, mirror.wants_all))
        client.put(mirror, broadcast=self.random.random() < 0.4)

    # --- inputs -----------------------------------------------------------------------------------

    def _sources(self) -> list[Mirror]:
        return list(self.client.groups.values())[-12:]

    def _held_runs(self, mirror: Mirror) -> list[tuple[int, int, int]]:
        usable = mirror.held & (mirror.state != PENDING) if mirror.adopted else mirror.held
        if mirror.kind == "data" and self.client.truth.small_stores:
            usable = usable & (mirror.state == DONE)  # it may be that there is no room for it
        if self.client.truth.restarts and not mirror.is_open:
            usable = usable & (mirror.state != FAILED)  # of a group that is not there any more
        if mirror.adopted:
            usable = usable & (mirror.state != FAILED)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], usable.view(np.int8), [0]])))
        pairs = zip(edges[::2], edges[1::2], strict=True)
        return [(mirror.group, int(start), int(stop)) for start, stop in pairs]

    def _draw_deps(self, count: int) -> Deps:
        deps: Deps = []
        sources = self._sources()
        for _ in range(count):
            runs = self._held_runs(self.random.choice(sources)) if sources else []
            if runs:
                group, start, stop = self.random.choice(runs)
                deps.append((group, self.random.randrange(start, stop)))
        return list(dict.fromkeys(deps))

    # --- the rest ---------------------------------------------------------------------------------

    def _draw_run(self) -> tuple[Mirror, int, int] | None:
        runs = [run for mirror in self.client.groups.values() for run in self._held_runs(mirror)]
        if not runs:
            return None
        group, start, stop = self.random.choice(runs)
        low = self.random.randrange(start, stop)
        return self.client.groups[group], low, self.random.randint(low + 1, stop)

    def want_some(self) -> None:
        """Want results of a run of tasks."""
        if run := self._draw_run():
            self.client.want(*run)

    def release_some(self) -> None:
        """Release a run of tasks."""
        if run := self._draw_run():
            self.client.release(*run)

    def release_group(self) -> None:
        """Release all of a group."""
        if run := self._draw_run():
            mirror = run[0]
            if mirror.is_open:
                self.client.close_graph(mirror)
            self.client.release(mirror, 0, mirror.n)

    def cancel_some(self) -> None:
        """Cancel a run of tasks."""
        if run := self._draw_run():
            self.client.cancel(*run)

    def retry_some(self) -> None:
        """Retry a run of tasks, whether they have failed or not."""
        for mirror in self.client.groups.values():
            if (mirror.held & (mirror.state == FAILED)).any() and self.random.random() < 0.5:
                self.client.retry(mirror, 0, mirror.n)
                return

    def adopt_some(self) -> None:
        """Hold a group of another client."""
        others = [entry for entry in self.board[-8:] if entry[0] not in self.client.groups]
        if others:
            group, kind = self.random.choice(others)
            may_never_be = kind == "data" and self.client.truth.small_stores
            if len(self.client.truth.groups[group].values) and not may_never_be:
                first = self.client.truth.groups[group].first
                self.client.adopt(group, kind, first)
