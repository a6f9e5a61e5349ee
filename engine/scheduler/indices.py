"""Indices of workers for placement: who comes first, without looking at all of them.

Law: every operation costs the same however many workers there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..ids import PeerId
    from .peers import Worker


class Buckets:
    """Workers in `count` buckets: the first is from the lowest bucket that has any."""

    __slots__ = ("_buckets", "_of")

    def __init__(self, count: int) -> None:
        self._buckets: list[dict[PeerId, Worker]] = [{} for _ in range(count)]
        self._of: dict[PeerId, int] = {}

    def __len__(self) -> int:
        return len(self._of)

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._of

    def put(self, worker: Worker, bucket: int) -> None:
        """Put a worker into a bucket, behind those that are there; one that is in it stays."""
        peer = worker.peer
        before = self._of.get(peer)
        if before == bucket:
            return
        if before is not None:
            del self._buckets[before][peer]
        self._of[peer] = bucket
        self._buckets[bucket][peer] = worker

    def drop(self, peer: PeerId) -> None:
        """Let a worker be in no bucket."""
        bucket = self._of.pop(peer, None)
        if bucket is not None:
            del self._buckets[bucket][peer]

    def get_first(self) -> Worker:
        """Return the first worker, and put it behind the others of its bucket: they take turns."""
        for bucket in self._buckets:
            if bucket:
                peer, worker = next(iter(bucket.items()))
                if len(bucket) > 1:
                    del bucket[peer]
                    bucket[peer] = worker
                return worker
        raise AssertionError("no worker is in any bucket")
