"""What the master shows the edge while it runs (`kv_keys.STATUS`), and the last words of containers that ended.

For `master` alone.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from howdah.yarn_app.master.fleet import PREEMPTED, ContainerLost, ContainerStatus
from howdah.yarn_app.protocol import kv_keys
from howdah.yarn_app.ui.summary import format_bytes
from howdah.yarn_app.yarn import logs

MAX_LOSSES_SHOWN = 8
"""Lost containers that are told of, the newest: the store is in the memory of a small JVM."""

_CONTAINER_FOLDER = re.compile(r"/[^\s\"']*/container_[0-9a-z_]+/")


@dataclass(slots=True)
class MasterStatus:
    """Plain JSON, small. `attempt` counts the application's masters, from 1."""

    phase: str = "starting"
    attempt: int = 1
    scheduler: str = ""
    wanted: int = 0
    running: int = 0
    joined: int = 0
    pending: int = 0
    times: dict[str, float] = field(default_factory=dict)
    unpacked: dict[str, list[int]] = field(default_factory=dict)
    work: dict[str, Any] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    preempted: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)
    staging: str = ""

    def mark(self, what: str) -> None:
        """Note the time of something that happens once."""
        self.times.setdefault(what, round(time.time(), 3))

    def report_loss(self, lost: ContainerLost, peak: int) -> str:
        """Tell of a container that ended; returns the line. `peak`: the most memory that its worker was seen to use."""
        used = f"; its worker was seen to use {format_bytes(peak)} at most" if peak else ""
        first, mark, rest = lost.message.partition("\n")
        line = f"{lost.container or lost.name} on {lost.host or 'no node'}: {first}{used}{mark}{rest}"
        among = self.preempted if lost.reclaimed == PREEMPTED else self.lost
        among.append(line)
        del among[:-MAX_LOSSES_SHOWN]
        return line

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class ExitMessages:
    """Why containers ended, where YARN says only that they failed: what the role wrote, else the end of its log."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def complete(self, one: ContainerStatus, told: Mapping[str, bytes]) -> ContainerStatus:
        """A container with its own last words. `told`: what roles wrote before they gave up (`kv_keys.WORDS`)."""
        if one.state != "FAILED" or "preempted" in one.message or "*lost*" in one.message:
            return one
        if one.name not in self._found:
            words = told.get(kv_keys.EXIT_REASON + one.name)
            log = f"http://{one.address}/ws/v1/node/containers/{one.container}/logs/{one.service}.log"
            text = words.decode(errors="replace") if words else logs.fetch_text(log, 2000)
            last = strip_container_paths(text).strip().splitlines()[-6:]
            self._found[one.name] = "\n    ".join([one.message.partition(", see logs")[0].rstrip(), *last])
        return dataclasses.replace(one, message=self._found[one.name])


def strip_container_paths(text: str) -> str:
    """Without the folders of containers, which are long, and gone when somebody reads this.

    >>> readable('File "/data/1/yarn/container_1_0001_01_000002/job.py", line 3')
    'File "job.py", line 3'
    """
    return _CONTAINER_FOLDER.sub("", text)
