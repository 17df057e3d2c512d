"""Whether the process behind a connection has ended: alive, killed and not reaped yet, and reaped."""

import asyncio
import os
import subprocess
import sys

from howdah.engine.comm.connection.peer_process import has_ended


def test_a_living_process_has_not_ended() -> None:
    assert not asyncio.run(has_ended(os.getpid(), within=0.05))


def test_a_killed_process_has_ended_before_its_parent_notices_and_after() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process.kill()
    assert asyncio.run(has_ended(process.pid, within=30))
    process.communicate()
    assert asyncio.run(has_ended(process.pid))
