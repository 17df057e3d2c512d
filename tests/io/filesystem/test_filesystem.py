"""The face over local files: URLs, errors, renames that never overwrite, pickling, forks, patience."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from howdah.errors import HadoopNotFound, InputError, PathExists, PathMissing, StorageError
from howdah.io.filesystem import retry
from howdah.io.filesystem.clients import choose_client
from howdah.io.filesystem.filesystem import FileSystem, open_filesystem
from howdah.io.hadoop.config import HadoopConfig

CONFIG = HadoopConfig({"fs.defaultFS": "hdfs://nn1:9000", "dfs.replication": "2"})


@pytest.mark.parametrize(
    ("url", "root", "path"),
    [
        ("/a/b", "file://", "/a/b"),
        ("file:///a/b%20c", "file://", "/a/b c"),
        ("file:/a", "file://", "/a"),
        ("file://localhost/a", "file://", "/a"),
        ("hdfs:///a/b/", "hdfs://nn1:9000", "/a/b"),
        ("hdfs://", "hdfs://nn1:9000", "/"),
        ("hdfs://ns/a", "hdfs://ns", "/a"),
        ("viewfs://table/a", "viewfs://table", "/a"),
    ],
)
def test_urls(url: str, root: str, path: str) -> None:
    filesystem, found = open_filesystem(url, config=CONFIG)
    assert (filesystem.root_url, found) == (root, path)


def test_relative_and_home_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/her")
    assert open_filesystem("data")[1] == str(tmp_path / "data")
    assert open_filesystem("~/data")[1] == "/home/her/data"


@pytest.mark.parametrize("url", ["s3://bucket/x", "file://data/x", "ftp://h/x"])
def test_urls_that_cannot_be(url: str) -> None:
    with pytest.raises(InputError, match="url"):
        open_filesystem(url)


def test_default_file_system_must_be_hdfs() -> None:
    with pytest.raises(InputError, match=r"fs.defaultFS.*hdfs:///x needs an hdfs:// address"):
        open_filesystem("hdfs:///x", config=HadoopConfig({"fs.defaultFS": "file:///"}))


def test_hadoop_is_needed_only_for_hdfs_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    monkeypatch.delenv("HADOOP_HOME", raising=False)
    assert open_filesystem("hdfs://nn1:8020/x")[0].root_url == "hdfs://nn1:8020"
    for url in ("hdfs:///x", "hdfs://ns1/x"):
        with pytest.raises(HadoopNotFound, match="HADOOP_CONF_DIR is not set"):
            open_filesystem(url)


def test_the_client_is_chosen_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_client({}) == "hdfs-native"
    monkeypatch.setenv("HOWDAH_HDFS_CLIENT", "webhdfs")
    assert open_filesystem("hdfs:///x", config=CONFIG)[0].client_name == "webhdfs"
    with pytest.raises(InputError, match="HOWDAH_HDFS_CLIENT"):
        choose_client({"HOWDAH_HDFS_CLIENT": "snakebite"})


def test_pickles_small_and_shares_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    filesystem, _ = open_filesystem("hdfs:///x", config=CONFIG)
    data = pickle.dumps(filesystem)
    assert len(data) < 600
    assert pickle.loads(data) is pickle.loads(data) is filesystem
    assert open_filesystem("hdfs:///y", config=CONFIG)[0] is filesystem
    other = HadoopConfig({**CONFIG.values, "dfs.replication": "3"})
    assert open_filesystem("hdfs:///x", config=other)[0] != filesystem


def _use_in_a_child(filesystem: FileSystem, parents: Any, out: Any) -> None:
    client = filesystem.client
    out.put((os.getpid(), client is not parents, client is filesystem.client, client.info("/").is_dir))


def test_a_forked_child_opens_its_own_client() -> None:
    filesystem, _ = open_filesystem("/")
    first = filesystem.client
    context = multiprocessing.get_context("fork")
    out = context.Queue()
    child = context.Process(target=_use_in_a_child, args=(filesystem, first, out))
    child.start()
    pid, another, kept, is_dir = out.get(timeout=30)
    child.join(30)
    assert pid == child.pid
    assert another
    assert kept
    assert is_dir
    assert filesystem.client is first


def test_looking(tmp_path: Path) -> None:
    filesystem, root = open_filesystem(tmp_path)
    (tmp_path / "b").write_bytes(b"22")
    (tmp_path / "a").mkdir()
    assert [(e.name, e.size, e.is_dir) for e in filesystem.ls(root)] == [("a", 0, True), ("b", 2, False)]
    assert [e.path for e in filesystem.ls(f"{root}/b")] == [f"{root}/b"]
    assert filesystem.exists(root)
    assert not filesystem.exists(f"{root}/c")
    assert filesystem.isdir(f"{root}/a")
    assert not filesystem.isdir(f"{root}/b")
    with pytest.raises(PathMissing, match=f"{root}/c: no such file or folder"):
        filesystem.info(f"{root}/c")
    with pytest.raises(PathMissing):
        filesystem.ls(f"{root}/c")
    with pytest.raises(StorageError, match="it is a folder"):
        filesystem.open(f"{root}/a")


def test_glob(tmp_path: Path) -> None:
    for name in ("2024/a.x", "2024/b.y", "2025/a.x", "_tmp/a.x", "2025/.a.x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    filesystem, root = open_filesystem(tmp_path)
    names = [os.path.relpath(e.path, root) for e in filesystem.glob(f"{root}/20*/*.x")]
    assert names == ["2024/a.x", "2025/a.x"]
    assert [e.name for e in filesystem.glob(f"{root}/2024/[b-z].?")] == ["b.y"]
    assert filesystem.glob(f"{root}/1*/x") == filesystem.glob(f"{root}/2024/b.y/*") == []


def test_rename_never_overwrites(tmp_path: Path) -> None:
    filesystem, root = open_filesystem(tmp_path)
    for name in ("a", "b"):
        filesystem.create(f"{root}/{name}", name.encode())
    filesystem.mkdir(f"{root}/empty")
    filesystem.mkdir(f"{root}/full")
    for source, target in (("a", "b"), ("a", "empty"), ("full", "empty")):
        with pytest.raises(PathExists, match=f"{root}/{target}: exists already"):
            filesystem.rename(f"{root}/{source}", f"{root}/{target}")
    assert (tmp_path / "b").read_bytes() == b"b"
    filesystem.rename(f"{root}/a", f"{root}/empty/a")
    filesystem.rename(f"{root}/empty", f"{root}/moved")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b", "full", "moved"]
    with pytest.raises(PathMissing, match=f"{root}/gone"):
        filesystem.rename(f"{root}/gone", f"{root}/x")


def test_create_and_delete(tmp_path: Path) -> None:
    filesystem, root = open_filesystem(tmp_path)
    filesystem.create(f"{root}/a", b"1")
    with pytest.raises(PathExists):
        filesystem.create(f"{root}/a", b"2")
    with pytest.raises(PathMissing):
        filesystem.create(f"{root}/no/a", b"2")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        filesystem.mkdirs(f"{root}/a/b")
    filesystem.mkdirs(f"{root}/x/y")
    with pytest.raises(StorageError, match=f"{root}/x: cannot delete"):
        filesystem.rm(f"{root}/x")
    filesystem.rm(f"{root}/x", recursive=True)
    filesystem.rm(f"{root}/x", missing_ok=True)
    with pytest.raises(PathMissing):
        filesystem.rm(f"{root}/x")


def test_ranges_and_a_file_that_changed(tmp_path: Path) -> None:
    filesystem, root = open_filesystem(tmp_path)
    filesystem.create(f"{root}/a", bytes(range(100)))
    assert filesystem.read_range(f"{root}/a", 10, 5, 100) == bytes(range(10, 15))
    with pytest.raises(StorageError, match=r"has 100 bytes now and had 99.*rewritten"):
        filesystem.read_range(f"{root}/a", 10, 5, 99)


# -- retries


def test_a_namenode_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_CONTACT_SECONDS", 0.3)
    filesystem, path = open_filesystem("hdfs://127.0.0.1:9/data/x", config=HadoopConfig())
    with pytest.raises(
        StorageError, match=r"hdfs://127.0.0.1:9/data/x: cannot look at: .*refused.*NameNode 127.0.0.1:9"
    ):
        filesystem.info(path)


def test_a_rename_whose_answer_was_lost_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The NameNode died after the rename and before its answer: the second try finds nothing to rename."""
    filesystem, root = open_filesystem(tmp_path)
    lost = _Stubborn(filesystem.client, ConnectionResetError())
    monkeypatch.setattr(filesystem, "_opened", (os.getpid(), lost))
    monkeypatch.setattr(FileSystem, "is_local", False)
    (tmp_path / "a").touch()
    filesystem.rename(f"{root}/a", f"{root}/b")
    assert (tmp_path / "b").exists()
    assert lost.calls == 2


class _Stubborn:
    """Does what it is told, and loses the first answer."""

    def __init__(self, client: Any, error: Exception) -> None:
        self.client, self.error, self.calls = client, error, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def rename(self, source: str, target: str) -> None:
        self.calls += 1
        self.client.rename(source, target)
        if self.calls == 1:
            raise self.error


def test_libhdfs_that_is_not_there_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOWDAH_HDFS_CLIENT", "pyarrow")
    for name in ("HADOOP_HOME", "ARROW_LIBHDFS_DIR"):
        monkeypatch.setenv(name, "/nonexistent")
    filesystem, path = open_filesystem("hdfs:///x", config=CONFIG)
    with pytest.raises(HadoopNotFound, match=r"libhdfs cannot be used.*Set JAVA_HOME, HADOOP_HOME"):
        filesystem.info(path)
