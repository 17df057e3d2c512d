"""Finds the JDK for the small Hadoop.

Promises a JAVA_HOME whose Java Hadoop 3.4 runs on (11 to 21: 22 and later refuse calls it relies on), or an error
that lists the Javas found and the command that installs a suitable one. It starts nothing but `java -version`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from howdah.errors import HadoopNotFound

OLDEST, NEWEST = 11, 21
INSTALL = "apt-get install -y openjdk-17-jdk-headless maven"


def ensure_java(candidates: Iterable[Path] | None = None) -> Path:
    """Return the JAVA_HOME of a Java 11 to 21.

    Parameters
    ----------
    candidates
        Where to look, in order; None is $JAVA_HOME, then `java` of PATH, then those under /usr/lib/jvm.

    Raises
    ------
    HadoopNotFound
        There is none; the message lists what was found and how to install one.
    """
    seen: dict[Path, str] = {}
    for home in _candidates() if candidates is None else candidates:
        if home in seen:
            continue
        major = java_version(home)
        if major is not None and OLDEST <= major <= NEWEST:
            return home
        seen[home] = "does not run" if major is None else f"Java {major}"
    found = "; ".join(f"{home}: {what}" for home, what in seen.items()) or "no Java at all"
    raise HadoopNotFound(
        f"the small Hadoop needs Java {OLDEST} to {NEWEST}; found {found}. "
        f"Set JAVA_HOME to one, or on Debian run: {INSTALL}"
    )


def java_version(home: Path) -> int | None:
    """Return the major version of the Java in `home`, or None if it does not run."""
    try:
        done = subprocess.run(
            [home / "bin" / "java", "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return _major(done.stderr)


def _major(output: str) -> int | None:
    """Return the major version in the output of `java -version`.

    >>> _major('openjdk version "17.0.15" 2025-04-15')
    17
    >>> _major('java version "1.8.0_301"')
    8
    """
    version = re.search(r'version "(?:1\.)?(\d+)', output)
    return int(version[1]) if version else None


def _candidates() -> Iterator[Path]:
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"])
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path).resolve().parent.parent
    for installed in sorted(Path("/usr/lib/jvm").glob("*/bin/java")):
        yield installed.resolve().parent.parent
