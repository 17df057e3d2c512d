"""Reads where a program or shared library looks for its libraries, and changes it in place.

Promises: 64-bit little-endian ELF only (x86-64, aarch64); every address in a file stays; nothing here touches a disk.
Called by `base`, which packs an interpreter. patchelf would do the same and more, but it is a program that an edge
node does not have, and all that is needed is one short string.

Source of the layouts: the System V ABI, chapters 4 and 5, and elf(5).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

_NEEDED, _STRTAB, _STRSZ, _SONAME, _RPATH, _RUNPATH = 1, 5, 10, 14, 15, 29
_PT_LOAD, _PT_DYNAMIC = 1, 2
_SHT_NULL, _SHT_NOBITS, _SHF_ALLOC = 0, 8, 2

# Weak, never defined, in whatever GCC links: its name in the string table is room for a string of our own.
_SPARE_NAME = b"\0_ITM_deregisterTMCloneTable\0"


@dataclass(frozen=True, slots=True)
class Elf:
    """The dynamic section of one file. `search` is RUNPATH, or RPATH where there is no RUNPATH."""

    needed: tuple[str, ...]
    soname: str
    search: tuple[str, ...]
    glibc: tuple[int, ...]  # the newest GLIBC_2.x symbol version it names; () for none


@dataclass(frozen=True, slots=True)
class _Layout:
    entries: list[tuple[int, int, int]]  # file offset, tag, value
    strings: int  # file offset of the string table
    size: int


def _layout(data: bytes) -> _Layout | None:
    if data[:6] != b"\x7fELF\x02\x01":
        return None
    phoff, phentsize, phnum = struct.unpack_from("<Q14xHH", data, 32)  # e_phoff; e_phentsize, e_phnum
    loads, dynamic = [], None
    for i in range(phnum):
        kind, _flags, offset, address, _physical, length = struct.unpack_from("<IIQQQQ", data, phoff + i * phentsize)
        if kind == _PT_LOAD:
            loads.append((address, offset, length))
        elif kind == _PT_DYNAMIC:
            dynamic = (offset, length)
    if dynamic is None:
        return None
    entries = [(at, *struct.unpack_from("<qQ", data, at)) for at in range(dynamic[0], dynamic[0] + dynamic[1], 16)]
    found = {tag: value for _, tag, value in entries}
    table = found.get(_STRTAB)
    for address, offset, length in loads:
        if table is not None and address <= table < address + length:
            return _Layout(entries, table - address + offset, found.get(_STRSZ, 0))
    return None


def _string(data: bytes, layout: _Layout, offset: int) -> str:
    start = layout.strings + offset
    return data[start : data.index(b"\0", start)].decode("utf-8", "surrogateescape")


def read(data: bytes) -> Elf | None:
    """The dynamic section of an ELF file's bytes; None for anything else, a static program included.

    >>> read(b"#!/bin/sh") is None
    True
    """
    layout = _layout(data)
    if layout is None:
        return None
    needed, soname, paths = [], "", {}
    for _, tag, value in layout.entries:
        if tag == _NEEDED:
            needed.append(_string(data, layout, value))
        elif tag == _SONAME:
            soname = _string(data, layout, value)
        elif tag in (_RPATH, _RUNPATH):
            paths[tag] = _string(data, layout, value)
        elif tag == 0:
            break
    search = paths.get(_RUNPATH, paths.get(_RPATH, ""))
    names = data[layout.strings : layout.strings + layout.size]
    versions = [tuple(map(int, v.split(b"."))) for v in re.findall(rb"\0GLIBC_(2(?:\.\d+)+)(?=\0)", names)]
    return Elf(tuple(needed), soname, tuple(p for p in search.split(":") if p), max(versions, default=()))


def with_search_path(data: bytes, path: str) -> bytes | None:
    """The same file, looking for its libraries in `path` (as in ``$ORIGIN/../lib``); None where there is no room.

    An existing search path is overwritten, padded with NULs. A file without one, or with one too short, gets a RUNPATH
    entry in one of the empty slots that the linker leaves at the end of the dynamic section; its text replaces the
    name of ``_ITM_deregisterTMCloneTable``, a weak symbol for transactional memory that nothing ever defines.
    """
    layout = _layout(data)
    if layout is None:
        return None
    text = path.encode() + b"\0"
    changed = bytearray(data)
    slots = [(at, tag) for at, tag, _ in layout.entries]
    last = next((i for i, (_, tag) in enumerate(slots) if tag == 0), len(slots))
    present = [(at, tag, value) for at, tag, value in layout.entries[:last] if tag in (_RPATH, _RUNPATH)]
    for _, _, value in present:
        start = layout.strings + value
        room = data.index(b"\0", start) - start + 1
        if len(text) > room:
            break
        changed[start : start + room] = text.ljust(room, b"\0")
    else:
        if present:
            return bytes(changed)
    changed = bytearray(data)
    spare = data.find(_SPARE_NAME, layout.strings, layout.strings + layout.size)
    if spare < 0 or len(text) > len(_SPARE_NAME) - 1:
        return None
    changed[spare + 1 : spare + len(_SPARE_NAME)] = text.ljust(len(_SPARE_NAME) - 1, b"\0")
    where = spare + 1 - layout.strings
    if present:
        for at, tag, _ in present:
            struct.pack_into("<qQ", changed, at, tag, where)
    elif last + 1 < len(slots):  # one empty entry must stay to end the table
        struct.pack_into("<qQ", changed, slots[last][0], _RUNPATH, where)
    else:
        return None
    return bytes(changed)


def without_debug(data: bytes) -> bytes:
    """The same file without its debugger's sections, as ``strip --strip-debug`` leaves it; symbols stay.

    Pythons built on the spot (pyenv) carry three times their own size of them. A file of another kind, or laid out in
    another way than linkers do (all that is loaded first), comes back as it is.
    """
    if _layout(data) is None:
        return data
    shoff = struct.unpack_from("<Q", data, 40)[0]
    shentsize, shnum, shstrndx = struct.unpack_from("<HHH", data, 58)
    headers = [list(struct.unpack_from("<IIQQQQIIQQ", data, shoff + i * shentsize)) for i in range(shnum)]
    if shentsize != 64 or shstrndx >= shnum:
        return data
    names = headers[shstrndx][4]

    def is_debug(header: list[int]) -> bool:
        at = names + header[0]
        return not header[2] & _SHF_ALLOC and data[at : at + 7] == b".debug_"

    phoff, phentsize, phnum = struct.unpack_from("<Q14xHH", data, 32)
    loaded = phoff + phentsize * phnum
    for i in range(phnum):
        _kind, _flags, offset, _address, _physical, length = struct.unpack_from("<IIQQQQ", data, phoff + i * phentsize)
        loaded = max(loaded, offset + length)
    rest = [h for h in headers if not h[2] & _SHF_ALLOC and h[1] not in (_SHT_NULL, _SHT_NOBITS)]
    if not any(is_debug(h) for h in rest) or any(h[4] < loaded for h in rest):
        return data
    out = bytearray(data[:loaded])
    for header in rest:  # their order in the table stays: symbols and links count in it
        out += bytes(-len(out) % max(header[8], 1))
        start, header[4] = header[4], len(out)
        if is_debug(header):
            header[1], header[5] = _SHT_NOBITS, 0
        else:
            out += data[start : start + header[5]]
    out += bytes(-len(out) % 8)
    struct.pack_into("<Q", out, 40, len(out))
    return bytes(out) + b"".join(struct.pack("<IIQQQQIIQQ", *header) for header in headers)
