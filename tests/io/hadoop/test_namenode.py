"""The NameNode client against a NameNode of a few lines: pages, standbys, refusals, garbage."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from howdah.errors import NotSupported, PathMissing, StorageError
from howdah.io.filesystem import retry
from howdah.io.filesystem.block_locations import locate_listing
from howdah.io.filesystem.filesystem import FileSystem
from howdah.io.hadoop.config import HadoopConfig
from howdah.io.hadoop.namenode import NameNodeRpc
from howdah.io.hadoop.protobuf import ProtobufMessage, delimited, encode, read_varint
from howdah.io.hadoop.records import FileInfo
from howdah.io.hadoop.rpc import RemoteError

FILES = [f"part-{i}.parquet" for i in range(5)]
PAGE = 2


def status(name: str) -> bytes:
    node = encode((1, encode((1, "10.0.0.1"), (2, "Node1.Test"), (3, "uuid"), (4, 9866))), (8, "/rack1"))
    block = encode((1, encode((1, "pool"), (2, 7), (4, 100))), (2, 0), (3, node))
    located = encode((1, 100), (2, block))
    return encode((1, 2), (2, name.encode()), (3, 100), (7, 1_700_000_000_000), (12, located))


class FakeNameNode(socketserver.StreamRequestHandler):
    """Answers getListing of /t by pages of two; what else it does is in the server's `mode`."""

    def handle(self) -> None:
        assert self.rfile.read(7) == b"hrpc\x09\x00\x00"
        while size := self.rfile.read(4):
            data = memoryview(self.rfile.read(struct.unpack(">I", size)[0]))
            parts, position = [], 0
            while position < len(data):
                length, position = read_varint(data, position)
                parts.append(ProtobufMessage(data[position : position + length]))
                position += length
            if len(parts) == 3:
                self.answer(parts[0].number(3) >> 1, parts[2])

    def answer(self, call: int, request: ProtobufMessage) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.asked.append(request.raw(2).decode())
        if server.mode == "hang up":
            self.request.shutdown(socket.SHUT_RDWR)
        elif server.mode == "garbage":
            self.wfile.write(struct.pack(">I", 4) + b"\xff" * 4)
        elif server.mode == "page":
            names = [name for name in FILES if name > server.asked[-1]]
            page = encode(*((1, status(name)) for name in names[:PAGE]), (2, len(names[PAGE:])))
            found = request.text(1) == "/t"
            self.send(encode((1, call), (2, 0)), encode((1, page)) if found else b"")
        else:
            self.send(encode((1, call), (2, 1), (4, server.mode), (5, "refused\n\tat org.x")), None)

    def send(self, header: bytes, body: bytes | None) -> None:
        data = delimited(header) + (delimited(body) if body is not None else b"")
        self.wfile.write(struct.pack(">I", len(data)) + data)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, mode: str) -> None:
        super().__init__(("127.0.0.1", 0), FakeNameNode)
        self.mode = mode
        self.asked: list[str] = []
        self.address = f"127.0.0.1:{self.server_address[1]}"


@contextmanager
def namenode(mode: str = "page") -> Iterator[Server]:
    with Server(mode) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


STANDBY = "org.apache.hadoop.ipc.StandbyException"


def test_a_listing_comes_page_by_page_with_blocks() -> None:
    with namenode() as server, NameNodeRpc([server.address], "her") as rpc:
        found = list(rpc.listing("/t"))
        assert [entry.name for entry in found] == FILES
        assert server.asked == ["", FILES[1], FILES[3]]
        assert rpc.calls == 3
    entry = found[0]
    assert (entry.path, entry.size, entry.mtime) == ("/t/part-0.parquet", 100, 1_700_000_000_000_000_000)
    assert entry.blocks is not None
    assert (entry.blocks[0].length, entry.blocks[0].hosts, entry.blocks[0].racks) == (100, ("node1.test",), ("/rack1",))


def test_a_path_that_is_not_there() -> None:
    with namenode() as server, NameNodeRpc([server.address], "her") as rpc, pytest.raises(FileNotFoundError):
        list(rpc.listing("/nope"))


def test_standby_and_dead_namenodes_are_passed_over() -> None:
    with namenode(STANDBY) as standby, namenode() as active, socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))  # nobody listens
        addresses = [standby.address, f"127.0.0.1:{dead.getsockname()[1]}", active.address]
        with NameNodeRpc(addresses, "her") as rpc:
            assert len(list(rpc.listing("/t"))) == 5
        assert len(standby.asked) == 1


def test_standbys_only_is_a_transient_error() -> None:
    with namenode(STANDBY) as one, namenode(STANDBY) as two, NameNodeRpc([one.address, two.address], "her") as rpc:
        with pytest.raises(RemoteError, match="StandbyException") as caught:
            list(rpc.listing("/t"))
        assert retry.is_transient(caught.value)
        assert retry.short_message(caught.value) == "StandbyException: refused"


def test_a_broken_connection_is_a_transient_error() -> None:
    with namenode("hang up") as server, NameNodeRpc([server.address], "her") as rpc:
        with pytest.raises(ConnectionError) as caught:
            list(rpc.listing("/t"))
        assert retry.is_transient(caught.value)
        server.mode = "page"
        assert len(list(rpc.listing("/t"))) == 5


def test_garbage_is_named_in_the_error() -> None:
    with namenode("garbage") as server, NameNodeRpc([server.address], "her") as rpc:
        with pytest.raises(StorageError, match=f"NameNode {server.address}: not an HDFS answer"):
            list(rpc.listing("/t"))


def test_other_refusals_are_raised_at_once() -> None:
    with namenode("org.apache.hadoop.security.AccessControlException") as server:
        filesystem = FileSystem("hdfs", server.address, HadoopConfig(), "hdfs-native")
        with pytest.raises(StorageError, match=r"hdfs://.*/t: no permission to list: AccessControlException: refused"):
            filesystem.ls("/t", locate=True)


def test_a_secure_cluster_goes_on_without_locality() -> None:
    """NameNode RPC requires Kerberos, which is not there yet, and WebHDFS is not reached: no locations, no failure."""
    web = {"dfs.namenode.http-address": "127.0.0.1:9"}
    config = HadoopConfig({"hadoop.security.authentication": "kerberos", **web})
    with pytest.raises(NotSupported, match=r"hadoop.security.authentication=kerberos is not there yet"):
        list(NameNodeRpc(["127.0.0.1:9"], "her", "kerberos").listing("/t"))
    filesystem = FileSystem("hdfs", "127.0.0.1:9", config, "hdfs-native")
    filesystem.ls = lambda path, **_: [filesystem_entry(path)]  # type: ignore[method-assign]
    assert locate_listing(filesystem, "/t/f") is None


def filesystem_entry(path: str) -> FileInfo:
    return FileInfo(path, 10, 0, False)


def test_a_missing_path_through_the_file_system() -> None:
    with namenode() as server:
        filesystem = FileSystem("hdfs", server.address, HadoopConfig(), "hdfs-native")
        assert len(filesystem.ls("/t", locate=True)) == 5
        with pytest.raises(PathMissing, match=r"/nope: no such file or folder"):
            filesystem.ls("/nope", locate=True)
