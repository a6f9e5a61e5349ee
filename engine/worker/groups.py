"""The groups that a worker was told of, and the blobs that they name.

Law: a blob is kept as long as a group names it.
"""

from __future__ import annotations

from ..errors import InvalidArgument, PeerError
from ..ids import Digest, GroupId
from ..messages import Blob, DefineGroup
from .assignments import WorkGroup


class Groups:
    """Groups by id, blobs by digest."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, Blob] = {}
        self._groups: dict[GroupId, WorkGroup] = {}
        self._users: dict[Digest, set[GroupId]] = {}

    def find(self, number: GroupId) -> WorkGroup | None:
        """Return a group, None if it was not defined or is forgotten."""
        return self._groups.get(number)

    def define(self, message: DefineGroup) -> None:
        """Take a definition.

        Raises:
            PeerError: it names blobs that never came.
        """
        try:
            group = WorkGroup(message.group, message.name, message.layer, message.options)
        except (KeyError, IndexError, TypeError, InvalidArgument) as error:
            raise PeerError(f"group {message.group:x}: no layer that a worker knows") from error
        if any(d not in self.blobs and d not in message.blobs for d in group.digests):
            raise PeerError(f"group {message.group:x} names blobs that never came")
        self._groups[message.group] = group
        for digest in group.digests:
            if digest not in self.blobs:
                self.blobs[digest] = message.blobs[digest]
            self._users.setdefault(digest, set()).add(message.group)

    def forget(self, number: GroupId) -> WorkGroup | None:
        """Forget a group and what only it named; return it, None if there was none."""
        group = self._groups.pop(number, None)
        for digest in group.digests if group is not None else ():
            users = self._users[digest]
            users.discard(number)
            if not users:
                del self._users[digest], self.blobs[digest]
        return group

    def clear(self) -> None:
        """Forget everything."""
        self.blobs.clear()
        self._groups.clear()
        self._users.clear()
