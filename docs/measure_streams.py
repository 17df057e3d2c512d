"""Measures howdah's streams against asyncio's `BufferedProtocol` (decisions/0012): ``python docs/measure_streams.py``.

Two processes exchange messages of the same format over a Unix socket and over TLS 1.3. Of each pair of streams, in turn
and several times: microseconds and CPU microseconds of a round trip of 200 bytes, and MiB a second and CPU milliseconds
a MiB for frames of 1 MiB one way. CPU is that of both processes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tornado.iostream import IOStream, SSLIOStream

from howdah.engine.comm.connection.channel import Channel, ChannelClosed
from howdah.engine.comm.security.certificates import Authority, Security
from howdah.engine.protocol.frames import PREFIX, decode_lengths, encode_message, group_frames, split_group

SMALL, TRIPS = b"x" * 200, 3000
LARGE, LARGE_MESSAGES, ACK_EVERY = b"y" * (1 << 20), 300, 8
ROUNDS = 7
NO_LIMIT = 1 << 62


class Buffered(asyncio.BufferedProtocol):
    """The format of `protocol.frames` on asyncio's transport: small messages in one buffer, large ones in their own."""

    def __init__(self, on_frames: Callable[[Buffered, list[memoryview]], None]) -> None:
        self.on_frames = on_frames
        self.scratch = memoryview(bytearray(128 * 1024))
        self.data = bytearray()
        self.large: list[memoryview] = []
        self.frames: list[memoryview] = []
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=NO_LIMIT)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.large[0] if self.large else self.scratch

    def buffer_updated(self, nbytes: int) -> None:
        if self.large:
            if nbytes < len(self.large[0]):
                self.large[0] = self.large[0][nbytes:]
                return
            self.large.pop(0)
            if not self.large:
                frames, self.frames = self.frames, []
                self.on_frames(self, frames)
            return
        self.data += self.scratch[:nbytes]
        data, at = self.data, 0
        while len(data) - at >= PREFIX.size and not self.large:
            count, first = PREFIX.unpack_from(data, at)
            body = at + 4 + 8 * count
            if len(data) < body:
                break
            sizes = [first] if count == 1 else decode_lengths(first, data[at + PREFIX.size : body])
            at = body
            for together, members in group_frames(sizes):
                have = min(together, len(data) - at)
                if have == together:
                    memory = memoryview(data[at : at + together])
                else:
                    memory = memoryview(bytearray(together))
                    memory[:have] = memoryview(data)[at : at + have]
                    self.large.append(memory[have:])
                at += have
                self.frames += split_group(memory, members)
            if not self.large:
                frames, self.frames = self.frames, []
                self.on_frames(self, frames)
        self.data = data[at:] if at < len(data) else bytearray()

    def write(self, frames: list[bytes]) -> None:
        for piece in encode_message(frames):
            self.transport.write(piece)

    def connection_lost(self, error: BaseException | None) -> None:
        if not self.over.done():
            self.over.set_result(None)


# -- both ends --------------------------------------------------------------------------------------------------------


def answering(write: Callable[[Any, list[bytes]], None]) -> Callable[[Any, list[memoryview]], None]:
    """The server: a small message comes back; every eighth large one is acknowledged."""
    seen = 0

    def on_frames(end: Any, frames: list[memoryview]) -> None:
        nonlocal seen
        if frames[0].nbytes < len(LARGE):
            write(end, [SMALL])
            return
        seen += 1
        if seen % ACK_EVERY == 0:
            write(end, [b"ack"])

    return on_frames


async def serve(kind: str, where: str, security: Security | None, ready: Any) -> None:
    tls = security.context(server=True) if security is not None else None
    loop = asyncio.get_running_loop()
    listening = listen(where, security)
    ready.put(listening.getsockname())
    if kind == "asyncio":
        made: asyncio.Future[Buffered] = loop.create_future()
        answer = answering(Buffered.write)

        def protocol() -> Buffered:
            made.set_result(Buffered(answer))
            return made.result()

        async with await loop.create_server(protocol, sock=listening, ssl=tls):
            await (await made).over
        return
    listening.setblocking(False)
    sock, _ = await loop.sock_accept(listening)
    channel = Channel(await howdah_stream(sock, tls, server=True), "client")
    await deliver(channel, answering(Channel.write))


async def deliver(channel: Channel, on_frames: Callable[[Any, list[memoryview]], None]) -> None:
    channel.lift_size_limit()
    try:
        await channel.deliver(lambda frames: on_frames(channel, frames))
    except ChannelClosed:
        channel.close()


