"""Every message on the wire, typed. What an end may send depends on its proved role: one union per direction.

Messages are msgspec structs, packed as msgpack arrays. Payload (functions, arguments, results) travels beside them as
opaque frames; each message says which. `Hello` and its answers are maps, so that every version can read them.
"""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import msgspec

from howdah.engine.protocol.events import BatchDone, BatchReturned, InputsMissing, LayerSpec, TaskError, WorkerInfo
from howdah.engine.protocol.layers import Dependency, Key, TaskRange
from howdah.version import VERSION

PROTOCOL = 2
"""Version of the messages. Ends with different versions refuse each other, and journals of another one."""


def python_version() -> str:
    """Return this Python's version, as 3.11.7."""
    return "{}.{}.{}".format(*sys.version_info[:3])


# -- greeting -------------------------------------------------------------------------------------------------------


class Hello(msgspec.Struct, tag="hello"):
    """The first message of every connection, from the end that connects.

    `purpose`: "client", "worker", "owner" (to a scheduler), "data" (to a worker), "relay" (to a
    scheduler, for a worker's results), "join" (requests a certificate).
    `session` and `received`: an earlier session to resume, and the last batch that arrived of it.
    """

    purpose: str
    name: str
    protocol: int = PROTOCOL
    howdah: str = VERSION
    python: str = msgspec.field(default_factory=python_version)
    session: str = ""
    received: int = 0
    lease: float = 0.0
    host: str = ""
    worker: str = ""
    """For a client of tasks: the worker that runs them; the client ends with it. For a relay: a worker's address."""
    accepts_aead: bool = False
    """For data: whether results may be encrypted by `comm.data.encryption` instead of TLS."""


class Welcome(msgspec.Struct, tag="welcome"):
    """The answer to `Hello`. `resumed`: whether the earlier session goes on; `app`: the cluster's name."""

    session: str
    app: str = ""
    resumed: bool = False
    received: int = 0
    details: dict[str, str] = {}


class Refused(msgspec.Struct, tag="refused"):
    """The answer to a `Hello` that is refused. kind: "versions", "role", "gone"."""

    kind: str
    message: str


class JoinRequest(msgspec.Struct, tag="join"):
    """A worker's signed request for a certificate (`comm.connection.enrollment`). `csr` is DER."""

    container: str
    nonce: bytes
    csr: bytes
    mac: bytes


class JoinGranted(msgspec.Struct, tag="granted"):
    """The requested certificate, PEM."""

    certificate: bytes


Greeting: TypeAlias = Hello | Welcome | Refused | JoinRequest | JoinGranted


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Base of all messages after the greeting."""


# -- client to scheduler --------------------------------------------------------------------------------------------


class Submit(Message, frozen=True):
    """A graph to compute. Three frames a layer: its code, the offsets of its items' arguments (u64), the arguments.

    `requested`: the results that the client will hold until it releases them.
    """

    layers: tuple[LayerSpec, ...]
    requested: tuple[TaskRange, ...]
    priority: int = 0


class AppendArguments(Message, frozen=True):
    """More of a layer's arguments, from item `start` on. Two frames: offsets (u64, from 0), arguments."""

    layer: Key
    start: int


class ReleaseResults(Message, frozen=True):
    """The client does not need these results any more."""

    ranges: tuple[TaskRange, ...]


class FetchFailed(Message, frozen=True):
    """These results could not be fetched from `holder`, which does not have them or is gone."""

    holder: str
    ranges: tuple[TaskRange, ...]


class CancelTasks(Message, frozen=True):
    """Stop computing these."""

    ranges: tuple[TaskRange, ...]


class Query(Message, frozen=True):
    """A request for information, answered by a `Response`; `query` is a key of the server's table of queries."""

    id: int
    query: str
    arguments: dict[str, Any] = {}


