"""The edge node: this machine, what must be there to reach Hadoop, the user's name, and Hadoop's configuration.

For `yarn_app` alone. What is missing is a `HadoopNotFound` within seconds, with what to do.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import psutil

from howdah.errors import HadoopNotFound, bad_value
from howdah.yarn_app.yarn.resource_manager import HadoopProperties

OLDEST_JAVA, NEWEST_JAVA = 8, 21
_MINI = '(for the small Hadoop of this machine: eval "$(howdah mini env)")'


def user() -> str:
    """Return the user name for HDFS and YARN: HADOOP_USER_NAME, as everywhere in Hadoop, or the login name."""
    return os.environ.get("HADOOP_USER_NAME") or getpass.getuser()


def private_folder() -> Path:
    """Make a folder of this process, 0700. Its maker removes it; after a SIGKILL, a later command does."""
    return Path(tempfile.mkdtemp(prefix=f"howdah-app-{os.getpid()}-"))


def remove_stale_folders() -> None:
    """Remove the private folders of this user's processes that have ended."""
    for old in Path(tempfile.gettempdir()).glob("howdah-app-*-*"):
        number = old.name.split("-")[2]
        with contextlib.suppress(OSError):
            if number.isdigit() and old.stat().st_uid == os.getuid() and not psutil.pid_exists(int(number)):
                shutil.rmtree(old, ignore_errors=True)


def conf_dir() -> Path:
    """Return the folder of Hadoop's configuration.

    Raises
    ------
    HadoopNotFound
        HADOOP_CONF_DIR is not set, or has no yarn-site.xml.
    """
    given = os.environ.get("HADOOP_CONF_DIR", "")
    if not given:
        raise HadoopNotFound(
            "HADOOP_CONF_DIR is not set: point it at the folder with core-site.xml and yarn-site.xml, often "
            f"/etc/hadoop/conf {_MINI}"
        )
    if not (Path(given) / "yarn-site.xml").is_file():
        raise HadoopNotFound(
            f"HADOOP_CONF_DIR is {given}, and there is no yarn-site.xml in it: "
            f"point it at Hadoop's configuration {_MINI}"
        )
    return Path(given)


def termination_grace(configuration: HadoopProperties) -> float:
    """Return the seconds between YARN's SIGTERM and its SIGKILL that a worker may use, less a fifth for its exit.

    >>> termination_grace({"yarn.nodemanager.sleep-delay-before-sigkill.ms": "5000"}), termination_grace({})
    (4.0, 0.2)

    Raises
    ------
    InputError
        The property is no number.
    """
    name = "yarn.nodemanager.sleep-delay-before-sigkill.ms"
    text = configuration.get(name, "250") or "250"
    try:
        return 0.8 * float(text) / 1000.0
    except ValueError:
        raise bad_value(f"{name} in yarn-site.xml", text, "give milliseconds, as in 250") from None


def check_prerequisites() -> None:
    """Check that skein's Java driver can run here: `yarn`, a configuration, a Java of a suitable version.

    Raises
    ------
    HadoopNotFound
        Something is missing; the message has what, and what to do.
    """
    if shutil.which("yarn") is None:
        raise HadoopNotFound(
            "there is no `yarn` command on PATH, which lists Hadoop's jars for howdah: "
            f"add $HADOOP_HOME/bin to PATH {_MINI}"
        )
    conf_dir()
    major = java_major()
    if not OLDEST_JAVA <= major <= NEWEST_JAVA:
        raise HadoopNotFound(
            f"{_java()} is Java {major}, and Hadoop's client runs on {OLDEST_JAVA} to {NEWEST_JAVA} "
            "(later ones lack what its login needs): set JAVA_HOME to one of those"
        )


def java_major() -> int:
    """Return the major version of the Java that the driver would run on.

    Raises
    ------
    HadoopNotFound
        There is none.
    """
    try:
        output = subprocess.run([_java(), "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError) as error:
        home = os.environ.get("JAVA_HOME")
        where = f"JAVA_HOME is {home}" if home else "JAVA_HOME is not set, and no `java` on PATH runs"
        raise HadoopNotFound(
            f"no Java to run Hadoop's client on: {where}. Set JAVA_HOME to a Java {OLDEST_JAVA} to {NEWEST_JAVA}"
        ) from error
    found = re.search(r'version "(?:1\.)?(\d+)', output)
    if found is None:
        raise HadoopNotFound(f"{_java()} -version does not look like a version: {output.strip()[:200]}")
    return int(found[1])


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    return str(Path(home) / "bin" / "java") if home else "java"
