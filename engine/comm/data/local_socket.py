"""Results between two processes of one machine, in a cluster that speaks TLS: over a Unix socket, and by shared memory.

A client of a data server connects by TLS first, and both prove their roles. In its welcome the data server names its
machine, the address of its Unix socket and a password for it. The socket is in a private folder (0700), the peer must
run as the same user, and it must know the password, which only a peer with a proved role gets. ``HOWDAH_NEAR=0`` keeps
results on the network, to measure the difference. For the data server of the worker, and for `transfer`.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

from howdah.engine.comm.connection.channel import Channel
from howdah.engine.comm.connection.connect import Handler, Listener, connect
from howdah.engine.comm.security.certificates import Role
from howdah.engine.protocol.messages import Hello
from howdah.errors import HowdahError, PeerRefused

SWITCH = "HOWDAH_NEAR"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def machine_id() -> str:
    """Return a name of this machine until its next boot; "" where there is none, or `HOWDAH_NEAR` is 0."""
    if os.environ.get(SWITCH) == "0":
        return ""
    with contextlib.suppress(OSError):
        return _BOOT.read_text().strip()
    return ""


class LocalSocket:
    """The Unix socket of a data server.

    Parameters
    ----------
    folder : private, for the socket; the caller removes it.
    handler : serves the connections.
    """

    def __init__(self, folder: str, handler: Handler) -> None:
        self._password = secrets.token_hex(16)
        self._handler = handler
        self._listener = Listener({"data": self._serve}, None)
        self.details: dict[str, str] = {}
        """Its entries for the details of a welcome; none where the socket cannot be opened."""
        machine = machine_id()
        if machine:
            with contextlib.suppress(OSError, HowdahError):  # a file system without sockets
                address = self._listener.open(f"unix://{folder}/data")
                self.details = {"machine": machine, "near": address, "password": self._password}

    async def _serve(self, channel: Channel, role: Role, hello: Hello) -> None:
        if not hmac.compare_digest(hello.session, self._password):
            raise PeerRefused(f"{hello.purpose} {hello.name!r} does not have this socket's password")
        await self._handler(channel, role, hello)

    def close(self) -> None:
        self._listener.close()


async def connect_local(details: Mapping[str, str], hello: Hello) -> Channel | None:
    """Connect to the Unix socket of the data server that welcomed `hello` with `details`; None if there is none."""
    machine = machine_id()
    if not machine or details.get("machine") != machine:
        return None
    try:
        with_password = msgspec.structs.replace(hello, session=details["password"])
        channel, _ = await connect(details["near"], with_password, None, expect="worker")
    except (KeyError, HowdahError, OSError):  # the peer is in another container of the machine, perhaps
        return None
    return channel
