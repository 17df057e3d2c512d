"""Writing of a Parquet table so that it appears whole, or not at all.

Called by the collections: `begin_write` and `commit` in the client, `write_part` in tasks. All parts are written into a
*job folder*, first under a name of their own and then renamed to `part-00000.parquet`, ...: of two attempts at a part
the first wins and the other leaves nothing. `commit` checks that every part is there, puts `_SUCCESS` into the job
folder last, and makes it visible by ONE rename. A job that dies in any of these steps leaves its target as it was; its
hidden job folder is removed by `abort`, or by the clean-up of the application.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from howdah.errors import PathExists, PathMissing, SchemaError, StorageError, bad_value
from howdah.io.filesystem.filesystem import FileSystem, open_filesystem
from howdah.io.hadoop.records import FileInfo

ROW_GROUP_ROWS = 1 << 20
_MIB = 1 << 20
_MOST_BLOCK = 1 << 30
_PART = re.compile(r"part-(\d{5,})\.parquet")


@dataclass(frozen=True, slots=True)
class PartInfo:
    """A part in the job folder. `won` is False when another attempt was faster."""

    index: int
    rows: int
    nbytes: int
    won: bool = True


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What `commit` made visible: the URLs of the files, and the rows and bytes of all of them together."""

    url: str
    files: tuple[str, ...]
    rows: int
    nbytes: int


