"""All messages of the wire, each a small named class.

Law: past participle for what happened, imperative for what to do, `Get...` for a question; a
question carries a `request` number and its answer the same one. Messages are data only: nothing
here is pickled or unpickled, user values appear only as opaque `Blob`s. A message knows nothing of
how it is encoded (codec.py) or carried (transport/).

Columns: some fields are arrays of machine integers in native little-endian order, named with their
type code of the standard library's `array` ('I' unsigned 32 bit, 'q' signed 64 bit).

Runs: a set of task indices as a flat list ``[start, stop, start, stop, ...]``, ascending, not
touching.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .ids import AssignmentId, Digest, GroupId, PeerId

PROTOCOL = 1
INLINE_LIMIT_BYTES = 1024
"""Mean size per task up to which results travel with the news of their completion."""

Blob: TypeAlias = bytes | bytearray | memoryview
Runs: TypeAlias = list[int]

Block: TypeAlias = list[Any]
"""Results of a run of tasks: ``[start, stop, single, parts]``.

`parts` is a list of Blobs: a pickle (protocol 5) and then its out-of-band buffers. With `single`
the pickle is the one result of task `start` (stop == start + 1), otherwise a list of `stop - start`
results. Where `single` is 2, it is a split of an exchange, and `parts` are a table of offsets and
the shards that it tells apart (executor/values.py).
"""

BlockFile: TypeAlias = list[Any]
"""A block that lies in a file of this host: ``[start, stop, single, path, [offset, length, offset,
length, ...]]``.
"""

Failure: TypeAlias = dict[str, Any]
"""Why a task has no result. Keys: ``kind`` ('raised', 'cancelled', 'crashed', 'timeout', 'lost',
'departed', 'unserializable', 'store'), ``text`` (one paragraph for people), and where they apply
``exception`` (Blob: cloudpickle of the user's exception), ``traceback`` (str, as formatted where it
was raised), ``origin`` ([group, index] of the task that failed first, when this one only depended
on it), ``worker`` (name), ``exit_code``, ``signal``, ``oom`` (bool), ``log`` (list[str]).
"""


class Message:
    """Base of all messages."""

    __slots__ = ()


# --- joining --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Hello(Message):
    """First message on every connection. `role`: 'client', 'worker', or 'peer' (who only fetches or
    puts data).

    `cluster` is the cluster's id from its connection file. `info` of a client: name, pid,
    kernel_id; of a worker: `WorkerInfo` as a dict.
    """

    protocol: int
    version: str
    role: str
    cluster: str
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Welcome(Message):
    """You are in. `peer` is your number; `cluster` the cluster's name."""

    peer: PeerId
    cluster: str
    version: str


@dataclass(slots=True)
class Turned(Message):
    """You are turned away; the connection is closed after this."""

    reason: str


# --- client to scheduler --------------------------------------------------------------------------


@dataclass(slots=True)
class SubmitGroup(Message):
    """Make a group. `layer` is a layer in wire form (scheduler/layers.py), `blobs` maps digest to
    content for all blobs that the layer names. `wanted`: results of at most INLINE_LIMIT_BYTES are
    pushed to this client as they come.

    `options`: priority (int, larger first), retries (int), allowed_failures (int), resources (what
    a task asks for, resources.py), workers (names or hosts of those that may run it), timeout
    (seconds that a task may run), span (``[least, most]`` tasks handed to an executor together),
    metadata (dict of plain data), key (a name that shared work goes by), once (true: one task for
    each executor of the one worker in `workers`). Under the id of shared work (ids.py) a group that
    is there already, with the same content, is held instead.
    """

    group: GroupId
    name: str
    layer: dict[str, Any]
    blobs: dict[Digest, Blob]
    options: dict[str, Any]
    wanted: bool