class WhoHas(Message, frozen=True):
    """A request for the holders of results; the `Response` is [[start, stop, worker or None], ...] per range."""

    id: int
    ranges: tuple[TaskRange, ...]


class CoordinationCall(Message, frozen=True):
    """A call of a coordination primitive (`PrimitiveCall` in `engine/scheduler`); `id` 0 gets no answer, else
    the `Response` is [outcome, value], perhaps much later."""

    id: int
    kind: str
    name: str
    verb: str
    timeout: float | None = None
    limit: int = 0
    token: str = ""
    ticket: int = 0
    batch: int | None = None
    data: bytes | None = None
    ranges: tuple[TaskRange, ...] = ()


class Bye(Message, frozen=True):
    """This end leaves for good."""

    reason: str = ""


ClientMessage: TypeAlias = (
    Submit | AppendArguments | ReleaseResults | FetchFailed | CancelTasks | Query | WhoHas | CoordinationCall | Bye
)

# -- scheduler to client --------------------------------------------------------------------------------------------


class WorkerAddresses(Message, frozen=True):
    """The addresses of data servers, by worker name. Always sent before a `TasksDone` that needs one."""

    by_name: dict[str, str]


class TasksDone(Message, frozen=True):
    """These results are on `holder`. Two frames for inline results: lengths per item (u32, or NOT_INLINE), pickles."""

    range: TaskRange
    holder: str


class TasksErred(Message, frozen=True):
    """These tasks have failed with `error`, raised by the tasks of `cause`."""

    range: TaskRange
    error: TaskError
    cause: TaskRange


class TasksUnschedulable(Message, frozen=True):
    """These wait because no worker may run them; `reason` is for users."""

    range: TaskRange
    reason: str


class ResultsLost(Message, frozen=True):
    """The holders of these results are gone; they are computed again."""

    range: TaskRange


class WorkerGone(Message, frozen=True):
    """The worker with the data server at `address` was given up: fetches from it end."""

    address: str


class Response(Message, frozen=True):
    """The answer to the request `id`."""

    id: int
    value: Any = None
    error: str = ""


SchedulerToClient: TypeAlias = (
    WorkerAddresses | TasksDone | TasksErred | ResultsLost | TasksUnschedulable | WorkerGone | Response | Bye
)

# -- scheduler to worker --------------------------------------------------------------------------------------------


class DefineLayer(Message, frozen=True):
    """One frame: the layer's code. Sent once, before the layer's first batch. `dep_ns`: items of each dependency."""

    key: Key
    name: str
    n: int
    deps: tuple[Dependency, ...]
    dep_ns: tuple[int, ...]
    timeout: float = 0.0


class RunBatch(Message, frozen=True):
    """Run the items of `range`. Two frames: offsets and arguments of the items; both empty where items have none.

    `inline`: a client waits for these, so small results travel with the report. `sources`: inputs to fetch, each with
    its worker and address. `depends_on`: batches (with attempts) of this worker that must end first.
    """

    batch: int
    attempt: int
    range: TaskRange
    inline: bool
    sources: tuple[tuple[TaskRange, str, str], ...] = ()
    depends_on: tuple[tuple[int, int], ...] = ()


class Recall(Message, frozen=True):
    """Return the items of a batch that have not started; answered by `BatchCut`."""

    batch: int
    attempt: int


class FreeResults(Message, frozen=True):
    """Drop these results and copies."""

    ranges: list[TaskRange]


class ForgetLayers(Message, frozen=True):
    """Drop the code of these layers."""

    keys: tuple[Key, ...]


class CopyResults(Message, frozen=True):
    """Fetch copies of results and store them; answered by `ResultsCopied`. Each: range, worker, address."""

    sources: tuple[tuple[TaskRange, str, str], ...]


class InstallFiles(Message, frozen=True):
    """Files that users have uploaded, one frame each; imports find them from now on."""

    names: tuple[str, ...]


