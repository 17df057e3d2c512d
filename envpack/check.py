"""Start a packed environment the way a node will, before it is uploaded.

Promises: the archive itself is unpacked (with GNU tar, as YARN does, where it is installed) into a temporary folder,
its Python is started with an empty environment in an empty folder, and imports howdah and the main packages that are
inside. Then every loaded module, every mapped library and ``sys.prefix`` must lie in the unpacked folder (the
system's libraries aside). A failure is an `EnvironmentMismatch` that names the module and shows the traceback. The
temporary folder is gone afterwards. Called by `store` and the command line.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time

from howdah.envpack.records import Archive, Environment, Progress
from howdah.errors import EnvironmentMismatch, StorageError

# Distribution -> modules to import: howdah and what it depends on; some submodules load shared libraries of their own.
# Users' own packages are located, not imported: importing may do anything.
IMPORTS = {
    "howdah": ("howdah",),
    "polars": ("polars",),
    "pandas": ("pandas",),
    "pyarrow": ("pyarrow", "pyarrow.parquet", "pyarrow.dataset"),
    "numpy": ("numpy",),
    "cloudpickle": ("cloudpickle",),
    "msgspec": ("msgspec",),
    "tornado": ("tornado.ioloop",),
    "hdfs-native": ("hdfs_native",),
    "skein": ("skein",),
    "cryptography": ("cryptography.x509",),
    "psutil": ("psutil",),
    "pyyaml": ("yaml",),
    "click": ("click",),
    "rich": ("rich",),
    "fsspec": ("fsspec",),
    "attrs": ("attrs",),
    "requests": ("requests",),
}
STANDARD = ("ssl", "sqlite3", "ctypes", "lzma", "bz2", "hashlib", "asyncio", "multiprocessing", "zoneinfo")
TIMEOUT = 300.0  # seconds; two are usual, a cold disk or a busy machine takes more

_SCRIPT = """
import importlib, importlib.util, json, os, sys, traceback
request = json.loads(sys.stdin.read())
root = os.path.realpath(request["root"])
answer = {"failed": None, "outside": [], "missing": []}
for name in request["imports"]:
    try:
        importlib.import_module(name)
    except BaseException:
        answer["failed"] = [name, traceback.format_exc()]
        break
def inside(path):
    return os.path.realpath(path).startswith(root + os.sep)
for name in request["locate"]:
    try:
        found = importlib.util.find_spec(name)
    except Exception:
        found = None
    if found is None:
        answer["missing"].append(name)
for name, module in sorted(sys.modules.items()):
    path = getattr(module, "__file__", None)
    if isinstance(path, str) and os.path.exists(path) and not inside(path):
        answer["outside"].append(name + " is " + path)
with open("/proc/self/maps", errors="replace") as maps:
    mapped = {line.split(None, 5)[5].strip() for line in maps if line.count("/")}
for path in sorted(mapped):
    if not inside(path) and ("libpython" in path or any(path.startswith(f + os.sep) for f in request["foreign"])):
        answer["outside"].append("a library is " + path)
if os.path.realpath(sys.prefix) != root:
    answer["outside"].append("sys.prefix is " + sys.prefix)
answer["version"] = ".".join(map(str, sys.version_info[:3]))
print("\\n" + json.dumps(answer))
"""


def check_archive(archive: Archive, environment: Environment, *, progress: Progress | None = None) -> float:
    """Unpack an archive, start its Python and import its packages. Returns the seconds that it took.

    Raises
    ------
    EnvironmentMismatch
        Something cannot be imported, or comes from outside the unpacked folder.
    StorageError
        No room to unpack.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="howdah-check-") as scratch:
        folder = os.path.join(scratch, "environment")
        os.mkdir(folder)
        if progress:
            progress("checking", 0, 2)
        _unpack(archive.path, folder)
        if progress:
            progress("checking", 1, 2)
        _start(folder, scratch, environment)
        if progress:
            progress("checking", 2, 2)
    return time.perf_counter() - started