@dataclass(slots=True)
class ExtendGroup(Message):
    """Append `count` tasks, beginning at index `start`, to a group whose layer is an open `Graph`.

    `payload`: the pickled ``(args, kwargs)`` of all these tasks end to end, `lengths` their lengths
    ('I'). `dep_counts` ('I', one per task; empty when no task depends on any), `dep_groups` ('q')
    and `dep_indices` ('I') hold the dependencies end to end.
    """

    group: GroupId
    start: int
    count: int
    payload: Blob
    lengths: Blob
    dep_counts: Blob
    dep_groups: Blob
    dep_indices: Blob


@dataclass(slots=True)
class WantResults(Message):
    """Push small results of these tasks to me, those that are done already included (as `TasksDone`
    with blocks where the scheduler has them, without blocks otherwise: then fetch them from the
    holder).
    """

    group: GroupId
    runs: Runs


@dataclass(slots=True)
class HoldTasks(Message):
    """I hold futures of these tasks of a group that another client made; tell me about them as you
    tell its owner.
    """

    group: GroupId
    runs: Runs


@dataclass(slots=True)
class ReleaseTasks(Message):
    """I hold no future of these tasks any more."""

    group: GroupId
    runs: Runs


@dataclass(slots=True)
class CancelTasks(Message):
    """Cancel what is not finished among these tasks. `by` names who, for people. What runs already
    runs to its end, and its results are dropped; with `force` the executors that run it are killed
    instead.
    """

    group: GroupId
    runs: Runs
    by: str
    force: bool = False


@dataclass(slots=True)
class RetryTasks(Message):
    """Run the failed ones among these tasks again (and what failed before them)."""

    group: GroupId
    runs: Runs


@dataclass(slots=True)
class PickWorkers(Message):
    """Where shall I put `nbytes` (one size per task) of the `Data` group? The answer is
    `WorkersPicked`.
    """

    request: int
    group: GroupId
    nbytes: list[int]
    broadcast: bool


@dataclass(slots=True)
class WorkersPicked(Message):
    """`places`: ``[[start, stop, worker, address], ...]``."""

    request: int
    places: list[list[Any]]


@dataclass(slots=True)
class GetAddress(Message):
    """Where does this worker serve data? The answer is `AddressFound`."""

    request: int
    worker: PeerId


@dataclass(slots=True)
class AddressFound(Message):
    """`address` is None when the worker is gone."""

    request: int
    worker: PeerId
    address: str | None


# --- scheduler to client --------------------------------------------------------------------------


@dataclass(slots=True)
class TasksDone(Message):
    """Tasks `[start, stop)` have results on `worker`. `blocks` holds them if they are small and
    wanted.
    """

    group: GroupId
    start: int
    stop: int
    worker: PeerId
    blocks: list[Block] | None


@dataclass(slots=True)
class TasksFailed(Message):
    """Tasks in `runs` will have no result, all for the same reason."""

    group: GroupId
    runs: Runs
    failure: Failure


@dataclass(slots=True)
class TasksReopened(Message):
    """Tasks that were done or failed are to be computed again: their worker was lost, or someone
    retries them.
    """

    group: GroupId
    runs: Runs
    reason: str


@dataclass(slots=True)
class GroupRefused(Message):
    """A submission was not taken: nothing of it exists. All its futures fail with this text."""

    group: GroupId
    text: str


# --- scheduler to worker --------------------------------------------------------------------------


@dataclass(slots=True)
class DefineGroup(Message):
    """What a worker must know of a group before its first span: its layer's wire form and blobs
    that are new to it. `options`: those of its `SubmitGroup` that a worker goes by: resources,
    timeout, span, once.
    """

    group: GroupId
    name: str
    layer: dict[str, Any]
    blobs: dict[Digest, Blob]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ForgetGroup(Message):
    """No span of this group will come any more; blobs that only it names may go. Results are freed
    separately.
    """

    group: GroupId


