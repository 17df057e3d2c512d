"""`FileSystem`: one small interface to local files and HDFS, and `open_filesystem`, which finds it for a URL.

For every folder above `io`, and for users. It promises: it can be pickled, to a few hundred bytes; its client is opened
where it is first used, once per process, and never used across a fork; transient errors are retried, so a NameNode may
restart (`retry.RETRY_SECONDS`); errors are howdah's and name the path. Paths are plain: what follows scheme and
authority.
"""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote

from howdah.errors import HadoopNotFound, PathExists, PathMissing, bad_value
from howdah.io.filesystem import retry
from howdah.io.filesystem.block_locations import locate, locate_listing
from howdah.io.filesystem.clients import Range, Sink, StorageClient, choose_client, make_client
from howdah.io.hadoop.config import HadoopConfig, load_hadoop_config
from howdah.io.hadoop.records import Block, FileInfo

T = TypeVar("T")
_URL = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://([^/]*)(/.*)?$", re.DOTALL)
_MAGIC = re.compile(r"[*?\[]")


class FileSystem:
    """Local files or one HDFS. Made by `open_filesystem`; safe to use from several threads.

    Attributes
    ----------
    scheme
        ``"file"``, ``"hdfs"`` or ``"viewfs"``.
    root_url
        ``file://`` or ``hdfs://authority``; a path appended to it is a URL that `open_filesystem` understands.
    client_name
        Which client is under it (`howdah.io.filesystem.clients.CLIENTS`, or ``local``).
    config
        Hadoop's configuration, as far as this file system needs it.
    """

    def __init__(self, scheme: str, authority: str, config: HadoopConfig, client: str, known: bool = False) -> None:
        self.scheme, self.authority, self.config, self.client_name = scheme, authority, config, client
        self.root_url = f"{scheme}://{authority}"
        self._opened: tuple[int, StorageClient] | None = None
        self._lock = threading.Lock()
        self._reached = known  # a copy on a worker comes from a process that has reached it
        self._identity = (scheme, authority, client, tuple(sorted(config.connection().items())))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, self._identity

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileSystem) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __repr__(self) -> str:
        return f"FileSystem({self.root_url!r})"

    @property
    def is_local(self) -> bool:
        """Whether these are files of this machine."""
        return self.scheme == "file"

    @property
    def client(self) -> StorageClient:
        """The client of this process; a new one after a fork, which hdfs-native's threads do not survive."""
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            if opened is not None and opened[0] != os.getpid():
                self._lock = threading.Lock()  # the old one may have been held at the fork
            with self._lock:
                if self._opened is None or self._opened[0] != os.getpid():
                    self._opened = (os.getpid(), make_client(self.client_name, self.root_url, self.config))
                return self._opened[1]
        return opened[1]

    @property
    def fs(self) -> Any:
        """The fsspec file system below, for libraries that take one. Its errors are its own; it retries for 20 s."""
        return self.client.fsspec

    def url(self, path: str) -> str:
        """Return the URL of a path, as shown in messages."""
        return path if self.is_local else self.root_url + path

    def _call(
        self,
        action: str,
        path: str,
        operation: Callable[[StorageClient], T],
        missing_ok: bool = False,
        retry_seconds: float | None = None,
    ) -> T | None:
        where = "" if self.is_local else ", ".join(node.rpc for node in self.config.namenodes(self.authority))
        most = 0.0 if self.is_local else retry.RETRY_SECONDS if self._reached else retry.FIRST_CONTACT_SECONDS
        retry_seconds = most if retry_seconds is None else min(most, retry_seconds)
        try:
            result = retry.retry_transient(
                lambda: operation(self.client), where=f"NameNode {where}", retry_seconds=retry_seconds
            )
        except FileNotFoundError as error:
            self._reached = True
            if missing_ok:
                return None
            raise retry.translate_error(error, url=self.url(path), action=action, where=where) from error
        except (OSError, RuntimeError) as error:  # NotImplementedError is a RuntimeError
            raise retry.translate_error(
                error, url=self.url(path), action=action, where=where, waited=retry_seconds, reached=self._reached
            ) from error
        self._reached = True
        return result

    def _require(
        self, action: str, path: str, operation: Callable[[StorageClient], T], retry_seconds: float | None = None
    ) -> T:
        return self._call(action, path, operation, retry_seconds=retry_seconds)  # type: ignore[return-value]  # None only where `act` returns it

    # -- metadata ---------------------------------------------------------------------------------------------------

    def info(self, path: str) -> FileInfo:
        """Return the record of the file or folder at `path`. Raises `PathMissing`."""
        return self._require("look at", path, lambda c: c.info(path))

    def exists(self, path: str) -> bool:
        """Return whether there is a file or folder at `path`."""
        return self._call("look at", path, lambda c: c.info(path), missing_ok=True) is not None

    def isdir(self, path: str) -> bool:
        """Return whether there is a folder at `path`."""
        found = self._call("look at", path, lambda c: c.info(path), missing_ok=True)
        return found is not None and found.is_dir

    def ls(self, path: str, *, locate: bool = False) -> list[FileInfo]:
        """Return the entries of a folder, sorted by name; a file is its own only entry. Raises `PathMissing`.

        Parameters
        ----------
        path
            A folder or file.
        locate
            Add block locations, in the same bulk call where the provider can
            (`howdah.io.filesystem.block_locations`).
        """
        if locate and not self.is_local:
            found = self._require("list", path, lambda _: locate_listing(self, path))
            if found is not None:
                return found
        info = self.info(path) if self.is_local else None
        if info is not None and not info.is_dir:
            return [info]
        entries = self._require("list", path, lambda c: c.ls(path))
        return sorted(entries, key=lambda entry: entry.path)

    def glob(self, pattern: str, *, locate: bool = False) -> list[FileInfo]:
        """Return all that matches, sorted; ``*``, ``?`` and ``[...]`` stay within one path component; [] for none."""
        parts = pattern.strip("/").split("/")
        found = [FileInfo("/", 0, 0, True)]
        for depth, part in enumerate(parts):
            last = depth == len(parts) - 1
            if not _MAGIC.search(part) and not last:
                found = [FileInfo(posixpath.join(folder.path, part), 0, 0, True) for folder in found]
                continue
            matches: list[FileInfo] = []
            for folder in found:
                try:
                    entries = self.ls(folder.path, locate=locate and last)
                except PathMissing:
                    continue
                matches += [e for e in entries if e.path != folder.path and _matches(e.name, part)]
            found = matches if last else [entry for entry in matches if entry.is_dir]
        return found

    def locate(self, paths: str | Sequence[str]) -> dict[str, list[Block]]:
        """Return block locations of a file, of a folder's files (one bulk call per page of it), or of a list of files.

        Blocks have no hosts where the file system has none (local files). Raises `PathMissing`.
        """
        return locate(self, paths)

    # -- reading ----------------------------------------------------------------------------------------------------

    def open(self, path: str, mode: str = "rb") -> BinaryIO:
        """Open a binary file; mode ``rb``, ``wb`` (replaces) or ``ab``. Opening is retried, later reads are not."""
        if mode not in ("rb", "wb", "ab"):
            raise bad_value("mode", mode, "give 'rb', 'wb' or 'ab'")
        return self._require("open", path, lambda c: c.open(path, mode))

    def read_ranges(self, path: str, ranges: Sequence[Range], size: int, sink: Sink) -> None:
        """Read byte ranges into `sink`; after a transient error all of them are delivered again.

        Parameters
        ----------
        path
            A file.
        ranges
            (offset, length) of each, in bytes.
        size
            The file's length when it was planned; another length is a `StorageError`.
        sink
            Called with (offset in the file, bytes), in pieces of any size.
        """
        self._require("read", path, lambda c: c.read_ranges(path, ranges, size, sink))

    def read_range(self, path: str, offset: int, length: int, size: int) -> bytes:
        """Return one byte range."""
        buffer = bytearray(length)

        def put(position: int, chunk: bytes) -> None:
            buffer[position - offset : position - offset + len(chunk)] = chunk

        self.read_ranges(path, [(offset, length)], size, put)
        return bytes(buffer)

    # -- writing ----------------------------------------------------------------------------------------------------

    def create(
        self, path: str, data: bytes | memoryview, *, block_size: int | None = None, retry_seconds: float | None = None
    ) -> None:
        """Write a new file. Raises `PathExists` if it is there, `PathMissing` if its folder is not.

        After a transient error the incomplete file of the first try is removed, so `path` must be this caller's own. A
        NameNode offers a DataNode that has just died until it notices; another try gets others.

        Parameters
        ----------
        path
            The new file.
        data
            Its content.
        block_size
            In bytes; None for the configuration's.
        retry_seconds
            For how long transient errors are retried, where that is less than `retry.RETRY_SECONDS`.
        """
        view, tries = memoryview(data).cast("B"), 0  # Arrow's buffers are signed bytes, which hdfs-native refuses

        def act(client: StorageClient) -> None:
            nonlocal tries
            tries += 1
            if tries > 1:
                self._discard(client, path)
            client.create(path, view, block_size)

        self._require("write", path, act, retry_seconds)

    def replace(self, path: str, data: bytes, *, retry_seconds: float | None = None) -> None:
        """Write a file, new or in the place of another, which stays until then: whole or not at all.
        `retry_seconds` as in `create`. Raises `PathMissing` if its folder is not there."""
        fresh, view = path + ".new", memoryview(data)

        def act(client: StorageClient) -> None:  # repeated as a whole where a response was lost
            self._discard(client, fresh)
            client.create(fresh, view, None)
            client.replace(fresh, path)

        self._require("write", path, act, retry_seconds)

    @staticmethod
    def _discard(client: StorageClient, path: str) -> None:
        try:
            client.delete(path, False)
        except FileNotFoundError:
            return

    def mkdirs(self, path: str) -> None:
        """Make a folder and those above it; fine if it is there."""
        self._require("make the folder", path, lambda c: c.mkdir(path, True))

    def mkdir(self, path: str) -> None:
        """Make a folder whose parent is there."""
        self._require("make the folder", path, lambda c: c.mkdir(path, False))

    def rename(self, source: str, target: str) -> None:
        """Move a file or folder; never overwrites, never moves into a folder.

        Raises
        ------
        PathExists
            There is something at `target`; nothing has changed.
        PathMissing
            There is nothing at `source`, or no folder to put it in.
        """
        tries = 0

        def act(client: StorageClient) -> None:
            nonlocal tries
            tries += 1
            try:
                client.rename(source, target)
            except (FileNotFoundError, FileExistsError, RuntimeError):
                # the response of the first try may have been lost: then it is done
                if tries > 1 and _there(client, target) and not _there(client, source):
                    return
                raise

        try:
            self._require(f"rename to {self.url(target)}", source, act)
        except PathExists as error:
            raise PathExists(f"{self.url(target)}: exists already") from error

    def rm(self, path: str, *, recursive: bool = False, missing_ok: bool = False) -> None:
        """Delete a file or folder. Raises `PathMissing` unless `missing_ok`."""
        tries = 0

        def act(client: StorageClient) -> None:
            nonlocal tries
            tries += 1
            try:
                client.delete(path, recursive)
            except FileNotFoundError:
                if tries == 1:
                    raise

        self._call("delete", path, act, missing_ok=missing_ok)


