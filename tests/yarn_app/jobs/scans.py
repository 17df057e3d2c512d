"""Tasks that read a whole file of HDFS each and leave a line in a file of this machine. `scans.py LOG URL TASKS`."""

import os
import sys
import time

from howdah import Client
from howdah.io import open_filesystem


def scan(item: int, log: str, url: str) -> int:
    files, path = open_filesystem(f"{url}/{item % 4}.bin")
    size = files.info(path).size
    total = 0
    for offset in range(0, size, 1 << 18):
        total += sum(files.read_range(path, offset, min(1 << 18, size - offset), size))
    time.sleep(0.05)
    with open(log, "a") as lines:
        lines.write(f"{item} {os.getpid()}\n")
    return total


if __name__ == "__main__":
    with Client() as client:
        sums = client.gather(client.map(scan, range(int(sys.argv[3])), log=sys.argv[1], url=sys.argv[2]))
    assert set(sums) == {sum(range(256)) * 4096}, set(sums)
