"""Plain records that the parts of `yarn_app` hand to one another. No behaviour beyond looking things up."""

from __future__ import annotations

from dataclasses import dataclass

ENDED = frozenset({"FINISHED", "FAILED", "KILLED"})
"""YARN's states of an application that runs no more."""


@dataclass(frozen=True, slots=True)
class ApplicationReport:
    """What YARN says about an application, in YARN's words; times are seconds since 1970, memory is bytes."""

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
        return self.state in ENDED