def _there(client: StorageClient, path: str) -> bool:
    try:
        client.info(path)
    except FileNotFoundError:
        return False
    return True


def _matches(name: str, pattern: str) -> bool:
    if name.startswith((".", "_")) and not pattern.startswith(name[0]):
        return False
    return fnmatch.fnmatchcase(name, pattern)


def is_glob(path: str) -> bool:
    """Return whether a path has wildcards.

    >>> is_glob("/data/2024-*/x.parquet"), is_glob("/data")
    (True, False)
    """
    return _MAGIC.search(path) is not None


_known: dict[FileSystem, FileSystem] = {}
_known_lock = threading.Lock()


def _restore(scheme: str, authority: str, client: str, properties: Iterable[tuple[str, str]]) -> FileSystem:
    """Restore a pickled file system: a thousand splits of one table share one of them, and one client, per process."""
    return _shared(FileSystem(scheme, authority, HadoopConfig(dict(properties)), client, known=True))


def _shared(made: FileSystem) -> FileSystem:
    with _known_lock:
        return _known.setdefault(made, made)


def open_filesystem(url: str | os.PathLike[str], *, config: HadoopConfig | None = None) -> tuple[FileSystem, str]:
    """Return the file system of a URL, and the plain path in it. No connection is made yet.

    Parameters
    ----------
    url
        ``hdfs://authority/path``, ``hdfs:///path`` (on `fs.defaultFS`), ``viewfs://...``, ``file:///path`` or a path
        of this machine (relative ones too; ``~`` is the home folder).
    config
        Hadoop's configuration; None reads it from `HADOOP_CONF_DIR` when the URL needs it.

    Raises
    ------
    InputError
        The scheme is not one of these, or ``file://`` names another host.
    HadoopNotFound
        The URL needs Hadoop's configuration and there is none.

    Examples
    --------
    >>> filesystem, path = open_filesystem("file:///data/lineitem")
    >>> filesystem.scheme, path
    ('file', '/data/lineitem')
    """
    text = os.fspath(url)
    match = _URL.match(text)
    if match is None and not text.startswith("file:"):
        return _local, os.path.abspath(os.path.expanduser(text))
    scheme, authority, path = match.groups() if match else ("file", "", text.removeprefix("file:"))
    scheme = scheme.lower()
    if scheme == "file":
        if authority not in ("", "localhost"):
            raise bad_value("url", text, f"{authority!r} is taken for a host; write file:///{authority}{path or ''}")
        return _local, os.path.abspath(unquote(path or "/"))
    if scheme not in ("hdfs", "viewfs"):
        raise bad_value("url", text, "use hdfs://, file:// or a plain path; other file systems are not supported yet")
    config = _config_for(text, authority, config)
    if not authority:
        default = _URL.match(config.default_filesystem)
        if default is None or default[1] not in ("hdfs", "viewfs") or not default[2]:
            raise config.wrong("fs.defaultFS", config.get("fs.defaultFS"), f"{text} needs an hdfs:// address there")
        scheme, authority = default[1], default[2]
    kept = HadoopConfig(config.connection(), config.conf_dir)
    return _shared(FileSystem(scheme, authority, kept, choose_client())), posixpath.normpath(path or "/")


def _config_for(url: str, authority: str, config: HadoopConfig | None) -> HadoopConfig:
    if config is not None:
        return config
    try:
        return load_hadoop_config()
    except HadoopNotFound:
        named = bool(os.environ.get("HADOOP_CONF_DIR"))
        if named or ":" not in authority:  # host:port needs no configuration to be reached
            raise
        return HadoopConfig()


_local = _shared(FileSystem("file", "", HadoopConfig(), "local", known=True))
