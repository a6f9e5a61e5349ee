"""The scheduler's core: messages in, messages out, nothing else.

`handle` takes one message of one peer and changes the records; `place` hands out ready tasks, at
most once per turn of the shell's loop; `take_sends` gives what is to be sent. Time comes in as
`now`, in seconds of any clock that does not go back.

Law: no input or output, no asyncio, sockets, threads, clock, randomness or logging. Nothing is
unpickled here and no user code runs. A peer that breaks the protocol raises `PeerError` with the
records unharmed; an `AssertionError` is a mistake of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..diagnostics.snapshot import Snapshot
from ..errors import PeerError
from ..ids import PeerId
from ..messages import (
    AddressFound,
    CancelTasks,
    CloseGroup,
    DataStored,
    ExtendGroup,
    GetAddress,
    GetDataset,
    GetHolders,
    GetMetadata,
    Heartbeat,
    HoldTasks,
    KeepTasks,
    ListDatasets,
    Message,
    PickWorkers,
    PublishDataset,
    ReleaseTasks,
    RetryTasks,
    SpanDone,
    SpanReturned,
    SubmitGroup,
    TaskFailed,
    UnpublishDataset,
    WantResults,
)
from . import datasets, recovery, reporting, results, scatter, sharing, submission
from .along import resume, send_along
from .groups import Group
from .handing import hand_out
from .invariants import check_all, check_placed
from .ledger import Ledger, Limits
from .peers import Client, Worker
from .placement import Placement
from .rebalance import rebalance
from .release import close, end_groups, remove_hold
from .runs import set_of, set_of_runs


class SchedulerCore:
    """See the head of this file. With `validate` all invariants are checked after every event: for
    tests.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        cluster: str = "",
        version: str = "",
        now: float = 0.0,
        epoch: float = 0.0,
        validate: bool = False,
        placement: Placement | None = None,
    ) -> None:
        """`epoch` is what to add to `now` to get unix seconds, for snapshots. `placement`: another
        policy than the one that ships.
        """
        self.cluster = cluster
        self.version = version
        self.started = now
        self.epoch = epoch
        self.validate = validate
        self.ledger = Ledger(limits or Limits(), now, placement)

    # --- peers ----------------------------------------------------------------------------------

    def add_client(self, peer: PeerId, info: dict[str, Any], now: float) -> None:
        """A client has joined."""
        self.ledger.now = now
        assert peer not in self.ledger.clients and peer not in self.ledger.workers
        self.ledger.clients[peer] = Client(peer, info)

    def remove_client(self, peer: PeerId, now: float) -> None:
        """A client has left: what it held is released, its open groups are closed."""
        ledger = self.ledger
        ledger.now = now
        client = ledger.clients.get(peer)
        if client is None:
            return
        for group in list(client.opened.values()):
            close(ledger, group)
        for group in list(client.holds.values()):
            remove_hold(ledger, group, client, group.holds[peer].copy())
        recovery.abandon_data(ledger, client)
        for group in ledger.groups.values():
            group.wants.pop(peer, None)
            group.wants_all.discard(peer)
        del ledger.clients[peer]
        scatter.forget_client(ledger, peer)
        ledger.placement.on_client_gone(peer)
        ledger.outbox.forget_peer(peer)
        self._finish()

    def add_worker(self, peer: PeerId, info: dict[str, Any], now: float) -> None:
        """A worker has joined.

        Raises:
            PeerError: `info` is no `WorkerInfo`.
        """
        ledger = self.ledger
        ledger.now = now
        assert peer not in ledger.clients and peer not in ledger.workers
        worker = ledger.workers[peer] = Worker(peer, info, now)
        ledger.placement.on_worker_added(worker)
        ledger.activity.set_slots(ledger.placement.total_slots, now)
        scatter.answer_waiting(ledger)
        self._finish()

    def remove_worker(
        self, peer: PeerId, reason: str, now: float, *, expected: bool = False
    ) -> None:
        """A worker has left. Unless that was `expected`, tasks that it may have been running are
        blamed for it.
        """
        ledger = self.ledger
        ledger.now = now
        worker = ledger.workers.get(peer)
        if worker is None:
            return
        recovery.remove_worker(ledger, worker, reason, blame=not expected)
        ledger.activity.set_slots(ledger.placement.total_slots, now)
        self._finish()

    # --- events ---------------------------------------------------------------------------------

    def handle(self, peer: PeerId, message: Message, now: float) -> None:
        """Take in a message of a client or a worker.

        Raises:
            PeerError: the peer may not say that, or not in this form; drop it.
        """
        ledger = self.ledger
        ledger.now = now
        kind = type(message)
        if kind in _FROM_WORKERS:
            _FROM_WORKERS[kind](ledger, ledger.get_worker(peer), message)
        elif kind in _FROM_CLIENTS:
            _FROM_CLIENTS[kind](ledger, ledger.get_client(peer), message)
        else:
            raise PeerError(f"{kind.__name__} is not for the scheduler's core")
        self._finish()

    def place(self, now: float) -> None:
        """Hand out ready tasks to workers that have room."""
        ledger = self.ledger
        ledger.now = now
        placement = ledger.placement
        if ledger.passed:
            results.drop_passed(ledger)
        while (plan := placement.next_span(ledger)) is not None:
            hand_out(ledger, plan)
            send_along(ledger, plan.worker, plan.group, set_of(plan.start, plan.stop))
        for worker in list(ledger.behind.values()) if ledger.behind else ():
            resume(ledger, worker)
        if placement.queueing and placement.free_count:
            rebalance(ledger)
        if self.validate:
            check_all(ledger)
            check_placed(ledger)

    def take_sends(self) -> list[tuple[PeerId, Message]]:
        """Return the messages that are to be sent since the last call, in order."""
        return self.ledger.outbox.take()

    def next_wakeup(self, now: float) -> float | None:
        """Return when `place` is to be called even if nothing comes in; None: never.

        Only an uneven balance waits for a time: slots are free while other workers queue.
        """
        placement = self.ledger.placement
        if placement.queueing and placement.free_count:
            return max(now, self.ledger.next_balance)
        return None

    def _finish(self) -> None:
        if self.ledger.ending:
            end_groups(self.ledger)
        if self.validate:
            check_all(self.ledger)

    # --- the cluster as a whole -----------------------------------------------------------------

    def forget_everything(self, now: float, reason: str = "the cluster was restarted") -> None:
        """Let all futures that clients hold fail as cancelled, and forget all groups.

        For a restart: the shell has the workers drop their stores, and says `on_restarted` when
        they have.
        """
        ledger = self.ledger
        ledger.now = now
        ledger.is_restarting = True
        datasets.forget_all(ledger)
        recovery.forget_all(ledger, reason)
        self._finish()

    def on_restarted(self, now: float) -> None:
        """The workers have dropped their stores: they can be given data again."""
        self.ledger.now = now
        self.ledger.is_restarting = False
        scatter.answer_waiting(self.ledger)

    def snapshot(self, now: float) -> Snapshot:
        """Return the summary of the cluster at `now`."""
        return reporting.build(
            self.ledger, self.cluster, self.version, self.started, now, self.epoch
        )

    def status(self) -> dict[str, Any]:
        """Return workers (list of dicts), tasks (number by state) and clients (number), for
        `StatusGiven`.
        """
        return reporting.describe(self.ledger)

    @property
    def is_idle(self) -> bool:
        """Return whether there is nothing to compute and nobody connected who could ask for it."""
        ledger = self.ledger
        placement = ledger.placement
        has_ready = placement.restrictions.has_ready or placement.find_ready() is not None
        return not ledger.clients and not ledger.assignments and not has_ready


