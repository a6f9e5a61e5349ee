"""Submission: groups from clients, tasks appended to open graphs, and what clients say about
futures that they hold.

Law: what comes from a client is checked before anything is changed: a group is taken as a whole or
refused as a whole.
"""

from __future__ import annotations

from typing import Any

from ..diagnostics.counters import GroupCounters
from ..errors import InvalidArgument, PeerError
from ..ids import Digest, GroupId, get_session, is_shared
from ..messages import (
    Blob,
    ExtendGroup,
    Failure,
    GroupRefused,
    HoldTasks,
    KeepTasks,
    SubmitGroup,
    TasksFailed,
    WantResults,
)
from ..options import check_options
from .exchange import Exchange
from .fold import Fold
from .graph import Graph
from .groups import Group
from .layers import Each, Layer, LayerRefused, make_layer
from .ledger import Ledger
from .moves import READY, WAITING, move
from .news import tell_where
from .peers import Client
from .recovery import await_inputs, fail, pin_inputs, retry, revive
from .release import add_hold
from .restrictions import is_stranded
from .runs import clip, runs_of, set_of, set_of_runs
from .sharing import check_content, find_again, make_hold


def submit(ledger: Ledger, client: Client, message: SubmitGroup) -> None:
    """Make a group, or refuse it with a reason."""
    shared = is_shared(message.group)
    if not shared and get_session(message.group) != client.peer:
        raise PeerError(f"client {client.peer} may not make a group {message.group:x}")
    if message.group in ledger.groups and not shared:
        return  # sent again because the first answer was lost: it is here
    content: Digest | None = None
    try:
        if shared:
            content = check_content(ledger, message)
            if message.group in ledger.groups:
                _share(ledger, client, message)
                return
        layer, options = _check(ledger, message)
    except LayerRefused as refusal:
        text = f"{message.name}: {refusal}"
        ledger.outbox.send(client.peer, GroupRefused(message.group, text))
        return
    others = layer.producers() - {message.group}
    depth = 1 + max((ledger.groups[g].depth for g in others), default=-1)
    counters = GroupCounters(
        message.group, message.name, client.name, layer.kind, created=ledger.now, depth=depth
    )
    ledger.last_serial += 1
    group = Group(message.group, message.name, client.peer, layer, counters, ledger.last_serial)
    group.content = content
    group.options = options
    counters.metadata = options.get("metadata") or {}
    group.priority = options.get("priority", 0)
    group.retries = options.get("retries", 0)
    group.allowed_failures = options.get("allowed_failures", ledger.limits.allowed_failures)
    ledger.groups[group.id] = group
    ledger.placement.restrictions.join(group, options)
    ledger.keep_blobs(group, message.blobs)
    if isinstance(layer, Each):
        layer.item_bytes = sum(len(ledger.blobs[d]) for _, _, ds in layer.chunked for d in ds)
    if group.is_open:
        client.opened[group.id] = group
    if message.wanted:
        group.wants_all.add(client.peer)
    for number in layer.producers():
        ledger.groups[number].consumers[group.id] = group
    if layer.n:
        _add_tasks(ledger, group, client, 0, layer.n, has_inputs=layer.has_inputs)
    if is_stranded(group):
        text = f"there is no worker {options['workers'][0]!r} (any more) to run it"
        fail(ledger, group, group.unfinished(), {"kind": "departed", "text": text})


def _share(ledger: Ledger, client: Client, message: SubmitGroup) -> None:
    """Equal work is here already: the client holds it, too."""
    group = ledger.groups[message.group]
    again = find_again(group)
    if again:
        retry(ledger, group, again, f"submitted anew by {client.name}")
    held = make_hold(group)
    hold(ledger, client, held)
    if message.wanted:
        want(ledger, client, WantResults(group.id, held.runs))


def _check(ledger: Ledger, message: SubmitGroup) -> tuple[Layer, dict[str, Any]]:
    def has_blob(digest: Digest) -> bool:
        return digest in message.blobs or digest in ledger.blobs

    options = message.options
    try:
        check_options(options)
    except InvalidArgument as error:
        raise LayerRefused(str(error)) from error
    if not all(isinstance(blob, Blob) for blob in message.blobs.values()):
        raise LayerRefused("blobs must be bytes")
    return make_layer(message.layer, ledger.size_of, has_blob, message.group), options


