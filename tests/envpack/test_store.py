"""The store: one archive per content, whole or absent, whoever publishes at the same time or dies half-way."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from howdah.envpack import EnvStore, Published, StoredEnvironment, check_compatible
from howdah.errors import EnvironmentMismatch, InputError, PathMissing, StorageError

if TYPE_CHECKING:
    from conftest import Venv


class StrictFiles(LocalFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Local files with HDFS's ways: a rename never overwrites."""

    cachable = False

    def mv(self, path1: str, path2: str, **options: Any) -> None:
        try:
            os.link(path1, path2)
        except FileExistsError:
            raise RuntimeError(f"rename destination {path2} already exists") from None
        os.unlink(path1)


@pytest.fixture
def store(tmp_path: Path) -> EnvStore:
    return EnvStore(StrictFiles(), str(tmp_path / "user" / "me" / ".howdah" / "envs"), url="hdfs://namenode:8020")


@pytest.fixture(scope="module")
def published(with_howdah: Venv, tmp_path_factory: pytest.TempPathFactory) -> tuple[EnvStore, Published]:
    store = EnvStore(StrictFiles(), str(tmp_path_factory.mktemp("store") / "envs"))
    return store, store.publish(str(with_howdah.path), name="etl")


@pytest.fixture
def filled(published: tuple[EnvStore, Published], store: EnvStore) -> EnvStore:
    """A store of this test with `etl` in it: linked files of the module's one."""
    subprocess.run(["mkdir", "-p", os.path.dirname(store.root)], check=True)
    subprocess.run(["cp", "-a", published[0].root, store.root], check=True)
    return store


def leftovers(store: EnvStore) -> list[str]:
    return [name for name in os.listdir(store.root) if name.endswith(".tmp")]


def test_first_publish_uploads_and_the_second_does_not(with_howdah: Venv, store: EnvStore) -> None:
    phases: list[str] = []
    first = store.publish(str(with_howdah.path), name="etl", progress=lambda phase, done, total: phases.append(phase))
    order = [phase for phase in dict.fromkeys(phases) if phase != "compiling"]  # which may all be in the cache
    assert order == ["hashing", "packing", "checking", "uploading"]
    assert first.uploaded
    assert set(first.seconds) == {"hashing", "compiling", "packing", "checking", "uploading"}
    assert first.path == f"{store.root}/{first.hash}.tar.gz"
    assert first.url == f"hdfs://namenode:8020{first.path}"
    assert os.path.getsize(first.path) == first.size
    assert os.stat(store.root).st_mode & 0o777 == 0o700, "an archive holds the user's own code"
    assert leftovers(store) == []

    before = Path(first.path).stat().st_mtime_ns
    began = time.perf_counter()
    second = store.publish(str(with_howdah.path), name="etl")
    assert time.perf_counter() - began < 2.0
    assert not second.uploaded
    assert (second.hash, second.path, second.size) == (first.hash, first.path, first.size)
    assert set(second.seconds) == {"hashing"}
    assert Path(first.path).stat().st_mtime_ns == before, "YARN takes a changed time for another archive"


def test_what_the_store_knows(published: tuple[EnvStore, Published], with_howdah: Venv) -> None:
    store, first = published
    (entry,) = store.list()
    environment = with_howdah.describe()
    assert entry == store.inspect("etl") == store.resolve(first.hash) == store.resolve(first.hash[:7])
    assert (entry.hash, entry.name, entry.names, entry.path, entry.size) == (
        first.hash,
        "etl",
        ("etl",),
        first.path,
        first.size,
    )
    assert (entry.python, entry.kind, entry.howdah) == (environment.python, "venv", environment.version_of("howdah"))
    assert entry.packages == environment.packages
    assert "pip" in [p.name for p in entry.left_out]
    assert abs(entry.created - time.time()) < 600
    assert (entry.unpacked or 0) > entry.size
    assert json.loads(json.dumps(entry.to_json()))["packages"][0]["name"] == environment.packages[0].name


def test_an_environment_without_howdah_is_refused_before_packing(venv: Venv, store: EnvStore) -> None:
    with pytest.raises(EnvironmentMismatch, match=r"no howdah in it.*pip install howdah"):
        store.publish(str(venv.path))
    assert not os.path.exists(store.root)


@pytest.mark.slow  # packs anew
def test_a_broken_environment_is_not_uploaded(with_howdah: Venv, tmp_path: Path, store: EnvStore) -> None:
    own = with_howdah.copy(tmp_path / "env")
    next(own.site.glob("msgspec/_core*.so")).unlink()
    with pytest.raises(EnvironmentMismatch, match="cannot import 'msgspec'"):
        store.publish(str(own.path), name="etl")
    assert store.list() == []
    assert not os.path.exists(store.root)


# -- names