@dataclass(frozen=True)
class WriteJob:
    """A table that is being written to `target`. Made by `begin_write`; pickles to a few hundred bytes.

    Attributes
    ----------
    target : where the table will be (a plain path; `url` is its URL).
    folder : the job folder; `scratch_path` is its URL.
    """

    filesystem: FileSystem
    target: str
    folder: str
    overwrite: bool = False
    made: tuple[str, ...] = ()
    """Folders above the target or the job folder that did not exist before; removed again by `abort` when empty."""

    @property
    def url(self) -> str:
        """The URL of the target."""
        return self.filesystem.url(self.target)

    @property
    def scratch_path(self) -> str:
        """The URL of the job folder, which the clean-up after a killed application removes."""
        return self.filesystem.url(self.folder)

    # -- on the workers ---------------------------------------------------------------------------------------------

    def write_part(self, index: int, table: pa.Table, attempt: str | None = None) -> PartInfo:
        """Write part number `index`. Two attempts at one part may run at once; the first to finish wins.

        Parameters
        ----------
        index
            From 0; the order of the parts is the order of the table's rows.
        table
            Its schema metadata (pandas' index and dtypes) is kept.
        attempt
            A name for messages and temporary files; a random one if None.

        Raises
        ------
        StorageError
            It cannot be written, or the job has ended meanwhile.
        """
        if index < 0:
            raise bad_value("index", index, "parts are counted from 0")
        data = encode(table)
        own = re.sub(r"[^A-Za-z0-9_-]", "-", attempt)[:80] + "-" if attempt else ""
        temporary = posixpath.join(self.folder, f".attempt-{own}{uuid.uuid4().hex}")
        final = posixpath.join(self.folder, part_name(index))
        try:
            self.filesystem.create(temporary, memoryview(data), block_size=self._block_size(data.size))
        except PathMissing as error:
            raise self._ended(error) from error
        except BaseException:
            self.filesystem.rm(temporary, missing_ok=True)
            raise
        try:
            self.filesystem.rename(temporary, final)
        except PathExists:
            self.filesystem.rm(temporary, missing_ok=True)
            return PartInfo(index, table.num_rows, self.filesystem.info(final).size, won=False)
        except PathMissing as error:
            raise self._ended(error) from error
        return PartInfo(index, table.num_rows, data.size)

    def _ended(self, error: Exception) -> StorageError:
        return StorageError(f"{self.scratch_path}: the job folder is gone: the write to {self.url} has ended already")

    def _block_size(self, nbytes: int) -> int | None:
        """Choose a block size that the file fits, up to 1 GiB, so that it is local as a whole."""
        if self.filesystem.is_local:
            return None
        usual = self.filesystem.config.get_bytes("dfs.blocksize", 128 * _MIB)
        if nbytes <= usual or nbytes > _MOST_BLOCK:
            return None
        return -(-nbytes // _MIB) * _MIB

    # -- on the client ----------------------------------------------------------------------------------------------

    def commit(self, parts: Sequence[PartInfo]) -> WriteResult:
        """Check the parts and make the table visible by one rename. Empty parts are left out, if any has rows.

        Parameters
        ----------
        parts
            One per index from 0 to their number; what `write_part` returned, in any order.

        Raises
        ------
        StorageError
            A part is not there, or is not as it was written. The target is as it was before.
        PathExists
            Another writer has put something at the target meanwhile. It has not been changed.
        """
        known = self._complete(parts)
        there = {entry.name: entry for entry in self._listing()}
        self._check(known, there)
        kept = [part for part in known if part.rows > 0] or known[:1]
        names = {part_name(part.index) for part in kept}
        for name in there.keys() - names:
            self.filesystem.rm(posixpath.join(self.folder, name), recursive=True, missing_ok=True)
        self.filesystem.create(posixpath.join(self.folder, "_SUCCESS"), b"")
        self._publish()
        self._sweep(names)
        self._remove_scratch_parents()
        files = tuple(self.filesystem.url(posixpath.join(self.target, name)) for name in sorted(names))
        return WriteResult(self.url, files, sum(part.rows for part in kept), sum(part.nbytes for part in kept))

    def abort(self) -> None:
        """Remove everything that the job has made, and restore the backup of an unfinished overwrite.

        May be called at any time, more than once, and by another process than the one that began the job.
        """
        self.filesystem.rm(self.folder, recursive=True, missing_ok=True)
        _restore(self.filesystem, self.target, self._backup)
        for path in reversed(self.made):
            _remove_if_empty(self.filesystem, path)

    @property
    def _backup(self) -> str:
        return _backup(self.target, posixpath.basename(self.folder).rpartition("-")[2])

    def _complete(self, parts: Sequence[PartInfo]) -> list[PartInfo]:
        known = {part.index: part for part in parts}
        missing = [index for index in range(len(parts)) if index not in known]
        if missing or not parts:
            what = f"part {missing[0]}" if missing else "a part (an empty one has the schema)"
            raise StorageError(f"{self.url}: cannot commit {len(parts)} parts: {what} was never written")
        return [known[index] for index in range(len(parts))]

    def _listing(self) -> list[FileInfo]:
        try:
            return self.filesystem.ls(self.folder)
        except PathMissing as error:
            raise self._ended(error) from error

    def _check(self, parts: Sequence[PartInfo], there: dict[str, FileInfo]) -> None:
        for part in parts:
            found = there.get(part_name(part.index))
            if found is None or found.size != part.nbytes:
                seen = "is not there" if found is None else f"has {found.size} bytes instead of {part.nbytes}"
                raise StorageError(
                    f"{posixpath.join(self.scratch_path, part_name(part.index))}: {seen}: nothing is visible at "
                    f"{self.url}. Write it again"
                )

    def _publish(self) -> None:
        if self.overwrite:
            with contextlib.suppress(PathMissing):  # then there is nothing to back up
                self.filesystem.rename(self.target, self._backup)
        try:
            self.filesystem.rename(self.folder, self.target)
        except BaseException:
            _restore(self.filesystem, self.target, self._backup)
            raise
        self.filesystem.rm(self._backup, recursive=True, missing_ok=True)

    def _sweep(self, names: set[str]) -> None:
        """Remove the temporary files of attempts that began just before the rename."""
        for entry in self.filesystem.ls(self.target):
            if entry.name not in names and entry.name.startswith(".attempt-"):
                self.filesystem.rm(entry.path, missing_ok=True)

    def _remove_scratch_parents(self) -> None:
        for path in reversed(self.made):
            if not self.target.startswith(path.rstrip("/") + "/"):
                _remove_if_empty(self.filesystem, path)


def part_name(index: int) -> str:
    """Return the file name of a part.

    >>> part_name(3)
    'part-00003.parquet'
    """
    return f"part-{index:05d}.parquet"


def encode(table: pa.Table) -> pa.Buffer:
    """Return a table as the bytes of a Parquet file: snappy, statistics, a million rows per row group.

    Encoded in memory, so that the file's size is known when its HDFS block size is chosen, and a failed upload can be
    repeated.
    """
    names = table.schema.names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SchemaError(f"two columns are called {twice!r}: Parquet needs different names. Rename one")
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="snappy", row_group_size=ROW_GROUP_ROWS, write_statistics=True)
    return sink.getvalue()


