"""Opening and accepting connections, and the greeting that comes first on each of them.

A connection is usable only when its other end has proved a role: by certificate over TLS, by running as the same user
of the same machine over a Unix socket. `ALLOWED_ROLES` says which role may connect for which purpose. Versions are
compared first: two ends that differ close the connection with `EnvironmentMismatch`, which names both versions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import msgspec
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError
from tornado.netutil import bind_sockets, bind_unix_socket
from tornado.tcpserver import TCPServer

from howdah.engine.comm.connection.addresses import Address, parse
from howdah.engine.comm.connection.channel import Channel, ChannelClosed, MalformedFrames
from howdah.engine.comm.connection.inproc import pair
from howdah.engine.comm.security.certificates import ANONYMOUS, Role, Security, role_of_socket
from howdah.engine.protocol.messages import (
    PROTOCOL,
    Greeting,
    Hello,
    Refused,
    Welcome,
    python_version,
)
from howdah.errors import DeadlineExceeded, EnvironmentMismatch, HowdahError, PeerRefused
from howdah.version import VERSION

log = logging.getLogger(__name__)

ALLOWED_ROLES: dict[str, frozenset[str]] = {
    "client": frozenset({"user", "scheduler", "worker"}),  # a worker: for its tasks
    "owner": frozenset({"scheduler"}),
    "worker": frozenset({"worker"}),
    "join": frozenset({"anonymous"}),
    "data": frozenset({"worker", "user", "scheduler"}),
    "relay": frozenset({"worker", "user", "scheduler"}),
    "call": frozenset({"user", "scheduler"}),
    "actor": frozenset({"worker", "user", "scheduler"}),
}
"""Purpose of a connection -> the roles that may connect for it."""

GREETING_TIMEOUT = 10.0
"""Seconds for the handshake, and for each message of the greeting."""

PLAIN_TCP = "HOWDAH_BENCH_PLAIN_TCP"
"""Environment variable that allows tcp:// addresses, for benchmarks."""

_NO_LIMIT = 1 << 62  # for tornado's buffer; `Channel` has limits of its own
_READ_BYTES = 256 * 1024
_MAX_PATH = 107  # bytes of a Unix socket's path, in Linux

G = TypeVar("G")

_encoder = msgspec.msgpack.Encoder()
_greetings: msgspec.msgpack.Decoder[Greeting] = msgspec.msgpack.Decoder(Greeting)


async def send_greeting(channel: Channel, greeting: Greeting) -> None:
    """Send one message of the greeting. For this folder and the servers' handlers."""
    await channel.write_and_drain([_encoder.encode(greeting)])


async def receive_greeting(channel: Channel, *kinds: type[G]) -> G:
    """Return the next message of the greeting, one of `kinds`. Raises the error that a `Refused` describes."""
    try:
        async with asyncio.timeout(GREETING_TIMEOUT):  # not `wait_for`, which may swallow a cancellation (Python 3.11)
            frames = await channel.read()
        greeting = _greetings.decode(frames[0])
    except msgspec.DecodeError as error:
        raise MalformedFrames(f"{channel.peer} does not speak howdah: {error}") from error
    except TimeoutError as error:
        raise DeadlineExceeded(f"{channel.peer} sent nothing for {GREETING_TIMEOUT:.0f} s after connecting") from error
    if isinstance(greeting, Refused):
        raise (EnvironmentMismatch if greeting.kind == "versions" else PeerRefused)(greeting.message)
    for kind in kinds:
        if isinstance(greeting, kind):
            return greeting
    raise PeerRefused(f"{channel.peer} answered with {type(greeting).__name__}, which is out of turn")


def version_mismatch(hello: Hello) -> str:
    """Return why this process cannot work with the sender of `hello`; '' when it can."""
    mine, theirs = python_version(), hello.python
    if hello.protocol == PROTOCOL and hello.howdah == VERSION and mine.split(".")[:2] == theirs.split(".")[:2]:
        return ""
    return (
        f"the two ends differ: here howdah {VERSION} (protocol {PROTOCOL}) on Python {mine}; {hello.purpose} "
        f"{hello.name!r}{' on ' + hello.host if hello.host else ''} has howdah {hello.howdah} (protocol "
        f"{hello.protocol}) on Python {theirs}. Use one environment for both (`howdah env pack`)"
    )


