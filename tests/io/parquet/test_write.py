"""Writing a table: whole or not at all, whoever dies in between."""

from __future__ import annotations

import contextlib
import os
import pickle
import pwd
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from howdah.errors import PathExists, SchemaError, StorageError
from howdah.io import PartInfo, WriteJob, begin_write, open_filesystem, plan_parquet


def numbers(*values: int) -> pa.Table:
    return pa.table({"v": pa.array(values, pa.int64())})


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def read(folder: Path) -> list[int]:
    assert (folder / "_SUCCESS").exists()
    return [v for f in plan_parquet(folder).files for v in pq.read_table(f.path)["v"].to_pylist()]


def test_a_table_appears_whole(tmp_path: Path) -> None:
    job = begin_write(tmp_path / "deep" / "out")
    parts = [job.write_part(i, numbers(i, i * 10)) for i in (2, 0, 1)]
    assert names(tmp_path / "deep") == [Path(job.folder).name]
    assert job.scratch_path == f"{tmp_path}/deep/{Path(job.folder).name}"
    result = job.commit(parts)
    assert names(tmp_path / "deep") == ["out"]
    assert names(tmp_path / "deep" / "out") == ["_SUCCESS", *(f"part-0000{i}.parquet" for i in range(3))]
    assert read(tmp_path / "deep" / "out") == [0, 0, 1, 10, 2, 20]
    assert (result.rows, len(result.files)) == (6, 3)
    assert result.nbytes == sum(os.path.getsize(file) for file in result.files)


def test_pandas_metadata_and_settings_of_the_files(tmp_path: Path) -> None:
    frame = pd.DataFrame({"v": pd.Categorical(["a", "b"])}, index=pd.Index([5, 6], name="k"))
    job = begin_write(tmp_path / "out")
    job.commit([job.write_part(0, pa.Table.from_pandas(frame))])
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out"), frame)
    column = pq.read_metadata(tmp_path / "out" / "part-00000.parquet").row_group(0).column(0)
    assert column.compression == "SNAPPY"
    assert column.is_stats_set


def test_row_groups_of_a_million_rows(tmp_path: Path) -> None:
    job = begin_write(tmp_path / "out")
    job.commit([job.write_part(0, pa.table({"v": pa.nulls(2_500_000, pa.int8())}))])
    metadata = pq.read_metadata(tmp_path / "out" / "part-00000.parquet")
    assert [metadata.row_group(i).num_rows for i in range(3)] == [1 << 20, 1 << 20, 2_500_000 - (1 << 21)]


def test_empty_parts_are_left_out_unless_all_are(tmp_path: Path) -> None:
    job = begin_write(tmp_path / "some")
    job.commit([job.write_part(0, numbers()), job.write_part(1, numbers(1)), job.write_part(2, numbers())])
    assert names(tmp_path / "some") == ["_SUCCESS", "part-00001.parquet"]
    job = begin_write(tmp_path / "none")
    assert job.commit([job.write_part(i, numbers()) for i in range(3)]).rows == 0
    assert names(tmp_path / "none") == ["_SUCCESS", "part-00000.parquet"]
    assert plan_parquet(tmp_path / "none").schema.names == ["v"]


def test_of_two_attempts_the_first_wins(tmp_path: Path) -> None:
    job = begin_write(tmp_path / "out")
    first = job.write_part(0, numbers(1), attempt="task 7/1")
    second = job.write_part(0, numbers(1), attempt="task 7/2")
    assert first.won
    assert not second.won
    assert names(Path(job.folder)) == ["part-00000.parquet"]
    job.commit([second])
    assert read(tmp_path / "out") == [1]