def begin_write(
    url: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    scratch: str | None = None,
    filesystem: FileSystem | None = None,
) -> WriteJob:
    """Begin to write a table. Everything that is wrong with the target raises here, before any work.

    Parameters
    ----------
    url
        The folder of the table.
    overwrite
        Replace what is there; it stays readable until the new table is complete, and is restored if the last
        step fails.
    scratch
        A folder to keep the job folder in while it runs. None, or a folder on another file system: beside the
        target, hidden, as ``.<name>.howdah-<job>``.
    filesystem
        Where `url` is a plain path of this file system.

    Raises
    ------
    PathExists
        There is something at `url`, and `overwrite` is false.
    StorageError
        A part of the path is a file, or there is no permission to write there.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     job = begin_write(f"{folder}/revenue")
    ...     part = job.write_part(0, pa.table({"x": [1, 2]}))
    ...     job.commit([part]).rows
    2
    """
    this, target = (filesystem, os.fspath(url)) if filesystem is not None else open_filesystem(url)
    target = target.rstrip("/")
    if not target:
        raise bad_value("url", os.fspath(url), "give a folder below the root: the root itself cannot be replaced")
    parent, name = posixpath.split(target)
    job = uuid.uuid4().hex[:12]
    made = _make_folders(this, parent)
    _recover(this, parent, name)
    if this.exists(target) and not overwrite:
        raise PathExists(
            f"{this.url(target)} exists already and has not been changed. Give another path, or overwrite=True"
        )
    base, hidden = parent, f".{name}.howdah-{job}"
    if scratch is not None:
        other, path = open_filesystem(scratch)
        if other == this:
            base, hidden = path, f"{name}.howdah-{job}"
            made += _make_folders(this, base)
    folder = posixpath.join(base, hidden)
    this.mkdir(folder)
    if base != parent:
        _check_writable(this, parent, f".{name}.howdah-{job}")
    return WriteJob(this, target, folder, overwrite, tuple(made))


def _check_writable(filesystem: FileSystem, parent: str, hidden: str) -> None:
    """Check with an empty folder that the last rename can move a job folder from elsewhere to the target's parent."""
    probe = posixpath.join(parent, hidden)
    filesystem.mkdir(probe)
    filesystem.rm(probe)


def _make_folders(filesystem: FileSystem, path: str) -> list[str]:
    """Make a folder and those above it; those that are new."""
    new: list[str] = []
    above = path
    while above not in ("/", "") and not filesystem.exists(above):
        new.append(above)
        above = posixpath.dirname(above)
    if above not in ("/", "") and not filesystem.isdir(above):
        raise StorageError(f"{filesystem.url(above)}: it is a file, so the target cannot be in it")
    if new:
        filesystem.mkdirs(path)
    return new[::-1]


def _backup(target: str, job: str) -> str:
    parent, name = posixpath.split(target)
    return posixpath.join(parent, f".{name}.howdah-old-{job}")


def _recover(filesystem: FileSystem, parent: str, name: str) -> None:
    """Restore the backup of an overwrite that died between its two renames."""
    if filesystem.exists(posixpath.join(parent, name)):
        return
    for entry in filesystem.ls(parent):
        if entry.name.startswith(f".{name}.howdah-old-"):
            _restore(filesystem, posixpath.join(parent, name), entry.path)
            return


def _restore(filesystem: FileSystem, target: str, backup: str) -> None:
    try:
        filesystem.rename(backup, target)
    except PathMissing:
        return
    except PathExists:
        filesystem.rm(backup, recursive=True, missing_ok=True)


def _remove_if_empty(filesystem: FileSystem, path: str) -> None:
    try:
        if not filesystem.ls(path):
            filesystem.rm(path)
    except PathMissing:
        return
