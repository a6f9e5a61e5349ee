"""What the scheduler knows of the processes that are connected to it: clients and workers.

Law: records only. `assignments`, `having`, `spans`, `tasks`, `along`, `load_s` and `holds` of a
worker are kept by moves.py, `frontier` by along.py, `knows` and `blob_uses` by handing.py, `holds`
of a client by release.py, `pace` by placement.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyroaring import BitMap

from ..errors import InvalidArgument, PeerError
from ..ids import AssignmentId, Digest, GroupId, PeerId
from ..resources import Offer, check_offer
from .pace import Pace

if TYPE_CHECKING:
    from .groups import Assignment, Group
    from .restrictions import Key, Restriction

MAX_SLOTS = 1 << 16


class Client:
    """A client session. `holds`: groups of which it holds futures; `opened`: open groups that it
    may extend.
    """

    __slots__ = ("holds", "info", "name", "opened", "peer")

    def __init__(self, peer: PeerId, info: dict[str, Any]) -> None:
        self.peer = peer
        self.info = info
        self.name = str(info.get("name") or f"client-{peer}")
        self.holds: dict[GroupId, Group] = {}
        self.opened: dict[GroupId, Group] = {}


class Worker:
    """A worker. `tasks`: number of tasks that are with it and could run; `along`: of those that
    were sent along with their unfinished inputs; `load_s`: expected seconds of both; `having`:
    both, by group.

    `path`: where it is, as ``site/rack/host`` in parts; `pace`: how fast it is.

    `is_behind`: its spans take longer than expected, so it is given no more than its slots can run
    until it reports. `knows`: for each group that it was told of, the chunks of items it was sent,
    as ``(position, number)``; `blob_uses`: how many of these groups name a blob. `resources`: what
    it offers; `lent`: what of it the tasks that are with it ask for, in parts (resources.py);
    `restrictions`: those that it fits (restrictions.py).
    """

    __slots__ = (
        "address", "along", "assignments", "blob_uses", "frontier", "having", "holds", "host",
        "info", "is_behind", "joined", "knows", "lent", "load_s", "memory_limit_bytes", "name",
        "pace", "path", "peer", "resources", "restrictions", "slots", "spans", "stats", "tasks",
    )  # fmt: skip

    def __init__(self, peer: PeerId, info: dict[str, Any], now: float) -> None:
        """Raises:
        PeerError: `info` lacks what the scheduler needs.
        """
        slots, address = info.get("slots"), info.get("address")
        if type(slots) is not int or not 1 <= slots <= MAX_SLOTS:
            raise PeerError(f"a worker with {slots!r} slots")
        if not isinstance(address, str):
            raise PeerError("a worker that does not say where it serves data")
        self.resources: Offer = {}
        if info.get("resources"):
            try:
                self.resources = check_offer(info["resources"])
            except InvalidArgument as error:
                raise PeerError(f"a worker with impossible resources: {error}") from error
        self.peer = peer
        self.info = info
        self.name = str(info.get("name") or f"worker-{peer}")
        self.slots = slots
        self.address = address
        self.host = str(info.get("host") or "")
        self.path = tuple(str(info.get("topology") or f"/{self.host}").split("/"))
        self.pace = Pace()
        self.memory_limit_bytes = int(info.get("memory_limit_bytes") or 0)
        self.joined = now
        self.stats: dict[str, float] = {}
        self.assignments: dict[AssignmentId, Assignment] = {}
        self.having: dict[GroupId, BitMap] = {}
        self.tasks = 0
        self.along = 0
        self.spans = 0  # assignments that were not sent along
        # Tasks with it whose consumers were not looked at for want of room, see along.py.
        self.frontier: list[tuple[Group, BitMap]] = []
        self.load_s = 0.0
        self.lent: dict[str, int] = {}
        self.restrictions: dict[Key, Restriction] = {}
        self.is_behind = False
        self.holds: dict[GroupId, Group] = {}
        self.knows: dict[GroupId, set[tuple[int, int]]] = {}
        self.blob_uses: dict[Digest, int] = {}

    def __repr__(self) -> str:
        return f"<worker {self.peer} {self.name!r}>"