def uses_tls(channel: Channel) -> bool:
    """Return whether TLS protects `channel`."""
    return isinstance(channel.stream, SSLIOStream)


# -- connecting -----------------------------------------------------------------------------------------------------


async def connect(
    address: str,
    hello: Hello,
    security: Security | None,
    *,
    expect: str,
    timeout: float = GREETING_TIMEOUT,
    inproc: bool = True,
) -> tuple[Channel, Welcome]:
    """Open a connection to a peer of role `expect` and exchange greetings.

    Without `inproc` it has a socket, also where the peer is in this process.

    Raises
    ------
    PeerRefused : the peer has another role, or refuses this process.
    EnvironmentMismatch : it runs another version of howdah or Python.
    ChannelClosed, OSError, DeadlineExceeded : no process listens there, or none answers.
    """
    channel = await dial(address, security, expect=expect, timeout=timeout, inproc=inproc)
    try:
        await send_greeting(channel, hello)
        welcome = await receive_greeting(channel, Welcome)
    except ChannelClosed as error:
        channel.close()
        if isinstance(channel.stream.error, ssl.SSLError):
            raise PeerRefused(f"{address} refused our certificate: {channel.stream.error}") from error
        raise
    except BaseException:
        channel.close()
        raise
    channel.lift_size_limit()
    return channel, welcome


async def dial(
    address: str,
    security: Security | None,
    *,
    expect: str,
    timeout: float = GREETING_TIMEOUT,
    inproc: bool = True,
) -> Channel:
    """Open a connection and check the peer's role; no greeting is sent yet."""
    try:
        async with asyncio.timeout(timeout):
            return await _dial(address, parse(address), security, expect, inproc)
    except TimeoutError as error:
        raise DeadlineExceeded(f"{address} did not answer within {timeout:.0f} s") from error


async def _dial(text: str, address: Address, security: Security | None, expect: str, inproc: bool) -> Channel:
    if address.scheme == "unix":
        listener = _local_listeners.get(address.path)
        if inproc and listener is not None and listener.loop is asyncio.get_running_loop() and expect != "worker":
            return listener.connect_inproc()  # not for workers and the relay: bulk transfers need the socket itself
        stream = IOStream(
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), max_buffer_size=_NO_LIMIT, read_chunk_size=_READ_BYTES
        )
        try:
            with _short_path(address.path) as path:
                await stream.connect(path)  # a path is an AF_UNIX address
            _check_same_user(stream.socket, text)
        except StreamClosedError as error:
            raise ChannelClosed(f"no process listens at {text}: {error.real_error or error}") from error
        except BaseException:
            stream.close()
            raise
        return Channel(stream, text)
    _check_allowed(address, security)
    infos = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    last: BaseException | None = None
    for family, _, _, _, target in infos:
        try:
            stream = await _connect_socket(socket.socket(family, socket.SOCK_STREAM), target, address, security)
        except (StreamClosedError, ssl.SSLError, OSError) as error:
            last = getattr(error, "real_error", None) or error
            if isinstance(last, ssl.SSLError):
                raise PeerRefused(f"{text} could not prove that it belongs to this cluster: {last}") from error
            continue
        if isinstance(stream, SSLIOStream):
            assert security is not None
            try:
                _check_role(role_of_socket(stream.socket), security, expect, text)
            except PeerRefused:
                stream.close()
                raise
        return Channel(stream, text)
    raise ChannelClosed(f"no process answers at {text}: {last}")


