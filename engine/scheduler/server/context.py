"""The port between the server and its parts: handle an event, send to a peer, journal, clock.

A part receives a `ServerContext` when it is made and never imports `server`. `reactor.Reactor` implements it.
Everything runs on the event loop's thread.
"""

from __future__ import annotations

from typing import Any, Protocol

from howdah.engine.protocol.events import Event
from howdah.engine.protocol.frames import Buffer
from howdah.engine.scheduler.core.views import SchedulerViews
from howdah.engine.scheduler.server.journal_writer import JournalWriter
from howdah.engine.scheduler.server.sessions import InlineResults


class ServerContext(Protocol):
    """What a part of the server may use of the whole."""

    @property
    def views(self) -> SchedulerViews:
        """What can be read of the scheduler."""

    @property
    def journal(self) -> JournalWriter:
        """Records what a restarted server must replay; without a journal it records nothing."""

    def handle(self, event: Event, inline: InlineResults | None = None) -> None:
        """Pass `event` to the scheduler and carry out its instructions. `inline`: results that came with the event."""

    def send_to_client(self, name: str, message: Any, *frames: Buffer) -> None:
        """Send `message` to the client of this name; nothing happens if it has left."""

    def send_to_worker(self, name: str, message: Any, *frames: Buffer) -> None:
        """Send `message` to the worker of this name; nothing happens if it has left."""

    @property
    def clock_offset(self) -> float:
        """Seconds to add to the clock's time for a Unix time; constant for the life of a server."""

    def clock(self) -> float:
        """Seconds of a monotonic clock; during a replay, the time of the record that is being replayed."""
