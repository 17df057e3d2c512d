"""Packed environments in a folder of a file system, named by content.

Promises: ``<root>/<hash>.tar.gz`` is complete or absent (uploaded under another name, then renamed), and so is
``<hash>.json``, which is written after it: an archive without `.json` is not in the store. An archive is never replaced
while its `.json` exists. Two publishers of the same environment end with one archive; the slower one removes its copy.
A name (`etl`) points to one hash at a time, and never to none while it changes: each change is a new file in `names/`,
and the newest is valid. Works on any fsspec file system that renames. The folder is made private (0700) where the file
system has modes: an archive holds the user's own code. A folder that exists keeps its modes.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from howdah.envpack import names
from howdah.envpack.archive import SourceChanged, pack_described
from howdah.envpack.check import check_archive
from howdah.envpack.environment import describe
from howdah.envpack.records import (
    Archive,
    Environment,
    Package,
    Progress,
    Published,
    StoredEnvironment,
    entry_from_json,
)
from howdah.errors import EnvironmentMismatch, HowdahError, PathMissing, StorageError, bad_value, near

_HASH = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CHUNK = 4 << 20
_MAX_PACKS = 3  # tries when sources change during packing
_STALE = 24 * 3600.0  # age (s) after which an incomplete upload is garbage


class EnvStore:
    """A folder of packed environments.

    Parameters
    ----------
    fs
        Any fsspec file system (of HDFS: ``howdah.io.open_filesystem(url)[0].fs``).
    root
        The folder's plain path there. It is made on the first publish.
    url
        The prefix that makes paths URLs, as in ``hdfs://namenode:8020``.

    Examples
    --------
    >>> import fsspec
    >>> EnvStore(fsspec.filesystem("memory"), "/user/me/.howdah/envs").list()
    []
    """

    def __init__(self, fs: Any, root: str, *, url: str = ""):
        self.fs, self.root = fs, root.rstrip("/") or "/"
        self.url = url if url.endswith("://") else url.rstrip("/")

    # -- publish ------------------------------------------------------------------------------------------------------

    def publish(
        self,
        prefix: str | None = None,
        name: str | None = None,
        progress: Progress | None = None,
        *,
        exclude: tuple[str, ...] = (),
        include: tuple[str, ...] = (),
        threads: int | None = None,
        without_howdah: bool = False,
    ) -> Published:
        """Make sure that an environment is in the store, and point `name` to it.

        Packs, checks and uploads where its hash is not there yet; otherwise does none of these.

        Parameters
        ----------
        prefix
            The environment's folder; the running one by default.
        name
            1 to 64 letters, digits, ``.``, ``_``, ``-``. Other names of the same content stay.
        progress, exclude, include, threads
            As in `pack`.
        without_howdah
            Accept an environment that has no howdah, and so can run no worker.

        Raises
        ------
        EnvironmentMismatch
            It cannot be packed, fails its smoke imports, or has no howdah.
        StorageError
            The file system refused.
        """
        if name is not None and not _NAME.fullmatch(name):
            raise bad_value(
                "name", name, "use 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit"
            )
        for left in reversed(range(_MAX_PACKS)):
            try:
                return self._publish(prefix, name, progress, exclude, include, threads, without_howdah)
            except SourceChanged:  # an editable project was edited meanwhile: pack again
                if not left:
                    raise
        raise AssertionError("the last turn returns or raises")

    def _publish(
        self,
        prefix: str | None,
        name: str | None,
        progress: Progress | None,
        exclude: tuple[str, ...],
        include: tuple[str, ...],
        threads: int | None,
        without_howdah: bool,
    ) -> Published:
        started = time.perf_counter()
        if progress:
            progress("hashing", 0, 1)
        environment, python = describe(prefix, exclude=exclude, include=include)
        if progress:
            progress("hashing", 1, 1)
        seconds = {"hashing": time.perf_counter() - started}
        if environment.version_of("howdah") is None and not without_howdah:
            raise EnvironmentMismatch(
                f"the environment {environment.prefix} has no howdah in it, so no worker could start there: "
                f"{environment.prefix}/bin/python -m pip install howdah"
            )
        with self._translated_errors("look into"):
            there = self._entry(environment.hash)
            size = there.size if there else self._recover_upload(environment)
        uploaded = size is None
        if size is None:
            with tempfile.TemporaryDirectory(prefix="howdah-publish-") as scratch:
                local = os.path.join(scratch, f"{environment.hash}.tar.gz")
                archive = pack_described(environment, python, output=local, threads=threads, progress=progress)
                seconds |= archive.seconds
                seconds["checking"] = check_archive(archive, environment, progress=progress)
                started = time.perf_counter()
                with self._translated_errors("upload to"):
                    size, uploaded = self._upload(archive, environment, progress)
                seconds["uploading"] = time.perf_counter() - started
        if name is not None:
            with self._translated_errors("name an environment in"):
                names.point(self.fs, self.root, name, environment.hash)
        path = self._path(environment.hash + ".tar.gz")
        return Published(
            environment.hash, path, uploaded, size, seconds, url=self.url + path, name=name, python=environment.python
        )

    def _recover_upload(self, environment: Environment) -> int | None:
        """Return the size of an archive whose publisher died before its `.json`: it was renamed, so it is complete."""
        path = self._path(environment.hash + ".tar.gz")
        if self._path(environment.hash + ".json") in names.files(self.fs, self.root):  # it has another size: damaged
            self.fs.rm(self._path(environment.hash + ".json"))
            if self._size(path) is not None:
                self.fs.rm(path)
        size = self._size(path)
        if size is not None:
            self._describe(environment, size, None)
        return size

    def _upload(self, archive: Archive, environment: Environment, progress: Progress | None) -> tuple[int, bool]:
        """Upload an archive. Returns its size in the store, and whether the store's is this upload."""
        self._make_root()
        path = self._path(environment.hash + ".tar.gz")
        partial = self._path(f".{environment.hash}.{uuid.uuid4().hex}.tmp")
        try:
            done = 0
            with open(archive.path, "rb") as source, self.fs.open(partial, "wb") as target:
                while chunk := source.read(_CHUNK):
                    target.write(chunk)
                    done += len(chunk)
                    if progress:
                        progress("uploading", done, archive.size)
            ours = self._rename(partial, path)
        except BaseException:
            with contextlib.suppress(OSError, RuntimeError):  # the first error is raised
                self.fs.rm(partial)
            raise
        if not ours:
            self.fs.rm(partial)
        size = self._size(path)
        if size is None:
            raise StorageError(f"{self.url}{path} disappeared while it was published: publish again")
        self._describe(environment, size, archive if ours else None)
        self._remove_stale_uploads()
        return size, ours

    def _rename(self, source: str, target: str) -> bool:
        """Rename unless `target` is there: False when another publisher was faster."""
        if self._size(target) is not None:
            return False
        try:
            self.fs.mv(source, target)
        except (OSError, RuntimeError):
            if self._size(target) is None:
                raise
            return False
        return self._size(target) is not None

    def _describe(self, environment: Environment, size: int, archive: Archive | None) -> None:
        def plain(packages: Iterable[Package]) -> Sequence[dict[str, object]]:
            return [{"name": p.name, "version": p.version, "editable": p.editable} for p in packages]

        facts = {
            "hash": environment.hash,
            "size": size,
            "unpacked": archive.unpacked if archive else None,
            "created": time.time(),
            "kind": environment.kind,
            "python": environment.python,
            "platform": environment.platform,
            "howdah": environment.version_of("howdah"),
            "packages": plain(environment.packages),
            "left_out": plain(environment.left_out),
            "needs": archive.needs if archive else {},
        }
        partial = self._path(f".{environment.hash}.{uuid.uuid4().hex}.tmp")
        with self.fs.open(partial, "wb") as file:
            file.write(json.dumps(facts, indent=1).encode())
        if not self._rename(partial, self._path(environment.hash + ".json")):
            self.fs.rm(partial)  # another publisher's has the same content

    def _make_root(self) -> None:
        if self.fs.exists(self.root):
            return
        self.fs.makedirs(self.root, exist_ok=True)
        hdfs = getattr(self.fs, "client", None)  # fsspec itself has no modes
        if hdfs is not None and hasattr(hdfs, "set_permission"):
            hdfs.set_permission(self.root, 0o700)
        elif "file" in self.fs.protocol:
            os.chmod(self.root, 0o700)

    def _remove_stale_uploads(self) -> None:
        """Remove incomplete uploads that are a day or more old."""
        for path, info in names.files(self.fs, self.root).items():
            partial = posixpath.basename(path).startswith(".") and path.endswith(".tmp")
            if partial and 0 < _modified(info) < time.time() - _STALE:
                self.fs.rm(path)

    # -- list ---------------------------------------------------------------------------------------------------------

    def list(self) -> list[StoredEnvironment]:
        """Return every environment, newest first."""
        with self._translated_errors("list"):
            pointers = names.pointers(self.fs, self.root)
            found = [self._entry(hash_, pointers) for hash_ in self._hashes()]
        return sorted((e for e in found if e is not None), key=lambda e: -e.created)

    def resolve(self, name_or_hash: str) -> StoredEnvironment:
        """Return the environment of a name, a hash, or the unambiguous beginning of a hash (4 characters at least).

        Raises
        ------
        PathMissing
            There is none; the message has near names.
        InputError
            More than one hash begins so.
        """
        with self._translated_errors("look into"):
            return self._resolve(name_or_hash, names.pointers(self.fs, self.root))

    def _resolve(self, name_or_hash: str, pointers: names.Pointers) -> StoredEnvironment:
        if name_or_hash in pointers:
            hash_ = pointers[name_or_hash][-1][1]
            entry = self._entry(hash_, pointers)
            if entry is None:
                raise PathMissing(
                    f"environment {name_or_hash!r} points to {hash_}, which is not in {self.url}{self.root}: "
                    f"pack it again (howdah env pack --name {name_or_hash})"
                )
            return entry
        hashes = self._hashes()
        matches = [h for h in hashes if h.startswith(name_or_hash)] if len(name_or_hash) >= 4 else []
        if len(matches) > 1:
            raise bad_value(
                "environment", name_or_hash, "more than one hash begins so: " + ", ".join(sorted(matches)[:5])
            )
        entry = self._entry(matches[0], pointers) if matches else None
        if entry is None:
            known = [*pointers, *(h[:12] for h in hashes)]
            hint = near(name_or_hash, known) if known else "there is none yet: howdah env pack --name NAME"
            raise PathMissing(f"no environment {name_or_hash!r} in {self.url}{self.root}: {hint}")
        return entry

    def inspect(self, name_or_hash: str) -> StoredEnvironment:
        """Return the record of one environment; errors as in `resolve`."""
        return self.resolve(name_or_hash)

    def remove(self, name_or_hash: str) -> StoredEnvironment:
        """Remove a name, or an environment with all its names.

        By name: the archive is removed too, unless another name points to it. By hash: it is removed with its names.
        Running applications fail on a node where it is not unpacked yet.

        Returns
        -------
        StoredEnvironment
            What was removed: `names` has the removed names, `size` is 0 where the archive stays.
        """
        with self._translated_errors("remove from"):
            pointers = names.pointers(self.fs, self.root)
            entry = self._resolve(name_or_hash, pointers)
            if name_or_hash in pointers and len(entry.names) > 1:
                names.remove(self.fs, [path for _, _, path in pointers[name_or_hash]])
                return replace(entry, names=(name_or_hash,), size=0)
            for suffix in (".json", ".tar.gz"):  # the .json first: without it the environment is not in the store
                path = self._path(entry.hash + suffix)
                if self._size(path) is not None:
                    self.fs.rm(path)
            names.remove(self.fs, [path for name in entry.names for _, _, path in pointers[name]])
        return entry

    @contextlib.contextmanager
    def _translated_errors(self, action: str) -> Iterator[None]:
        """Translate errors of the file system to howdah's, with the store's URL."""
        try:
            yield
        except HowdahError:
            raise
        except (OSError, RuntimeError) as error:  # hdfs-native raises RuntimeError for errors without errno
            raise StorageError(f"cannot {action} the environment store {self.url}{self.root}: {error}") from error

    def _entry(self, hash_: str, pointers: names.Pointers | None = None) -> StoredEnvironment | None:
        """Return one environment; None where there is no `.json`, or it has another size than the archive."""
        path = self._path(hash_ + ".tar.gz")
        self.fs.invalidate_cache()
        try:
            text = self.fs.cat_file(self._path(hash_ + ".json"))
        except FileNotFoundError:
            return None
        if pointers is None:
            pointers = names.pointers(self.fs, self.root)
        own = tuple(sorted(name for name, known in pointers.items() if known[-1][1] == hash_))
        try:
            entry = entry_from_json(text, names=own, path=path, url=self.url + path)
        except (ValueError, TypeError, KeyError) as error:
            raise StorageError(
                f"{self.url}{self._path(hash_ + '.json')} is not what howdah wrote: {error}: remove it"
            ) from error
        return entry if entry.size == self._size(path) else None

    def _hashes(self) -> Sequence[str]:
        stems = (
            posixpath.basename(p).removesuffix(".json") for p in names.files(self.fs, self.root) if p.endswith(".json")
        )
        return [s for s in stems if _HASH.fullmatch(s)]

    def _path(self, name: str) -> str:
        return posixpath.join(self.root, name)

    def _size(self, path: str) -> int | None:
        self.fs.invalidate_cache()
        try:
            return int(self.fs.info(path)["size"])
        except FileNotFoundError:
            return None


def _modified(info: dict[str, Any]) -> float:
    """Return the time of a listing's entry in seconds since 1970; 0.0 where it has none."""
    value = next(
        (info[key] for key in ("mtime", "modification_time", "last_modified", "created") if info.get(key)), 0.0
    )
    value = value.timestamp() if hasattr(value, "timestamp") else float(value)
    return value / 1000 if value > 1e11 else value
