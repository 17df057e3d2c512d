"""A small real Hadoop on one machine (`howdah mini`), for tests and for a laptop.

Real daemons from Hadoop's published jars (Maven Central, pinned in pom.xml), one process each, on 127.0.0.x. For the
command line (`yarn_app/cli/mini.py`), the tests (`tests/conftest.py`) and users who need a Hadoop in a `with` block.
It promises: ready only when every daemon reports so, and nothing left after a stop. Linux only: it needs /proc, and all
of 127.0.0.0/8 on the loopback. It uses nothing of the rest of howdah but its errors.

    settings       options, ports, where files lie        configuration  the XML files and the commands
    java, jars     Java, and Hadoop's jars               daemons        starting a JVM
    readiness      whether a daemon serves                processes      finding and ending them
    hadoop         MiniHadoop, all of it together
"""

from __future__ import annotations

from howdah.yarn_app.mini.daemons import DaemonFailed
from howdah.yarn_app.mini.hadoop import AlreadyRunning, MiniHadoop, default_folder

__all__ = ["AlreadyRunning", "DaemonFailed", "MiniHadoop", "default_folder"]
