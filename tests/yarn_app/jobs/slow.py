"""Many short tasks, each of which leaves a line in a file of this machine. `slow.py LOG TASKS SECONDS [exit code]`."""

import os
import sys
import time

from howdah import Client


def work(item: int, log: str, seconds: float) -> int:
    time.sleep(seconds)
    with open(log, "a") as file:
        file.write(f"{item} {os.getpid()}\n")
    return item


if __name__ == "__main__":
    log, n, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    with Client() as client:
        done = client.gather(client.map(work, range(n), log=log, seconds=seconds))
    assert done == list(range(n))
    print("all", len(done), flush=True)
    sys.exit(int(sys.argv[4]) if len(sys.argv) > 4 else 0)