def test_many_attempts_at_once_leave_one_file(tmp_path: Path) -> None:
    job = pickle.loads(pickle.dumps(begin_write(tmp_path / "out")))
    done: list[PartInfo] = []
    threads = [threading.Thread(target=lambda: done.append(job.write_part(0, numbers(*range(1000))))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(part.won for part in done) == [False] * 7 + [True]
    assert names(Path(job.folder)) == ["part-00000.parquet"]


def test_a_straggler_cannot_bring_the_job_folder_back(tmp_path: Path) -> None:
    for end in ("commit", "abort"):
        job = begin_write(tmp_path / end)
        part = job.write_part(0, numbers(1))
        if end == "commit":
            job.commit([part])
        else:
            job.abort()
        with pytest.raises(StorageError, match="the job folder is gone"):
            job.write_part(1, numbers(2))
        assert not os.path.exists(job.folder)


def test_leftovers_of_attempts_do_not_become_visible(tmp_path: Path) -> None:
    job = begin_write(tmp_path / "out")
    part = job.write_part(0, numbers(1))
    Path(job.folder, ".attempt-half-written").write_bytes(b"PAR1")
    job.commit([part])
    assert names(tmp_path / "out") == ["_SUCCESS", "part-00000.parquet"]


@pytest.mark.parametrize("what", ["missing index", "missing file", "short file", "no parts"])
def test_an_incomplete_job_is_not_committed(what: str, tmp_path: Path) -> None:
    job = begin_write(tmp_path / "out")
    parts = [job.write_part(i, numbers(i)) for i in range(3)]
    if what == "missing index":
        parts = [parts[0], parts[2]]
    elif what == "missing file":
        os.unlink(Path(job.folder, "part-00001.parquet"))
    elif what == "short file":
        os.truncate(Path(job.folder, "part-00001.parquet"), 10)
    else:
        parts = []
    with pytest.raises(StorageError, match=r"part-00001.parquet: (is not there|has 10 bytes)|part.* was never written"):
        job.commit(parts)
    assert not (tmp_path / "out").exists()
    job.abort()
    assert names(tmp_path) == []


def test_problems_with_the_target_are_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PathExists, match=f"{tmp_path}/there exists already and has not been changed"):
        begin_write(tmp_path / "there")
    with pytest.raises(StorageError, match=f"{tmp_path}/file: it is a file, so the target cannot be in it"):
        begin_write(tmp_path / "file" / "out")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        begin_write(tmp_path / "file" / "more" / "out")
    with pytest.raises(ValueError, match="below the root"):
        begin_write("/")
    assert names(tmp_path) == ["file", "there"]


@contextlib.contextmanager
def as_somebody(folder: Path) -> Iterator[None]:
    """Not root, who may write everywhere; the folder is then that user's."""
    if os.geteuid() != 0:
        yield
        return
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(folder, nobody, -1)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)


def test_no_permission_is_told_before_any_work() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        closed = Path(name) / "closed"
        closed.mkdir(mode=0o500)
        os.chmod(name, 0o755)
        with as_somebody(closed), pytest.raises(StorageError, match=f"{closed}.*no permission"):
            begin_write(closed / "out")
        assert names(closed) == []


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    job = begin_write(tmp_path / "out")
    with pytest.raises(SchemaError, match="'v'"):
        job.write_part(0, pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["v", "v"]))


def test_abort_leaves_nothing_and_may_be_repeated(tmp_path: Path) -> None:
    job = begin_write(tmp_path / "a" / "b" / "out", scratch=f"{tmp_path}/s/t")
    job.write_part(0, numbers(1))
    assert names(tmp_path / "s" / "t") == [Path(job.folder).name]
    job.abort()
    job.abort()
    assert names(tmp_path) == []


def test_scratch_elsewhere_is_used_and_cleaned(tmp_path: Path) -> None:
    job = begin_write(tmp_path / "out", scratch=f"file://{tmp_path}/scratch")
    assert job.folder.startswith(f"{tmp_path}/scratch/out.howdah-")
    job.commit([job.write_part(0, numbers(1))])
    assert names(tmp_path) == ["out"]
    other = begin_write(tmp_path / "out2", scratch="hdfs://127.0.0.1:9/tmp")
    assert Path(other.folder).parent == tmp_path


def old(tmp_path: Path) -> Path:
    job = begin_write(tmp_path / "out")
    job.commit([job.write_part(i, numbers(-1)) for i in range(3)])
    return tmp_path / "out"


def test_overwrite_keeps_the_old_until_the_new_is_complete(tmp_path: Path) -> None:
    out = old(tmp_path)
    job = begin_write(out, overwrite=True)
    part = job.write_part(0, numbers(1, 2))
    assert read(out) == [-1, -1, -1]
    job.commit([part])
    assert read(out) == [1, 2]
    assert names(tmp_path) == ["out"]


