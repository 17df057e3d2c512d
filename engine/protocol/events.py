"""What the scheduler's rules receive (events) and return (instructions).

`Scheduler.handle(event, now) -> list[Instruction]`. Frozen records of plain values: no sockets, no clock, no user
bytes. The server turns messages into events and instructions into messages; the simulation makes and plays them
directly. Every module may import this one.

A batch is identified by (`batch`, `attempt`); a report about anything but the current attempt is ignored, so late,
duplicated and reordered messages are harmless. Sizes are bytes, times seconds; workers and clients are named by str.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from howdah.engine.protocol.layers import Dependency, Key, TaskRange


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of all records."""


class LayerSpec(Record, frozen=True):
    """A layer without its code: all that the scheduler may know of it. The one record of a layer's options.

    Fields of options have the names of the annotations that set them (`howdah.engine.graph.annotations`).

    `host_sets` and `host_index` are the preferred hosts per item, dictionary-encoded; empty when there are none. One
    set without an index is that of all items. `nbytes` is one entry per item, or empty. `resources`: what each running
    item takes of its worker's, by name. `arrived`: of how many items the arguments come along; the others follow
    (`ArgumentsArrived`). -1: all. `function`: a digest of the code; layers of one function are assumed to need the same
    time for an item. b"": unknown. `workers`: names, addresses or hosts of the workers that may run it, () is all;
    `allow_other_workers`: others may while none of those is there. `priority` is added to the graph's. `timeout`:
    seconds that each item may take, enforced by the worker that runs it; 0 is no limit. `spread`: share the items out
    among all workers, wherever their inputs lie.
    """

    key: Key
    name: str
    n: int
    deps: tuple[Dependency, ...] = ()
    host_sets: tuple[tuple[str, ...], ...] = ()
    host_index: tuple[int, ...] = ()
    nbytes: tuple[int, ...] = ()
    retries: int = 0
    resources: tuple[tuple[str, float], ...] = ()
    arrived: int = -1
    function: bytes = b""
    workers: tuple[str, ...] = ()
    allow_other_workers: bool = False
    priority: int = 0
    timeout: float = 0.0
    spread: bool = False


class TaskError(Record, frozen=True):
    """Why a task has no result. `frame` is the user's exception, pickled; the scheduler never opens it.

    `log_tail`: the last lines that the task has printed or logged. kind: "raised" (user code), "lost" (its workers
    died), "timeout", "cancelled", "unpicklable"; tried again after a wait, whatever the layer's retries: "platform" (a
    full or broken disk) and "taken" (its worker was asked to leave, with all processes in its container).
    """

    kind: str
    message: str
    traceback: str = ""
    frame: bytes = b""
    worker: str = ""
    host: str = ""
    container: str = ""
    log_tail: str = ""


class WorkerInfo(Record, frozen=True):
    """A worker as it introduces itself. `slots` tasks run at once; `address` is where peers fetch from.

    `resources`: how much it has of what tasks may take, by name (`("gpu", 1.0)`).
    """

    name: str
    host: str
    rack: str = "/default-rack"
    slots: int = 1
    memory: int = 0
    container: str = ""
    address: str = ""
    pid: int = 0
    resources: tuple[tuple[str, float], ...] = ()


# -- events ---------------------------------------------------------------------------------------------------------


class ClientJoined(Record, frozen=True):
    """A client has connected; a known one may have another weight now."""

    client: str
    weight: float = 1.0


class ClientLeft(Record, frozen=True):
    """The client has left for good (closed, or its lease ran out): what only it needed is released."""

    client: str


class GraphSubmitted(Record, frozen=True):
    """A client submits `layers` in topological order; a layer that is known already is not scheduled twice.

    Results of `requested` are kept until the client releases them; what these need is kept until it is computed.
    """

    client: str
    layers: tuple[LayerSpec, ...]
    requested: tuple[TaskRange, ...]
    priority: int = 0


