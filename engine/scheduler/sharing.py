"""Shared work: groups whose id is made of what they compute, so that equal pure work of several
clients is done once.

Law: who submits under such an id must have sent the content that the id is made of: the digests of
layer and blobs are taken again here. Nobody cancels what others hold.
"""

from __future__ import annotations

from pyroaring import BitMap

from ..codec import content_digest
from ..errors import PeerError
from ..ids import Digest, digest_of, make_shared_id
from ..messages import HoldTasks, SubmitGroup
from .fold import Fold
from .groups import Group
from .layers import LayerRefused
from .ledger import Ledger
from .peers import Client

PASSING = frozenset({"cancelled", "lost", "store", "departed"})
"""Kinds of failure that do not come from the work itself: who asks for it anew has it tried
anew."""


def check_content(ledger: Ledger, message: SubmitGroup) -> Digest:
    """Return the digest of what is submitted.

    Raises:
        PeerError: the id is not that of the content.
        LayerRefused: a blob is not what its digest says, or other work has the same id.
    """
    content = content_digest(message.layer, message.options)
    if make_shared_id(content) != message.group:
        raise PeerError(f"the id {message.group:x} is not that of the content that came with it")
    for digest, blob in message.blobs.items():
        known = ledger.blobs.get(digest)
        if known is not blob and digest_of(blob) != digest:
            raise LayerRefused(f"the blob {digest.hex()} is not what its digest says")
        if known is not None and bytes(known) != bytes(blob):
            raise LayerRefused(f"another blob goes by the digest {digest.hex()}: not shared")
    group = ledger.groups.get(message.group)
    if group is not None and group.content != content:
        raise LayerRefused(
            f"other work ({group.name}) happens to have the same short hash: submit it with "
            "pure=False, or give it a key"
        )
    return content


def find_again(group: Group) -> BitMap:
    """Return the failed tasks that are worth another try, since somebody asks for them anew."""
    again = BitMap()
    for start, stop, failure in group.failures.sections(0, group.n):
        if failure.get("kind") in PASSING:
            again.add_range(start, stop)
    return again


def make_hold(group: Group) -> HoldTasks:
    """Return what a client holds that submits a group: all of it, of a tree its root."""
    start = group.n - 1 if isinstance(group.layer, Fold) else 0
    return HoldTasks(group.id, [start, group.n])


def own_part(group: Group, client: Client, tasks: BitMap) -> BitMap:
    """Return those of some tasks of shared work that no other client holds."""
    if group.content is None:
        return tasks
    for peer, held in group.holds.items():
        if peer != client.peer:
            tasks = tasks - held
    return tasks - group.published
