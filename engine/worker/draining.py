"""A worker that is to leave saves what it can within its grace. For `worker` alone.

It leaves after SIGTERM (YARN preempts it, or its node is decommissioned), when the cluster shrinks, and when a slot is
stuck.

Batches that have not started return to the scheduler at once, running ones may finish, and the scheduler has peers copy
the results that this worker alone holds (`howdah.engine.scheduler.server.draining`). The worker leaves when the
scheduler reports that nothing is left to save, or when its grace is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from howdah.engine.protocol.messages import Draining


class Drain:
    """The leaving of one worker, on the event loop's thread.

    Parameters
    ----------
    send : sends a message to the scheduler.
    return_batches : returns all items that have not started.
    leave : ends the worker, with a reason.
    """

    def __init__(
        self,
        reason: str,
        grace: float,
        send: Callable[[Draining], None],
        return_batches: Callable[[], None],
        leave: Callable[[str], None],
    ) -> None:
        self.message = Draining(reason, grace)
        """What the scheduler must receive, in a new session again."""
        self._send, self._return_batches, self._leave = send, return_batches, leave

    def begin(self) -> None:
        self._send(self.message)
        self._return_batches()
        asyncio.get_running_loop().call_later(self.message.grace, self._on_grace_over)

    def _on_grace_over(self) -> None:
        self._leave(f"{self.message.reason}; its {self.message.grace:g} s were over")
