"""Data sets: futures under a name, held by the scheduler itself, so that they outlive the client
that published them.

Law: what a client published is opaque content and a list of tasks; nothing is unpickled. Tasks of
data sets are held in `Group.published`: the union over all of them, changed here alone.
"""

from __future__ import annotations

from pyroaring import BitMap

from ..errors import PeerError
from ..messages import (
    Accepted,
    DatasetGiven,
    DatasetsListed,
    Declined,
    GetDataset,
    ListDatasets,
    PublishDataset,
    UnpublishDataset,
)
from .ledger import Dataset, Ledger
from .peers import Client
from .recovery import revive
from .release import settle
from .runs import tasks_of

MAX_NAME = 1000


def publish(ledger: Ledger, client: Client, message: PublishDataset) -> None:
    """Keep futures under a name, or decline with a reason."""
    name = message.name
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise PeerError(f"PublishDataset: {str(name)[:80]!r} is no name")
    tasks = tasks_of(message.tasks, "PublishDataset")
    for number, indices in tasks.items():
        if number in ledger.groups and indices.max() >= ledger.groups[number].n:
            raise PeerError(f"PublishDataset: {ledger.groups[number]} has no task {indices.max()}")
    new = Dataset(message.content, tasks)
    text = ""
    if name in ledger.datasets and not message.replace:
        text = f"there is a data set {name!r} already: unpublish it first, or say override=True"
    elif not all(number in ledger.groups for number in tasks):
        text = f"{name!r}: a result in it was released before"
    else:
        for number, indices in tasks.items():
            group = ledger.groups[number]
            group.published |= indices
            revive(ledger, group, indices)
            if not indices.isdisjoint(group.released):
                text = f"{name!r}: a result of {group.name} was released before"
        if text:
            _let_go(ledger, new)
    if text:
        ledger.outbox.send(client.peer, Declined(message.request, text))
        return
    before = ledger.datasets.get(name)
    ledger.datasets[name] = new
    if before is not None:
        _let_go(ledger, before)
    ledger.outbox.send(client.peer, Accepted(message.request))


def give(ledger: Ledger, client: Client, message: GetDataset) -> None:
    """Answer with a data set's content. Whoever unpickles it holds its futures then."""
    found = ledger.datasets.get(message.name)
    if found is None:
        ledger.outbox.send(client.peer, _unknown(ledger, message.request, message.name))
    else:
        ledger.outbox.send(client.peer, DatasetGiven(message.request, found.content))


def list_all(ledger: Ledger, client: Client, message: ListDatasets) -> None:
    """Answer with the names."""
    ledger.outbox.send(client.peer, DatasetsListed(message.request, sorted(ledger.datasets)))


def unpublish(ledger: Ledger, client: Client, message: UnpublishDataset) -> None:
    """Hold a data set's futures no more."""
    found = ledger.datasets.pop(message.name, None)
    if found is None:
        ledger.outbox.send(client.peer, _unknown(ledger, message.request, message.name))
        return
    _let_go(ledger, found)
    ledger.outbox.send(client.peer, Accepted(message.request))


def forget_all(ledger: Ledger) -> None:
    """Drop all data sets, without a look at what was only theirs."""
    for group in ledger.groups.values():
        group.published.clear()
    ledger.datasets.clear()


def _unknown(ledger: Ledger, request: int, name: str) -> Declined:
    names = ", ".join(map(repr, sorted(ledger.datasets))) or "none"
    return Declined(request, f"there is no data set {str(name)[:80]!r}; there are: {names}")


def _let_go(ledger: Ledger, dataset: Dataset) -> None:
    for number, indices in dataset.tasks.items():
        group = ledger.groups[number]
        others = [d.tasks[number] for d in ledger.datasets.values() if number in d.tasks]
        group.published = BitMap().union(*others) if others else BitMap()
        settle(ledger, group, indices)
