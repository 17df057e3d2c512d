"""Starts the daemons' JVMs: which main class, how much heap, in which environment.

One process each, in a session of its own, its output in `logs/<daemon>.log`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

from howdah.errors import HowdahError
from howdah.yarn_app.mini.configuration import current_user
from howdah.yarn_app.mini.processes import tag
from howdah.yarn_app.mini.settings import Layout, State


class DaemonFailed(HowdahError):
    """A daemon of the small Hadoop ended or did not get ready; the message names it and has the end of its log."""


_SERVER = "org.apache.hadoop.{}.server.{}"
_MAIN = {
    "namenode": _SERVER.format("hdfs", "namenode.NameNode"),
    "datanode": _SERVER.format("hdfs", "datanode.DataNode"),
    "resourcemanager": _SERVER.format("yarn", "resourcemanager.ResourceManager"),
    "nodemanager": _SERVER.format("yarn", "nodemanager.NodeManager"),
}
_HEAP = {"namenode": "160m", "datanode": "128m", "resourcemanager": "192m", "nodemanager": "160m"}

# Small and quick to start rather than fast for days. Hadoop reaches into java.lang by reflection.
_JVM = (
    "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k", "-XX:-UsePerfData",
    "-Djava.net.preferIPv4Stack=true", "--add-opens", "java.base/java.lang=ALL-UNNAMED",
)  # fmt: skip


def spawn(layout: Layout, state: State, daemon: str, *, dies_with_parent: bool = False) -> subprocess.Popen[bytes]:
    """Start one daemon; it is not ready yet when this returns.

    With `dies_with_us` the kernel sends it SIGTERM when the thread that started it ends, for whatever reason, so that
    not even a killed test run leaves a Hadoop behind (only from the main thread, and where util-linux has `setpriv`).
    """
    command = [*_java(layout, state, daemon), _MAIN[daemon.split("-")[0]]]
    setpriv = shutil.which("setpriv")
    if dies_with_parent and setpriv and threading.current_thread() is threading.main_thread():
        command = [setpriv, "--pdeathsig", "TERM", *command]
    log = layout.log(daemon)
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    with open(log, "wb") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            cwd=layout.temporary, env=_environment(layout, state),
        )  # fmt: skip


def format_namenode(layout: Layout, state: State) -> None:
    """Make an empty HDFS if there is none yet."""
    if (layout.data("namenode") / "current" / "VERSION").exists():
        return
    command = [*_java(layout, state, "namenode-format"), _MAIN["namenode"], "-format", "-nonInteractive", "-force"]
    log = layout.log("namenode-format")
    with open(log, "wb") as output:
        code = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=120, check=False,
            cwd=layout.temporary, env=_environment(layout, state),
        ).returncode  # fmt: skip
    if code:
        raise DaemonFailed(f"the NameNode could not be formatted (exit code {code}); {tail(log)}")


def tail(log: Path, lines: int = 25) -> str:
    """Return the last lines of a log, without stack frames, under a line with its path."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return f"{log} is not there"
    found = [line for line in text.splitlines() if not line.startswith(("\tat ", "\t... "))]
    return f"the end of {log}:\n" + "\n".join(found[-lines:])


def _java(layout: Layout, state: State, daemon: str) -> list[str]:
    conf = layout.daemon_conf(daemon.removesuffix("-format"))
    return [
        f"{state.java}/bin/java",
        tag(layout.root, daemon),
        f"-Xmx{_HEAP[daemon.split('-')[0]]}",
        *_JVM,
        f"-Djava.io.tmpdir={layout.temporary}",
        "-cp",
        f"{conf}:{layout.classpath}:{state.jars}/*",
    ]


def _environment(layout: Layout, state: State) -> dict[str, str]:
    # Containers inherit some of it from their NodeManager; a real one has neither the user's shell nor her virtual
    # environment, so neither has this one.
    user = current_user()
    environment = {
        "HOME": str(Path.home()),
        "USER": user,
        "LOGNAME": user,
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "JAVA_HOME": state.java,
        "HADOOP_CONF_DIR": str(layout.conf),
    }
    if "TZ" in os.environ:
        environment["TZ"] = os.environ["TZ"]
    return environment
