"""Why worker containers ended: one line for users from YARN's exit message, the worker's memory and the end of its
log.

For `master` alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from howdah.yarn_app.master.fleet import PREEMPTED, ContainerLost, reclaim_reason
from howdah.yarn_app.protocol import kv_keys
from howdah.yarn_app.protocol.status import MasterStatus
from howdah.yarn_app.specification.units import format_bytes
from howdah.yarn_app.yarn import logs
from howdah.yarn_app.yarn.reports import ContainerStatus

MAX_LOSSES_SHOWN = 8
"""The newest losses stay in the status: the key-value store is in the memory of a small JVM."""

_LOG_BYTES = 2000
_LOG_LINES = 6
_CONTAINER_FOLDER = re.compile(r"/[^\s\"']*/container_[0-9a-z_]+/")


def report_loss(status: MasterStatus, lost: ContainerLost, peak: int) -> str:
    """Add a container that ended to the status, and return the line.

    Parameters
    ----------
    status
        Gets the line in `preempted` or `lost`, which keep the newest `MAX_LOSSES_SHOWN`.
    lost
        The container.
    peak
        The most memory that its worker was seen to use, in bytes; 0 if that is not known.

    Examples
    --------
    >>> report_loss(MasterStatus(), ContainerLost("w_0", "node1", "container_1", "exit code 1", True), 700 << 20)
    'container_1 on node1: exit code 1; its worker was seen to use 700.0 MiB at most'
    """
    used = f"; its worker was seen to use {format_bytes(peak)} at most" if peak else ""
    first, mark, rest = lost.message.partition("\n")
    line = f"{lost.container or lost.name} on {lost.host or 'no node'}: {first}{used}{mark}{rest}"
    among = status.preempted if lost.reclaimed == PREEMPTED else status.lost
    among.append(line)
    del among[:-MAX_LOSSES_SHOWN]
    return line


class ExitMessages:
    """Exit messages of failed containers, where YARN's own only state that they failed.

    Parameters
    ----------
    fetch_text : reads the last bytes of a log from the address of a NodeManager; "" where there is none.
    """

    def __init__(self, fetch_text: Callable[[str, int], str] = logs.fetch_text) -> None:
        self._fetch_text = fetch_text
        self._found: dict[str, str] = {}

    def complete(self, one: ContainerStatus, reasons: Mapping[str, bytes]) -> ContainerStatus:
        """Return the container with the end of its log in the message; each log is read once.

        Parameters
        ----------
        one
            The container.
        reasons
            What workers wrote before they ended, by key (`kv_keys.EXIT_REASON`); it takes the place of the log.
        """
        if one.state != "FAILED" or reclaim_reason(one.message):
            return one
        if one.name not in self._found:
            reason = reasons.get(kv_keys.EXIT_REASON + one.name)
            log = f"http://{one.address}/ws/v1/node/containers/{one.container}/logs/{one.service}.log"
            text = reason.decode(errors="replace") if reason else self._fetch_text(log, _LOG_BYTES)
            last = strip_container_paths(text).strip().splitlines()[-_LOG_LINES:]
            self._found[one.name] = "\n    ".join([one.message.partition(", see logs")[0].rstrip(), *last])
        return msgspec.structs.replace(one, message=self._found[one.name])


def strip_container_paths(text: str) -> str:
    """Remove the folders of containers from a text: they are long, and gone when it is read.

    >>> strip_container_paths('File "/data/1/yarn/container_1_0001_01_000002/job.py", line 3')
    'File "job.py", line 3'
    """
    return _CONTAINER_FOLDER.sub("", text)
