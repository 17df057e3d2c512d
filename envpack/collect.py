"""Collect the files of the installed packages that go into an archive, with their digests.

Promises: the result depends on content alone, so that two machines with the same packages agree: a file is identified
by its SHA-256. A digest comes from the distribution's RECORD where the file has the recorded size and is not newer than
RECORD; any other file (changed by hand, not recorded, of an editable project) is read. So an edit in site-packages is
noticed, unless it keeps the size AND sets the time back. It takes a fraction of a second for tens of thousands of
files, and writes nothing. Called by `environment`.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from howdah.envpack import editable
from howdah.envpack.distributions import InstalledDistribution, read_site
from howdah.envpack.exclusions import Exclusions, drops_package_file, drops_package_folder, drops_prefix_path
from howdah.envpack.interpreter import Interpreter
from howdah.envpack.records import Member, Package

# Files of installers themselves: they differ from machine to machine, and nothing on a worker reads them.
_INSTALLER_FILES = {"INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"}


@dataclass(slots=True)
class CollectedFiles:
    """The packages' part of an archive."""

    members: list[Member] = field(default_factory=list)
    packages: list[Package] = field(default_factory=list)
    left_out: list[Package] = field(default_factory=list)
    own_modules: set[str] = field(default_factory=set)  # of editable projects


def collect(python: Interpreter, rules: Exclusions, also_known: frozenset[str] = frozenset()) -> CollectedFiles:
    """Walk an interpreter's package folders.

    Parameters
    ----------
    python
        Whose packages.
    rules
        What to leave out.
    also_known
        Names that `rules` may have though they are no Python distributions (conda packages).

    Raises
    ------
    InputError
        `rules` has a name that is not installed.
    EnvironmentMismatch
        An editable installation that cannot be resolved.
    """
    chosen: dict[str, InstalledDistribution] = {}
    shadowed: list[InstalledDistribution] = []
    for site in python.sites:
        for dist in read_site(site):
            if dist.key in chosen:
                shadowed.append(dist)  # an earlier folder of sys.path has another one
            else:
                chosen[dist.key] = dist
    requires: dict[str, tuple[str, ...]] = dict.fromkeys(also_known, ())
    requires.update((key, dist.requires) for key, dist in chosen.items())
    dropped = rules.dropped(requires)

    out = CollectedFiles()
    files: dict[str, Member] = {}
    for dist in sorted(chosen.values(), key=lambda d: d.key):
        package = Package(dist.name, dist.version, dist.source is not None)
        (out.left_out if dist.key in dropped else out.packages).append(package)
    kept = [dist for dist in chosen.values() if dist.key not in dropped]
    gone = [dist for dist in chosen.values() if dist.key in dropped] + shadowed
    whole = {top for dist in kept if dist.key in rules.include for top in _top_level_names(dist)}
    for site in python.sites:
        here = _SiteFolder(site, kept, gone, whole)
        for member in here.members(python):
            files.setdefault(member.name, member)
        for _, plain in here.plain:
            out.own_modules |= {name.partition("/")[0].partition(".")[0] for name in plain.files}
    for dist in kept:
        for member in _files_outside_site(dist, python):
            files.setdefault(member.name, member)
    out.members = _digested(sorted(files.values(), key=lambda m: m.name))
    return out


def _top_level_names(dist: InstalledDistribution) -> set[str]:
    tops = {name.partition("/")[0] for name in dist.files if not name.startswith(("..", "__pycache__"))}
    return {t for t in tops if not t.endswith(".dist-info")} | set(dist.top_level)


