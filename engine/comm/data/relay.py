"""The relay of results: the scheduler passes a worker's answers on to a client that cannot reach the worker.

A client connects to the scheduler with the purpose "relay" and the worker's address; the scheduler opens a connection
of its own to that worker. Requests and answers pass through unchanged, in pieces of `PIECE_BYTES`; nothing is
unpickled, decompressed or stored. Each exchange has a thread while it lasts, so that the scheduler's event loop carries
messages meanwhile. For the scheduler's server; `transfer` has the client's side.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from howdah.engine.comm.connection.channel import Channel, ChannelClosed
from howdah.engine.comm.connection.connect import send_greeting
from howdah.engine.comm.data.bulk_connection import BulkConnection
from howdah.engine.comm.data.bulk_opening import RELAY_ERROR, open_bulk_connection, readable, welcome_peer
from howdah.engine.comm.data.encryption import is_enabled
from howdah.engine.comm.security.certificates import Role, Security
from howdah.engine.protocol.frames import nbytes
from howdah.engine.protocol.messages import DataMessage, Fetch, Fetched, Hello, Welcome
from howdah.errors import HowdahError, PeerRefused

MAX_EXCHANGES = 16
"""Exchanges under way at once, over all clients. Each has at most 4 MiB in this process: a piece, and the records in
which it is decrypted and encrypted. So 64 MiB are in flight at most."""

PER_CLIENT = 2
"""Exchanges of one client under way at once; others of it wait, so that one client leaves room for seven more."""

PIECE_BYTES = 1 << 20
"""Bytes that are received before they are passed on."""

CONNECT_TIMEOUT = 3.0
"""Seconds for the scheduler's connection to a worker."""

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[DataMessage] = msgspec.msgpack.Decoder(DataMessage)


class Relay:
    """The relay of one scheduler.

    Parameters
    ----------
    security : of the scheduler's role; None over Unix sockets.
    is_worker : whether an address is that of a worker of this cluster. The relay connects to no others.
    """

    def __init__(self, security: Security | None, is_worker: Callable[[str], bool]) -> None:
        self._security, self._is_worker = security, is_worker
        self._threads = ThreadPoolExecutor(MAX_EXCHANGES, "howdah-relay")
        self._turns: dict[str, tuple[asyncio.Semaphore, set[object]]] = {}
        self.bytes_relayed = 0
        """Bytes of answers that were passed on."""

    async def serve(self, channel: Channel, role: Role, hello: Hello) -> None:
        """Pass requests and answers on until one end closes its connection.

        The welcome's detail "error" says why the worker cannot be reached; the connection ends after it.
        """
        worker = await self._open(channel, hello)
        if worker is None:
            return
        client: BulkConnection | None = None
        name = f"{role.name}/{hello.name}"
        turns, users = self._turns.setdefault(name, (asyncio.Semaphore(PER_CLIENT), set()))
        users.add(channel)
        try:
            aead = await welcome_peer(channel, hello)
            client = BulkConnection.take_over(channel, aead=aead)
            loop = asyncio.get_running_loop()
            while True:
                if not client.pending:
                    await readable(loop, client)
                async with turns:
                    self.bytes_relayed += await loop.run_in_executor(self._threads, _exchange, client, worker)
        finally:
            users.discard(channel)
            if not users:
                self._turns.pop(name, None)
            worker.release()
            if client is not None:
                client.release()

    async def _open(self, channel: Channel, hello: Hello) -> BulkConnection | None:
        address = hello.worker
        if not self._is_worker(address):
            reason = f"no worker of this cluster has the address {address!r} any more"
        else:
            onward = Hello("data", hello.name, host=hello.host, accepts_aead=is_enabled())
            try:
                return await open_bulk_connection(address, onward, self._security, CONNECT_TIMEOUT)
            except (HowdahError, OSError) as error:
                reason = f"the scheduler on {socket.gethostname()} cannot reach the worker: {error}"
        await send_greeting(channel, Welcome("", details={RELAY_ERROR: reason}))
        return None

    def close(self) -> None:
        """Take no more exchanges; those under way end with their connections."""
        self._threads.shutdown(wait=False)


def _exchange(client: BulkConnection, worker: BulkConnection) -> int:
    """Pass one request on, and its answer back; return the answer's bytes. On a thread."""
    try:
        request = _decode(client.receive()[0], client)
        if not isinstance(request, Fetch):
            raise PeerRefused(f"{client.peer} sent {type(request).__name__} where only Fetch is served")
        worker.send([_encoder.encode(Fetch(request.ranges, share=False, lz4=request.lz4))])
        total, more = 0, True
        while more:
            sizes, head = worker.receive_first()
            answer = _decode(head, worker)
            if not isinstance(answer, Fetched):
                raise PeerRefused(f"{worker.peer} answered a fetch with {type(answer).__name__}")
            client.send_first(sizes, head)
            left = sum(sizes) - nbytes(head)
            memory = memoryview(bytearray(min(left, PIECE_BYTES)))
            total += left
            while left:
                size = min(left, PIECE_BYTES)
                worker.receive_raw(memory[:size])
                client.send_raw(memory[:size])
                left -= size
            more = answer.more
    except BaseException:
        client.close()  # an answer that is cut is not continued
        worker.close()
        raise
    return total


def _decode(frame: memoryview, connection: BulkConnection) -> DataMessage:
    try:
        return _decoder.decode(frame)
    except msgspec.DecodeError as error:
        raise ChannelClosed(f"{connection.peer} does not speak howdah: {error}") from error
