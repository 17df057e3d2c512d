"""Compiled modules for an archive: every `.py` travels with its `.pyc`.

Why: the unpacked folder is read-only in YARN's cache, so Python could never keep what it compiles: ``import polars,
pandas, pyarrow`` takes 2.1 s without and 0.5 s with them, in every container. Why not the `.pyc` files that are
there: they hold the source's modification time and are invalid when an unpacker or a reproducible archive changes it,
and uv makes none. Ours are never checked against their source (PEP 552, unchecked hash-based): the folder never
changes.

Promises: nothing is written in the environment. Results are kept in a cache folder, named by interpreter and by the
source's SHA-256, so that a second pack compiles only what changed. A file that does not compile (a template, Python
2) is packed without bytecode. Called by `archive`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable

from howdah.envpack.interpreter import Interpreter
from howdah.envpack.records import Member
from howdah.errors import EnvironmentMismatch

CACHE_LIMIT = 1 << 30  # bytes; an environment's worth is about 50 MB

# Runs in the environment's own Python: bytecode is valid for its very version only. The file name is the same for all:
# importlib sets the real one on import, and equal sources make equal bytes.
_COMPILE = """
import importlib._bootstrap_external as external, importlib.util, json, os, sys, warnings
warnings.simplefilter("ignore")
sys.setrecursionlimit(10000)
for line in sys.stdin:
    source, target = json.loads(line)
    try:
        with open(source, "rb") as file:
            text = file.read()
        code = compile(text, "<packed>", "exec", dont_inherit=True, optimize=0)
        data = external._code_to_hash_pyc(code, importlib.util.source_hash(text), False)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        data = b""
    partial = f"{target}.{os.getpid()}"
    with open(partial, "wb") as file:
        file.write(data)
    os.replace(partial, target)
    print(flush=True)
"""


def cache_folder(python: Interpreter) -> str:
    """Return the folder of this interpreter's bytecode, in ``$XDG_CACHE_HOME/howdah`` or ``~/.cache/howdah``."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    build = hashlib.sha256(python.build.encode()).hexdigest()[:12]
    return os.path.join(root, "howdah", "bytecode", f"{python.cache_tag}-{python.magic}-{build}")


def compiled(
    members: list[Member],
    python: Interpreter,
    *,
    threads: int,
    spare_folder: str,
    cache_limit: int = CACHE_LIMIT,
    progress: Callable[[int, int], None] | None = None,
) -> list[Member]:
    """Return the `.pyc` members for all `.py` members below `lib/pythonX.Y`.

    Parameters
    ----------
    members
        An archive's files; compiled ones should not be among them.
    python
        Its program compiles.
    threads
        Processes of it at once.
    spare_folder
        Used where the cache folder cannot be written.
    cache_limit
        Bytes of the cache folder above which it is pruned.
    progress
        Called with (compiled, to compile).
    """
    cache = cache_folder(python)
    try:
        os.makedirs(cache, mode=0o700, exist_ok=True)
        writable = os.access(cache, os.W_OK)
    except OSError:  # no home folder, or a full or read-only one: compile anew this time
        writable = False
    if not writable:
        cache = os.path.join(spare_folder, "bytecode")
        os.makedirs(cache, exist_ok=True)
    places: list[tuple[Member, str]] = []
    todo: dict[str, str] = {}
    for member in members:
        if not member.name.endswith(".py") or not member.name.startswith(python.lib + "/") or not member.source:
            continue
        with open(member.source, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        place = os.path.join(cache, digest[:2], digest[2:] + ".pyc")
        places.append((member, place))
        if not os.path.exists(place):
            os.makedirs(os.path.dirname(place), exist_ok=True)
            todo[place] = member.source
        else:
            os.utime(place)
    _compile(todo, python, threads, progress)
    if todo:
        _prune(cache, cache_limit, {place for _, place in places})
    made = []
    for member, place in places:
        if os.path.getsize(place):
            folder, _, base = member.name.rpartition("/")
            name = f"{folder}/__pycache__/{base.removesuffix('.py')}.{python.cache_tag}.pyc"
            made.append(Member(name, place))
    return made


def _compile(
    todo: dict[str, str], python: Interpreter, threads: int, progress: Callable[[int, int], None] | None
) -> None:
    work = [json.dumps((source, place)) + "\n" for place, source in sorted(todo.items(), key=lambda item: item[1])]
    if not work:
        return
    program = os.path.join(python.prefix, "bin", "python")
    command = [program if os.path.exists(program) else python.executable, "-I", "-S", "-B", "-c", _COMPILE]
    many = max(1, min(threads, len(work) // 50 + 1))
    with contextlib.ExitStack() as stack:
        running = []
        for i in range(many):
            lines = stack.enter_context(tempfile.TemporaryFile())
            lines.write("".join(work[i::many]).encode("utf-8", "surrogateescape"))
            lines.seek(0)
            child = subprocess.Popen(command, stdin=lines, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            running.append(stack.enter_context(child))
            stack.callback(child.kill)  # nothing to a process that has ended
        done = 0
        for child in running:
            for _ in child.stdout or ():
                done += 1
                if progress:
                    progress(done, len(work))
            stderr = child.stderr.read() if child.stderr else b""
            if child.wait():
                raise EnvironmentMismatch(
                    f"{command[0]} failed to compile its modules (exit code {child.returncode}): is the disk full, "
                    f"or the environment broken?\n{stderr.decode(errors='replace').strip()[-2000:]}"
                )


def _prune(cache: str, limit: int, in_use: set[str]) -> None:
    """Keep the cache near its limit: remove the half that was not used for longest, but nothing in use."""
    found = []
    for folder in os.scandir(cache):
        if folder.is_dir():
            found += [(e.stat().st_mtime, e.stat().st_size, e.path) for e in os.scandir(folder.path)]
    if sum(size for _, size, _ in found) > limit:
        for _, _, path in sorted(found)[: len(found) // 2]:
            if path not in in_use:
                with contextlib.suppress(FileNotFoundError):  # another pack prunes as well
                    os.remove(path)