def _unpack(path: str, folder: str) -> None:
    remedy = f"make room there, or set TMPDIR to a folder with more (now {tempfile.gettempdir()})"
    if tar := shutil.which("tar"):
        ran = subprocess.run([tar, "-xzf", path, "-C", folder], capture_output=True, text=True, check=False)
        if ran.returncode:
            raise StorageError(f"cannot unpack {path} into {folder}: {ran.stderr.strip()[-500:]}: {remedy}")
        return
    try:
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="tar")
    except OSError as error:
        raise StorageError(f"cannot unpack {path} into {folder}: {error}: {remedy}") from error


def _start(folder: str, scratch: str, environment: Environment) -> None:
    packed = {p.name.lower().replace("_", "-") for p in environment.packages}
    imports = [*STANDARD, *(module for name, modules in IMPORTS.items() if name in packed for module in modules)]
    foreign = {environment.prefix, os.path.dirname(os.path.dirname(environment.base))} - {"/", "/usr", "/usr/local"}
    request = {"root": folder, "imports": imports, "locate": environment.own_modules, "foreign": sorted(foreign)}
    empty = os.path.join(scratch, "empty")
    os.mkdir(empty)
    clean = {"PATH": "/usr/bin:/bin", "HOME": empty, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [os.path.join(folder, "bin", "python"), "-s", "-c", _SCRIPT]
    what = f"the packed copy of {environment.prefix}"
    try:
        ran = subprocess.run(
            command,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            env=clean,
            cwd=empty,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentMismatch(f"{what} did not finish its imports within {TIMEOUT:.0f} s") from error
    if ran.returncode or not ran.stdout.strip():
        raise EnvironmentMismatch(f"{what} does not start (exit code {ran.returncode}):\n{ran.stderr.strip()[-3000:]}")
    answer = json.loads(ran.stdout.splitlines()[-1])
    if answer["failed"]:
        name, trace = answer["failed"]
        raise EnvironmentMismatch(
            f"{what} cannot import {name!r}; if it works where it is installed, something that it needs is not in the "
            "environment's own folders, or was left out (howdah env pack --include NAME keeps all of a package):\n"
            + trace.strip()
        )
    if answer["missing"]:
        raise EnvironmentMismatch(
            f"{what} lacks {', '.join(answer['missing'])}, of an editable installation: install that project plainly "
            "(pip install without -e) and pack again"
        )
    if answer["outside"]:
        listed = "\n".join(answer["outside"][:10])
        raise EnvironmentMismatch(f"{what} still reaches outside its own folder:\n{listed}")
    if answer["version"] != environment.python:
        raise EnvironmentMismatch(f"{what} starts Python {answer['version']} instead of {environment.python}")


def check_compatible(
    *, python: str, howdah: str | None, python_version: str, howdah_version: str, what: str = "the environment"
) -> None:
    """Refuse an environment whose Python or howdah does not fit this program.

    Pickled functions need the same Python minor version at both ends, and howdah's messages the same howdah.

    Parameters
    ----------
    python, howdah
        The environment's versions; `howdah` is None where it has none.
    python_version, howdah_version
        This program's.
    what
        The environment's name in the error.

    Raises
    ------
    EnvironmentMismatch
        They differ; the message has both versions.

    Examples
    --------
    >>> check_compatible(python="3.11.9", howdah="0.1.0", python_version="3.11.7", howdah_version="0.1.0")
    >>> theirs = {"python": "3.12.4", "howdah": "0.1.0", "what": "'etl'"}
    >>> check_compatible(**theirs, python_version="3.11.7", howdah_version="0.1.0")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    howdah.errors.EnvironmentMismatch: 'etl' has Python 3.12.4 and this program runs on Python 3.11.7: ...
    """
    if python.split(".")[:2] != python_version.split(".")[:2]:
        minor = ".".join(python.split(".")[:2])
        raise EnvironmentMismatch(
            f"{what} has Python {python} and this program runs on Python {python_version}: functions cannot be sent "
            f"between them; start this program with Python {minor}, or pack the environment that it runs in "
            "(howdah env pack)"
        )
    if howdah is None:
        raise EnvironmentMismatch(f"{what} has no howdah in it: pip install howdah there and pack it again")
    if howdah != howdah_version:
        raise EnvironmentMismatch(
            f"{what} has howdah {howdah} and this program uses howdah {howdah_version}: install the same version in "
            "both and pack the environment again (howdah env pack)"
        )
