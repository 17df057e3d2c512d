"""Tasks that write a part of an output each, slowly, and one commit at the end. `commits.py LOG URL PARTS SECONDS`."""

import os
import sys
import time

import pyarrow

from howdah import Client
from howdah.io import begin_write


def write(part: int, job, log: str, seconds: float):
    time.sleep(seconds)
    written = job.write_part(part, pyarrow.table({"part": [part]}))
    with open(log, "a") as lines:
        lines.write(f"{part} {os.getpid()}\n")
    return written


if __name__ == "__main__":
    log, url, parts, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    with Client() as client:
        job = begin_write(url, scratch=client.scratch_root)
        client.add_cleanup(job.scratch_path)
        written = client.gather(client.map(write, range(parts), job=job, log=log, seconds=seconds, pure=False))
        job.commit(written)
        client.drop_cleanup(job.scratch_path)
    print("attempt", os.environ["HOWDAH_ATTEMPT"], flush=True)
