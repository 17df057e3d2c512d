"""`howdah mini`: a small real Hadoop on one machine, for tests and for a laptop.

Real daemons from Hadoop's published jars (Maven Central, pinned in pom.xml), one process each, on 127.0.0.x. For the
command line (`yarn_app/cli/mini.py`), the tests (`tests/conftest.py`) and users who want a Hadoop in a `with` block.
It promises: ready only when the daemons say so, and nothing left after a stop. Linux only: it needs /proc, and all of
127.0.0.0/8 on the loopback. It uses nothing of the rest of howdah but its errors.

    settings       options, ports, where files lie        configuration  the XML files and the commands
    java, jars     what must be there first               daemons        starting a JVM
    readiness      asking daemons whether they serve      processes      finding and ending them
    hadoop         MiniHadoop, all of it together
"""

from __future__ import annotations

from howdah.yarn_app.mini.daemons import DaemonFailed
from howdah.yarn_app.mini.hadoop import AlreadyRunning, MiniHadoop, default_folder

__all__ = ["AlreadyRunning", "DaemonFailed", "MiniHadoop", "default_folder"]
