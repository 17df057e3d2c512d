"""A task that needs far more memory than its container has; where a file is named, in a child process."""

import os
import subprocess
import sys
import time

from howdah import Client


def eat(size: int) -> int:
    held = bytearray(size)
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(60)  # YARN looks every second
    return len(held)


def feed(size: int, fed: str) -> str:
    """The first time a child eats until YARN ends the container."""
    if not os.path.exists(fed):
        open(fed, "x").close()
        program = f"import time; held = bytearray({size}); held[::4096] = b'x' * len(held[::4096]); time.sleep(60)"
        subprocess.run([sys.executable, "-c", program], check=True)
    return "fed"


if __name__ == "__main__":
    with Client() as client:
        if len(sys.argv) > 1:
            print(client.submit(feed, 2 << 30, sys.argv[1]).result())
            client.wait_for_workers(2, timeout=60)  # another container is there for the one that was lost
        else:
            print(client.submit(eat, 2 << 30).result())