RESTART = "restart"
"""The reason of a `Leave` after which the worker's process is started again."""


class Leave(Message, frozen=True):
    """Leave: the cluster ends, or this worker is to go.

    `grace`: seconds in which it may finish its batches first, and peers copy the results that it alone holds.
    """

    reason: str = ""
    grace: float = 0.0


SchedulerToWorker: TypeAlias = (
    DefineLayer | RunBatch | Recall | FreeResults | ForgetLayers | CopyResults | InstallFiles | WorkerGone | Leave
)

# -- worker to scheduler --------------------------------------------------------------------------------------------


class RegisterWorker(Message, frozen=True):
    """The first message of a worker's new session."""

    worker: WorkerInfo
    holdings: tuple[tuple[TaskRange, tuple[int, ...]], ...] = ()
    running: tuple[tuple[int, int], ...] = ()
    ranges: tuple[TaskRange, ...] = ()
    """The items of each of `running`."""
    inputs: tuple[tuple[TaskRange, ...], ...] = ()
    """The inputs that each of `running` has to fetch, which may still be in flight."""
    died: str = ""
    """Why the process before this one, of the same name, ended."""


class BatchFinished(Message, frozen=True):
    """A batch has ended. With two frames for inline results, as in `TasksDone`."""

    report: BatchDone


class BatchBlocked(Message, frozen=True):
    """A batch returns because inputs are missing."""

    report: InputsMissing


class BatchCut(Message, frozen=True):
    """The end of a batch returns: its items have not started."""

    report: BatchReturned


class ResultsCopied(Message, frozen=True):
    """The outcome of `CopyResults`: `ranges` are here now, `missing` could not be fetched."""

    ranges: tuple[TaskRange, ...]
    missing: tuple[TaskRange, ...] = ()


class SlotCount(Message, frozen=True):
    """The number of tasks that can run at once has changed: a waiting task has released its slot, or has one again."""

    slots: int


class Health(Message, frozen=True):
    """The memory of the worker's process and of its results, in bytes; sent with the heartbeat when it changed.

    `errors`: number of errors of the worker's own code so far.
    """

    rss: int
    managed: int
    paused: bool = False
    errors: int = 0


class Draining(Message, frozen=True):
    """This worker leaves within `grace` seconds: it must get no more batches, and peers must copy the results that it
    alone holds. It gets `Leave` when nothing is left to save."""

    reason: str
    grace: float


WorkerMessage: TypeAlias = (
    RegisterWorker | BatchFinished | BatchBlocked | BatchCut | ResultsCopied | SlotCount | Health | Draining | Bye
)

# -- to a worker's data server --------------------------------------------------------------------------------------


class Fetch(Message, frozen=True):
    """A request for these items. `share`: the sender can map shared memory; `lz4`: it can decompress lz4."""

    ranges: tuple[TaskRange, ...]
    share: bool = False
    lz4: bool = False


class Fetched(Message, frozen=True):
    """A chunk of the answer to `Fetch`, in the requested order; `more`: another chunk follows.

    The frames are the pickles of all items, then the buffers of all. `parts`: frames per item: 0 missing, else a pickle
    and its buffers. `errors`: by position in `parts`, why an item cannot be pickled. `shared`: by position,
    the sizes of the buffers of an item that are in shared memory; one file descriptor for each of these comes after the
    frames, in the same order. `compressed`: frames that are lz4, with their original sizes.
    """

    parts: tuple[int, ...]
    errors: tuple[tuple[int, str], ...] = ()
    shared: tuple[tuple[int, tuple[int, ...]], ...] = ()
    compressed: tuple[tuple[int, int], ...] = ()
    more: bool = False


DataMessage: TypeAlias = Fetch | Fetched

NOT_INLINE = 0xFFFFFFFF
"""The length of a result that is not inline."""

INLINE_BYTES = 8 * 1024
"""Bytes up to which a result is inline: it travels with the report."""
