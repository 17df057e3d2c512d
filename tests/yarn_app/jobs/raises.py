"""Writes a part of an output and then fails, as a program with a mistake does. `raises.py URL`."""

import sys

import pyarrow

from howdah import Client
from howdah.io import begin_write


def write(job, part: int):
    return job.write_part(part, pyarrow.table({"a": [part]}))


def mistake(key: str) -> int:
    return {"a": 1}[key]


with Client() as client:
    job = begin_write(sys.argv[1], scratch=client.scratch_root)
    client.submit(write, job, 0).result()
    print("one part is written", flush=True)
    client.submit(mistake, "b").result()
