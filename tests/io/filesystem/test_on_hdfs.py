"""io on a real HDFS: two DataNodes, 127.0.0.2 and 127.0.0.3, replication 1."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from howdah.errors import CorruptFile, PathExists, PathMissing, StorageError
from howdah.io import begin_write, open_filesystem, plan_parquet, scan_split
from howdah.io.filesystem.block_locations import NameNodeLocations, WebHdfsLocations, preferred_hosts
from howdah.io.filesystem.clients import hdfs_user
from howdah.io.filesystem.filesystem import FileSystem
from howdah.io.hadoop.config import HadoopConfig, load_hadoop_config
from howdah.io.hadoop.protobuf import ProtobufMessage, read_varint
from howdah.io.hadoop.rest import RestClient
from howdah.io.parquet.footer import footer_cache

pytestmark = pytest.mark.hadoop

HOSTS = {"127.0.0.2", "127.0.0.3"}
FILES = 16


@pytest.fixture
def folder(hadoop: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    filesystem, _ = open_filesystem("hdfs:///")
    path = f"/io-tests/{request.node.name.partition('[')[0]}-{os.getpid()}"
    filesystem.mkdirs(path)
    yield path
    filesystem.rm(path, recursive=True, missing_ok=True)


@pytest.fixture
def filesystem(hadoop: Any) -> FileSystem:
    return open_filesystem("hdfs:///")[0]


def parquet(filesystem: FileSystem, folder: str, files: int = FILES, rows: int = 2000) -> pa.Table:
    def write(number: int) -> pa.Table:
        table = pa.table({"id": np.arange(rows) + number * rows, "noise": np.random.default_rng(number).random(rows)})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=rows // 4)
        filesystem.create(f"{folder}/part-{number:02}.parquet", memoryview(sink.getvalue()))
        return table

    with ThreadPoolExecutor(8) as pool:
        return pa.concat_tables(pool.map(write, range(files)))


class CountingProxy(socketserver.BaseRequestHandler):
    """Between us and the NameNode: passes everything on, and counts the calls by name."""

    def handle(self) -> None:
        server = self.server
        assert isinstance(server, ProxyServer)
        with socket.create_connection(server.namenode) as namenode, self.request.makefile("rb") as calls:
            back = threading.Thread(target=self.copy, args=(namenode, self.request))
            back.start()
            namenode.sendall(calls.read(7))
            while size := calls.read(4):
                data = calls.read(struct.unpack(">I", size)[0])
                length, position = read_varint(memoryview(data), 0)
                if (
                    ProtobufMessage(memoryview(data)[position : position + length]).number(3) % 2 == 0
                ):  # zigzag: not negative
                    start = position + length
                    length, position = read_varint(memoryview(data), start)
                    server.calls[ProtobufMessage(memoryview(data)[position : position + length]).text(1)] += 1
                namenode.sendall(size + data)  # after it was counted: the answer may be read at once
            namenode.shutdown(socket.SHUT_WR)
            back.join()

    @staticmethod
    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # either end may go first
            while data := source.recv(1 << 16):
                target.sendall(data)


class ProxyServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, namenode: str) -> None:
        super().__init__(("127.0.0.1", 0), CountingProxy)
        host, _, port = namenode.rpartition(":")
        self.namenode = (host, int(port))
        self.calls: Counter[str] = Counter()


@pytest.fixture
def proxy(filesystem: FileSystem) -> Iterator[ProxyServer]:
    with ProxyServer(filesystem.authority) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_block_locations_are_those_of_webhdfs_and_fsck(hadoop: Any, filesystem: FileSystem, folder: str) -> None:
    data = os.urandom(3_500_000)
    for name in ("a", "b"):
        filesystem.create(f"{folder}/{name}", data, block_size=1 << 20)
    filesystem.create(f"{folder}/empty", b"")
    ours = NameNodeLocations(filesystem).listing(folder)
    web = WebHdfsLocations(filesystem).listing(folder)
    assert [(f.path, f.size, f.blocks) for f in sorted(ours, key=lambda f: f.path)] == [
        (f.path, f.size, f.blocks) for f in sorted(web, key=lambda f: f.path)
    ]
    fsck = subprocess.run(
        ["hdfs", "fsck", folder, "-files", "-blocks", "-locations"],
        env={**os.environ, **hadoop.env()}, capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    port_of = datanode_ports(hadoop)
    for name in ("a", "b"):
        lines = re.search(rf"^{folder}/{name} .*?\n(.*?)\n\n", fsck + "\n\n", flags=re.DOTALL | re.MULTILINE)
        assert lines is not None, fsck
        from_fsck = [(int(length), port_of[int(port)]) for length, port in
                     re.findall(r"len=(\d+) .*?DatanodeInfoWithStorage\[[^:]*:(\d+),", lines[1])]  # fmt: skip
        located = filesystem.locate(f"{folder}/{name}")[f"{folder}/{name}"]
        assert [(block.length, block.hosts[0]) for block in located] == from_fsck
        assert [block.offset for block in located] == [0, 1 << 20, 2 << 20, 3 << 20]
        assert all(set(block.hosts) <= HOSTS and len(block.racks) == 1 for block in located)
    assert filesystem.locate(folder)[f"{folder}/empty"] == []


def datanode_ports(hadoop: Any) -> dict[int, str]:
    """Data transfer port -> host name, from the NameNode's own table."""
    with urllib.request.urlopen(f"{hadoop.namenode_url}/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo") as answer:
        live = json.loads(json.load(answer)["beans"][0]["LiveNodes"])
    return {int(node["xferaddr"].rpartition(":")[2]): name.partition(":")[0] for name, node in live.items()}