@dataclass(slots=True)
class RunSpan(Message):
    """Run tasks `[start, stop)`. `inline`: somebody waits, send small results along. `patient`:
    reports may be held back a moment while there is much to do here, because nobody waits for any
    of them, or only tasks that are here as well.

    For a `Graph`: `payload` and `lengths` as in `ExtendGroup`. For `Each` with items: `chunks` is
    ``[[argument position, chunk number, Blob], ...]``, those that this worker was not sent before.
    `holders`: ``[[group, start, stop, worker, address], ...]``: inputs that this worker lacks and
    who has them (of an exchange's merges: a row for each worker with splits, from its first to its
    last). `inputs` (Graph only): the dependencies of the tasks, ``dep_counts, dep_groups,
    dep_indices`` as in ExtendGroup, or an empty list where there are none.
    An input that is neither there nor in `holders` is being computed by this worker, for a span
    that it was given before: tasks wait for it. `passing`: nobody but tasks that were sent along
    takes these results; a task that follows in the same piece takes them from hand to hand, and
    they are not kept.
    """

    assignment: AssignmentId
    group: GroupId
    start: int
    stop: int
    inline: bool
    payload: Blob = b""
    lengths: Blob = b""
    inputs: list[Blob] = field(default_factory=list)
    chunks: list[list[Any]] = field(default_factory=list)
    holders: list[list[Any]] = field(default_factory=list)
    passing: bool = False
    patient: bool = False


@dataclass(slots=True)
class TakeBack(Message):
    """Drop what is not started of tasks `runs` of this assignment; the answer is `SpanReturned`
    (maybe empty). With `kill`, an executor that runs one of them is killed, and those count as
    returned too.
    """

    assignment: AssignmentId
    runs: Runs
    kill: bool


@dataclass(slots=True)
class FreeResults(Message):
    """Drop the results of these tasks from your store."""

    group: GroupId
    runs: Runs


@dataclass(slots=True)
class EndWorker(Message):
    """End now: kill the executors, remove the store."""

    reason: str


@dataclass(slots=True)
class RestartExecutors(Message):
    """Kill all executors, drop all spans and results, start anew; the answer is
    `ExecutorsRestarted`.
    """

    request: int


# --- worker to scheduler --------------------------------------------------------------------------


@dataclass(slots=True)
class SpanDone(Message):
    """Tasks `[start, stop)` of an assignment have results in this worker's store.

    `nbytes`: their size altogether. `seconds`: time spent in the user's function, summed over
    tasks. `times`: histogram of the single durations as a flat list ``[bin, count, bin, count,
    ...]`` (diagnostics/counters.py has the bins). `blocks` when asked for and small. `passed`: the
    results went on to the tasks that follow, of which a report comes next, and are not kept.
    """

    assignment: AssignmentId
    group: GroupId
    start: int
    stop: int
    nbytes: int
    seconds: float
    times: list[int]
    blocks: list[Block] | None
    passed: bool = False


@dataclass(slots=True)
class TaskFailed(Message):
    """One task of an assignment failed. `kind` 'raised' or 'timeout' counts against its retries,
    'crashed' against its allowed failures. A task that ran in a piece with others may leave them
    unreported: they come as `SpanReturned`.
    """

    assignment: AssignmentId
    group: GroupId
    index: int
    seconds: float
    failure: Failure


@dataclass(slots=True)
class SpanReturned(Message):
    """Tasks in `runs` of an assignment were not run, or their results were lost with an executor:
    place them again. No blame. `missing`: inputs that could not be fetched, ``[group, index, from
    worker]`` each.
    """

    assignment: AssignmentId
    group: GroupId
    runs: Runs
    reason: str
    missing: list[list[int]] = field(default_factory=list)


@dataclass(slots=True)
class DataStored(Message):
    """A client put scattered data here, or a fetched input was kept: this worker holds these
    results too. `source`: the worker that it was fetched from, and `seconds`: what that took,
    where it is known (0: it is not).
    """

    group: GroupId
    start: int
    stop: int
    nbytes: int
    source: PeerId = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Heartbeat(Message):
    """Sent every second. `stats`: cpu (fraction of all cores), memory_bytes (worker and executors),
    store_bytes (in memory), disk_bytes (of the store), executors (alive), running (tasks).
    """

    stats: dict[str, float]


@dataclass(slots=True)
class ExecutorsRestarted(Message):
    """Answer to `RestartExecutors`."""

    request: int


