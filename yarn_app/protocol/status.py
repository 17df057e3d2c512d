"""What the application master publishes in skein's key-value store: its status, and at the end the result.

Written by `master.supervisor` under `kv_keys.STATUS` and `kv_keys.FINAL`, read on the edge node. The field names are
public: `howdah status --json` and `YarnCluster.status()` show them. `decode` refuses a wrong field with its path.
"""

from __future__ import annotations

import time
from typing import Any, TypeVar

import msgspec

from howdah.errors import HowdahError

T = TypeVar("T")


class ApplicationResult(msgspec.Struct):
    """How an application ends.

    Attributes
    ----------
    status : SUCCEEDED, FAILED or KILLED.
    diagnostics : the reason, for users.
    exit_code : what `howdah submit` exits with.
    """

    status: str
    diagnostics: str
    exit_code: int = 0


class WorkStatus(msgspec.Struct, frozen=True):
    """Tasks and bytes, from the scheduler's own status; empty until the scheduler answers.

    Attributes
    ----------
    tasks : number of tasks by state: done, total, running, waiting, failed.
    placed : tasks that read stored data, by where they ran: node, rack, remote.
    bytes : bytes of stored data read, by where they were read: node, rack, remote.
    moved : inputs of tasks that were local, and that were moved.
    clients : clients that are connected.
    first_task : when the first task was started, seconds since 1970.
    """

    tasks: dict[str, int] = {}
    placed: dict[str, int] = {}
    bytes: dict[str, int] = {}
    moved: dict[str, int] = {}
    clients: int = 0
    first_task: float | None = None


class MasterStatus(msgspec.Struct, kw_only=True):
    """The status of an application, as its master sees it.

    Attributes
    ----------
    phase : starting, running or ending.
    attempt : number of the application master, from 1.
    scheduler : the scheduler's address; "" before it listens.
    wanted, running, joined, pending : workers wanted, containers running, workers connected to the scheduler, and
        containers that YARN has not granted.
    times : when something happened for the first time, seconds since 1970.
    unpacked : by skein's name of the container, YARN's LOCALIZATION_COUNTERS.
    work : tasks and bytes.
    lost, preempted : worker containers that ended by themselves, and that YARN took; the newest, one line each.
    restarted : restarts of the scheduler, one line each.
    staging : URL of the application's folder in HDFS.
    """

    phase: str = "starting"
    attempt: int = 1
    scheduler: str = ""
    wanted: int = 0
    running: int = 0
    joined: int = 0
    pending: int = 0
    times: dict[str, float] = {}
    unpacked: dict[str, list[int]] = {}
    work: WorkStatus = msgspec.field(default_factory=WorkStatus)
    lost: list[str] = []
    preempted: list[str] = []
    restarted: list[str] = []
    staging: str = ""

    def mark(self, event: str) -> None:
        """Record the time of an event that happens once."""
        self.times.setdefault(event, round(time.time(), 3))

    def as_dict(self) -> dict[str, Any]:
        """Return the status as plain JSON values."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class FinalStatus(MasterStatus, kw_only=True):
    """The last status of an application, with its result.

    Attributes
    ----------
    status, exit_code, diagnostics : as in `ApplicationResult`.
    out, err : the end of the driver program's output, in cluster mode.
    """

    status: str
    exit_code: int
    diagnostics: str
    out: str = ""
    err: str = ""

    @classmethod
    def of(cls, last: MasterStatus, result: ApplicationResult, out: str, err: str) -> FinalStatus:
        """Join the last status and the result."""
        fields = {name: getattr(last, name) for name in MasterStatus.__struct_fields__}
        return cls(
            **fields, status=result.status, exit_code=result.exit_code, diagnostics=result.diagnostics, out=out, err=err
        )


def decode(data: bytes, kind: type[T], key: str) -> T:
    """Decode the JSON that is stored under `key` as a record of this kind.

    Raises
    ------
    HowdahError
        It is none; the message has the key and the path of the wrong field.

    Examples
    --------
    >>> decode(b'{"status": "KILLED", "diagnostics": 3}', ApplicationResult, "howdah.in.end")
    Traceback (most recent call last):
    ...
    howdah.errors.HowdahError: howdah.in.end: Expected `str`, got `int` - at `$.diagnostics`
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise HowdahError(f"{key}: {error}") from error