def test_one_call_for_a_folder_of_files(hadoop: Any, filesystem: FileSystem, folder: str, proxy: ProxyServer) -> None:
    parquet(filesystem, folder)
    url = f"hdfs://127.0.0.1:{proxy.server_address[1]}{folder}"
    counted, _ = open_filesystem(url)
    found = counted.locate(folder)
    assert len(found) == FILES
    assert proxy.calls == {"getListing": 1}
    few = [f"{folder}/part-{i:02}.parquet" for i in (3, 4)]
    assert {path: found[path] for path in few} == counted.locate(few)
    proxy.calls.clear()
    footer_cache.clear()
    assert len(plan_parquet(url).files) == FILES
    assert proxy.calls.pop("getListing") == 1
    assert proxy.calls.total() <= 2 * FILES  # opening each file for its footer


def test_planning_sixteen_files_is_quick(hadoop: Any, filesystem: FileSystem, folder: str) -> None:
    parquet(filesystem, folder)
    times = []
    for _ in range(3):
        footer_cache.clear()
        started = time.perf_counter()
        table = plan_parquet(f"hdfs://{folder}")
        times.append(time.perf_counter() - started)
    assert len(table.files) == FILES
    assert min(times) < 0.5


def test_preferred_hosts_are_the_blocks(hadoop: Any, filesystem: FileSystem, folder: str) -> None:
    parquet(filesystem, folder)
    pieces = plan_parquet(f"hdfs://{folder}").splits(["id"])
    assert len(pieces) == FILES
    located = filesystem.locate(folder)
    for piece in pieces:
        assert piece.hosts == located[piece.path][0].hosts
        assert len(pickle.dumps(piece)) < 1000
    assert {host for piece in pieces for host in piece.hosts} == HOSTS