def test_names_move_and_are_shared(filled: EnvStore, with_howdah: Venv, tmp_path: Path) -> None:
    old = filled.resolve("etl").hash
    assert not filled.publish(str(with_howdah.path), name="nightly").uploaded
    assert filled.resolve("nightly").names == ("etl", "nightly")
    own = with_howdah.copy(tmp_path / "env")
    (own.site / "more.py").write_text("x = 1\n")
    new = filled.publish(str(own.path), name="etl")
    assert new.uploaded
    assert filled.resolve("etl").hash == new.hash
    assert filled.resolve("nightly").hash == old
    assert [e.hash for e in filled.list()] == [new.hash, old], "newest first"
    assert len(os.listdir(f"{filled.root}/names")) == 2, "old pointers are tidied away"


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "x" * 65, "a@b"])
def test_names_that_cannot_be(filled: EnvStore, with_howdah: Venv, name: str) -> None:
    with pytest.raises(InputError, match="name: got"):
        filled.publish(str(with_howdah.path), name=name)


def test_a_name_always_has_a_hash_while_it_moves(filled: EnvStore) -> None:
    """Two writers point `etl` here and there, a reader never finds it missing."""
    from howdah.envpack import names

    hash_ = filled.resolve("etl").hash
    known = {hash_, "0" * 32}
    stop = threading.Event()

    def write(value: str) -> None:
        for _ in range(60):
            names.point(filled.fs, filled.root, "etl", value)
        stop.set()

    def read() -> int:
        n = 0
        while not stop.is_set() or n < 20:
            found = names.pointers(filled.fs, filled.root)
            assert found["etl"][-1][1] in known
            n += 1
        return n

    with ThreadPoolExecutor(3) as pool:
        reader = pool.submit(read)
        writers = [pool.submit(write, value) for value in sorted(known)]
        for future in [*writers, reader]:
            future.result(timeout=60)


def test_unknown_names_are_answered_with_near_ones(filled: EnvStore, store: EnvStore) -> None:
    with pytest.raises(PathMissing, match=r"no environment 'elt' in hdfs://namenode:8020.*did you mean 'etl'"):
        filled.resolve("elt")
    hash_ = filled.resolve("etl").hash
    with pytest.raises(PathMissing):
        filled.resolve(hash_[:3])


def test_an_empty_store_says_how_to_fill_it(store: EnvStore) -> None:
    assert store.list() == []
    with pytest.raises(PathMissing, match="there is none yet: howdah env pack --name NAME"):
        store.remove("etl")


def test_two_hashes_that_begin_alike(filled: EnvStore) -> None:
    entry = filled.resolve("etl")
    twin = entry.hash[:6] + "f" * 26
    for end in (".json", ".tar.gz"):
        Path(f"{filled.root}/{twin}{end}").write_bytes(Path(f"{filled.root}/{entry.hash}{end}").read_bytes())
    with pytest.raises(InputError, match="more than one hash begins so"):
        filled.resolve(entry.hash[:6])
    assert filled.resolve(entry.hash[:8]).hash == entry.hash


# -- removal


def test_removing_the_only_name_removes_the_archive(filled: EnvStore) -> None:
    gone = filled.remove("etl")
    assert gone.names == ("etl",)
    assert gone.size > 0
    assert filled.list() == []
    assert [p.name for p in Path(filled.root).rglob("*") if p.is_file()] == []


def test_removing_one_of_two_names_keeps_the_archive(filled: EnvStore, with_howdah: Venv) -> None:
    filled.publish(str(with_howdah.path), name="nightly")
    assert filled.remove("etl").size == 0
    assert filled.resolve("nightly").names == ("nightly",)


def test_removing_by_hash_removes_all_names(filled: EnvStore, with_howdah: Venv) -> None:
    filled.publish(str(with_howdah.path), name="nightly")
    gone = filled.remove(filled.resolve("etl").hash[:8])
    assert gone.names == ("etl", "nightly")
    with pytest.raises(PathMissing):
        filled.resolve("nightly")


# -- races and accidents


