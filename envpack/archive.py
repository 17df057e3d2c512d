"""Pack an environment into one `.tar.gz` that runs wherever it is unpacked.

Promises: the archive unpacks to `bin/python`, `lib/...` and `howdah-environment.json` at its top (YARN unpacks it
into a folder named by the application's resource); it needs no activation, no `conda-unpack`, no Python on the node;
it may be read-only. The same environment gives the same bytes: names sorted, times and owners fixed, modes 0755 and
0644. Nothing is written in the environment. The format is tar.gz because YARN unpacks it by its name (not `.tar.zst`;
`.zip` loses exec bits before Hadoop 3.4). :func:`pack` is public; the store calls it for `howdah env pack`.
"""

from __future__ import annotations

import errno
import io
import json
import os
import tarfile
import tempfile
import time
from typing import BinaryIO, cast

from howdah.envpack import base, bytecode, conda
from howdah.envpack.collect import sha256
from howdah.envpack.environment import describe
from howdah.envpack.gzip_writer import GzipWriter
from howdah.envpack.interpreter import Interpreter
from howdah.envpack.records import FACTS_FILE, LAYOUT, Archive, Environment, Member, Progress
from howdah.errors import EnvironmentMismatch, StorageError

# 1980-01-01, as in reproducible wheels: tar warns about 1970
_TIME = 315532800


class SourceChanged(EnvironmentMismatch):
    """A file was edited between hashing and packing."""


def pack(
    prefix: str | None = None,
    *,
    output: str | os.PathLike[str],
    threads: int | None = None,
    progress: Progress | None = None,
    exclude: tuple[str, ...] = (),
    include: tuple[str, ...] = (),
) -> Archive:
    """Pack an environment into a file on this machine.

    Parameters
    ----------
    prefix
        The environment's folder; the running one by default.
    output
        The archive to write, as a rule `*.tar.gz`. It appears when it is complete, in place of a file that is there.
    threads
        Compressing threads and compiling processes; as many as this process may use cores by default.
    progress
        Called as ``progress(phase, done, total)``.
    exclude, include
        As in `describe_environment`.

    Raises
    ------
    EnvironmentMismatch
        The environment cannot be made movable; the message says which part and what to do.
    StorageError
        No room, or no right to write, for the output or in the temporary folder.
    """
    environment, python = describe(prefix, exclude=exclude, include=include)
    return pack_described(environment, python, output=output, threads=threads, progress=progress)


def pack_described(
    environment: Environment,
    python: Interpreter,
    *,
    output: str | os.PathLike[str],
    threads: int | None = None,
    progress: Progress | None = None,
) -> Archive:
    """Pack an environment that has been described already, as :func:`pack` does (the store needs its hash first)."""
    threads = threads or len(os.sched_getaffinity(0))
    path = os.fspath(output)
    partial = f"{path}.{os.getpid()}.tmp"
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="howdah-pack-") as scratch:
            if environment.kind == "conda":
                members = conda.members(environment, python, os.path.join(scratch, "conda"))
            else:
                members = [*base.python_members(python), *environment.members]
            needed = base.node_requirements(members)
            compiling = (lambda done, total: progress("compiling", done, total)) if progress else None
            members += bytecode.compiled(members, python, threads=threads, spare_folder=scratch, progress=compiling)
            members.append(Member(FACTS_FILE, data=_facts(environment, needed)))
            members.sort(key=lambda m: m.name)
            seconds["compiling"] = time.perf_counter() - started
            started = time.perf_counter()
            unpacked = _write(partial, members, threads, progress)
        os.replace(partial, path)
    except OSError as error:
        raise _write_error(error, path) from error
    finally:
        if os.path.exists(partial):
            os.remove(partial)
    seconds["packing"] = time.perf_counter() - started
    size = os.path.getsize(path)
    return Archive(path, environment.hash, size, unpacked, len(members), needed, seconds)


def _write_error(error: OSError, path: str) -> StorageError:
    where = error.filename or path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = f"make room there, or set TMPDIR to a folder with more (now {tempfile.gettempdir()})"
    else:
        remedy = "give a file that you may write, or set TMPDIR"
    return StorageError(f"cannot pack into {path}: {error.strerror or error} ({where}): {remedy}")


def _facts(environment: Environment, needed: dict[str, object]) -> bytes:
    packages = {p.name: p.version for p in environment.packages}
    facts = {
        "hash": environment.hash,
        "layout": LAYOUT,
        "kind": environment.kind,
        "python": environment.python,
        "platform": environment.platform,
        "packages": packages,
        "needs": needed,
    }
    return json.dumps(facts, indent=1).encode() + b"\n"


def _write(path: str, members: list[Member], threads: int, progress: Progress | None) -> int:
    sizes = [0 if m.link else len(m.data) if m.data is not None else os.path.getsize(m.source) for m in members]
    total, done = sum(sizes), 0
    with open(path, "wb") as raw, GzipWriter(raw, threads=threads) as stream:
        # mode "w" calls only write and tell of its file object
        with tarfile.TarFile(
            fileobj=cast(io.BufferedWriter, stream), mode="w", format=tarfile.PAX_FORMAT, copybufsize=1 << 20
        ) as tar:
            for folder in _folders(members):
                info = _info(folder)
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            for member, size in zip(members, sizes, strict=True):
                info = _info(member.name)
                if member.link:
                    info.type, info.linkname, info.mode = tarfile.SYMTYPE, member.link, 0o777
                    tar.addfile(info)
                    continue
                info.size = size
                info.mode = 0o755 if member.executable else 0o644
                if member.data is not None:
                    tar.addfile(info, io.BytesIO(member.data))
                else:
                    with open(member.source, "rb") as file:
                        tar.addfile(info, _verified(member, file) if member.read else file)
                done += size
                if progress:
                    progress("packing", done, total)
    return total


def _verified(member: Member, file: BinaryIO) -> BinaryIO:
    """Return the file's bytes. Raises `SourceChanged` where they are not those that the content hash covers."""
    data = file.read()
    if sha256(data) != member.digest:
        raise SourceChanged(f"{member.source} was changed while the environment was packed: pack again")
    return io.BytesIO(data)


def _info(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mtime = _TIME
    return info


def _folders(members: list[Member]) -> list[str]:
    found: set[str] = set()
    for member in members:
        folder = os.path.dirname(member.name)
        while folder and folder not in found:
            found.add(folder)
            folder = os.path.dirname(folder)
    return sorted(found)
