"""What the server returns to users: the records of the status page, of queries and of `--json`.

Their field names are the keys of the JSON. Times are Unix times in seconds, sizes bytes. Plain data, with no import
from the server, so that an application's master can decode it too.
"""

from __future__ import annotations

import msgspec

from howdah.engine.scheduler.core.summary import LayerSummary, Summary


class WorkerStatus(msgspec.Struct, frozen=True):
    """A worker that has introduced itself. `rss` and `managed`: its process's memory, and that of results."""

    host: str
    rack: str
    slots: int
    resources: dict[str, float]
    memory: int
    container: str
    address: str
    pid: int
    rss: int
    managed: int
    paused: bool
    since: float
    connected: bool


class JournalStatus(msgspec.Struct, frozen=True):
    """The journal's size, and why it is not written any more ('' while it is)."""

    nbytes: int
    failure: str


class SchedulerInfo(msgspec.Struct, frozen=True):
    """`Client.scheduler_info()`. `epoch` names the server's process; it changes with a restart."""

    name: str
    address: str
    epoch: str
    started: float
    workers: dict[str, WorkerStatus]
    clients: list[str]
    journal: JournalStatus | None


class TaskCounts(msgspec.Struct, frozen=True):
    """Tasks of all layers. `done` counts all that were ever completed, `total` those that are under way too."""

    done: int
    total: int
    running: int
    waiting: int
    failed: int


class PlaceCounts(msgspec.Struct, frozen=True):
    """Tasks with preferred hosts, or the bytes that they read, by the distance of the worker that ran them."""

    node: int
    rack: int
    remote: int


class InputBytes(msgspec.Struct, frozen=True):
    """Bytes of other tasks' results that the worker held (`local`), or fetched (`moved`)."""

    local: int
    moved: int


class DrainStatus(msgspec.Struct, frozen=True):
    """A drain that has ended: `results` with `bytes` were assigned to others in `seconds`, `lost` were not copied."""

    worker: str
    reason: str
    at: float
    seconds: float
    results: int
    bytes: int
    lost: int


class SchedulerSummary(Summary, frozen=True):
    """All accounts of the scheduler, and the drains that have ended: `Client.summary()`."""

    drained: list[DrainStatus] = msgspec.field(default_factory=list)


class SchedulerStatus(msgspec.Struct, frozen=True):
    """What the status page and the application's master show."""

    name: str
    started: float
    now: float
    first_task: float | None
    workers: dict[str, WorkerStatus]
    clients: int
    seconds_without_client: float
    tasks: TaskCounts
    layers: list[LayerSummary]
    placed: PlaceCounts
    bytes: PlaceCounts
    moved: InputBytes
    cleanup: list[str]
    drained: list[DrainStatus]


class LayerCounts(msgspec.Struct, frozen=True):
    """Items of a layer: all, those that have results, those that no client or task needs."""

    name: str
    n: int
    done: int
    idle: int


class TransitionStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """A transition: items `start` to `stop` of a layer went from state `old` to `new`; `layer` is hexadecimal."""

    at: float
    layer: str
    name: str
    start: int
    stop: int
    old: str
    new: str
    worker: str = ""
    run: int = 0
    attempt: int = 0
    reason: str = ""