# --- peers fetch from and put to a worker ---------------------------------------------------------


@dataclass(slots=True)
class GetResults(Message):
    """Send me the results of `[start, stop)`; with `files`, name files instead of sending large
    ones (same host).
    """

    request: int
    group: GroupId
    start: int
    stop: int
    files: bool


@dataclass(slots=True)
class ResultsSent(Message):
    """`blocks` and `files` together cover what is here of the asked range; the rest is not here."""

    request: int
    blocks: list[Block]
    files: list[BlockFile]


@dataclass(slots=True)
class PutResults(Message):
    """Keep these blocks (scatter). The answer is `ResultsKept`."""

    request: int
    group: GroupId
    blocks: list[Block]


@dataclass(slots=True)
class ResultsKept(Message):
    """`error` is None, or says why the blocks could not be kept."""

    request: int
    error: str | None


# --- the cluster as a whole: any client asks the scheduler ----------------------------------------


@dataclass(slots=True)
class GetStatus(Message):
    """The answer is `StatusGiven`."""

    request: int


@dataclass(slots=True)
class StatusGiven(Message):
    """`status`: state, workers (list of dicts: id, name, state, reason, slots, resources,
    memory_limit_bytes, pid, version, python, stats), version, python, wanted (number of workers
    asked for), tasks (counts by state), clients (number), lifetime, uptime_s.
    """

    request: int
    status: dict[str, Any]


@dataclass(slots=True)
class GetLogs(Message):
    """Log lines of a worker (by name), of 'scheduler', or of all with None; the newest `lines` of
    each.
    """

    request: int
    source: str | None
    lines: int


@dataclass(slots=True)
class LogsGiven(Message):
    """`entries`: ``[[source name, stream, unix time, text], ...]`` in order of time; stream is
    'stdout', 'stderr' or 'log'. A worker answers the scheduler with the same message. Logs of dead
    workers are included.
    """

    request: int
    entries: list[list[Any]]


@dataclass(slots=True)
class ScaleCluster(Message):
    """Have this many workers; the answer is `Accepted` at once (workers come and go afterwards)."""

    request: int
    workers: int


@dataclass(slots=True)
class StopCluster(Message):
    """End the cluster: workers, then scheduler. `Accepted`, and then all connections close."""

    request: int
    by: str


@dataclass(slots=True)
class RestartWorkers(Message):
    """Forget all groups, restart all executors; `Accepted` comes when all workers are back."""

    request: int


@dataclass(slots=True)
class WatchCluster(Message):
    """Send me a `SnapshotTaken` every `interval_s` (at least 0.5) while I am connected; 0 ends it,
    and asks for one.
    """

    request: int
    interval_s: float


@dataclass(slots=True)
class SnapshotTaken(Message):
    """`snapshot`: a diagnostics.Snapshot in wire form (plain data)."""

    request: int
    snapshot: dict[str, Any]


@dataclass(slots=True)
class Accepted(Message):
    """The question with this number is carried out."""

    request: int


@dataclass(slots=True)
class Declined(Message):
    """The question with this number is not carried out; `text` says why."""

    request: int
    text: str


@dataclass(slots=True)
class CloseGroup(Message):
    """From the client that made an open `Graph` (or an empty group): no task will be appended any
    more, so it may be forgotten once its tasks are released. A client that leaves closes its own.
    """

    group: GroupId


# --- where results are, and what is kept without a future -----------------------------------------


@dataclass(slots=True)
class KeepTasks(Message):
    """Compute what is unfinished among these tasks although nobody may hold or take the results."""

    group: GroupId
    runs: Runs


@dataclass(slots=True)
class GetHolders(Message):
    """Who has the results of these tasks (``[[group, runs], ...]``), or of all that there are with
    None? The answer is `HoldersGiven`.
    """

    request: int
    tasks: list[list[Any]] | None


@dataclass(slots=True)
class HoldersGiven(Message):
    """`rows`: ``[[group, its name, worker's name, runs, bytes of one result], ...]``: what is done
    of what was asked; sizes are the means of their groups.
    """

    request: int
    rows: list[list[Any]]