class _SiteFolder:
    """One folder of packages."""

    def __init__(
        self, site: str, kept: list[InstalledDistribution], gone: list[InstalledDistribution], whole: set[str]
    ):
        self.site, self.whole = site, whole
        self.kept = [d for d in kept if d.site == site]
        gone = [d for d in gone if d.site == site]
        self.skipped = {d.info for d in gone}
        self.owner: dict[str, InstalledDistribution | None] = {}
        for dist in gone:
            self.owner.update(dict.fromkeys(dist.files))
            if not dist.files:  # no RECORD: only its top-level names are known
                self.skipped.update(f"{top}{end}" for top in dist.top_level for end in ("", ".py"))
        self.plain: list[tuple[InstalledDistribution, editable.ResolvedEditable]] = []
        for dist in self.kept:
            if dist.source is not None:
                plain = editable.resolve(dist)
                self.plain.append((dist, plain))
                self.skipped |= plain.replaced | {dist.info, "easy-install.pth"}
            else:  # after those that are left out: a file that both record stays
                self.owner.update(dict.fromkeys(dist.files, dist))

    def members(self, python: Interpreter) -> Iterator[Member]:
        for rel, entry in self._walk(self.site, "", ""):
            stat = entry.stat()
            dist = self.owner.get(rel)
            digest, size = dist.files[rel] if dist else ("", -1)
            trusted = dist is not None and size == stat.st_size and stat.st_mtime_ns <= dist.recorded_at
            name = f"{python.site}/{rel}"
            folder, _, base = rel.rpartition("/")
            if folder.endswith(".dist-info") and base in _INSTALLER_FILES:
                continue
            if folder.endswith(".dist-info") and base == "RECORD":
                yield Member(name, data=_plain_record(entry.path))
                continue
            if "/" not in rel and rel.endswith(".pth") and (folders := editable.outside_folders(self.site, rel)):
                yield Member(name, data=_without_folders(entry.path, folders))
                for added in folders:
                    if not any(os.path.realpath(added).startswith(site) for site in python.sites):
                        for inner, path in editable.importable(added).items():
                            yield Member(f"{python.site}/{inner}", path, executable=os.access(path, os.X_OK))
                continue
            yield Member(name, entry.path, digest if trusted else "", executable=bool(stat.st_mode & 0o100))
        for dist, plain in self.plain:
            for rel, path in plain.files.items():
                yield Member(f"{python.site}/{rel}", path, executable=os.access(path, os.X_OK))
            yield from _metadata(dist, plain, python.site)

    def _walk(self, folder: str, base: str, top: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        for entry in os.scandir(folder):
            rel = base + entry.name
            if not base and entry.name in self.skipped:
                continue
            first = top or entry.name.partition(".")[0]
            if entry.is_dir():
                if entry.name == "__pycache__":
                    continue
                if base and first not in self.whole and drops_package_folder(entry.path):
                    continue
                yield from self._walk(entry.path, rel + "/", first)
            elif not entry.is_file() or (rel in self.owner and self.owner[rel] is None):
                continue  # a dangling link or a socket; or a file of what is left out
            elif first in self.whole or not drops_package_file(rel):
                yield rel, entry


def _without_folders(pth: str, folders: list[str]) -> bytes:
    with open(pth, encoding="utf-8", errors="surrogateescape") as file:
        lines = [line for line in file if line.strip() not in folders]
    return "".join(lines).encode("utf-8", "surrogateescape")


def _plain_record(record: str) -> bytes:
    """Return a RECORD that is the same for every installer: sorted, without compiled modules and installers' files.

    And without scripts, whose digests depend on the environment's path.
    """
    with open(record, encoding="utf-8", errors="surrogateescape") as file:
        lines = [line for line in file if not line.startswith("../") and ".pyc," not in line]
    kept = [line for line in lines if os.path.basename(line.partition(",")[0]) not in _INSTALLER_FILES]
    return "".join(sorted(kept)).encode("utf-8", "surrogateescape")


def _metadata(dist: InstalledDistribution, plain: editable.ResolvedEditable, site: str) -> Iterator[Member]:
    """Yield a dist-info as a plain installation has it: `importlib.metadata` finds version and entry points in it."""
    if dist.info.endswith(".egg-link"):
        source = dist.source or ""
        eggs = [e for e in os.listdir(source) if e.endswith(".egg-info") and os.path.isdir(os.path.join(source, e))]
        folders = [(egg, os.path.join(source, egg)) for egg in sorted(eggs)]
    else:
        folders = [(dist.info, os.path.join(dist.site, dist.info))]
    names = sorted(plain.files)
    for name, folder in folders:
        for path, _, files in os.walk(folder):
            for file in sorted(set(files) - _INSTALLER_FILES - {"RECORD"}):
                rel = os.path.relpath(os.path.join(path, file), folder)
                names.append(f"{name}/{rel}")
                yield Member(f"{site}/{name}/{rel}", os.path.join(path, file))
        if name.endswith(".dist-info"):
            record = "".join(f'"{n}",,\n' if "," in n else f"{n},,\n" for n in [*names, f"{name}/RECORD"])
            yield Member(f"{site}/{name}/RECORD", data=record.encode())


def _files_outside_site(dist: InstalledDistribution, python: Interpreter) -> Iterator[Member]:
    """Yield what a distribution put outside site-packages: data files, and programs that are no scripts."""
    for rel in dist.files if dist.source is None else ():
        if not rel.startswith("../"):
            continue
        path = os.path.normpath(os.path.join(dist.site, rel))
        name = os.path.relpath(path, os.path.realpath(python.prefix))
        if name.startswith("..") or drops_prefix_path(name) or not os.path.isfile(path):
            continue
        if name.startswith("bin/") and not is_program(path):
            continue
        yield Member(name, path, executable=os.access(path, os.X_OK))


def is_program(path: str) -> bool:
    """Return whether a file is an ELF program or library."""
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def sha256(data: bytes) -> str:
    """Return a digest in RECORD's form.

    >>> sha256(b"")
    '47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU'
    """
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _digest_of(member: Member) -> Member:
    if member.digest:
        return member
    if member.data is not None:
        return replace(member, digest=sha256(member.data))
    with open(member.source, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return replace(member, digest=base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), read=True)


def _digested(members: list[Member]) -> list[Member]:
    todo = [m for m in members if not m.digest]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # hashing releases the GIL
        done = {m.name: m for m in pool.map(_digest_of, todo, chunksize=1)}
    return [done.get(m.name, m) for m in members]
