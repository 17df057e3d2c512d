"""Open connections for results, at both ends: the greeting, and the choice of socket and encryption.

For `transfer` and for the scheduler's relay. It imports nothing that unpickles: the scheduler passes results on without
opening them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from howdah.engine.comm.connection.channel import Channel
from howdah.engine.comm.connection.connect import connect, send_greeting, uses_tls
from howdah.engine.comm.data.bulk_connection import BulkConnection
from howdah.engine.comm.data.encryption import AeadRecords, accept, offer
from howdah.engine.comm.data.local_socket import connect_local
from howdah.engine.comm.security.certificates import Security
from howdah.engine.protocol.messages import Hello, Welcome

RELAY_ERROR = "error"
"""The detail of a relay's welcome that says why the worker cannot be reached."""


async def welcome_peer(channel: Channel, hello: Hello, details: Mapping[str, str] | None = None) -> AeadRecords | None:
    """Send the welcome of a connection for results; returns what encrypts the results, if it is not TLS."""
    offered, aead = offer(hello) if uses_tls(channel) else ({}, None)
    await send_greeting(channel, Welcome("", details={**(details or {}), **offered}))
    return aead


async def open_bulk_connection(address: str, hello: Hello, security: Security | None, timeout: float) -> BulkConnection:
    """Connect to a data server, over its private Unix socket if it is on this machine. Raises what `connect` raises."""
    channel, welcomed = await connect(address, hello, security, expect="worker", timeout=timeout)
    near = await connect_local(welcomed.details, hello)
    if near is not None:
        channel.close()
        return BulkConnection.take_over(near)
    return BulkConnection.take_over(channel, aead=accept(welcomed.details))


async def readable(loop: asyncio.AbstractEventLoop, connection: BulkConnection) -> None:
    """Return when bytes have arrived on an idle connection."""
    ready: asyncio.Future[None] = loop.create_future()
    number = connection.fileno()

    def arrived() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(number, arrived)
    try:
        await ready
    finally:
        loop.remove_reader(number)