@dataclass(slots=True)
class PublishDataset(Message):
    """Keep the futures of `tasks` (``[[group, runs], ...]``) under a name. `content`: what they
    stand in, pickled. With `replace` in place of one of that name. `Accepted` or `Declined`.
    """

    request: int
    name: str
    content: Blob
    tasks: list[list[Any]]
    replace: bool


@dataclass(slots=True)
class GetDataset(Message):
    """The answer is `DatasetGiven`, or `Declined`."""

    request: int
    name: str


@dataclass(slots=True)
class DatasetGiven(Message):
    """`content` as it was published."""

    request: int
    content: Blob


@dataclass(slots=True)
class ListDatasets(Message):
    """The answer is `DatasetsListed`."""

    request: int


@dataclass(slots=True)
class DatasetsListed(Message):
    """All names, sorted."""

    request: int
    names: list[str]


@dataclass(slots=True)
class UnpublishDataset(Message):
    """Hold the futures under this name no more. `Accepted` or `Declined`."""

    request: int
    name: str


@dataclass(slots=True)
class GetMetadata(Message):
    """What was said of these groups when they were submitted? The answer is `MetadataGiven`."""

    request: int
    groups: list[GroupId]


@dataclass(slots=True)
class MetadataGiven(Message):
    """`found`: one dict for each group asked for, empty where there is none."""

    request: int
    found: list[dict[str, Any]]


# --- shards of an exchange ------------------------------------------------------------------------


@dataclass(slots=True)
class PlanExchange(Message):
    """To a worker, after `DefineGroup` of an exchange: who is to merge what, so that the shards of
    a split can be sent there when it is done. `owners`: ``[[first output, stop, worker, address],
    ...]``. Following it saves time, nothing relies on it.
    """

    group: GroupId
    owners: list[list[Any]]


@dataclass(slots=True)
class GetShards(Message):
    """From a worker to another: send me the shards of outputs `[start, stop)` of those of the
    splits in `runs` that you have; with `files`, name files instead of sending large ones (same
    host). The answer is `ResultsSent`: a block holds the shards `[start, stop)` of one split, a
    file those of all outputs.
    """

    request: int
    group: GroupId
    runs: Runs
    start: int
    stop: int
    files: bool


@dataclass(slots=True)
class PutShards(Message):
    """From a worker to another that is to merge outputs `[start, stop)`: shards of them, blocks and
    files as in the answer to `GetShards`. The answer is `ResultsKept`; what is not kept will be
    asked for.
    """

    request: int
    group: GroupId
    start: int
    stop: int
    blocks: list[Block]
    files: list[BlockFile]


MESSAGES: tuple[type[Message], ...] = (
    Hello, Welcome, Turned,
    SubmitGroup, ExtendGroup, WantResults, HoldTasks, ReleaseTasks, CancelTasks, RetryTasks,
    PickWorkers, WorkersPicked, GetAddress, AddressFound,
    TasksDone, TasksFailed, TasksReopened, GroupRefused,
    DefineGroup, ForgetGroup, RunSpan, TakeBack, FreeResults, EndWorker, RestartExecutors,
    SpanDone, TaskFailed, SpanReturned, DataStored, Heartbeat, ExecutorsRestarted,
    GetResults, ResultsSent, PutResults, ResultsKept,
    GetStatus, StatusGiven, GetLogs, LogsGiven, ScaleCluster, StopCluster, RestartWorkers,
    WatchCluster, SnapshotTaken, Accepted, Declined,
    CloseGroup,
    KeepTasks, GetHolders, HoldersGiven,
    PublishDataset, GetDataset, DatasetGiven, ListDatasets, DatasetsListed, UnpublishDataset,
    PlanExchange, GetShards, PutShards,
    GetMetadata, MetadataGiven,
)  # fmt: skip
"""The position of a class in this tuple is its number on the wire: append, never reorder, within
one PROTOCOL.
"""
