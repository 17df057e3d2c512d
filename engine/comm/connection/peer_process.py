"""The process at the other end of a Unix socket, by the kernel's word, and whether it has ended.

A connection that ends says little: it may have been cut. When its process is gone too, the peer never returns.
For servers that would otherwise wait for the peer's lease.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct

from howdah.engine.comm.connection.channel import Channel


def process_of(channel: Channel) -> int:
    """Return the id of the process that opened `channel`; 0 if it is not known, as over TLS and within one process."""
    sock = getattr(channel.stream, "socket", None)
    if sock is None or sock.family != socket.AF_UNIX:
        return 0
    pid: int = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return pid


async def has_ended(pid: int, within: float = 1.0) -> bool:
    """Return whether the process ends within so many seconds: it closes its sockets a moment before its end.

    An id that another process has meanwhile counts as one that lives, and so does one that cannot be watched.
    """
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(watched, ended.set)  # readable once the process has ended, before its parent has noticed too
    try:
        async with asyncio.timeout(within):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(watched)
        os.close(watched)
    return True
