"""Python itself as part of an archive: the program, its shared library, and the trimmed standard library.

Promises: the packed program finds its own libpython and standard library wherever the archive is unpacked, so that
nodes need no Python. A virtual environment only points to the Python that made it; here that Python goes along. Three
things make it movable:

- There is no `pyvenv.cfg`: Python searches upward from its program for `lib/pythonX.Y/os.py`, and takes that folder as
  its prefix.
- A Python built with ``--enable-shared`` (pyenv often, Fedora, conda-less docker images) is a shell around
  `libpythonX.Y.so`, which the loader finds by an absolute search path in the program, or in the system's folders. The
  library goes into `lib/`, and the program's search path becomes ``$ORIGIN/../lib`` (`elf`).
- Libraries that extension modules find through a search path of their own, outside the system's folders (OpenSSL of a
  home-built Python), go into `lib/` too. Those of the system (libc, libssl, libffi, libsqlite3) do not: the nodes must
  have them, and the archive's facts list them.

Called by `archive`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator

from howdah.envpack import elf
from howdah.envpack.exclusions import drops_stdlib_file, drops_stdlib_folder
from howdah.envpack.interpreter import Interpreter
from howdah.envpack.records import Member
from howdah.errors import EnvironmentMismatch

_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/lib32", "/usr/lib32")


def python_members(python: Interpreter) -> list[Member]:
    """Return every file of the interpreter, without packages.

    Raises
    ------
    EnvironmentMismatch
        The program is no ELF file, or its search path cannot be changed (`elf.with_search_path`).
    """
    out: dict[str, Member] = {}
    for name, path in _stdlib(python):
        out[name] = _stripped_library(name, path) if name.endswith(".so") else Member(name, path)
    with open(python.executable, "rb") as file:
        program = elf.without_debug(file.read())  # before patchelf, which lays a file out in another way
    facts = elf.read(io.BytesIO(program))
    if facts is None:
        raise EnvironmentMismatch(
            f"{python.executable} is not a 64-bit ELF program that howdah can move to other machines: "
            "use a Python of conda, uv or your distribution"
        )
    shared = next((n for n in facts.needed if os.path.basename(n).startswith("libpython")), "")
    if shared:
        name = os.path.basename(shared)
        out[f"lib/{name}"] = _stripped_library(f"lib/{name}", python.libpython)
        if "/" not in shared and "$ORIGIN/../lib" not in facts.search:
            program = elf.with_search_path(program, "$ORIGIN/../lib")
    out["bin/python"] = Member("bin/python", data=program, source=python.executable, executable=True)
    for alias in ("python3", f"python{python.short}"):
        out[f"bin/{alias}"] = Member(f"bin/{alias}", link="python")
    _bundle_libraries(out, python)
    if python.platlibdir != "lib":
        out[python.platlibdir] = Member(python.platlibdir, link="lib")
    if python.dist_packages:  # Debian's Python finds packages nowhere else
        where = f"lib/python{python.short.partition('.')[0]}/dist-packages"
        out[where] = Member(where, link=f"../python{python.short}/site-packages")
    return list(out.values())


def _stripped_library(name: str, path: str) -> Member:
    """Return a library of Python's own without its debug sections."""
    with open(path, "rb") as file:
        data = file.read()
    less = elf.without_debug(data)
    return Member(name, path, data=less if len(less) < len(data) else None, executable=True)


def node_requirements(members: list[Member]) -> dict[str, object]:
    """Return what the nodes must have for these files to load: a glibc version, and libraries that are not inside.

    Covers Python's own files and extension modules alike.
    """
    inside: set[str] = set()
    needed: set[str] = set()
    newest: tuple[int, ...] = ()
    for member in members:
        base = os.path.basename(member.name)
        if not (base.endswith(".so") or ".so." in base or member.name.startswith("bin/")) or member.link:
            continue
        facts = _elf_of(member)
        if facts is None:
            continue
        inside |= {base, facts.soname}
        needed |= {os.path.basename(n) for n in facts.needed}
        newest = max(newest, facts.glibc)
    outside = {name for name in needed - inside if not name.startswith("ld-linux")}
    return {"glibc": ".".join(map(str, newest)), "libraries": sorted(outside)}


def _stdlib(python: Interpreter) -> Iterator[tuple[str, str]]:
    yield from _walk(python.stdlib, python.lib, top=True)
    if python.dynload and os.path.dirname(python.dynload) != python.stdlib:
        yield from _walk(python.dynload, f"{python.lib}/lib-dynload", top=False)


def _walk(folder: str, name: str, *, top: bool) -> Iterator[tuple[str, str]]:
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.is_dir():
            if not drops_stdlib_folder(entry.name, top=top):
                yield from _walk(entry.path, f"{name}/{entry.name}", top=False)
        elif entry.is_file() and not drops_stdlib_file(entry.name):
            yield f"{name}/{entry.name}", entry.path


def _bundle_libraries(out: dict[str, Member], python: Interpreter) -> None:
    """Add libraries that are found by search path outside the system's folders, and those that these need."""
    waiting = [(m.name, m.source) for m in out.values() if m.executable and not m.link]
    while waiting:
        name, path = waiting.pop()
        member = out[name]
        facts = _elf_of(member)
        original_facts = elf.read_path(path)
        if facts is None or original_facts is None:
            continue
        origin = os.path.dirname(os.path.realpath(path))
        original = original_facts.search  # the packed file's may have been changed already
        folders = [os.path.normpath(p.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", origin)) for p in original]
        found = False
        for needed in facts.needed:
            where = next((f for f in folders if os.path.exists(os.path.join(f, needed))), None)
            if where is None or _is_system(where) or needed.startswith("libpython"):
                continue
            found = True
            if f"lib/{needed}" not in out:
                source = os.path.realpath(os.path.join(where, needed))
                out[f"lib/{needed}"] = Member(f"lib/{needed}", source, executable=True)
                waiting.append((f"lib/{needed}", source))
        up = "/".join([".."] * (name.count("/")))
        target = "$ORIGIN" if name.startswith("lib/") and name.count("/") == 1 else f"$ORIGIN/{up}/lib"
        here = os.path.dirname(name)
        reached = {os.path.normpath(p.replace("$ORIGIN", here)) for p in facts.search if p.startswith("$ORIGIN")}
        if found and "lib" not in reached:
            out[name] = Member(name, path, data=elf.with_search_path(_bytes_of(member), target), executable=True)


def _elf_of(member: Member) -> elf.Elf | None:
    return elf.read_path(member.source) if member.data is None else elf.read(io.BytesIO(member.data))


def _bytes_of(member: Member) -> bytes:
    if member.data is not None:
        return member.data
    with open(member.source, "rb") as file:
        return file.read()


def _is_system(folder: str) -> bool:
    real = os.path.realpath(folder)
    return any(real == s or os.path.dirname(real) in ("/lib", "/usr/lib") for s in _SYSTEM)
