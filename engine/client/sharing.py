"""Submitting groups; pure ones under an id made of their content, so that equal work is done once.

Law: of pure work this client may know the group already, or another client may have made it: then
it is held once more, and nothing is computed. The scheduler checks that id and content fit. Under
the session's lock, and without waiting, as all of session.py.
"""

from __future__ import annotations

from typing import Any

from ..codec import content_digest
from ..ids import make_shared_id
from ..messages import Blob, ReleaseTasks, SubmitGroup
from .options import Options
from .runs import RunSet
from .session import Session
from .state import GroupState

FINAL = frozenset({"raised", "crashed", "timeout", "unserializable"})
"""Kinds of failure that come from the work itself: equal work shares them."""


def add_group(
    session: Session,
    name: str,
    n: int,
    layer: dict[str, Any],
    blobs: dict[bytes, Blob],
    options: Options,
    wanted: bool,
    held_from: int = 0,
) -> GroupState:
    """Make a group and submit it, or join one that is there if the work is pure. As for
    `Session.add_group`: whoever gets it must hold its tasks before the lock is let go.
    """
    wire = options.to_wire()
    if not options.pure:
        return session.add_group(name, n, layer, blobs, wire, wanted, held_from)
    session.check_open()
    number = make_shared_id(content_digest(layer, wire))
    dropped = session.releasing.pop(number, None)
    if dropped is not None and dropped.released:
        session.out.append(ReleaseTasks(number, dropped.released.take()))
    group = session.groups.get(number)
    if group is not None and _is_good(group, held_from, n):
        if wanted:
            session.push(group, held_from, n)
        return group
    if group is None:
        group = session.groups[number] = GroupState(session, number, name, n)
    _reopen(group, held_from, n)
    for growing in list(session.growing.values()):  # it may depend on any of them
        session._send_growth(growing)
    group.held.add(held_from, n)
    group.pushed.discard(0, n)
    if wanted:
        group.pushed.add(0, n)
    session.out.append(SubmitGroup(number, name, layer, blobs, wire, wanted))
    return group


def _is_good(group: GroupState, start: int, stop: int) -> bool:
    """Tell whether all tasks are held, and none has failed for a reason that may pass."""
    if group.held.count_in(start, stop) < stop - start:
        return False
    records = [record for _, _, record in group.failed.items_in(start, stop)]
    return all(record.failure.get("kind") in FINAL for record in records)


def _reopen(group: GroupState, start: int, stop: int) -> None:
    """Forget failures that may pass: the work is asked for again."""
    again = RunSet()
    for a, b, record in group.failed.items_in(start, stop):
        if record.failure.get("kind") not in FINAL:
            again.add(a, b)
    for a, b in again:
        for c, d in group.unconfirmed.runs_in(a, b):
            group.stale_cancels.add(c, d)
        group.unconfirmed.discard(a, b)
        group.failed.clear(a, b)
