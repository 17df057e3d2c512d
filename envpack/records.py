"""The records that envpack returns and stores: environments, archives, stored environments. Plain values, with no
behaviour but their own JSON. They are public."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

LAYOUT = 1
"""Version of the archive's layout. It is part of every content hash: a new layout means new archives."""

FACTS_FILE = "howdah-environment.json"
"""At the top of every archive: the hash, Python and packages, for the reader of an unpacked folder."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""``progress(phase, done, total)``: phases are hashing, compiling, packing, checking, uploading; units are files or
bytes."""


@dataclass(frozen=True, slots=True)
class Package:
    """One distribution that goes into the archive."""

    name: str
    version: str
    editable: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive: the bytes `data` where given, else those of `source`; or a symbolic link to `link`."""

    name: str  # relative, with "/"
    source: str = ""  # where it is on this machine
    digest: str = ""  # sha256, urlsafe base64 without padding, as in RECORD files
    data: bytes | None = None
    link: str = ""
    executable: bool = False
    read: bool = False  # the digest is of what was read, not from a RECORD: the file may still be edited


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python environment as it is now. `hash` names its content: same hash, same archive for every purpose."""

    kind: str  # "conda", "venv" (uv's too) or "interpreter" (no environment: a Python's own packages)
    prefix: str
    python: str  # "3.11.7"
    hash: str  # 32 hex digits
    packages: tuple[Package, ...]
    left_out: tuple[Package, ...]
    platform: str  # "linux-x86_64"
    base: str = ""  # the program of the Python that the environment is made of
    own_modules: tuple[str, ...] = ()  # top-level modules of editable projects
    excluded: frozenset[str] = frozenset()  # names that the user leaves out
    members: tuple[Member, ...] = field(repr=False, compare=False, default=())  # packages' files; not Python's own

    @property
    def editable(self) -> tuple[str, ...]:
        """Names of the distributions that are installed as editable."""
        return tuple(p.name for p in self.packages if p.editable)

    def version_of(self, name: str) -> str | None:
        """Return the version of a packed distribution, None where it is not in."""
        return next((p.version for p in self.packages if p.name.lower().replace("_", "-") == name), None)


@dataclass(frozen=True, slots=True)
class Archive:
    """A packed environment on this machine. Sizes in bytes."""

    path: str
    hash: str
    size: int
    unpacked: int
    files: int
    needs: dict[str, Any]  # what the nodes must have: {"glibc": "2.36", "libraries": ["libssl.so.3", ...]}
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Published:
    """The result of `EnvStore.publish`. `seconds` by phase; `uploaded` is False where the store had the content."""

    hash: str
    path: str
    uploaded: bool
    size: int
    seconds: dict[str, float]
    url: str = ""
    name: str | None = None
    python: str = ""


@dataclass(frozen=True, slots=True)
class StoredEnvironment:
    """One environment of a store."""

    hash: str
    names: tuple[str, ...]
    path: str
    url: str
    size: int
    python: str
    created: float  # seconds since 1970
    kind: str = ""
    platform: str = ""
    howdah: str | None = None
    unpacked: int | None = None
    packages: tuple[Package, ...] = ()
    left_out: tuple[Package, ...] = ()
    needs: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The first of its names, or ""."""
        return self.names[0] if self.names else ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, packages as ``{"name", "version", "editable"}``."""
        return {**asdict(self), "name": self.name}


def entry_from_json(text: str | bytes, *, names: tuple[str, ...], path: str, url: str) -> StoredEnvironment:
    """Read a store's metadata file; fields that a newer howdah added are ignored."""
    values = json.loads(text)
    known = {
        k: v
        for k, v in values.items()
        if k in StoredEnvironment.__dataclass_fields__ and k not in ("names", "path", "url")
    }
    for many in ("packages", "left_out"):
        known[many] = tuple(Package(p["name"], p["version"], p.get("editable", False)) for p in known.get(many, ()))
    return StoredEnvironment(**known, names=names, path=path, url=url)
