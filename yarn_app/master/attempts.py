"""What one attempt of an application's master stores for the next, for when its container or node is lost.

    .howdah/apps/<app id>/master.json     the `AttemptState`, written anew at each change
    .howdah/apps/<app id>/journal/        the scheduler's journal (`storage.hdfs_journal`)

For `master` alone. The first attempt finds no state. A state with a `result` means that the application is over: an
attempt that finds one only reports it to YARN.
"""

from __future__ import annotations

import msgspec

from howdah.errors import PathMissing
from howdah.yarn_app.protocol.status import ApplicationResult
from howdah.yarn_app.storage.staging import Staging

STATE_FILE = "master.json"

WRITE_SECONDS = 15.0
"""How long the master, which has other work to do, waits for an HDFS that cannot be written to now."""


class AttemptState(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the next attempt needs.

    Attributes
    ----------
    wanted : number of workers wanted.
    lost, preempted, restarted : the lines of the summary so far (`protocol.status.MasterStatus`).
    result : how the application ended, once it has.
    """

    wanted: int = 0
    lost: list[str] = []
    preempted: list[str] = []
    restarted: list[str] = []
    result: ApplicationResult | None = None

    @classmethod
    def read(cls, staging: Staging, app_id: str) -> AttemptState | None:
        """Return the state of the attempts before; None where there is none that can be read."""
        try:
            return msgspec.json.decode(staging.read(app_id, STATE_FILE), type=cls)
        except (PathMissing, msgspec.DecodeError):
            return None

    def write(self, staging: Staging, app_id: str) -> None:
        """Store the state, whole or not at all."""
        staging.write(app_id, STATE_FILE, msgspec.json.encode(self), timeout=WRITE_SECONDS)


def attempt_number(container: str) -> int:
    """Return the number of the application's attempt that a container belongs to, from 1.

    >>> attempt_number("container_1410901177871_0001_02_000001")
    2
    >>> attempt_number("container_e17_1410901177871_0001_01_000005")
    1
    """
    parts = container.split("_")
    return int(parts[-2]) if len(parts) > 3 and parts[-2].isdigit() else 1


def attempts_granted(requested: int, limit: str | None) -> int:
    """Return how many attempts YARN gives to an application: what it requests, at most YARN's own limit.

    Parameters
    ----------
    requested
        `max_attempts` of the specification.
    limit
        The property `yarn.resourcemanager.am.max-attempts`; None is YARN's default, 2.

    Examples
    --------
    >>> attempts_granted(2, None), attempts_granted(3, "1")
    (2, 1)
    """
    most = int(limit) if limit and limit.strip().isdigit() else 2
    return max(1, min(requested, most))
