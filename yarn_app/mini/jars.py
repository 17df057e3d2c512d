"""Fetches Hadoop's jars from Maven Central, once, as the pom.xml beside this file pins them.

Beside them goes `howdah-quick.jar`, a class that makes NodeManagers unpack environments three times as fast
(the reason is in templates/QuickLocalFs.java); without `javac` it is left out, and they unpack slowly.

Promises a folder that is complete or not there: Maven copies into a folder of its own, which is renamed at the end.
Two processes that fetch at once do it one after the other. The folder is `$HOWDAH_CACHE/hadoop-<version>` (default
`~/.cache/howdah/hadoop-<version>`); a changed pom makes it anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from howdah.errors import HadoopNotFound
from howdah.yarn_app.mini.java import INSTALL, ensure_java

POM = Path(__file__).with_name("pom.xml")
QUICK = POM.with_name("templates") / "QuickLocalFs.java"
QUICK_CLASS = "org.apache.hadoop.fs.local.QuickLocalFs"
QUICK_JAR = "howdah-quick.jar"
_DEADLINE = 900  # seconds: 89 MB through a slow line


def hadoop_version() -> str:
    """Return the version that the pom pins.

    >>> hadoop_version()
    '3.4.1'
    """
    found = re.search(r"<hadoop.version>(.+?)</hadoop.version>", POM.read_text())
    assert found, "the pom names hadoop.version"
    return found[1]


def cache_root() -> Path:
    """Return the folder of downloads: $HOWDAH_CACHE, else ~/.cache/howdah."""
    return Path(os.environ.get("HOWDAH_CACHE") or Path.home() / ".cache" / "howdah").expanduser().absolute()


def jars_are_here() -> bool:
    """Whether :func:`ensure_jars` has nothing left to do."""
    return _complete(cache_root() / f"hadoop-{hadoop_version()}")


def ensure_jars() -> Path:
    """Return the folder with all of Hadoop's jars, fetched with Maven if it is not there yet (89 MB, about 20 s).

    Raises
    ------
    HadoopNotFound
        Maven is missing or failed; the message has its last lines.
    """
    folder = cache_root() / f"hadoop-{hadoop_version()}"
    if _complete(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / "fetching.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _complete(folder):  # another process may have fetched them meanwhile
            _fetch(folder)
    return folder


def _complete(folder: Path) -> bool:
    marker = folder / "made-from"
    return marker.is_file() and marker.read_text() == _made_from()


def _made_from() -> str:
    return hashlib.sha256(POM.read_bytes() + QUICK.read_bytes()).hexdigest()


def _fetch(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise HadoopNotFound(
            f"Hadoop's jars are not in {folder} yet, and Maven, which fetches them, is not on PATH (`mvn`). "
            f"On Debian run: {INSTALL}"
        )
    java = ensure_java()
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as work:
        # The pom is copied because Maven writes `target/` beside it.
        pom = Path(shutil.copy(POM, work))
        made = Path(work, "jars")
        command = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={made}"]
        environment = os.environ | {"JAVA_HOME": str(java)}
        try:
            subprocess.run(
                command, env=environment, check=True, timeout=_DEADLINE, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.CalledProcessError as failed:
            last = "\n".join(failed.stdout.splitlines()[-15:])
            raise HadoopNotFound(
                f"Maven could not fetch Hadoop's jars (exit code {failed.returncode}):\n{last}"
            ) from None
        except subprocess.TimeoutExpired:
            raise HadoopNotFound(
                f"Maven did not fetch Hadoop's jars within {_DEADLINE} s. Start again: what it has is kept in ~/.m2."
            ) from None
        _compile_quick(java, made, Path(work))
        (made / "made-from").write_text(_made_from())
        if folder.exists():  # made from another pom
            folder.rename(Path(work, "old"))
        made.rename(folder)


def _compile_quick(java: Path, jars: Path, work: Path) -> None:
    javac = java / "bin" / "javac"
    if not javac.exists():  # a JRE
        return
    classes = work / "classes"
    options = ["-nowarn", "-proc:none", "--release", "11", "-cp", f"{jars}/*", "-d", str(classes)]
    command = [str(javac), *options, str(QUICK)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise HadoopNotFound(f"{javac} could not compile {QUICK}:\n{done.stdout}")
    with zipfile.ZipFile(jars / QUICK_JAR, "w") as jar:
        for compiled in classes.rglob("*.class"):
            jar.write(compiled, compiled.relative_to(classes))
