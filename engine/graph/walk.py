"""The walk over an object for its content hash: a hash over tagged, self-delimiting descriptions.

How a type is described is looked up in KINDS (by type), then ROOTS (by the package that defines it), then FALLBACK;
`keys` fills these. For this folder's modules only.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from howdah.engine.protocol.layers import Key

_GENERATION = b"howdah-key-1" + bytes(sys.version_info[:2])
"""Part of every key: another Python's bytecode, and later versions of these modules, give other keys."""


class Indescribable(Exception):
    """The object's content cannot be described."""


class Walk:
    """Feeds a hash with tagged, self-delimiting descriptions of objects."""

    def __init__(self, path: dict[int, int] | None = None) -> None:
        self._hash = hashlib.blake2b(_GENERATION, digest_size=16)
        self.write = self._hash.update
        self._path = {} if path is None else path
        """The depth of the objects that are being described, by id: cycles end there."""

    def digest(self) -> Key:
        """Return the hash of all that was fed."""
        return self._hash.digest()

    def feed(self, obj: Any) -> None:
        """Describe an object and all that it contains."""
        kind = type(obj)
        simple = _SIMPLE.get(kind)
        if simple is not None:
            simple(self, obj)
            return
        ident = id(obj)
        depth = self._path.get(ident)
        if depth is not None:
            self.write(b"^%d," % depth)
            return
        self._path[ident] = len(self._path)
        try:
            describe = KINDS.get(kind)
            if describe is None:
                root = (kind.__module__ or "").partition(".")[0]
                describe = KINDS[type] if issubclass(kind, type) else ROOTS.get(root) or FALLBACK[0]
            describe(self, obj)
        finally:
            del self._path[ident]

    def text(self, tag: bytes, text: str) -> None:
        """Describe a text."""
        data = text.encode("utf-8", "surrogatepass")
        self.write(tag + b"%d:" % len(data))
        self.write(data)

    def raw(self, tag: bytes, data: Any) -> None:
        """Describe a buffer."""
        self.write(tag + b"%d:" % memoryview(data).nbytes)
        self.write(data)

    def each(self, tag: bytes, items: Iterable[Any], count: int) -> None:
        """Describe a number of items in order."""
        self.write(tag + b"%d," % count)
        for item in items:
            self.feed(item)

    def separate_digest(self, obj: Any) -> bytes:
        """Return the digest of `obj` alone, for containers without order."""
        walk = Walk(self._path)
        walk.feed(obj)
        return walk.digest()


Describe: TypeAlias = Callable[[Walk, Any], None]


def _int(walk: Walk, obj: int) -> None:
    walk.write(b"i%d," % obj if -(1 << 62) < obj < 1 << 62 else b"I" + hex(obj).encode() + b",")


_SIMPLE: dict[type, Describe] = {
    type(None): lambda walk, _: walk.write(b"N"),
    bool: lambda walk, obj: walk.write(b"T" if obj else b"F"),
    int: _int,
    float: lambda walk, obj: walk.write(b"f" + struct.pack("<d", obj)),
    complex: lambda walk, obj: walk.write(b"c" + struct.pack("<dd", obj.real, obj.imag)),
    str: lambda walk, obj: walk.text(b"s", obj),
    bytes: lambda walk, obj: walk.raw(b"b", obj),
    type(Ellipsis): lambda walk, _: walk.write(b"E"),
    type(NotImplemented): lambda walk, _: walk.write(b"n"),
}


def _set(walk: Walk, obj: Any) -> None:
    walk.write(b"{%d%d," % (type(obj) is set, len(obj)))
    for digest in sorted([walk.separate_digest(item) for item in obj]):
        walk.write(digest)


def _dict(walk: Walk, obj: Mapping[Any, Any]) -> None:
    walk.write(b"d%d," % len(obj))
    for key, value in obj.items():
        walk.feed(key)
        walk.feed(value)


KINDS: dict[type, Describe] = {
    tuple: lambda walk, obj: walk.each(b"t", obj, len(obj)),
    list: lambda walk, obj: walk.each(b"l", obj, len(obj)),
    dict: _dict,
    set: _set,
    frozenset: _set,
    bytearray: lambda walk, obj: walk.raw(b"B", obj),
    memoryview: lambda walk, obj: walk.raw(b"V", obj.tobytes()),
}

ROOTS: dict[str, Describe] = {}

FALLBACK: list[Describe] = []
