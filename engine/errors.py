"""Every error that cellspan raises by a name of its own.

Law: an error that a user may see names the cause and the remedy in its text. Foreign exceptions are
turned into these at the border where they appear (transport, codec, deploy), never deeper.
"""

from __future__ import annotations

import concurrent.futures


class CellspanError(Exception):
    """Base of all errors of this package."""


# --- the wire -------------------------------------------------------------------------------------


class PeerError(CellspanError):
    """The other side broke the protocol; its connection is dropped, nothing else is touched."""


class ConnectionClosed(CellspanError):
    """The connection ended; the text says why, as far as it is known."""


class Refused(CellspanError):
    """The other side does not let us in: wrong credentials, wrong cluster, or another protocol
    version.
    """


# --- clusters -------------------------------------------------------------------------------------


class ClusterError(CellspanError):
    """Something about a cluster as a whole."""


class ClusterNotFound(ClusterError, LookupError):
    """No cluster of that name; the text lists the names that there are."""


class ClusterExists(ClusterError, ValueError):
    """A live cluster of that name is there already."""


class ClusterDead(ClusterError):
    """The cluster has a connection file, but its scheduler is gone."""


class StartFailed(ClusterError):
    """A scheduler or worker did not come up; the text carries the last lines of its log."""


class InvalidArgument(CellspanError, ValueError):
    """An argument that cannot mean anything: refused before anything is done."""


# --- tasks ----------------------------------------------------------------------------------------


class TaskError(CellspanError):
    """A task ended without a result for a reason other than an exception of the user's code."""


class TaskCancelled(TaskError, concurrent.futures.CancelledError):
    """The task was cancelled; the text says by whom."""


class ExecutorDied(TaskError):
    """The process that ran the task ended: exit code or signal, and its last log lines, are in the
    text.
    """


class DataLost(TaskError):
    """The only copy of scattered data was on a worker that is gone; it cannot be computed again."""


class ResultNotSerializable(TaskError, TypeError):
    """A task's result cannot be pickled; the text names the task and the type."""


class ArgumentNotSerializable(CellspanError, TypeError):
    """A function or argument cannot be pickled; the text names it."""


class PayloadTooLarge(CellspanError, ValueError):
    """An argument is too large to travel with a submission; the text names it and points to
    `scatter`.
    """


class StoreFull(TaskError, MemoryError):
    """A worker has no room for a result or for scattered data, neither in memory nor on disk."""
