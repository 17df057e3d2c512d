"""The worker's listening sockets: peers and clients fetch results from it, and call functions and actors.

It serves the network or a Unix socket; in a cluster over TLS also a private Unix socket for processes of the same
machine. For `worker` alone.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from howdah.engine.comm.connection.channel import Channel
from howdah.engine.comm.connection.connect import Handler, Listener
from howdah.engine.comm.data.bulk_opening import welcome_peer
from howdah.engine.comm.data.local_socket import LocalSocket
from howdah.engine.comm.data.transfer import ResultSource, serve_results
from howdah.engine.comm.security.certificates import Role, Security
from howdah.engine.protocol.messages import Hello
from howdah.engine.worker.store import scratch

SENDING_THREADS = 8


class DataServer:
    """Serves results and whatever else `handlers` serve.

    Parameters
    ----------
    results : gives the results that are asked for, on threads of the server's.
    handlers : purpose of a connection -> what serves it, besides "data".
    local_dir : where the folder of the private socket is made.
    """

    def __init__(self, results: ResultSource, handlers: Mapping[str, Handler], local_dir: str) -> None:
        self._results, self._handlers, self._local_dir = results, handlers, local_dir
        self._threads = ThreadPoolExecutor(SENDING_THREADS, "howdah-transfer")
        self._listener: Listener | None = None
        self._local: LocalSocket | None = None
        self._folder = ""

    def open(self, listen: str, security: Security | None) -> str:
        """Start to listen; returns the address for others."""
        self._listener = Listener({"data": self._serve, **self._handlers}, security)
        address = self._listener.open(listen)
        if security is not None:
            self._folder = scratch.make_folder(self._local_dir, "near")
            self._local = LocalSocket(self._folder, self._serve_locally)
        return address

    def close(self) -> None:
        """End all connections, and remove the private socket."""
        if self._listener is not None:
            self._listener.close()
        if self._local is not None:
            self._local.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _serve(self, channel: Channel, role: Role, hello: Hello) -> None:
        records = await welcome_peer(channel, hello, self._local.details if self._local is not None else {})
        await serve_results(channel, self._results, self._threads, hello.host != socket.gethostname(), records)

    async def _serve_locally(self, channel: Channel, role: Role, hello: Hello) -> None:
        await welcome_peer(channel, hello)
        await serve_results(channel, self._results, self._threads)
