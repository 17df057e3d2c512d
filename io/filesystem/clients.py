"""The clients under a `FileSystem`: local files, hdfs-native, and what else fsspec reaches. Chosen in one place.

For `howdah.io.filesystem.filesystem` alone, which adds retries, howdah's errors and pickling. A client raises its
library's own errors. All of them promise the same: `rename` never overwrites and never moves *into* a folder; `create`
refuses a path that exists or whose folder is gone, so a late writer cannot bring an ended job's folder back.
"""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, Protocol, cast

from howdah.errors import HadoopNotFound, StorageError, bad_value
from howdah.io.hadoop.config import HadoopConfig
from howdah.io.hadoop.records import FileInfo

Range = tuple[int, int]
"""(offset, length) in bytes."""
Sink = Callable[[int, bytes], Any]
"""Takes (offset in the file, bytes) in any pieces, each byte once."""

CLIENTS = ("hdfs-native", "pyarrow", "webhdfs")
_STEP = 8 << 20


class StorageClient(Protocol):
    """The operations that a `FileSystem` needs. Paths are plain, without scheme and authority."""

    fsspec: Any

    def info(self, path: str) -> FileInfo:
        """Return the record of a file or folder."""
        ...

    def ls(self, path: str) -> list[FileInfo]:
        """Return the entries of a folder, in any order."""
        ...

    def open(self, path: str, mode: str) -> BinaryIO:
        """Open a binary file: ``rb``, ``wb`` or ``ab``."""
        ...

    def read_ranges(self, path: str, ranges: Iterable[Range], size: int, sink: Sink) -> None:
        """Deliver byte ranges to `sink`; `StorageError` where the file has another length than `size`."""
        ...

    def create(self, path: str, data: memoryview, block_size: int | None) -> None:
        """Write a new file. Raises `FileExistsError`, and `FileNotFoundError` without its folder."""
        ...

    def replace(self, source: str, target: str) -> None:
        """Rename a file, also over another one."""
        ...

    def mkdir(self, path: str, parents: bool) -> None:
        """Make a folder; with `parents` those above too, and one that is there is fine."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Move a file or folder; `FileExistsError` where `target` is there."""
        ...

    def delete(self, path: str, recursive: bool) -> None:
        """Delete a file, or a folder, with all in it where `recursive`."""
        ...


class LocalClient:
    """Files of this machine. The methods are `StorageClient`'s."""

    def __init__(self) -> None:
        from fsspec.implementations.local import LocalFileSystem

        self.fsspec = LocalFileSystem(auto_mkdir=False, skip_instance_cache=True)

    def info(self, path: str) -> FileInfo:
        """Return the record of a file or folder."""
        return _local_info(path, os.stat(path))

    def ls(self, path: str) -> list[FileInfo]:
        """Return the entries of a folder, in any order."""
        found = []
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    found.append(_local_info(os.path.join(path, entry.name), entry.stat()))
                except FileNotFoundError:
                    continue  # gone since the listing, or a link to nowhere
        return found

    def open(self, path: str, mode: str) -> BinaryIO:
        """Open a binary file."""
        return open(path, mode)  # type: ignore[return-value]  # modes are binary ones

    def read_ranges(self, path: str, ranges: Iterable[Range], size: int, sink: Sink) -> None:
        """Deliver byte ranges to `sink`."""
        with open(path, "rb") as file:
            _check_size(path, os.fstat(file.fileno()).st_size, size)
            for offset, length in ranges:
                sink(offset, os.pread(file.fileno(), length, offset))

    def create(self, path: str, data: memoryview, block_size: int | None) -> None:
        """Write a new file."""
        with open(path, "xb") as file:
            file.write(data)

    def replace(self, source: str, target: str) -> None:
        """Rename a file, also over another one."""
        os.replace(source, target)

    def mkdir(self, path: str, parents: bool) -> None:
        """Make a folder."""
        if parents:
            os.makedirs(path, exist_ok=True)
        else:
            os.mkdir(path)

    def rename(self, source: str, target: str) -> None:
        """Move a file or folder; never over another."""
        if os.path.isdir(source):
            if os.path.lexists(target):  # os.rename would replace an empty folder
                raise FileExistsError(target)
            os.rename(source, target)
            return
        try:
            os.link(source, target)  # refuses where os.rename overwrites, and there is no moment between
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if os.path.lexists(target):
                raise FileExistsError(target) from None
            os.rename(source, target)
        else:
            os.unlink(source)

    def delete(self, path: str, recursive: bool) -> None:
        """Delete a file or folder."""
        if not os.path.isdir(path) or os.path.islink(path):
            os.unlink(path)
        elif recursive:
            shutil.rmtree(path)
        else:
            os.rmdir(path)


def _local_info(path: str, stat: os.stat_result) -> FileInfo:
    is_dir = (stat.st_mode & 0o170000) == 0o040000
    return FileInfo(path, 0 if is_dir else stat.st_size, stat.st_mtime_ns, is_dir)


