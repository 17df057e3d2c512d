"""NameNode RPC for the one request that no Python client has: a folder's listing with its block locations.

For `howdah.io.filesystem.block_locations` alone. `getListing(needLocation)` returns a page of a folder's entries with
all their blocks. With several NameNodes each is called in turn until one is active. A cluster that requires Kerberos
raises `NotSupported` (`rpc.authentication_for`), and the caller goes on with WebHDFS. The wire format: Hadoop's
`ClientNamenodeProtocol.proto` and `hdfs.proto`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from howdah.errors import NotSupported, StorageError
from howdah.io.hadoop.protobuf import ProtobufMessage, encode
from howdah.io.hadoop.records import Block, FileInfo
from howdah.io.hadoop.rpc import RemoteError, RpcConnection, authentication_for

_PROTOCOL = "org.apache.hadoop.hdfs.protocol.ClientProtocol"
_IS_DIR = 1
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0


class NameNodeRpc:
    """Calls to the active one of some NameNodes. One connection; not safe to use from several threads at once.

    Parameters
    ----------
    addresses
        ``host:port`` of each NameNode.
    user
        The user's name, which a cluster without Kerberos believes.
    security
        `hadoop.security.authentication` of the configuration.

    Raises
    ------
    NotSupported
        The cluster requires Kerberos or tokens.
    OSError, RemoteError
        The socket's or the NameNode's error; retrying is the caller's part (`io.filesystem.retry`).
    """

    def __init__(self, addresses: Sequence[str], user: str, security: str = "simple") -> None:
        self.addresses, self.user, self.security = tuple(addresses), user, security
        self.calls = 0
        """Answered calls, for tests and measurements."""
        self._connection: RpcConnection | None = None
        self._active = 0

    def __enter__(self) -> NameNodeRpc:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def listing(self, path: str) -> Iterator[FileInfo]:
        """Yield the entries of a folder with their blocks, or the one entry of a file. Raises `FileNotFoundError`."""
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

    def call(self, method: str, request: bytes) -> ProtobufMessage:
        """Call the active NameNode. Raises the last error when none of them answers as the active one."""
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
            self._active = (self._active + 1) % len(self.addresses)
        assert failure is not None  # there is at least one address
        raise failure

    def _call_active(self, method: str, request: bytes) -> ProtobufMessage:
        address = self.addresses[self._active]
        try:
            if self._connection is None:
                self._connection = RpcConnection(
                    address,
                    _PROTOCOL,
                    authentication_for(self.security, self.user),
                    connect_seconds=CONNECT_SECONDS,
                    answer_seconds=ANSWER_SECONDS,
                )
            answer = self._connection.call(method, request)
        except RemoteError as error:
            self.close()
            if error.java_class == "java.io.FileNotFoundException":
                raise FileNotFoundError(error.message) from error
            if "SIMPLE authentication is not enabled" in error.message:
                raise NotSupported(f"NameNode {address}: {error.message}") from error
            raise
        except OSError:
            self.close()
            raise
        except ValueError as error:
            self.close()
            raise StorageError(f"NameNode {address}: not an HDFS answer: {error}") from error
        self.calls += 1
        return answer


def _file_info(status: ProtobufMessage, path: str) -> FileInfo:
    is_dir = status.number(1) == _IS_DIR
    blocks = () if is_dir else tuple(_block(block) for block in status.message(12).messages(2))
    return FileInfo(path, 0 if is_dir else status.number(3), status.number(7) * 1_000_000, is_dir, blocks)


def _block(located: ProtobufMessage) -> Block:
    nodes = located.messages(3)
    return Block(
        located.number(2),
        located.message(1).number(4),
        tuple(node.message(1).text(2).lower() for node in nodes),
        tuple(node.text(8) for node in nodes),
    )
