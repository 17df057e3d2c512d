"""Two processes of one machine in a cluster that speaks TLS: results cross by a Unix socket, and so by shared memory.

Who fetches connects by TLS first, as always, and both prove their roles. In its welcome a data server says where else
it can be reached, if that is this very machine, and a password for it. Its Unix socket is in a private folder (0700),
the other end must be the same user's, and it must know the password: nobody has it who has not proved a role.
``HOWDAH_NEAR=0`` keeps results on the network (to measure what that costs).
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
    """Names this machine until it is started again; "" where that cannot be known, or nobody is to be near."""
    if os.environ.get(SWITCH) == "0":
        return ""
    with contextlib.suppress(OSError):
        return _BOOT.read_text().strip()
    return ""


class LocalSocket:
    """A data server's second entrance.

    Parameters
    ----------
    folder : private, for the socket; the caller's to remove.
    handler : what serves who comes in.
    """

    def __init__(self, folder: str, handler: Handler) -> None:
        self._password = secrets.token_hex(16)
        self._handler = handler
        self._listener = Listener({"data": self._admit}, None)
        self.details: dict[str, str] = {}
        """What a welcome says of it; nothing where it cannot be opened."""
        here = machine_id()
        if here:
            with contextlib.suppress(OSError, HowdahError):  # a file system without sockets
                address = self._listener.open(f"unix://{folder}/data")
                self.details = {"machine": here, "near": address, "password": self._password}

    async def _admit(self, channel: Channel, role: Role, hello: Hello) -> None:
        if not hmac.compare_digest(hello.session, self._password):
            raise PeerRefused(f"{hello.purpose} {hello.name!r} does not know this socket's password")
        await self._handler(channel, role, hello)

    def close(self) -> None:
        self._listener.close()


async def connect_local(details: Mapping[str, str], hello: Hello) -> Channel | None:
    """A shorter way to the data server that welcomed `hello` with `details`; None where there is none."""
    here = machine_id()
    if not here or details.get("machine") != here:
        return None
    try:
        known = msgspec.structs.replace(hello, session=details["password"])
        channel, _ = await connect(details["near"], known, None, expect="worker")
    except (KeyError, HowdahError, OSError):  # another container's view of the machine, perhaps
        return None
    return channel
