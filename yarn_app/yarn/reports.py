"""Records of what YARN and skein report, as the other folders of `yarn_app` read them. No behaviour beyond look-ups."""

from __future__ import annotations

import msgspec

ENDED = frozenset({"FINISHED", "FAILED", "KILLED"})
"""YARN's states of an application that runs no more."""


class ApplicationReport(msgspec.Struct, frozen=True):
    """YARN's report on an application, in YARN's words. `howdah list --json` prints it.

    Times are seconds since 1970, memory is bytes, `progress` is from 0 to 1, `address` is the application master's.
    """

    app_id: str
    name: str
    user: str
    queue: str
    state: str
    final_status: str
    progress: float
    diagnostics: str
    tracking_url: str
    address: str
    started: float
    finished: float
    memory: int
    cores: int
    containers: int
    tags: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether the application runs no more."""
        return self.state in ENDED


class ContainerStatus(msgspec.Struct, frozen=True):
    """A worker container, as skein's application master reports it.

    Attributes
    ----------
    name, service : skein's names of the container and of its service.
    state : WAITING, REQUESTED, RUNNING, SUCCEEDED, FAILED or KILLED, as skein has it.
    host, address : its node, and the web address of the node's NodeManager.
    container : YARN's id of the container.
    message : why it ended.
    """

    name: str
    service: str
    state: str
    host: str = ""
    container: str = ""
    message: str = ""
    address: str = ""

    @property
    def pending(self) -> bool:
        """Whether YARN has not granted it."""
        return self.state in ("WAITING", "REQUESTED")

    @property
    def active(self) -> bool:
        """Whether it runs or is requested."""
        return self.pending or self.state == "RUNNING"
