"""Block locations of files, and the preferred hosts of a byte range.

For `filesystem` and for readers. Three providers, tried in this order and remembered per file system: `NameNodeRpc` (a
folder's files with all their blocks in one call per page of the listing), `WebHdfs` (one call per file), and none
(local files). It promises: a provider that the cluster does not allow is logged once, and work goes on without
locality; it never fails for the lack of it.
"""

from __future__ import annotations

import heapq
import logging
import posixpath
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol
from zlib import crc32

from howdah.errors import HowdahError, NotSupported
from howdah.io.filesystem.clients import hdfs_user
from howdah.io.hadoop.namenode import NameNodeRpc
from howdah.io.hadoop.records import Block, FileInfo
from howdah.io.hadoop.webhdfs import WebHdfs

if TYPE_CHECKING:
    from howdah.io.filesystem.filesystem import FileSystem

logger = logging.getLogger("howdah.io")

MOST_HOSTS = 3


def preferred_hosts(blocks: Iterable[Block], start: int, end: int, *, salt: int = 0) -> tuple[str, ...]:
    """Return the hosts that hold most of the bytes `start` to `end` (exclusive), best first, three at most.

    ``localhost`` means another host to every reader, and is left out. Hosts that hold equally much come in an order
    that depends on `salt` and `start` alone: the same every time, and not the same host first for every file.

    >>> blocks = [Block(0, 100, ("a", "b")), Block(100, 100, ("b", "c"))]
    >>> preferred_hosts(blocks, 40, 200)
    ('b', 'c', 'a')
    """
    held: dict[str, int] = defaultdict(int)
    for block in blocks:
        overlap = min(end, block.offset + block.length) - max(start, block.offset)
        if overlap > 0:
            for host in set(block.hosts):
                if host not in ("localhost", ""):
                    held[host] += overlap
    best = heapq.nsmallest(MOST_HOSTS, held, key=lambda h: (-held[h], crc32(f"{salt}:{start}:{h}".encode()), h))
    return tuple(best)


class BlockLocations(Protocol):
    """A provider of block locations."""

    def listing(self, path: str) -> list[FileInfo]:
        """Return a folder's entries (or a file's own) with blocks. Raises `NotSupported` if the cluster refuses."""
        ...


class NameNodeLocations:
    """Block locations by NameNode RPC; a connection per listing, as they are few and idle ones would be closed."""

    def __init__(self, filesystem: FileSystem) -> None:
        nodes = filesystem.config.namenodes(filesystem.authority)
        self._addresses = [node.rpc for node in nodes]
        self._security = filesystem.config.get("hadoop.security.authentication") or "simple"

    def listing(self, path: str) -> list[FileInfo]:
        """Return entries with blocks; raises the NameNode's errors."""
        with NameNodeRpc(self._addresses, hdfs_user(), self._security) as namenode:
            return list(namenode.listing(path))


class WebHdfsLocations:
    """Block locations by WebHDFS: a listing by the file system's own client, then one call per file."""

    _THREADS = 8

    def __init__(self, filesystem: FileSystem) -> None:
        self._filesystem = filesystem
        self._web = WebHdfs(filesystem.config.namenodes(filesystem.authority), filesystem.config, hdfs_user())

    def listing(self, path: str) -> list[FileInfo]:
        """Return entries with blocks; raises WebHDFS' errors."""
        entries = self._filesystem.ls(path)
        files = [entry for entry in entries if not entry.is_dir]
        if not files:
            return entries
        first = self._web.blocks(files[0].path, files[0].size)  # a refusal is logged once, not 8 times
        with ThreadPoolExecutor(self._THREADS, thread_name_prefix="howdah-locate") as pool:
            rest = pool.map(lambda file: self._web.blocks(file.path, file.size), files[1:])
            blocks = dict(zip((file.path for file in files), [first, *rest]))
        return [replace(entry, blocks=blocks.get(entry.path, ())) for entry in entries]


_PROVIDERS: tuple[type[NameNodeLocations] | type[WebHdfsLocations], ...] = (NameNodeLocations, WebHdfsLocations)
_chosen: dict[FileSystem, int] = {}
_chosen_lock = threading.Lock()


def locate_listing(filesystem: FileSystem, path: str) -> list[FileInfo] | None:
    """Return a folder's entries with block locations, sorted by name; None where no provider can be used.

    Raises
    ------
    FileNotFoundError, OSError, RuntimeError
        The provider's error: `FileSystem` retries and translates.
    """
    if filesystem.scheme != "hdfs":  # a viewfs path is on many NameNodes: no locality yet
        return None
    with _chosen_lock:
        # a user who chose WebHDFS as the client is outside the RPC network
        number = _chosen.get(filesystem, int(filesystem.client_name == "webhdfs"))
    while number < len(_PROVIDERS):
        try:
            return sorted(_PROVIDERS[number](filesystem).listing(path), key=lambda entry: entry.path)
        except OSError as error:
            if number == 0 or isinstance(error, HowdahError | FileNotFoundError):
                raise
            # the file system itself may well be reached another way: no locality this time
            logger.info("%s: WebHDFS is not reached (%s): tasks are placed without regard to blocks", filesystem, error)
            return None
        except NotSupported as error:
            number += 1
            then = "WebHDFS is tried" if number < len(_PROVIDERS) else "tasks are placed without regard to blocks"
            logger.info("%s: %s; %s", filesystem.root_url, error, then)
            with _chosen_lock:
                _chosen[filesystem] = number
    return None


def locate(filesystem: FileSystem, paths: str | Sequence[str]) -> dict[str, list[Block]]:
    """Return path -> blocks of a file, of a folder's files, or of some files; a folder of several is listed once."""
    if isinstance(paths, str):
        entries = filesystem.ls(paths, locate=True)
    else:
        by_folder: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            by_folder[posixpath.dirname(path)].append(path)
        entries = []
        for folder, files in by_folder.items():
            listed = [folder] if len(files) > 1 else files
            found = {entry.path: entry for each in listed for entry in filesystem.ls(each, locate=True)}
            entries += [found[path] if path in found else filesystem.info(path) for path in files]
    return {
        entry.path: list(
            entry.blocks if entry.blocks is not None else (Block(0, entry.size, ()),) if entry.size else ()
        )
        for entry in entries
        if not entry.is_dir
    }
