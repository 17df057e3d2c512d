"""What one attempt of an application's master leaves for the next, when its container or node is lost.

    .howdah/apps/<app id>/master.json     this note, written anew at each change
    .howdah/apps/<app id>/journal/        the scheduler's journal (`journal`)

For `master` alone. The first attempt finds no note. A note with an `ending` says that the application is over: an
attempt that finds one only tells YARN so.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from howdah.errors import PathMissing
from howdah.yarn_app.storage.staging import Staging

STATE_FILE = "master.json"

WRITE_SECONDS = 15.0
"""Seconds that the master, which has more to look after, waits for an HDFS that cannot be written now."""


@dataclass(slots=True)
class ApplicationResult:
    """How the application is to end. `exit_code` is what `howdah submit` exits with."""

    status: str
    diagnostics: str
    exit_code: int


@dataclass(slots=True)
class AttemptState:
    """What the next attempt has to know.

    Attributes
    ----------
    wanted : workers that were wanted.
    lost, preempted, restarted : what the summary has to tell, so far.
    ending : how the application ended, where it has.
    """

    wanted: int = 0
    lost: list[str] = field(default_factory=list)
    preempted: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)
    result: ApplicationResult | None = None

    @classmethod
    def read(cls, staging: Staging, app_id: str) -> AttemptState | None:
        """The note of the attempts before; None where there is none that can be read."""
        try:
            found = json.loads(staging.read(app_id, STATE_FILE))
            ending = found.pop("result", None)
            return cls(**found, result=ApplicationResult(**ending) if ending else None)
        except (PathMissing, ValueError, TypeError):
            return None

    def write(self, staging: Staging, app_id: str) -> None:
        """Keep it, whole or not at all."""
        staging.write(app_id, STATE_FILE, json.dumps(dataclasses.asdict(self)).encode(), timeout=WRITE_SECONDS)


def attempt_number(container: str) -> int:
    """Which attempt of the application a container belongs to.

    >>> attempt_of("container_1410901177871_0001_02_000001"), attempt_of("container_e17_1410901177871_0001_01_000005")
    (2, 1)
    """
    parts = container.split("_")
    return int(parts[-2]) if len(parts) > 3 and parts[-2].isdigit() else 1


def max_attempts(specification: Mapping[str, object], yarn: str | None) -> int:
    """How many attempts YARN gives to the application: what it asks for, and no more than YARN's own most.

    >>> attempts_allowed({"max_attempts": 2}, None), attempts_allowed({"max_attempts": 3}, "1")
    (2, 1)
    """
    most = int(yarn) if yarn and yarn.strip().isdigit() else 2
    return max(1, min(int(str(specification.get("max_attempts", 1))), most))