class ArgumentsArrived(Record, frozen=True):
    """The arguments of the layer's items before `stop` have arrived: a graph need not be sent whole to begin."""

    layer: Key
    stop: int


class Released(Record, frozen=True):
    """The client does not need these results any more."""

    client: str
    ranges: tuple[TaskRange, ...]


class CancelRequested(Record, frozen=True):
    """The client asks for these to be cancelled; other clients' tasks go on."""

    client: str
    ranges: tuple[TaskRange, ...]


class WorkerJoined(Record, frozen=True):
    """A worker has connected, or reconnected. `holdings`: what it still holds, with sizes per item.

    `running`: the (batch, attempt) that it still has queued, executing or not yet reported. Its other batches are void.
    `ranges`: the items of each of these; batches of an earlier epoch are taken over by them. Empty: none are. `inputs`:
    what each of these was to fetch, which may still be under way. A known name with another pid is a new process: the
    old one is presumed dead.
    """

    worker: WorkerInfo
    holdings: tuple[tuple[TaskRange, tuple[int, ...]], ...] = ()
    running: tuple[tuple[int, int], ...] = ()
    ranges: tuple[TaskRange, ...] = ()
    inputs: tuple[tuple[TaskRange, ...], ...] = ()


class WorkerLeft(Record, frozen=True):
    """The worker has gone. `reason`, for logs and errors: exit code or signal, peak memory, YARN's message.

    `clean`: it left on request.
    """

    worker: str
    reason: str = ""
    clean: bool = False


class BatchDone(Record, frozen=True):
    """All items of the batch were tried. `sizes` per item (-1 for a failed one); `errors` by offset into the batch."""

    worker: str
    batch: int
    attempt: int
    sizes: tuple[int, ...]
    seconds: float
    errors: tuple[tuple[int, TaskError], ...] = ()


class InputsMissing(Record, frozen=True):
    """The batch could not start: these ranges could not be fetched from `holder`."""

    worker: str
    batch: int
    attempt: int
    holder: str
    ranges: tuple[TaskRange, ...]


class BatchReturned(Record, frozen=True):
    """The answer to `RecallBatch`: items from `start` (offset into the batch) were not started and are given back."""

    worker: str
    batch: int
    attempt: int
    start: int


class ResultsMissing(Record, frozen=True):
    """A client could not fetch these results from `holder`, which is taken not to have them any more."""

    client: str
    holder: str
    ranges: tuple[TaskRange, ...]


class RetryRequested(Record, frozen=True):
    """What of these has failed is to be tried again, with what failed before it."""

    client: str
    ranges: tuple[TaskRange, ...]


class CopiesRequested(Record, frozen=True):
    """Copies of these are requested: what has been copied, or will be, stays as long as the result."""

    ranges: tuple[TaskRange, ...]


class CopiesMade(Record, frozen=True):
    """The worker has fetched copies of these, as requested."""

    worker: str
    ranges: tuple[TaskRange, ...]


class SlotsChanged(Record, frozen=True):
    """So many tasks may run at once on the worker now: one that waits for others has released its slot, or taken it
    again."""

    worker: str
    slots: int


class RacksKnown(Record, frozen=True):
    """(host, rack) of hosts on which no worker lives: data there can still be near a worker of its rack."""

    racks: tuple[tuple[str, str], ...]


class Tick(Record, frozen=True):
    """Time has passed: bounded waits end."""


# -- events of a scheduler that has been started again ---------------------------------------------------------------


class StateRestored(Record, frozen=True):
    """All that was known when the journal was compacted; for a state that knows nothing yet.

    `layers` in topological order; `clients` with their weights; `interests`: (client, layer, its priority);
    `requested`: the results that each client needs; `failures`: (range, error, the range that caused it).
    """

    layers: tuple[LayerSpec, ...]
    clients: tuple[tuple[str, float], ...]
    interests: tuple[tuple[str, Key, tuple[int, int, int]], ...]
    requested: tuple[tuple[str, tuple[TaskRange, ...]], ...]
    failures: tuple[tuple[TaskRange, TaskError, TaskRange], ...] = ()