def test_overwrite_restores_the_old_when_the_last_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = old(tmp_path)
    job = begin_write(out, overwrite=True)
    part = job.write_part(0, numbers(1))
    rename = type(job.filesystem).rename

    def fail(self: object, source: str, target: str) -> None:
        if source == job.folder:
            raise StorageError("quota")
        rename(self, source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(type(job.filesystem), "rename", fail)
    with pytest.raises(StorageError, match="quota"):
        job.commit([part])
    monkeypatch.undo()
    assert read(out) == [-1, -1, -1]
    job.commit([part])  # and it can be tried again
    assert read(out) == [1]
    assert names(tmp_path) == ["out"]


def test_a_target_that_appeared_meanwhile_is_not_touched(tmp_path: Path) -> None:
    job = begin_write(tmp_path / "out")
    part = job.write_part(0, numbers(1))
    old(tmp_path)
    with pytest.raises(PathExists, match="out: exists already"):
        job.commit([part])
    job.abort()
    assert read(tmp_path / "out") == [-1, -1, -1]
    assert names(tmp_path) == ["out"]


# -- a process killed in the middle ---------------------------------------------------------------------------------

SCRIPT = """
import os, pickle, signal, sys
import pandas, fsspec.implementations.local  # what the children would each import
import pyarrow as pa
from howdah.io import begin_write
from howdah.io.filesystem.filesystem import FileSystem

def counted(name, kill_at):
    act = getattr(FileSystem, name)
    def step(*args, **kwargs):
        global steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(*args, **kwargs)
    setattr(FileSystem, name, step)

def write(folder, kill_at, overwrite):
    global steps
    job = begin_write(folder + "/out", overwrite=overwrite)
    with open(folder + ".job", "wb") as file:
        pickle.dump(job, file)
    steps = 0
    for name in ("create", "rename", "rm", "ls", "exists"):
        counted(name, kill_at)
    job.commit([job.write_part(i, pa.table({"v": pa.array([i], pa.int64())})) for i in range(2)])

root, overwrite, most = sys.argv[1], sys.argv[2] == "True", int(sys.argv[3])
for kill_at in range(1, most):  # each in a process of its own, forked from this one, which has no threads
    child = os.fork()
    if child == 0:
        write(f"{root}/{kill_at}", kill_at, overwrite)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code, flush=True)
    if code == 0:
        break
"""


@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_at_every_step_the_target_is_old_or_new_and_never_half(overwrite: bool, tmp_path: Path) -> None:
    most = 30
    for kill_at in range(1, most):
        (tmp_path / str(kill_at)).mkdir()
        if overwrite:
            old(tmp_path / str(kill_at))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(overwrite), str(most)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=True)
    codes = [int(line) for line in done.stdout.split()]
    ended = len(codes)
    assert codes == [-signal.SIGKILL] * (ended - 1) + [0]
    assert ended > 8
    seen = set()
    for kill_at in range(1, ended + 1):
        folder, out = tmp_path / str(kill_at), tmp_path / str(kill_at) / "out"
        left = read(out) if out.exists() else None
        assert left in ([-1, -1, -1], [0, 1], None)
        seen.add(str(left))
        job: WriteJob = pickle.loads((tmp_path / f"{kill_at}.job").read_bytes())
        job.abort()  # as whoever cleans up after a dead application does
        cleaned = read(out) if out.exists() else None
        assert cleaned == ([-1, -1, -1] if overwrite and left is None else left)
        assert names(folder) == (["out"] if out.exists() else [])
    assert seen == ({"[-1, -1, -1]", "None", "[0, 1]"} if overwrite else {"None", "[0, 1]"})


def test_the_next_write_brings_back_what_a_killed_overwrite_put_aside(tmp_path: Path) -> None:
    out = old(tmp_path)
    filesystem, path = open_filesystem(out)
    filesystem.rename(path, f"{tmp_path}/.out.howdah-old-0123456789ab")
    with pytest.raises(PathExists):
        begin_write(out)
    assert read(out) == [-1, -1, -1]