# --- what clients say -------------------------------------------------------------------------


def _find_group(ledger: Ledger, number: int) -> Group | None:
    """Return a group that a client speaks of; None: it was refused, or forgotten meanwhile."""
    return ledger.groups.get(number)


def _on_release(ledger: Ledger, client: Client, message: ReleaseTasks) -> None:
    tasks = set_of_runs(message.runs, "ReleaseTasks")
    group = _find_group(ledger, message.group)
    if group is not None:
        remove_hold(ledger, group, client, tasks)


def _on_cancel(ledger: Ledger, client: Client, message: CancelTasks) -> None:
    tasks = set_of_runs(message.runs, "CancelTasks")
    group = _find_group(ledger, message.group)
    if group is not None:
        by = message.by or client.name
        tasks = sharing.own_part(group, client, tasks)
        recovery.cancel(ledger, group, tasks, by, force=message.force)


def _on_retry(ledger: Ledger, client: Client, message: RetryTasks) -> None:
    tasks = set_of_runs(message.runs, "RetryTasks")
    group = _find_group(ledger, message.group)
    if group is not None:
        recovery.retry(ledger, group, tasks, f"retried by {client.name}")


def _on_close(ledger: Ledger, client: Client, message: CloseGroup) -> None:
    group = _find_group(ledger, message.group)
    if group is None:
        return
    if group.owner != client.peer:
        raise PeerError(f"client {client.peer} may not close {group}")
    close(ledger, group)


def _on_get_address(ledger: Ledger, client: Client, message: GetAddress) -> None:
    worker = ledger.workers.get(message.worker)
    address = None if worker is None else worker.address
    ledger.outbox.send(client.peer, AddressFound(message.request, message.worker, address))


def _on_heartbeat(ledger: Ledger, worker: Worker, message: Heartbeat) -> None:
    worker.stats = message.stats


_FROM_CLIENTS: dict[type[Message], Callable[[Ledger, Client, Any], None]] = {
    SubmitGroup: submission.submit,
    ExtendGroup: submission.extend,
    CloseGroup: _on_close,
    WantResults: submission.want,
    HoldTasks: submission.hold,
    ReleaseTasks: _on_release,
    CancelTasks: _on_cancel,
    RetryTasks: _on_retry,
    PickWorkers: scatter.pick,
    GetAddress: _on_get_address,
    KeepTasks: submission.keep,
    GetHolders: reporting.find_holders,
    GetMetadata: reporting.give_metadata,
    PublishDataset: datasets.publish,
    GetDataset: datasets.give,
    ListDatasets: datasets.list_all,
    UnpublishDataset: datasets.unpublish,
}

_FROM_WORKERS: dict[type[Message], Callable[[Ledger, Worker, Any], None]] = {
    SpanDone: results.on_span_done,
    TaskFailed: results.on_task_failed,
    SpanReturned: results.on_span_returned,
    DataStored: results.on_data_stored,
    Heartbeat: _on_heartbeat,
}