class NativeClient:
    """HDFS without a JVM, by hdfs-native. It gets our configuration: it cannot substitute variables itself."""

    def __init__(self, url: str, properties: Mapping[str, str]) -> None:
        from hdfs_native import Client
        from hdfs_native.fsspec import HdfsFileSystem, ViewfsFileSystem

        namenodes = len(properties.get(f"dfs.ha.namenodes.{url.partition('://')[2]}", "").split(","))
        # hdfs-native alone retries for 3 minutes and logs nothing. `FileSystem` retries instead, and logs; libraries
        # that use the fsspec object have some 20 seconds.
        given = {
            **properties,
            "dfs.client.failover.max.attempts": str(namenodes),
            "dfs.client.failover.sleep.base.millis": "50",
            "dfs.client.failover.sleep.max.millis": "500",
        }
        with_retries = {
            **properties,
            "dfs.client.failover.max.attempts": "6",
            "dfs.client.failover.sleep.max.millis": "4000",
        }
        self._client = Client(url, given)
        self._permissions = 0o777 & ~int(properties.get("fs.permissions.umask-mode", "022"), 8)
        self._replication = int(properties["dfs.replication"]) if "dfs.replication" in properties else None
        # skip_instance_cache: fsspec would hand the same object to a forked child, where it hangs
        kind = ViewfsFileSystem if url.startswith("viewfs:") else HdfsFileSystem
        authority = url.partition("://")[2]
        host, _, port = authority.partition(":")
        self.fsspec = kind(host or None, int(port) if port else None, skip_instance_cache=True, **with_retries)

    def info(self, path: str) -> FileInfo:
        """Return the record of a file or folder."""
        return _native_info(self._client.get_file_info(path))

    def ls(self, path: str) -> list[FileInfo]:
        """Return the entries of a folder, in any order."""
        return [_native_info(status) for status in self._client.list_status(path, False)]

    def open(self, path: str, mode: str) -> BinaryIO:
        """Open a binary file."""
        if mode == "rb":
            return cast(BinaryIO, self._client.read(path))
        return self.fsspec.open(path, mode)  # type: ignore[no-any-return]

    def read_ranges(self, path: str, ranges: Iterable[Range], size: int, sink: Sink) -> None:
        """Deliver byte ranges to `sink`."""
        reader = self._client.read(path)
        _check_size(path, len(reader), size)  # reading beyond the end is a panic in hdfs-native
        for offset, length in ranges:
            position = offset
            for chunk in reader.read_range_stream(offset, length):
                sink(position, chunk)
                position += len(chunk)
            if position != offset + length:
                raise ConnectionError(f"early eof: {position - offset} of {length} bytes at {offset}")

    def create(self, path: str, data: memoryview, block_size: int | None) -> None:
        """Write a new file."""
        from hdfs_native import WriteOptions

        options = WriteOptions(
            block_size=block_size,
            replication=self._replication,
            permission=self._permissions & 0o666,
            overwrite=False,
            create_parent=False,
        )
        file = self._client.create(path, options)
        for start in range(0, len(data), _STEP):
            file.write(data[start : start + _STEP])  # not closed after an error: that would wait 12 s for its blocks
        file.close()

    def replace(self, source: str, target: str) -> None:
        """Rename a file, also over another one."""
        self._client.rename(source, target, True)

    def mkdir(self, path: str, parents: bool) -> None:
        """Make a folder."""
        self._client.mkdirs(path, self._permissions, parents)

    def rename(self, source: str, target: str) -> None:
        """Move a file or folder; never over another."""
        self._client.rename(source, target, False)

    def delete(self, path: str, recursive: bool) -> None:
        """Delete a file or folder."""
        if not self._client.delete(path, recursive):
            raise FileNotFoundError(path)


def _native_info(status: Any) -> FileInfo:
    return FileInfo(status.path, status.length, status.modification_time * 1_000_000, status.isdir)


