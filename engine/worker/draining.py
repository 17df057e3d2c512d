"""A worker that is to go saves what it can, within its grace: on SIGTERM (YARN preempts, a node is decommissioned),
when the cluster is made smaller, and when a slot is stuck.

What it has not begun goes back at once, what it runs may finish, and the scheduler has peers copy what this worker
alone holds (`howdah.engine.scheduler.server.draining`). It leaves when the scheduler says that nothing is left to
save, or when its time is over.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from howdah.engine.protocol.messages import Draining

if TYPE_CHECKING:
    from howdah.engine.worker.worker import Worker


class Drain:
    """The leaving of one worker; `begin` on the loop's thread."""

    def __init__(self, worker: Worker, reason: str, grace: float, signalled: bool) -> None:
        self.worker = worker
        self.signalled = signalled
        """Whether all processes of the container were told, those that tasks have started among them."""
        self.message = Draining(reason, grace)

    def begin(self) -> None:
        self.worker.say(self.message)
        self.worker.give_back()
        asyncio.get_running_loop().call_later(self.message.grace, self._over)

    def _over(self) -> None:
        self.worker.leave(f"{self.message.reason}; its {self.message.grace:g} s were over")
