"""The facts of a Python interpreter that are needed to pack it: where its parts are and how it was built.

Promises: :func:`probe` describes the running interpreter or, through a short-lived child, another prefix's; it changes
nothing and takes well under 0.1 s. Called by `environment`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass

from howdah.envpack import interpreter_facts
from howdah.errors import EnvironmentMismatch, bad_value


@dataclass(frozen=True, slots=True)
class Interpreter:
    """One Python interpreter. All paths are absolute, on this machine."""

    version: str  # "3.11.7"
    short: str  # "3.11"; "3.13t" for a free-threaded build: the name of its lib folder
    build: str  # the whole of sys.version: it changes with every rebuild
    implementation: str
    cache_tag: str
    magic: str  # of its bytecode, in hex
    soabi: str
    platform: str
    glibc: str
    prefix: str
    base_prefix: str
    executable: str  # the program itself, links resolved
    libpython: str  # the shared library that the program is a shell around; "" when it is all in one
    stdlib: str
    dynload: str
    platlibdir: str  # "lib", or "lib64" on Fedora and its kin
    sites: tuple[str, ...]  # folders of installed packages, in sys.path order
    dist_packages: bool  # Debian's patched layout

    @property
    def lib(self) -> str:
        """The folder of the standard library in an archive."""
        return f"lib/python{self.short}"

    @property
    def site(self) -> str:
        """The folder of packages in an archive."""
        return f"{self.lib}/site-packages"


def probe(prefix: str | None = None) -> Interpreter:
    """Return the facts of an interpreter.

    Parameters
    ----------
    prefix
        A virtual or conda environment's folder; the running interpreter's own by default.

    Raises
    ------
    InputError
        There is no `bin/python` under `prefix`.
    EnvironmentMismatch
        Its Python does not start, or is older than howdah supports.

    Examples
    --------
    >>> import sys
    >>> probe().version == "%d.%d.%d" % sys.version_info[:3]
    True
    """
    if prefix is None or os.path.realpath(prefix) == os.path.realpath(sys.prefix):
        facts = interpreter_facts.interpreter_facts()
    else:
        facts = _probe_other(prefix)
    facts["sites"] = tuple(facts["sites"])  # type: ignore[arg-type]
    found = Interpreter(**facts)  # type: ignore[arg-type]
    if tuple(map(int, found.version.split(".")[:2])) < (3, 11) or found.implementation != "cpython":
        raise EnvironmentMismatch(
            f"the environment {found.prefix} has {found.implementation} {found.version}; howdah needs CPython 3.11 or "
            "newer: make the environment anew with one"
        )
    return found


def _probe_other(prefix: str) -> dict[str, object]:
    programs = [
        os.path.join(prefix, "bin", name) for name in ("python", "python3")
    ]  # Debian's /usr has only the second
    python = next((program for program in programs if os.path.exists(program)), None)
    if python is None:
        raise bad_value(
            "prefix", prefix, "give the folder of a virtual or conda environment (there is no bin/python in it)"
        )
    with open(interpreter_facts.__file__, encoding="utf-8") as source:
        text = source.read()
    # -E: our own PYTHONPATH and PYTHONHOME do not apply to that environment
    command = [python, "-E", "-c", text + "\nimport json\nprint('\\n' + json.dumps(interpreter_facts()))"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if ran.returncode:
        raise EnvironmentMismatch(
            f"the Python of {prefix} does not start (exit code {ran.returncode}); repair or remake the environment:\n"
            + ran.stderr.strip()[-2000:]
        )
    facts: dict[str, object] = json.loads(ran.stdout.splitlines()[-1])
    return facts