async def howdah_stream(sock: socket.socket, tls: ssl.SSLContext | None, *, server: bool) -> IOStream:
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = IOStream(sock, max_buffer_size=NO_LIMIT, read_chunk_size=256 * 1024)
    if tls is None:
        return stream
    secured: SSLIOStream = await stream.start_tls(server, tls)
    secured.max_buffer_size, secured.read_chunk_size = NO_LIMIT, 256 * 1024
    return secured


def listen(where: str, security: Security | None) -> socket.socket:
    sock = socket.socket(socket.AF_INET if security is not None else socket.AF_UNIX)
    sock.bind(("127.0.0.1", 0) if security is not None else where)
    sock.listen()
    return sock


async def ask(kind: str, address: Any, security: Security | None, job: str) -> float:
    """The client; returns the seconds of its messages."""
    loop = asyncio.get_running_loop()
    tls = security.context(server=False) if security is not None else None
    sock = socket.socket(socket.AF_INET if security is not None else socket.AF_UNIX)
    sock.setblocking(False)
    await loop.sock_connect(sock, address)
    done: asyncio.Future[float] = loop.create_future()
    left = TRIPS if job == "trips" else LARGE_MESSAGES // ACK_EVERY
    message = [SMALL] if job == "trips" else [b"head", LARGE]
    begun = 0.0

    def on_frames(end: Any, frames: list[memoryview]) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(time.perf_counter() - begun)
        elif job == "trips":
            write(end, message)
        else:
            for _ in range(ACK_EVERY):
                write(end, message)

    write: Callable[[Any, Any], None]
    if kind == "asyncio":
        write = Buffered.write
        transport, end = await loop.create_connection(
            lambda: Buffered(on_frames), sock=sock, ssl=tls, server_hostname="x" if tls is not None else None
        )
        delivering: Awaitable[Any] = end.over
    else:
        write = Channel.write
        channel = Channel(await howdah_stream(sock, tls, server=False), "server")
        delivering = asyncio.ensure_future(deliver(channel, on_frames))
        await asyncio.sleep(0)
        end, transport = channel, channel
    begun = time.perf_counter()
    for _ in range(1 if job == "trips" else 2 * ACK_EVERY):
        write(end, message)
    seconds = await done
    transport.close()
    await delivering
    return seconds


# -- the measure ------------------------------------------------------------------------------------------------------


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def serving(kind: str, where: str, security: Security | None, ready: Any) -> None:
    asyncio.run(serve(kind, where, security, ready))
    ready.put(cpu())


def measure(
    kind: str, job: str, folder: str, securities: tuple[Security | None, Security | None]
) -> tuple[float, float]:
    """Seconds and CPU seconds (less those of a connection that does nothing much) of one connection."""
    ready: Any = multiprocessing.Queue()
    where = os.path.join(folder, f"{time.time_ns()}")
    server = multiprocessing.Process(target=serving, args=(kind, where, securities[0], ready))
    server.start()
    address = ready.get()
    before = cpu()
    seconds = asyncio.run(ask(kind, address, securities[1], job))
    used = cpu() - before + ready.get()
    server.join()
    return seconds, used


def main() -> None:
    multiprocessing.set_start_method("fork")
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority.create("measure")
        server = Security.load(authority.write_scheduler_dir(f"{folder}/s"))
        client = Security.load(authority.write_client_dir(f"{folder}/c", "me"))
        print(f"python {sys.version.split()[0]}, {ssl.OPENSSL_VERSION}; medians of {ROUNDS}")
        for name, securities in (("unix", (None, None)), ("tls", (server, client))):
            for job in ("trips", "bulk"):
                found: dict[str, list[tuple[float, float]]] = {"howdah": [], "asyncio": []}
                for _ in range(ROUNDS):
                    for kind in found:
                        found[kind].append(measure(kind, job, folder, securities))
                for kind, figures in found.items():
                    seconds, used = (statistics.median(column) for column in zip(*figures))
                    if job == "trips":
                        print(
                            f"{name} {kind:8} {seconds / TRIPS * 1e6:8.1f} us "
                            f"{used / TRIPS * 1e6:8.1f} us CPU a round trip"
                        )
                    else:
                        print(
                            f"{name} {kind:8} {LARGE_MESSAGES / seconds:8.0f} MiB/s "
                            f"{used / LARGE_MESSAGES * 1e3:8.2f} ms CPU a MiB"
                        )


if __name__ == "__main__":
    main()
