"""Every message on the wire, typed. What an end may say depends on its proved role: one union per direction.

Messages are msgspec structs, packed as msgpack arrays; payload (functions, arguments, results) travels beside them as
opaque frames, whose number the batch says. `Hello` and its answers are maps, so that every version can read them.
"""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import msgspec

from howdah.engine.protocol.events import BatchDone, BatchReturned, InputsMissing, LayerSpec, TaskError, WorkerInfo
from howdah.engine.protocol.layers import Dependency, Key, TaskRange
from howdah.version import VERSION

PROTOCOL = 1


def python_version() -> str:
    return "{}.{}.{}".format(*sys.version_info[:3])


# -- greeting -------------------------------------------------------------------------------------------------------


class Hello(msgspec.Struct, tag="hello"):
    """The first message of every connection, by who connects.

    `purpose`: "client", "worker", "owner" (to a scheduler), "data" (to a worker), "join" (asks for a certificate).
    `session` and `received` name an earlier session to go on with, and the last batch that came through.
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
    """For a client of tasks: the worker that they run on, with which it ends."""
    accepts_aead: bool = False
    """For data: whether results may come sealed (`seal`)."""


class Welcome(msgspec.Struct, tag="welcome"):
    """`resumed` says whether the earlier session goes on; `app` is the cluster's name."""

    session: str
    app: str = ""
    resumed: bool = False
    received: int = 0
    details: dict[str, str] = {}


class Refused(msgspec.Struct, tag="refused"):
    """kind: "versions", "role", "gone"."""

    kind: str
    message: str


class JoinRequest(msgspec.Struct, tag="join"):
    """A worker's signed request for a certificate (research 3.5, step 7). `csr` is DER."""

    container: str
    nonce: bytes
    csr: bytes
    mac: bytes


class JoinGranted(msgspec.Struct, tag="granted"):
    certificate: bytes


Greeting: TypeAlias = Hello | Welcome | Refused | JoinRequest | JoinGranted


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Base of all messages after the greeting."""


# -- client to scheduler --------------------------------------------------------------------------------------------


class Submit(Message, frozen=True):
    """Three frames a layer: its code, the offsets of its items' arguments (u64), the arguments."""

    layers: tuple[LayerSpec, ...]
    requested: tuple[TaskRange, ...]
    priority: int = 0


class AppendArguments(Message, frozen=True):
    """More of a layer's arguments, from item `start` on. Two frames: offsets (u64, from 0), arguments."""

    layer: Key
    start: int


class ReleaseResults(Message, frozen=True):
    ranges: tuple[TaskRange, ...]


class FetchFailed(Message, frozen=True):
    """These results could not be had from `holder`, which does not have them or is gone."""

    holder: str
    ranges: tuple[TaskRange, ...]


class CancelTasks(Message, frozen=True):
    ranges: tuple[TaskRange, ...]


class Query(Message, frozen=True):
    """A question with a JSON-like answer; `what` is a key of the server's table of questions."""

    id: int
    query: str
    arguments: dict[str, Any] = {}


class WhoHas(Message, frozen=True):
    """Asks for the holders of these tasks; answered as `Response` of [[start, stop, worker or None], ...] per span."""

    id: int
    ranges: tuple[TaskRange, ...]


class CoordinationCall(Message, frozen=True):
    """A call of a coordination primitive (`PrimitiveCall` in `engine/scheduler`); `id` 0 wants no answer, else it
    is an `Response` of [outcome, value], which may be long in coming."""

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
    """Where results are fetched from, by worker name. Always sent before a `Done` that needs it."""

    by_name: dict[str, str]


class TasksDone(Message, frozen=True):
    """With two frames when small results come along: lengths per item (u32, NOT_INLINE for none) and pickles."""

    range: TaskRange
    holder: str


class TasksErred(Message, frozen=True):
    range: TaskRange
    error: TaskError
    cause: TaskRange


class TasksUnschedulable(Message, frozen=True):
    """These wait for a worker that could run them, and there is none."""

    range: TaskRange
    reason: str


class ResultsLost(Message, frozen=True):
    range: TaskRange


class WorkerGone(Message, frozen=True):
    """The worker whose data server this is was given up: whoever is fetching from it stops waiting."""

    address: str


class Response(Message, frozen=True):
    id: int
    value: Any = None
    error: str = ""


SchedulerToClient: TypeAlias = (
    WorkerAddresses | TasksDone | TasksErred | ResultsLost | TasksUnschedulable | WorkerGone | Response | Bye
)

