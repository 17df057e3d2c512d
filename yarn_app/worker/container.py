"""The program of a worker's container: `environment/bin/python -s -m howdah.yarn_app.worker.container`.

It checks that both ends have one version, waits (bounded) for the scheduler's address in skein's key-value store, and
becomes `python -m howdah.engine.worker.process`. What goes wrong before is reported to the master.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from howdah.errors import DeadlineExceeded, HowdahError
from howdah.yarn_app.protocol import kv_keys
from howdah.yarn_app.storage import container_folder
from howdah.yarn_app.yarn.skein_client import ApplicationMaster

ADDRESS_SECONDS = 180.0
_POLL = 0.2
_MAX_REASON = 2000


def main() -> None:
    """Become the worker. Exit code 1, with the reason on stderr, where that is not possible."""
    container = Path.cwd()
    name = os.environ.get("SKEIN_CONTAINER_ID", "")
    master = None
    try:
        master = ApplicationMaster.from_current()
        config = container_folder.read_config(container)
        address = _scheduler_address(master)
        counters = os.environ.get("LOCALIZATION_COUNTERS", "")
        if counters:
            master.put(kv_keys.LOCALIZATION + name, counters.encode())
    except HowdahError as error:
        print(f"howdah: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        if master is not None:
            master.put(kv_keys.EXIT_REASON + name, str(error).encode()[:_MAX_REASON])
        sys.exit(1)
    master.close()
    host = os.environ["NM_HOST"]
    local = container / "spill"
    local.mkdir(mode=0o700, exist_ok=True)
    arguments = {
        "--scheduler": address,
        "--security": str(container_folder.copy_security(container, "worker")),
        "--name": name,
        "--host": host,
        "--rack": config.racks.get(host, "/default-rack"),
        "--slots": str(config.worker_cores),
        "--memory-limit": str(config.worker_bytes),
        "--resources": " ".join(f"{resource}={amount}" for resource, amount in config.worker_resources.items()),
        "--local-dir": str(local),
        "--grace": str(config.grace),
        "--container": os.environ.get("CONTAINER_ID", name),
    }
    flat = [part for pair in arguments.items() for part in pair]
    os.execv(sys.executable, [sys.executable, "-s", "-m", "howdah.engine.worker.process", *flat])


def _scheduler_address(master: ApplicationMaster) -> str:
    deadline = time.monotonic() + ADDRESS_SECONDS
    while time.monotonic() < deadline:
        found = master.get(kv_keys.SCHEDULER)
        if found:
            return found.decode()
        time.sleep(_POLL)
    raise DeadlineExceeded(f"the scheduler published no address within {ADDRESS_SECONDS:.0f} s: see the master's log")


if __name__ == "__main__":
    main()
