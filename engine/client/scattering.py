"""Data that is put on workers: `scatter`.

Law: the scheduler says where, the data goes straight there. A value is pickled once; its large
buffers are sent from the memory they lie in. The futures exist only when all of it is kept.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ..errors import ArgumentNotSerializable, ClusterError
from ..executor import values
from ..messages import Block, PickWorkers
from .blame import find_culprit
from .futures import Futures
from .link import Link
from .state import GroupState

PUT_BYTES = 32 << 20
"""Blocks that travel in one message together, unless a single one is larger."""


def pickle_items(items: list[Any]) -> list[list[values.Part]]:
    """Return the parts of each item. Raises: ArgumentNotSerializable naming it."""
    found = []
    for at, item in enumerate(items):
        try:
            found.append(values.dump_value(item)[0])
        except values.DumpFailed as error:
            culprit = find_culprit(item, f"item {at}") or str(error)
            raise ArgumentNotSerializable(f"scatter: {culprit}") from error
    return found


async def scatter_items(
    link: Link, name: str, parts: list[list[values.Part]], broadcast: bool
) -> Futures:
    """Put pickled items on workers and return their futures once they are kept. On the link's loop.

    Raises:
        StoreFull: a worker has no room for them.
        ClusterError: there is no worker to put them on.
    """
    session, n = link.session, len(parts)
    with session.lock:
        layer = {"kind": "data", "n": n}
        group = session.add_group(name, n, layer, {}, {}, False)
        group.is_map = True
    futures = Futures(group, range(n))
    sizes = [sum(map(values.nbytes_of, item)) for item in parts]
    picked = await link.ask(lambda number: PickWorkers(number, group.id, sizes, broadcast))
    if n and not picked.places:
        raise ClusterError("there is no worker to put the data on: scale the cluster up")
    runs = (_put_run(link, group, parts, sizes, place) for place in picked.places)
    await asyncio.gather(*runs)
    return futures


async def _put_run(
    link: Link,
    group: GroupState,
    parts: list[list[values.Part]],
    sizes: list[int],
    place: list[Any],
) -> None:
    start, stop, worker, address = place
    blocks: list[Block] = []
    nbytes = 0
    for index in range(start, stop):
        blocks.append([index, index + 1, True, parts[index]])
        nbytes += sizes[index]
        if nbytes >= PUT_BYTES or index == stop - 1:
            await link.put(worker, address, group.id, blocks)
            blocks, nbytes = [], 0
