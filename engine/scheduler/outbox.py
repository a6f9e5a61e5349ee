"""The messages that the core wants sent, in order, with what can be joined joined.

News of done tasks of one group are joined while they are adjacent and on the same worker; results
to be freed are gathered per worker and group.

Law: joining never changes what a peer ends up knowing: news that contradict earlier ones (a task
that failed or was reopened after it was done) close what could still be joined. Nothing is sent
from here.
"""

from __future__ import annotations

from pyroaring import BitMap

from ..ids import GroupId, PeerId
from ..messages import Block, Failure, FreeResults, Message, TasksDone, TasksFailed, TasksReopened
from .runs import runs_of


class Outbox:
    """What is to be sent since the last `take`."""

    def __init__(self) -> None:
        self._sends: list[tuple[PeerId, Message]] = []
        self._open: dict[tuple[PeerId, GroupId, int, PeerId, bool], TasksDone] = {}
        self._frees: dict[tuple[PeerId, GroupId], tuple[BitMap, FreeResults]] = {}

    def __bool__(self) -> bool:
        return bool(self._sends)

    def take(self) -> list[tuple[PeerId, Message]]:
        """Return what is to be sent, in order, and forget it."""
        sends = self._sends
        if not sends:
            return []
        for tasks, message in self._frees.values():
            message.runs = runs_of(tasks)
        self._sends = []
        self._open.clear()
        self._frees.clear()
        return sends

    def send(self, peer: PeerId, message: Message) -> None:
        """Send any message."""
        self._sends.append((peer, message))

    def done(
        self,
        client: PeerId,
        group: GroupId,
        start: int,
        stop: int,
        worker: PeerId,
        blocks: list[Block] | None,
    ) -> None:
        """Tell a client that a run of tasks is done."""
        is_pushed = blocks is not None
        known = self._open.pop((client, group, start, worker, is_pushed), None)
        if known is None:
            known = TasksDone(group, start, stop, worker, blocks and list(blocks))
            self._sends.append((client, known))
        else:
            known.stop = stop
            if known.blocks is not None and blocks is not None:
                known.blocks.extend(blocks)
        self._open[client, group, stop, worker, is_pushed] = known

    def failed(self, client: PeerId, group: GroupId, tasks: BitMap, failure: Failure) -> None:
        """Tell a client that tasks failed, all for the same reason."""
        self._open.clear()
        self._sends.append((client, TasksFailed(group, runs_of(tasks), failure)))

    def reopened(self, client: PeerId, group: GroupId, tasks: BitMap, reason: str) -> None:
        """Tell a client that tasks are computed again."""
        self._open.clear()
        self._sends.append((client, TasksReopened(group, runs_of(tasks), reason)))

    def free(self, worker: PeerId, group: GroupId, results: BitMap) -> None:
        """Tell a worker to drop results."""
        known = self._frees.get((worker, group))
        if known is not None:
            gathered, _ = known
            gathered |= results
            return
        message = FreeResults(group, [])
        self._frees[worker, group] = (results.copy(), message)
        self._sends.append((worker, message))

    def forget_peer(self, peer: PeerId) -> None:
        """A peer is gone: what was to be sent to it is not."""
        self._sends = [send for send in self._sends if send[0] != peer]
        self._open.clear()
        self._frees = {key: value for key, value in self._frees.items() if key[0] != peer}
