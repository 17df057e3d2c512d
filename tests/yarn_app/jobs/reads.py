"""Tasks that read small files of HDFS and leave a line in a file of this machine. `reads.py LOG URL`."""

import os
import sys
import time

from howdah import Client
from howdah.io import open_filesystem


def read(item: int, log: str, url: str) -> int:
    files, path = open_filesystem(f"{url}/{item % 4}.txt")
    with files.open(path) as file:
        size = len(file.read())
    time.sleep(0.1)
    with open(log, "a") as lines:
        lines.write(f"{item} {os.getpid()}\n")
    return size


if __name__ == "__main__":
    with Client() as client:
        sizes = client.gather(client.map(read, range(60), log=sys.argv[1], url=sys.argv[2]))
    assert sizes == [1000] * 60