async def _connect_socket(
    sock: socket.socket, target: tuple[Any, ...], address: Address, security: Security | None
) -> IOStream:
    if address.scheme == "tcp" or security is None:
        stream = IOStream(sock, max_buffer_size=_NO_LIMIT, read_chunk_size=_READ_BYTES)
        await stream.connect(target)
    else:
        stream = SSLIOStream(
            sock, ssl_options=security.context(server=False), max_buffer_size=_NO_LIMIT, read_chunk_size=_READ_BYTES
        )
        await stream.connect(target, server_hostname=address.host)
    stream.set_nodelay(True)
    return stream


def _check_allowed(address: Address, security: Security | None) -> None:
    if address.scheme == "tcp" and not os.environ.get(PLAIN_TCP):
        raise PeerRefused(f"{address}: plain TCP proves no role; use tls:// (or {PLAIN_TCP}=1 in a benchmark)")
    if address.scheme == "tls" and security is None:
        raise PeerRefused(f"{address}: a security directory is needed (security=...)")


def _check_role(role: Role, security: Security, expect: str, address: str) -> None:
    if role.kind != expect:
        raise PeerRefused(f"{address} proved to be {role.uri}, not a {expect}")
    if security.role is not None and security.role.app != role.app:
        raise PeerRefused(f"{address} belongs to {role.app!r}, not to {security.role.app!r}")


@contextlib.contextmanager
def _short_path(path: str) -> Iterator[str]:
    """Yield the path in a form that is short enough for a Unix socket's address (YARN's folders are deep)."""
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield path
        return
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)


def _check_same_user(sock: socket.socket, peer: str) -> None:
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid != os.getuid():
        raise PeerRefused(f"{peer}: the other end runs as uid {uid}, this one as {os.getuid()}")


# -- accepting ------------------------------------------------------------------------------------------------------

Handler = Callable[[Channel, Role, Hello], Awaitable[None]]

_local_listeners: dict[str, Listener] = {}
"""Path of a Unix socket -> the listener in this process."""