class FsspecClient:
    """Any fsspec file system: the fallbacks pyarrow (libhdfs, needs a JVM) and WebHDFS."""

    def __init__(self, fsspec: Any) -> None:
        self.fsspec = fsspec

    def info(self, path: str) -> FileInfo:
        """Return the record of a file or folder."""
        return self._record(self.fsspec.info(path))

    def ls(self, path: str) -> list[FileInfo]:
        """Return the entries of a folder, in any order."""
        self.fsspec.invalidate_cache()
        return [self._record(entry) for entry in self.fsspec.ls(path, detail=True)]

    def _record(self, entry: Mapping[str, Any]) -> FileInfo:
        when = entry.get("mtime", entry.get("modificationTime", 0))
        nanoseconds = int(when.timestamp() * 1e9) if hasattr(when, "timestamp") else int(when) * 1_000_000
        is_dir = entry["type"] == "directory"
        return FileInfo(
            "/" + str(entry["name"]).strip("/"), 0 if is_dir else int(entry["size"] or 0), nanoseconds, is_dir
        )

    def open(self, path: str, mode: str) -> BinaryIO:
        """Open a binary file."""
        return self.fsspec.open(path, mode)  # type: ignore[no-any-return]

    def read_ranges(self, path: str, ranges: Iterable[Range], size: int, sink: Sink) -> None:
        """Deliver byte ranges to `sink`."""
        _check_size(path, self.info(path).size, size)
        with self.fsspec.open(path, "rb") as file:
            for offset, length in ranges:
                file.seek(offset)
                data = file.read(length)
                if len(data) != length:
                    raise ConnectionError(f"early eof: {len(data)} of {length} bytes at {offset}")
                sink(offset, data)

    def create(self, path: str, data: memoryview, block_size: int | None) -> None:
        """Write a new file."""
        if self.fsspec.exists(path):
            raise FileExistsError(path)
        if not self.fsspec.isdir(path.rpartition("/")[0] or "/"):
            raise FileNotFoundError(path)
        with self.fsspec.open(path, "wb") as file:
            for start in range(0, len(data), _STEP):
                file.write(bytes(data[start : start + _STEP]))

    def replace(self, source: str, target: str) -> None:
        """Rename a file, also over another one."""
        self.info(source)  # before anything is removed
        if self.fsspec.exists(target):
            self.fsspec.rm(target)
        self.fsspec.mv(source, target)
        self.fsspec.invalidate_cache()

    def mkdir(self, path: str, parents: bool) -> None:
        """Make a folder."""
        if parents:
            self.fsspec.makedirs(path, exist_ok=True)
        else:
            self.fsspec.mkdir(path, create_parents=False)

    def rename(self, source: str, target: str) -> None:
        """Move a file or folder; never over another."""
        if self.fsspec.exists(target):
            raise FileExistsError(target)
        self.info(source)  # its error names the missing one
        self.fsspec.mv(source, target)
        self.fsspec.invalidate_cache()

    def delete(self, path: str, recursive: bool) -> None:
        """Delete a file or folder."""
        self.info(path)
        self.fsspec.rm(path, recursive=recursive)
        self.fsspec.invalidate_cache()


def _check_size(path: str, there: int, expected: int) -> None:
    if there != expected:
        raise StorageError(
            f"{path}: it has {there} bytes now and had {expected} when it was planned: it was rewritten meanwhile. "
            "Read it again from the start"
        )


def choose_client(environ: Mapping[str, str] | None = None) -> str:
    """Choose the HDFS client: ``hdfs-native`` unless `HOWDAH_HDFS_CLIENT` names another. The only place that chooses.

    hdfs-native is the default because it needs no JVM in the workers; ``pyarrow`` (libhdfs and a JVM) reads what it
    cannot; ``webhdfs`` is for machines outside the RPC network.

    >>> choose_client({})
    'hdfs-native'
    """
    environ = os.environ if environ is None else environ
    name = environ.get("HOWDAH_HDFS_CLIENT") or CLIENTS[0]
    if name not in CLIENTS:
        raise bad_value("HOWDAH_HDFS_CLIENT", name, f"give one of {', '.join(CLIENTS)}, or unset it")
    return name


def make_client(name: str, url: str, config: HadoopConfig) -> StorageClient:
    """Make a client for the file system `url` (``file://`` or ``hdfs://authority``)."""
    if url == "file://":
        return LocalClient()
    if name == "hdfs-native":
        return NativeClient(url, config.connection())
    if name == "pyarrow":
        return FsspecClient(_libhdfs(url))
    return FsspecClient(_webhdfs(url, config))


def _libhdfs(url: str) -> Any:
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import HadoopFileSystem

    host, _, port = url.partition("://")[2].partition(":")
    try:
        arrow = HadoopFileSystem(f"hdfs://{host}", int(port) if port else 0)
    except OSError as error:
        raise HadoopNotFound(
            f"{url}: libhdfs cannot be used: {str(error).splitlines()[0]}. Set JAVA_HOME, HADOOP_HOME (for "
            "lib/native/libhdfs.so) and CLASSPATH (`hadoop classpath --glob`), or unset HOWDAH_HDFS_CLIENT"
        ) from error
    return ArrowFSWrapper(arrow, skip_instance_cache=True)


def _webhdfs(url: str, config: HadoopConfig) -> Any:
    from fsspec.implementations.webhdfs import WebHDFS

    node = config.namenodes(url.partition("://")[2])[0]
    host, _, port = (node.http or node.https).rpartition(":")
    secure = (config.get("hadoop.security.authentication") or "simple") == "kerberos"
    return WebHDFS(
        host, int(port), kerberos=secure, user=None if secure else hdfs_user(), use_https=not node.http,
        skip_instance_cache=True,
    )  # fmt: skip


def hdfs_user() -> str:
    """Return the user's name for an HDFS without Kerberos: `HADOOP_USER_NAME`, else the login name."""
    return os.environ.get("HADOOP_USER_NAME") or getpass.getuser()