def _add_tasks(
    ledger: Ledger, group: Group, client: Client, start: int, stop: int, *, has_inputs: bool
) -> None:
    # Of a tree only the root is handed out, of an exchange its outputs; what is inside goes as soon
    # as it was used.
    layer, first = group.layer, start
    if isinstance(layer, Fold):
        first = stop - 1
    elif isinstance(layer, Exchange):
        first = layer.count
    add_hold(group, client, first, stop)
    needs_nothing = not has_inputs and layer.kind != "data"
    move(ledger, group, range(start, stop), None, READY if needs_nothing else WAITING)
    if has_inputs:
        await_inputs(ledger, [(group, set_of(start, stop))])


def extend(ledger: Ledger, client: Client, message: ExtendGroup) -> None:
    """Append tasks to a graph."""
    group = ledger.groups.get(message.group)
    if group is None:
        _refuse_tasks(ledger, client, message)
        return
    layer = group.layer
    if not isinstance(layer, Graph) or group.owner != client.peer or not group.is_open:
        raise PeerError(f"client {client.peer} may not append to {group}")
    if message.count > 0 and message.start + message.count <= layer.n:
        return  # sent again because the first answer was lost: they are here
    has_edges = layer.extend(message)
    start, stop = message.start, layer.n
    if has_edges:
        for number in layer.producers():
            producer = ledger.groups.get(number)
            if producer is not None:
                producer.consumers[group.id] = group
                if producer is not group and producer.depth >= group.depth:
                    group.depth = group.counters.depth = producer.depth + 1
        pin_inputs(ledger, group, start, stop)
    _add_tasks(ledger, group, client, start, stop, has_inputs=has_edges)


def _refuse_tasks(ledger: Ledger, client: Client, message: ExtendGroup) -> None:
    """The group is gone (after a restart, or it was refused): its new tasks cannot be."""
    if get_session(message.group) != client.peer:
        raise PeerError(f"client {client.peer} may not append to group {message.group:x}")
    if message.count > 0:
        failure: Failure = {"kind": "cancelled", "text": "its group is gone from the scheduler"}
        runs = [message.start, message.start + message.count]
        ledger.outbox.send(client.peer, TasksFailed(message.group, runs, failure))


def hold(ledger: Ledger, client: Client, message: HoldTasks) -> None:
    """A client holds futures of tasks that another one submitted: tell it what is known of them."""
    tasks = set_of_runs(message.runs, "HoldTasks")
    group = ledger.groups.get(message.group)
    if group is None:
        _tell_gone(ledger, client, message.group, message.runs, f"group {message.group:x}")
        return
    revive(ledger, group, tasks)
    gone = tasks & group.released
    if not group.is_open:
        gone |= tasks - set_of(0, group.n)
    if gone:
        _tell_gone(ledger, client, group.id, runs_of(gone), group.name)
    kept = runs_of(tasks - gone)
    for start, stop in zip(kept[::2], kept[1::2], strict=True):
        add_hold(group, client, start, stop)
    tell_where(ledger, group, client.peer, tasks & group.done)
    failed = runs_of(tasks & group.failed)
    for first, last in zip(failed[::2], failed[1::2], strict=True):
        for start, stop, failure in group.failures.sections(first, last):
            ledger.outbox.failed(client.peer, group.id, set_of(start, stop), failure)


def keep(ledger: Ledger, client: Client, message: KeepTasks) -> None:
    """Tasks are to be computed whether anybody wants their results or not."""
    tasks = set_of_runs(message.runs, "KeepTasks")
    group = ledger.groups.get(message.group)
    if group is not None:  # else: all of it is over
        group.kept |= tasks & group.unfinished()


def _tell_gone(ledger: Ledger, client: Client, group: GroupId, runs: list[int], name: str) -> None:
    text = f"a result of {name} was released before it was asked for here; it is not kept"
    failure: Failure = {"kind": "lost", "text": text}
    ledger.outbox.send(client.peer, TasksFailed(group, runs, failure))


def want(ledger: Ledger, client: Client, message: WantResults) -> None:
    """A client waits for results: push small ones as they come, and say who has those that are
    done.
    """
    tasks = set_of_runs(message.runs, "WantResults")
    group = ledger.groups.get(message.group)
    if group is None or client.peer not in group.holds:
        return  # released meanwhile
    tasks &= group.holds[client.peer]
    if client.peer in group.wants:
        group.wants[client.peer] |= tasks
    else:
        group.wants[client.peer] = tasks
    tell_where(ledger, group, client.peer, clip(tasks & group.done, 0, group.n))
