"""A NameNode client of our own for the one question that no Python client answers: a folder with its block locations.

For `howdah.io.filesystem.block_locations` alone. Hadoop RPC version 9 over a socket, simple authentication;
`getListing(needLocation)` returns a page of a folder's entries with all their blocks. With several NameNodes it asks
each until one is active. Kerberos and tokens belong at `_authenticate`: until then such a cluster raises
`NotSupported`, and the caller goes on with WebHDFS. The wire format: Hadoop's `RpcHeader.proto`,
`IpcConnectionContext.proto`, `ClientNamenodeProtocol.proto`, `hdfs.proto`.
"""

from __future__ import annotations

import socket
import struct
import uuid
from collections.abc import Iterator, Sequence

from howdah.errors import NotSupported, StorageError
from howdah.io.hadoop.protobuf import Message, delimited, encode, read_varint, zigzag
from howdah.io.hadoop.records import Block, FileInfo

_PROTOCOL = "org.apache.hadoop.hdfs.protocol.ClientProtocol"
_CONTEXT_CALL = -3
_SIMPLE, _SASL = 0, 0xDF
_IS_FILE, _IS_DIR = 2, 1
_MOST_ANSWER = 256 << 20
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0


class RemoteError(RuntimeError):
    """A Java exception of a Hadoop server, with the text that hdfs-native uses for one (`io.filesystem.retry`)."""

    def __init__(self, java_class: str, message: str) -> None:
        super().__init__(f'RPCError("{java_class}", "{message}")')
        self.java_class, self.message = java_class, message


class NameNodeRpc:
    """Calls to whichever of some NameNodes is active. A connection per instance; not for many threads at once.

    Parameters
    ----------
    addresses : ``host:port`` of each NameNode.
    user : the name to introduce ourselves with.
    security : `hadoop.security.authentication` of the configuration.

    Raises
    ------
    NotSupported
        The cluster wants Kerberos or tokens.
    OSError, RemoteError
        As the socket and the NameNode say it; whoever calls is patient (`io.filesystem.retry`).
    """

    def __init__(self, addresses: Sequence[str], user: str, security: str = "simple") -> None:
        self.addresses, self.user, self.security = tuple(addresses), user, security
        self.calls = 0
        """Calls answered, for tests and for the curious."""
        self._socket: socket.socket | None = None
        self._active = 0
        self._client_id = uuid.uuid4().bytes
        self._call_id = 0

    def __enter__(self) -> NameNodeRpc:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def listing(self, path: str) -> Iterator[FileInfo]:
        """The entries of a folder with their blocks, or the one entry of a file. Raises `FileNotFoundError`."""
        after = b""
        while True:
            answer = self.call("getListing", encode((1, path), (2, after), (3, 1)))
            if 1 not in answer:
                raise FileNotFoundError(path)
            page = answer.message(1)
            entries = page.messages(1)
            for entry in entries:
                name = entry.text(2)
                yield _file_info(entry, f"{path.rstrip('/')}/{name}" if name else path)
            if not page.number(2) or not entries:
                return
            after = entries[-1].raw(2)

    def call(self, method: str, request: bytes) -> Message:
        """One call, to the active NameNode. Raises the last failure when none of them answers as the active one."""
        failure: Exception | None = None
        for _ in self.addresses:
            try:
                return self._call_active(method, request)
            except RemoteError as error:
                if not error.java_class.endswith((".StandbyException", ".ObserverRetryOnActiveException")):
                    raise
                failure = error
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    raise
                failure = error
            self.close()
            self._active = (self._active + 1) % len(self.addresses)
        assert failure is not None  # there is at least one address
        raise failure

    def _call_active(self, method: str, request: bytes) -> Message:
        if self._socket is None:
            self._socket = self._connect(self.addresses[self._active])
        self._call_id += 1
        header = encode((1, method), (2, _PROTOCOL), (3, 1))
        try:
            self._send(self._call_id, delimited(header) + delimited(request))
            answer = self._receive()
        except OSError:
            self.close()
            raise
        except ValueError as error:
            self.close()
            raise StorageError(f"NameNode {self.addresses[self._active]}: not an HDFS answer: {error}") from error
        self.calls += 1
        return answer

    # -- the connection ---------------------------------------------------------------------------------------------

    def _connect(self, address: str) -> socket.socket:
        host, _, port = address.rpartition(":")
        self._authenticate()
        connection = socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS)
        try:
            connection.settimeout(ANSWER_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(b"hrpc" + bytes([9, 0, _SIMPLE]))
            self._socket = connection
            context = encode((2, encode((1, self.user))), (3, _PROTOCOL))
            self._send(_CONTEXT_CALL, delimited(context))
        except BaseException:
            self._socket = None
            connection.close()
            raise
        return connection

    def _authenticate(self) -> None:
        """The seam for SASL: TOKEN and KERBEROS would negotiate here (connection header `_SASL`, call -33)."""
        if self.security.lower() != "simple":
            raise NotSupported(
                f"block locations over NameNode RPC with hadoop.security.authentication={self.security} are not there "
                "yet: WebHDFS is asked instead"
            )

    def _send(self, call_id: int, body: bytes) -> None:
        retry = -1 if call_id < 0 else 0
        header = encode((1, 2), (2, 0), (3, zigzag(call_id)), (4, self._client_id), (5, zigzag(retry)))
        data = delimited(header) + body
        assert self._socket is not None  # set by whoever calls
        self._socket.sendall(struct.pack(">I", len(data)) + data)

    def _receive(self) -> Message:
        (size,) = struct.unpack(">I", self._exactly(4))
        if size > _MOST_ANSWER:
            raise ValueError(f"an answer of {size} bytes")
        data = memoryview(self._exactly(size))
        length, position = read_varint(data, 0)
        header = Message(data[position : position + length])
        position += length
        if header.number(2):
            self._fail(header.text(4), header.text(5))
        length, position = read_varint(data, position)
        return Message(data[position : position + length])

    def _fail(self, java_class: str, message: str) -> None:
        self.close()
        first = message.split("\n")[0]
        if java_class == "java.io.FileNotFoundException":
            raise FileNotFoundError(first)
        if "SIMPLE authentication is not enabled" in message:
            raise NotSupported(f"NameNode {self.addresses[self._active]}: {first}")
        raise RemoteError(java_class, first)

    def _exactly(self, size: int) -> bytes:
        assert self._socket is not None  # set by whoever calls
        buffer = bytearray(size)
        view, got = memoryview(buffer), 0
        while got < size:
            count = self._socket.recv_into(view[got:])
            if count == 0:
                raise ConnectionResetError("the NameNode closed the connection")
            got += count
        return bytes(buffer)


def _file_info(status: Message, path: str) -> FileInfo:
    is_dir = status.number(1) == _IS_DIR
    blocks = () if is_dir else tuple(_block(block) for block in status.message(12).messages(2))
    return FileInfo(path, 0 if is_dir else status.number(3), status.number(7) * 1_000_000, is_dir, blocks)


def _block(located: Message) -> Block:
    nodes = located.messages(3)
    return Block(
        located.number(2),
        located.message(1).number(4),
        tuple(node.message(1).text(2).lower() for node in nodes),
        tuple(node.text(8) for node in nodes),
    )
