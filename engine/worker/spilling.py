"""Moving blocks of the store to disk when memory is full.

Law: a block can be read at any moment, before, while and after it is moved: a file keeps its path,
which leads to disk from then on (executors and other workers may have been told of it); a block of
memory gets a file. Copying is done on a thread, the rest at once. What cannot be moved stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import shutil
from itertools import count

from ..executor.files import write_parts
from .core import WorkerCore
from .effects import Spill

logger = logging.getLogger("cellspan.worker")

MOVES = 2
"""Blocks that are copied at a time."""


class Spiller:
    """Moves blocks of a worker's store to a folder on disk."""

    def __init__(self, core: WorkerCore, folder: str) -> None:
        self._core = core
        self._folder = folder
        self._numbers = count(1)
        self._gate = asyncio.Semaphore(MOVES)

    async def move(self, effect: Spill) -> None:
        """Move a block to disk and tell the core, unless the block goes away meanwhile."""
        store, number = self._core.store, effect.number
        async with self._gate:
            if not store.is_moving(number):
                return
            target = f"{self._folder}/s-{next(self._numbers)}"
            places: list[int] = []
            try:
                if effect.path is None:
                    places = await asyncio.to_thread(write_parts, target, effect.parts)
                else:
                    await asyncio.to_thread(shutil.copyfile, effect.path, target)
                    if store.is_moving(number):
                        link = f"{effect.path}.moved"
                        os.symlink(target, link)
                        os.replace(link, effect.path)
            except OSError as error:
                logger.warning("a result cannot be moved to disk: %s", error)
                unlink([target])
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    store.on_disk_full()
                if store.is_moving(number):
                    self._core.on_spilled(number, None, [])
                return
            if store.is_moving(number):
                self._core.on_spilled(number, target, places)
            else:
                unlink([target])


def unlink(paths: list[str]) -> None:
    """Remove files, and what they lead to on disk."""
    for path in paths:
        with contextlib.suppress(OSError):
            target = os.readlink(path) if os.path.islink(path) else None
            os.unlink(path)
            if target is not None:
                os.unlink(target)