def test_row_groups_in_different_blocks_are_different_pieces(hadoop: Any, filesystem: FileSystem, folder: str) -> None:
    rows, sink = 400_000, pa.BufferOutputStream()
    table = pa.table({"noise": np.random.default_rng(0).random(rows)})
    pq.write_table(table, sink, row_group_size=rows // 8, use_dictionary=False, compression="none")
    path = f"{folder}/wide.parquet"
    filesystem.create(path, memoryview(sink.getvalue()), block_size=1 << 20)
    planned = plan_parquet(f"hdfs://{path}")
    (file,) = planned.files
    for piece in planned.splits(["noise"]):
        groups = [file.row_groups[index] for index in piece.row_groups]
        assert all(preferred_hosts(file.blocks, g.start, g.stop)[:1] and
                   set(preferred_hosts(file.blocks, g.start, g.stop)) == set(piece.hosts) for g in groups)  # fmt: skip
    frames = [scan_split(piece, ["noise"]).collect() for piece in planned.splits(["noise"])]
    assert pl.concat(frames)["noise"].to_list() == table["noise"].to_pylist()


def test_written_and_read_again(hadoop: Any, filesystem: FileSystem, folder: str) -> None:
    job = begin_write(f"hdfs://{folder}/new/out")
    tables = [pa.table({"k": np.arange(1000) + i * 1000, "s": [f"{i}:{j}" for j in range(1000)]}) for i in range(4)]
    parts = [pickle.loads(pickle.dumps(job)).write_part(i, table) for i, table in enumerate(tables)]
    assert not filesystem.exists(f"{folder}/new/out")
    assert not job.write_part(2, tables[2]).won
    result = job.commit(parts)
    assert result.rows == 4000
    assert [e.name for e in filesystem.ls(f"{folder}/new/out")] == [
        "_SUCCESS", *(f"part-0000{i}.parquet" for i in range(4))
    ]  # fmt: skip
    assert [e.name for e in filesystem.ls(f"{folder}/new")] == ["out"]
    planned = plan_parquet(f"hdfs://{folder}/new/out")
    odd = pl.col("k") % 2 == 1
    pieces = planned.splits(["s", "k"])
    frames = [scan_split(piece, ["s", "k"], row_index="#").filter(odd).collect() for piece in pieces]
    whole = pl.concat(frames)
    assert whole["k"].to_list() == whole["#"].to_list() == list(range(1, 4000, 2))
    with pytest.raises(PathExists, match=f"hdfs://.*{folder}/new/out exists already"):
        begin_write(f"hdfs://{folder}/new/out")


def test_overwrite_and_abort(hadoop: Any, filesystem: FileSystem, folder: str) -> None:
    for value in (1, 2):
        job = begin_write(f"hdfs://{folder}/out", overwrite=True, scratch=f"hdfs://{folder}/scratch")
        assert job.folder.startswith(f"{folder}/scratch/out.howdah-")
        job.commit([job.write_part(0, pa.table({"v": [value]}))])
    (piece,) = plan_parquet(f"hdfs://{folder}/out").splits(["v"])
    assert scan_split(piece, ["v"]).collect()["v"].to_list() == [2]
    job = begin_write(f"hdfs://{folder}/other/out")
    job.write_part(0, pa.table({"v": [1]}))
    job.abort()
    with pytest.raises(StorageError, match="the job folder is gone"):
        job.write_part(1, pa.table({"v": [1]}))
    assert [e.name for e in filesystem.ls(folder)] == ["out"]


def test_a_file_that_outgrows_a_block_gets_a_block_of_its_size(
    hadoop: Any, filesystem: FileSystem, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(filesystem.config), "get_bytes", lambda *_: 1 << 20)  # dfs.blocksize
    job = begin_write(f"hdfs://{folder}/out")
    noise = pa.table({"v": np.random.default_rng(0).random(300_000)})
    job.commit([job.write_part(0, noise)])
    (blocks,) = [b for path, b in filesystem.locate(f"{folder}/out").items() if path.endswith(".parquet")]
    assert len(blocks) == 1
    assert blocks[0].length > 2 << 20


def test_problems_are_told_with_the_path(hadoop: Any, filesystem: FileSystem, folder: str) -> None:
    with pytest.raises(PathMissing, match=f"hdfs://.*{folder}/nope: no such file"):
        plan_parquet(f"hdfs://{folder}/nope")
    parquet(filesystem, folder, files=2)
    data = filesystem.open(f"{folder}/part-00.parquet").read()
    filesystem.create(f"{folder}/part-99.parquet", data[: len(data) // 2])
    with pytest.raises(CorruptFile, match=f"{folder}/part-99.parquet: .*truncated at {len(data) // 2} bytes"):
        plan_parquet(f"hdfs://{folder}")
    with pytest.raises(StorageError, match=r"part-00.parquet: it is a file|a part of the path is a file"):
        begin_write(f"hdfs://{folder}/part-00.parquet/out")
    with pytest.raises(PathExists, match=r"part-01.parquet: exists already"):
        filesystem.rename(f"{folder}/part-00.parquet", f"{folder}/part-01.parquet")
    with pytest.raises(PathExists):
        filesystem.rename(f"{folder}/part-00.parquet", folder)
    with pytest.raises(StorageError, match=r"it is a folder"):
        filesystem.open(folder)


def test_no_permission_is_told_before_any_work(
    hadoop: Any, filesystem: FileSystem, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filesystem.mkdirs(f"{folder}/hers")  # 0755, ours
    monkeypatch.setenv("HADOOP_USER_NAME", "somebody")
    theirs = FileSystem(filesystem.scheme, filesystem.authority, filesystem.config, "hdfs-native")
    with pytest.raises(StorageError, match=rf"{folder}/hers/\.out.*: no permission .*user=somebody"):
        begin_write(f"{folder}/hers/out", filesystem=theirs)
    with pytest.raises(StorageError, match=r"no permission"):
        begin_write(f"{folder}/hers/out", filesystem=theirs, scratch="hdfs:///tmp")
    assert filesystem.ls(f"{folder}/hers") == []


def test_another_process_opens_its_own_client(hadoop: Any, filesystem: FileSystem, folder: str) -> None:
    parquet(filesystem, folder, files=1)
    (piece,) = plan_parquet(f"hdfs://{folder}").splits(["id"])
    code = (
        "import pickle, sys; from howdah.io import scan_split\n"
        "print(scan_split(pickle.load(sys.stdin.buffer), ['id']).sum().collect().item())"
    )
    bare = {name: value for name, value in os.environ.items() if not name.startswith("HADOOP")}  # no configuration
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(piece), env=bare, capture_output=True, timeout=60, check=True
    )
    assert int(done.stdout) == sum(range(2000))


def test_a_nameservice_whose_first_namenode_is_dead(hadoop: Any, filesystem: FileSystem, folder: str) -> None:
    parquet(filesystem, folder, files=2)
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))  # nobody listens
        config = HadoopConfig({
            "fs.defaultFS": "hdfs://ns1", "dfs.nameservices": "ns1", "dfs.ha.namenodes.ns1": "a,b",
            "dfs.namenode.rpc-address.ns1.a": f"127.0.0.1:{dead.getsockname()[1]}",
            "dfs.namenode.rpc-address.ns1.b": filesystem.authority,
        })  # fmt: skip
        both, path = open_filesystem(f"hdfs://{folder}", config=config)
        assert both.root_url == "hdfs://ns1"
        pieces = plan_parquet(path, filesystem=both).splits(["id"])
        assert all(set(piece.hosts) <= HOSTS and piece.hosts for piece in pieces)
        read = [scan_split(pickle.loads(pickle.dumps(piece)), ["id"]).collect() for piece in pieces]
        assert pl.concat(read)["id"].to_list() == list(range(4000))


def test_webhdfs_as_the_client(
    hadoop: Any, filesystem: FileSystem, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOWDAH_HDFS_CLIENT", "webhdfs")
    web, path = open_filesystem(f"hdfs://{folder}/out")
    # the DataNodes call themselves 127.0.0.2 and .3, and listen on 127.0.0.1 (yarn_app/mini)
    web.fs.proxy = lambda url: re.sub(r"127\.0\.0\.[23]:", "127.0.0.1:", url)
    job = begin_write(f"hdfs://{folder}/out")
    job.commit([job.write_part(0, pa.table({"v": [1, 2, 3]}))])
    with pytest.raises(PathExists):
        begin_write(f"hdfs://{folder}/out")
    (piece,) = plan_parquet(f"hdfs://{folder}/out").splits(["v"])
    assert piece.filesystem is web
    assert set(piece.hosts) <= HOSTS
    assert scan_split(piece, ["v"]).collect()["v"].to_list() == [1, 2, 3]
    assert [e.name for e in web.ls(path)] == [e.name for e in filesystem.ls(path)]
    with pytest.raises(PathMissing):
        web.info(f"{folder}/nope")


@pytest.mark.slow
def test_a_namenode_restarted_in_the_middle_is_waited_for(hadoop: Any, filesystem: FileSystem, folder: str) -> None:
    table = parquet(filesystem, folder)
    pieces = plan_parquet(f"hdfs://{folder}").splits(["id"])
    job = begin_write(f"hdfs://{folder}/out")
    first = job.write_part(0, table.slice(0, 10))
    filesystem.create(f"{folder}/old name", b"x")
    footer_cache.clear()
    answers: dict[str, Any] = {}

    def ask(name: str, act: Any) -> threading.Thread:
        def run() -> None:
            try:
                answers[name] = act()
            except Exception as error:  # noqa: BLE001  # shown by the assertion below
                answers[name] = error

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    hadoop.kill("namenode")
    try:
        threads = [
            ask("scan", lambda: sum(scan_split(p, ["id"]).sum().collect().item() for p in pieces)),
            ask("list", lambda: len(filesystem.ls(folder))),
            ask("locate", lambda: len(filesystem.locate([p.path for p in pieces]))),
            ask("rename", lambda: filesystem.rename(f"{folder}/old name", f"{folder}/new name")),
            ask("write", lambda: job.write_part(1, table.slice(10, 10)).rows),
        ]
        threads[1].join(0.5)
        assert not answers, answers  # nobody gave up, nobody answered
    finally:
        hadoop.restart("namenode")
    for thread in threads:
        thread.join(90)
    assert answers.pop("list") in (FILES + 2, FILES + 1, FILES + 3)
    assert answers == {
        "scan": sum(range(FILES * 2000)), "locate": FILES, "rename": None, "write": 10,
    }  # fmt: skip
    assert filesystem.exists(f"{folder}/new name")
    job.commit([first, *[type(first)(1, 10, filesystem.info(f"{job.folder}/part-00001.parquet").size)]])
    assert plan_parquet(f"hdfs://{folder}/out").rows == 20


@pytest.mark.slow
def test_a_namenode_that_stays_away_is_named(
    hadoop: Any, filesystem: FileSystem, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert filesystem.exists(folder)
    monkeypatch.setattr("howdah.io.filesystem.retry.RETRY_SECONDS", 1.0)
    hadoop.kill("namenode")
    try:
        with pytest.raises(
            StorageError, match=rf"hdfs://.*{folder}: cannot look at: .*NameNode {filesystem.authority}"
        ):
            filesystem.info(folder)
        with pytest.raises(StorageError, match=rf"NameNode {filesystem.authority}"):
            plan_parquet(f"hdfs://{folder}")
    finally:
        hadoop.restart("namenode")


def test_files_get_as_many_replicas_as_the_configuration_says(hadoop: Any, folder: str) -> None:
    config = load_hadoop_config()
    twice = HadoopConfig({**config.as_dict(), "dfs.replication": "2"})
    for asked, replicas in ((config, 1), (twice, 2)):
        files, path = open_filesystem(f"hdfs://{folder}/times-{replicas}", config=asked)
        files.create(path, b"here")
        query = {"op": "GETFILESTATUS", "user.name": hdfs_user()}
        status = RestClient(seconds=10).get(f"{hadoop.namenode_url}/webhdfs/v1{path}", query).json()
        assert status["FileStatus"]["replication"] == replicas


@pytest.mark.slow
def test_a_datanode_that_has_just_died_is_written_around(hadoop: Any, filesystem: FileSystem, folder: str) -> None:
    """The NameNode offers it for 12 seconds more; the first tries fail, and leave nothing."""
    filesystem.create(f"{folder}/before", b"x" * 1000)
    hadoop.kill("datanode-1")
    try:
        for number in range(6):
            filesystem.create(f"{folder}/{number}", bytes([number]) * 1000)
            filesystem.replace(f"{folder}/note", b"note %d" % number)
        names = [*map(str, range(6)), "note"]
        assert [one.name for one in filesystem.ls(folder)] == [*names[:6], "before", "note"]
        found = [filesystem.open(f"{folder}/{name}").read() for name in names]
        assert found == [*(bytes([number]) * 1000 for number in range(6)), b"note 5"]
    finally:
        hadoop.restart("datanode-1")


def test_local_and_hdfs_give_the_same(hadoop: Any, filesystem: FileSystem, folder: str, tmp_path: Path) -> None:
    from howdah.io.hadoop.records import FileInfo

    parquet(filesystem, folder, files=3)
    for entry in filesystem.ls(folder):
        assert isinstance(entry, FileInfo)
        (tmp_path / entry.name).write_bytes(filesystem.open(entry.path).read())
    filters = [("id", ">=", 2500)]
    both = [plan_parquet(url).splits(["noise", "id"], conditions=filters) for url in (f"hdfs://{folder}", tmp_path)]
    far, near = ([scan_split(p, ["noise", "id"], row_index="#").collect() for p in pieces] for pieces in both)
    assert pl.concat(far).equals(pl.concat(near))
    assert [p.nbytes for p in both[0]] == [p.nbytes for p in both[1]]