class Meeting(StrictFiles):
    """Lets the uploads of two publishers end at the same time."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.barrier = threading.Barrier(2)

    def mv(self, path1: str, path2: str, **options: Any) -> None:
        if path2.endswith(".tar.gz"):
            self.barrier.wait(60)
        super().mv(path1, path2, **options)


@pytest.mark.slow  # packs anew
def test_two_publishers_of_one_environment(with_howdah: Venv, tmp_path: Path) -> None:
    files = Meeting()
    stores = [EnvStore(files, str(tmp_path / "envs")) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        done = list(
            pool.map(lambda item: item[1].publish(str(with_howdah.path), name=f"n{item[0]}"), enumerate(stores))
        )
    assert sorted(p.uploaded for p in done) == [False, True]
    assert done[0].hash == done[1].hash
    (entry,) = stores[0].list()
    assert entry.names == ("n0", "n1")
    assert os.path.getsize(entry.path) == entry.size
    subprocess.run(["gzip", "-t", entry.path], check=True)
    assert leftovers(stores[0]) == []


def test_an_archive_whose_publisher_died_before_its_metadata_is_used(filled: EnvStore, with_howdah: Venv) -> None:
    entry = filled.resolve("etl")
    os.remove(f"{filled.root}/{entry.hash}.json")
    assert filled.list() == []
    again = filled.publish(str(with_howdah.path), name="etl")
    assert not again.uploaded
    assert filled.resolve("etl").packages == entry.packages


@pytest.mark.slow  # packs anew
def test_a_truncated_archive_is_replaced(filled: EnvStore, with_howdah: Venv) -> None:
    entry = filled.resolve("etl")
    os.truncate(entry.path, entry.size // 2)
    with pytest.raises(PathMissing, match=r"points to .*pack it again"):
        filled.resolve("etl")
    assert filled.publish(str(with_howdah.path)).uploaded
    assert filled.resolve("etl").size == os.path.getsize(entry.path)


class Full(StrictFiles):
    """Breaks off after the first chunk."""

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        file = super().open(path, mode, **options)
        if "w" in mode and path.endswith(".tmp"):

            def refuse(data: bytes) -> int:
                raise RuntimeError("Failed to add block: no DataNode has room")

            file.write = refuse
        return file


@pytest.mark.slow  # packs anew
def test_a_failed_upload_leaves_nothing_and_says_where(with_howdah: Venv, tmp_path: Path) -> None:
    store = EnvStore(Full(), str(tmp_path / "envs"), url="hdfs://nn:8020")
    with pytest.raises(
        StorageError, match=r"cannot upload to the environment store hdfs://nn:8020.*no DataNode has room"
    ):
        store.publish(str(with_howdah.path), name="etl")
    assert [p for p in (tmp_path / "envs").rglob("*") if p.is_file()] == []


def test_old_half_uploads_are_swept_and_a_shared_folder_keeps_its_modes(with_howdah: Venv, store: EnvStore) -> None:
    os.makedirs(store.root)
    os.chmod(store.root, 0o775)
    for name, age in (("old", 2 * 86400), ("new", 60)):
        half = Path(store.root) / f".{name}.tmp"
        half.touch()
        os.utime(half, (time.time() - age,) * 2)
    store.publish(str(with_howdah.path))
    assert leftovers(store) == [".new.tmp"]
    assert os.stat(store.root).st_mode & 0o777 == 0o775


@pytest.mark.slow  # packs anew
def test_a_source_edited_during_packing_is_packed_again(with_howdah: Venv, tmp_path: Path, store: EnvStore) -> None:
    own = with_howdah.copy(tmp_path / "env")
    (own.site / "loose.py").write_text("x = 1\n")

    def edit(phase: str, done: int, total: int) -> None:
        if phase == "hashing" and done:
            (own.site / "loose.py").write_text("x = 2\n")

    published = store.publish(str(own.path), progress=edit)
    assert published.uploaded
    assert published.hash == own.describe().hash


def test_a_store_that_cannot_be_reached() -> None:
    class Gone(StrictFiles):
        def ls(self, path: str, detail: bool = False, **options: Any) -> Any:
            raise RuntimeError("connection refused")

    with pytest.raises(StorageError, match="cannot list the environment store hdfs://nn:8020/envs: connection refused"):
        EnvStore(Gone(), "/envs", url="hdfs://nn:8020").list()


def test_metadata_that_is_not_ours(filled: EnvStore) -> None:
    Path(f"{filled.root}/{'a' * 32}.json").write_text("{")
    with pytest.raises(StorageError, match=r"a{32}\.json is not what howdah wrote"):
        filled.list()


@pytest.mark.slow  # packs anew
def test_any_fsspec_file_system_will_do(with_howdah: Venv) -> None:
    store = EnvStore(fsspec.filesystem("memory"), "/howdah-test-envs")
    assert store.publish(str(with_howdah.path), name="etl").uploaded
    assert not store.publish(str(with_howdah.path), name="etl").uploaded
    assert store.remove("etl").size > 0


# -- versions


def entry(python: str, howdah: str | None) -> dict[str, Any]:
    made = StoredEnvironment("0" * 32, ("etl",), "/p", "/p", 1, python, 0.0, howdah=howdah)
    return {"python": made.python, "howdah": made.howdah, "what": "environment 'etl'"}


def test_another_python_is_refused_with_both_versions() -> None:
    with pytest.raises(EnvironmentMismatch, match=r"environment 'etl' has Python 3\.12\.4 .* runs on Python 3\.11\.7"):
        check_compatible(**entry("3.12.4", "0.1.0"), python_version="3.11.7", howdah_version="0.1.0")
    check_compatible(**entry("3.11.2", "0.1.0"), python_version="3.11.7", howdah_version="0.1.0")


def test_another_howdah_is_refused_with_both_versions() -> None:
    with pytest.raises(EnvironmentMismatch, match=r"has howdah 0\.2\.0 and this program uses howdah 0\.1\.0"):
        check_compatible(**entry("3.11.2", "0.2.0"), python_version="3.11.7", howdah_version="0.1.0")
    with pytest.raises(EnvironmentMismatch, match="has no howdah"):
        check_compatible(**entry("3.11.2", None), python_version="3.11.7", howdah_version="0.1.0")