# -- scheduler to worker --------------------------------------------------------------------------------------------


class DefineLayer(Message, frozen=True):
    """One frame: the layer's code. Sent once, before the first run of the layer. `dep_ns`: items of each dependency."""

    key: Key
    name: str
    n: int
    deps: tuple[Dependency, ...]
    dep_ns: tuple[int, ...]
    timeout: float = 0.0


class RunBatch(Message, frozen=True):
    """Two frames: offsets and arguments of the span's items; both empty where items have none.

    `inline`: a client waits for these, so small results come with the report. `sources`: what to fetch, from
    which worker, at which address. `after`: runs (with attempts) of this worker that are to end first.
    """

    batch: int
    attempt: int
    range: TaskRange
    inline: bool
    sources: tuple[tuple[TaskRange, str, str], ...] = ()
    depends_on: tuple[tuple[int, int], ...] = ()


class Recall(Message, frozen=True):
    batch: int
    attempt: int


class FreeResults(Message, frozen=True):
    ranges: list[TaskRange]


class ForgetLayers(Message, frozen=True):
    keys: tuple[Key, ...]


class CopyResults(Message, frozen=True):
    """Fetch copies of these and keep them; answered by `Copied`. What, from which worker, at which address."""

    sources: tuple[tuple[TaskRange, str, str], ...]


class InstallFiles(Message, frozen=True):
    """One frame each: files that users have uploaded, to be found by imports from now on."""

    names: tuple[str, ...]


RESTART = "restart"
"""The reason of a `Leave` after which the worker's process starts anew."""


class Leave(Message, frozen=True):
    """Finish nothing more and go: the cluster ends, or this worker was asked to go.

    `grace`: seconds in which it may first finish what it runs, and others take over what it alone holds.
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
    """Of each of `running`, which items."""
    inputs: tuple[tuple[TaskRange, ...], ...] = ()
    """Of each of `running`, what it was to fetch, which may still be on its way."""
    died: str = ""
    """Why the process before this one ended, of the same name."""


class BatchFinished(Message, frozen=True):
    """With two frames when small results come along, as in `Done`."""

    report: BatchDone


class BatchBlocked(Message, frozen=True):
    report: InputsMissing


class BatchCut(Message, frozen=True):
    report: BatchReturned


class ResultsCopied(Message, frozen=True):
    """These were asked for by `Copy` and are here now; those are `missing`: they could not be had."""

    ranges: tuple[TaskRange, ...]
    missing: tuple[TaskRange, ...] = ()


class SlotCount(Message, frozen=True):
    """So many tasks can run at once now: one that waits for others has left its slot, or has come back."""

    slots: int


class Health(Message, frozen=True):
    """What the worker's process uses; sent with the heartbeat when it changed. Bytes."""

    rss: int
    managed: int
    paused: bool = False


class Draining(Message, frozen=True):
    """This worker goes within `grace` seconds: no more work for it, and others are to take what it alone holds. It is
    told to `Leave` when there is nothing left to save."""

    reason: str
    grace: float


WorkerMessage: TypeAlias = (
    RegisterWorker | BatchFinished | BatchBlocked | BatchCut | ResultsCopied | SlotCount | Health | Draining | Bye
)

# -- to a worker's data server --------------------------------------------------------------------------------------


class Fetch(Message, frozen=True):
    """Asks for these items. `share`: the asker can map shared memory; `press`: it can open lz4."""

    ranges: tuple[TaskRange, ...]
    share: bool = False
    lz4: bool = False


class Fetched(Message, frozen=True):
    """A piece of the answer to `Fetch`, in the order asked; `more` says that another piece follows.

    The frames are the pickles of all items, then the buffers of all. `parts`: frames per item: 0 missing, else a pickle
    and its buffers. `errors`: by position in `parts`, why an item that is there cannot travel. `shared`: by position,
    the sizes of the buffers of an item that are in shared memory; one file descriptor for each of these comes after the
    frames, in the same order. `pressed`: frames that are lz4, with their real sizes.
    """

    parts: tuple[int, ...]
    errors: tuple[tuple[int, str], ...] = ()
    shared: tuple[tuple[int, tuple[int, ...]], ...] = ()
    compressed: tuple[tuple[int, int], ...] = ()
    more: bool = False


DataMessage: TypeAlias = Fetch | Fetched

NOT_INLINE = 0xFFFFFFFF
"""The length of a result that did not come along."""

INLINE_BYTES = 8 * 1024
"""A result up to this size comes along with the report."""
