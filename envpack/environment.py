"""Describe a Python environment: its kind, its packages, and a content hash.

Promises: :func:`describe_environment` reads and never writes; an unchanged environment gives the same hash on every
machine, and well within a second for a thousand packages' files on a warm disk. The hash covers the layout's version,
Python's own build (``sys.version``: it changes with every rebuild and update; the standard library is not read), the
conda packages' names and builds, and the name and SHA-256 of every package file that goes into the archive (see
`collect`). Files that are left out do not count: a new `ruff` makes no new archive. It is public.
"""

from __future__ import annotations

import hashlib
import os

from packaging.utils import canonicalize_name

from howdah.envpack.collect import collect
from howdah.envpack.exclusions import Exclusions
from howdah.envpack.interpreter import Interpreter, probe
from howdah.envpack.records import LAYOUT, Environment


def describe_environment(
    prefix: str | None = None, *, exclude: tuple[str, ...] = (), include: tuple[str, ...] = ()
) -> Environment:
    """Describe an environment.

    Parameters
    ----------
    prefix
        The folder of a conda, venv or uv environment; the running Python's by default.
    exclude, include
        Names of distributions to leave out besides developer tools, and of developer tools to keep.

    Raises
    ------
    InputError
        `prefix` is no environment; a name is not installed in it.
    EnvironmentMismatch
        Its Python does not start or is too old; an editable installation cannot be read.

    Examples
    --------
    >>> here = describe_environment()
    >>> here.kind in ("conda", "venv", "interpreter"), len(here.hash)
    (True, 32)
    >>> here.version_of("click") is not None, here.version_of("pytest") is None
    (True, True)
    """
    environment, _ = describe(prefix, exclude=exclude, include=include)
    return environment


def describe(
    prefix: str | None = None, *, exclude: tuple[str, ...] = (), include: tuple[str, ...] = ()
) -> tuple[Environment, Interpreter]:
    """Describe an environment as :func:`describe_environment` does, with the interpreter's facts, for `pack`."""
    python = probe(prefix)
    meta = os.path.join(python.prefix, "conda-meta")
    conda = (
        sorted(n.removesuffix(".json") for n in os.listdir(meta) if n.endswith(".json")) if os.path.isdir(meta) else []
    )
    rules = Exclusions(frozenset(map(canonicalize_name, exclude)), frozenset(map(canonicalize_name, include)))
    found = collect(python, rules, frozenset(canonicalize_name(name.rsplit("-", 2)[0]) for name in conda))
    in_venv = os.path.exists(os.path.join(python.prefix, "pyvenv.cfg"))
    kind = "conda" if conda else "venv" if in_venv else "interpreter"
    digest = hashlib.sha256()
    head = [f"layout {LAYOUT}", kind, python.build, python.soabi, python.platform, *conda]
    head.append("without " + " ".join(sorted(rules.exclude)) if conda else "")
    for line in head:
        digest.update(line.encode() + b"\n")
    for member in found.members:
        digest.update(f"{member.name}\0{member.digest}\0{member.executable:d}\n".encode("utf-8", "surrogateescape"))
    environment = Environment(
        kind=kind,
        prefix=python.prefix,
        python=python.version,
        hash=digest.hexdigest()[:32],
        packages=tuple(found.packages),
        left_out=tuple(found.left_out),
        platform=python.platform,
        base=python.executable,
        own_modules=tuple(sorted(found.own_modules)),
        excluded=rules.exclude,
        members=tuple(found.members),
    )
    return environment, python