class TasksFailed(Record, frozen=True):
    """These failed before the scheduler was restarted, and are not to be tried again."""

    range: TaskRange
    error: TaskError


class EpochOpened(Record, frozen=True):
    """The journal has been replayed to its end: numbers of batches begin anew, above all of the last epoch.

    `workers` were there before. Nothing is dispatched until each of them has reported what it holds, or has left, or
    `grace` seconds have passed.
    """

    epoch: int
    workers: tuple[str, ...] = ()
    grace: float = 0.0


class ClientReturned(Record, frozen=True):
    """A client of the scheduler's last epoch has reconnected: it is notified of all that is true now."""

    client: str


Event: TypeAlias = (
    ClientJoined
    | ClientLeft
    | GraphSubmitted
    | ArgumentsArrived
    | Released
    | CancelRequested
    | WorkerJoined
    | WorkerLeft
    | BatchDone
    | InputsMissing
    | BatchReturned
    | ResultsMissing
    | RetryRequested
    | CopiesRequested
    | CopiesMade
    | SlotsChanged
    | RacksKnown
    | Tick
    | StateRestored
    | TasksFailed
    | EpochOpened
    | ClientReturned
)

# -- instructions ---------------------------------------------------------------------------------------------------


class StartBatch(Record, frozen=True):
    """Run the items of `range` on `worker`, in order, on one slot. `sources`: the holders of inputs that the worker
    lacks.

    `depends_on`: batches (with attempts) of this worker that compute inputs of this one; it begins when they have
    ended. If it then lacks inputs, it reports them missing like any batch.

    What a worker fetches it keeps as a copy until `FreeRanges` names it: the next batch that needs it has no source.
    """

    worker: str
    batch: int
    attempt: int
    range: TaskRange
    sources: tuple[tuple[TaskRange, str], ...] = ()
    depends_on: tuple[tuple[int, int], ...] = ()


class RecallBatch(Record, frozen=True):
    """Give back the items of the batch that have not been started (`BatchReturned`)."""

    worker: str
    batch: int
    attempt: int


class FreeRanges(Record, frozen=True):
    """Nothing needs these any more: the worker removes them from its store."""

    worker: str
    ranges: tuple[TaskRange, ...]


class NotifyDone(Record, frozen=True):
    """These tasks, in which the client has an interest, have results; `holder` has them."""

    client: str
    range: TaskRange
    holder: str


class NotifyFailed(Record, frozen=True):
    """These tasks, in which the client has an interest, will have no result. `cause` is the task whose failure it
    was."""

    client: str
    range: TaskRange
    error: TaskError
    cause: TaskRange


class NotifyStuck(Record, frozen=True):
    """These tasks wait, and none of the present workers can ever run them: `reason` says what they require."""

    client: str
    range: TaskRange
    reason: str


class NotifyLost(Record, frozen=True):
    """These tasks, reported done before, were lost with their worker and are computed again."""

    client: str
    range: TaskRange


class ForgetLayer(Record, frozen=True):
    """No task of the layer can be requested any more: its frames may be dropped."""

    layer: Key


class JournalFailure(Record, frozen=True):
    """For the journal: these failed for good. Returned only by a scheduler that has one (`EpochOpened`)."""

    range: TaskRange
    error: TaskError


class HostExcluded(Record, frozen=True):
    """A notice for logs: the host gets no work for so many seconds, and why; 0: it does again."""

    host: str
    seconds: float
    reason: str


Instruction: TypeAlias = (
    StartBatch
    | RecallBatch
    | FreeRanges
    | NotifyDone
    | NotifyFailed
    | NotifyStuck
    | NotifyLost
    | ForgetLayer
    | JournalFailure
    | HostExcluded
)
