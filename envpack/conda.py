"""List the files of a conda environment, which conda-pack makes movable.

Promises: the same selection as for other environments (`collect`, `exclusions`); conda-pack rewrites what holds the
environment's path, and `conda-unpack` is not needed: programs find their libraries by ``$ORIGIN``, and Python is
started by its path. Only scripts and some configuration files of non-Python packages would need it; scripts are left
out. Called by `archive`.
"""

from __future__ import annotations

import json
import os
import warnings
from typing import Any

from packaging.utils import canonicalize_name

from howdah.envpack.collect import is_program
from howdah.envpack.exclusions import (
    drops_prefix_path,
    drops_stdlib_file,
    drops_stdlib_folder,
)
from howdah.envpack.interpreter import Interpreter
from howdah.envpack.records import Environment, Member
from howdah.errors import EnvironmentMismatch


def members(environment: Environment, python: Interpreter, scratch: str) -> list[Member]:
    """Stage a conda environment under `scratch` and list its files.

    Raises
    ------
    EnvironmentMismatch
        conda-pack is missing, or refuses (its text is in the message): as a rule because pip replaced files of a
        conda package.
    """
    try:
        import conda_pack
        from conda_pack.core import CondaEnv
    except ImportError as error:
        raise EnvironmentMismatch(
            f"{environment.prefix} is a conda environment, and packing it needs conda-pack: "
            "pip install 'howdah[yarn]' (or conda install conda-pack)"
        ) from error
    own = {m.name: m for m in environment.members}
    gone = _files_of_excluded(environment)
    try:
        with warnings.catch_warnings():
            # "without entries in the package cache": such files are rewritten all the same
            warnings.simplefilter("ignore", UserWarning)
            everything = CondaEnv.from_prefix(environment.prefix, ignore_editable_packages=True)
            kept = [f for f in everything.files if f.target not in gone and _keeps(f, own, python)]
            CondaEnv(everything.prefix, kept).pack(output=scratch, format="no-archive")
    except conda_pack.CondaPackException as error:
        raise EnvironmentMismatch(f"conda-pack cannot pack {environment.prefix}: {error}") from error
    staged = list(_staged(scratch))
    there = {m.name for m in staged}
    # the files of editable projects are in our list and not in conda-pack's
    return staged + [m for m in environment.members if m.name not in there]


def _keeps(file: Any, own: dict[str, Member], python: Interpreter) -> bool:
    target: str = file.target
    if target.startswith(python.site + "/"):
        return target in own and own[target].data is None
    if target.startswith(python.lib + "/"):
        parts = target.removeprefix(python.lib + "/").split("/")
        folders = [drops_stdlib_folder(part, top=i == 0) for i, part in enumerate(parts[:-1])]
        return not any(folders) and not drops_stdlib_file(parts[-1])
    if target.startswith("bin/"):
        path = os.path.realpath(file.source)
        return os.path.isfile(path) and is_program(path)
    return not drops_prefix_path(target)


def _files_of_excluded(environment: Environment) -> set[str]:
    """Return files of conda packages that the user leaves out by name and that are no Python distributions."""
    meta = os.path.join(environment.prefix, "conda-meta")
    gone: set[str] = set()
    for record in sorted(os.listdir(meta)):
        if record.endswith(".json") and canonicalize_name(record.rsplit("-", 2)[0]) in environment.excluded:
            with open(os.path.join(meta, record), encoding="utf-8") as file:
                gone.update(json.load(file)["files"])
    return gone


def _staged(folder: str) -> list[Member]:
    found = []
    for path, folders, files in os.walk(folder):
        linked = [d for d in folders if os.path.islink(os.path.join(path, d))]
        for name in files + linked:
            full = os.path.join(path, name)
            rel = os.path.relpath(full, folder)
            if os.path.islink(full) and not os.path.isabs(os.readlink(full)):
                if os.path.exists(full):
                    found.append(Member(rel, link=os.readlink(full)))
            elif os.path.isfile(full):
                found.append(Member(rel, full, executable=os.access(full, os.X_OK)))
    return found