class Listener(TCPServer):
    """Accepts connections, and calls the handler of their purpose once the peer has proved a role.

    Parameters
    ----------
    handlers : purpose -> coroutine; the connection is closed when it returns or raises.
    security : None for Unix sockets.
    app : the cluster's name, for the roles of peers that need no certificate.
    """

    def __init__(self, handlers: dict[str, Handler], security: Security | None, app: str = "") -> None:
        super().__init__(max_buffer_size=_NO_LIMIT, read_chunk_size=_READ_BYTES)
        self.handlers, self.security, self.app = handlers, security, app
        self.address = ""
        self.server_certificate = b""
        self._path = ""
        self._tls: ssl.SSLContext | None = None
        self.channels: set[Channel] = set()
        self._inproc_tasks: set[asyncio.Task[None]] = set()
        self.loop: asyncio.AbstractEventLoop | None = None

    def open(self, address: str) -> str:
        """Start to accept at `address` (port 0: any); returns the address for others."""
        wanted = parse(address)
        if wanted.scheme == "unix":
            folder = os.stat(os.path.dirname(wanted.path))
            if folder.st_uid != os.getuid() or stat.S_IMODE(folder.st_mode) & 0o077:
                raise PeerRefused(f"{os.path.dirname(wanted.path)!r} must belong to this user with mode 0700")
            with _short_path(wanted.path) as path:
                self.add_socket(bind_unix_socket(path, mode=0o600))
            self._path = wanted.path
            self.loop = asyncio.get_running_loop()
            _local_listeners[wanted.path] = self
            self.address = str(wanted)
            return self.address
        _check_allowed(wanted, self.security)
        if wanted.scheme == "tls":
            assert self.security is not None
            self._tls = self.security.context(server=True, anonymous="join" in self.handlers)
        sockets = bind_sockets(wanted.port, wanted.host, family=socket.AF_UNSPEC)
        port = sockets[0].getsockname()[1]
        self.add_sockets(sockets)
        self.address = str(Address(wanted.scheme, wanted.host, port))
        return self.address

    def close(self) -> None:
        """Stop accepting, end every connection, remove the socket's file."""
        self.stop()
        for channel in list(self.channels):
            channel.close()
        if self._path:
            _local_listeners.pop(self._path, None)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    def renew(self, security: Security) -> None:
        """Use a new certificate for connections from now on."""
        self.security = security
        if self._tls is not None:
            self._tls = security.context(server=True, anonymous="join" in self.handlers)

    def connect_inproc(self) -> Channel:
        """Return a connection from this very process: it needs no socket and no proof of a role."""
        mine, other = pair("this process", self.address)
        task = asyncio.ensure_future(self._serve(other, None))
        self._inproc_tasks.add(task)
        task.add_done_callback(self._inproc_tasks.discard)
        return mine

    async def handle_stream(self, stream: IOStream, address: object) -> None:
        await self._serve(Channel(stream, f"{address}" if address else "a local process"), stream)

    async def _serve(self, channel: Channel, stream: IOStream | None) -> None:
        try:
            role = await self._identify(stream, channel) if stream is not None else None
            self.channels.add(channel)
            hello = await receive_greeting(channel, Hello)
            channel.peer = f"{hello.purpose} {hello.name}" + (f" on {hello.host}" if hello.host else "")
            role = self._authorize(role, hello)
            mismatch = version_mismatch(hello)
            if mismatch:
                raise EnvironmentMismatch(mismatch)
            if role is not ANONYMOUS:
                channel.lift_size_limit()
            await self.handlers[hello.purpose](channel, role, hello)
        except ChannelClosed:
            pass  # the owner of the session learns it from its own read
        except (PeerRefused, EnvironmentMismatch, MalformedFrames, DeadlineExceeded) as error:
            log.warning("refused %s: %s", channel.peer, error)
            kind = "versions" if isinstance(error, EnvironmentMismatch) else "role"
            with contextlib.suppress(HowdahError):
                await send_greeting(channel, Refused(kind, str(error)))
        except (ssl.SSLError, StreamClosedError, OSError) as error:
            log.warning("no handshake with %s: %s", channel.peer, error)
        finally:
            self.channels.discard(channel)
            channel.close()

    async def _identify(self, stream: IOStream, channel: Channel) -> Role | None:
        if self._tls is not None:
            return role_of_socket(await self._start_tls(stream, channel))
        if stream.socket.family == socket.AF_UNIX:
            _check_same_user(stream.socket, "a local process")
        else:
            stream.set_nodelay(True)
        return None

    async def _start_tls(self, stream: IOStream, channel: Channel) -> ssl.SSLSocket:
        stream.set_nodelay(True)
        async with asyncio.timeout(GREETING_TIMEOUT):
            secured: SSLIOStream = await stream.start_tls(True, self._tls)
        secured.max_buffer_size, secured.read_chunk_size = _NO_LIMIT, _READ_BYTES
        channel.stream = secured
        if secured.socket is None:  # the peer left right after the handshake
            raise StreamClosedError(secured.error)
        return secured.socket

    def _authorize(self, role: Role | None, hello: Hello) -> Role:
        if hello.purpose not in self.handlers or hello.purpose not in ALLOWED_ROLES:
            raise PeerRefused(f"no handler here serves the purpose {hello.purpose!r}")
        if role is None:  # the same user of this machine: its own claim is enough
            kind = {
                "client": "user",
                "owner": "scheduler",
                "data": "user",
                "relay": "user",
                "actor": "user",
                "call": "user",
            }.get(hello.purpose, hello.purpose)
            return Role(self.app, kind, hello.name)
        if role.kind not in ALLOWED_ROLES[hello.purpose]:
            proof = "without a certificate" if role is ANONYMOUS else f"proved to be {role.uri}"
            raise PeerRefused(f"{hello.purpose} {hello.name!r} {proof}, which may not be a {hello.purpose}")
        own = self.security.role if self.security else None
        if own is not None and role is not ANONYMOUS and role.app != own.app:
            raise PeerRefused(f"{role.uri} belongs to another application than {own.app!r}")
        return role
