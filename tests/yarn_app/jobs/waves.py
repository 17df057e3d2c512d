"""Short tasks, one graph after the other until a file appears. `waves.py LOG STOP SECONDS`; prints how many there were.

Each graph is 40 tasks and a sum of them, which depends on all and is compared with the right one.
"""

import os
import sys
import time

from howdah import Client

WAVE = 40


def work(item: int, log: str, seconds: float) -> int:
    time.sleep(seconds)
    with open(log, "a") as file:
        file.write(f"{item} {os.getpid()}\n")
    return item


if __name__ == "__main__":
    log, stop, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    first = 0
    with Client() as client:
        while not os.path.exists(stop):
            items = range(first, first + WAVE)
            done = client.map(work, items, log=log, seconds=seconds)
            total = client.submit(sum, done)
            assert client.gather(done) == list(items)
            assert total.result() == sum(items)
            first += WAVE
    print("attempt", os.environ.get("HOWDAH_ATTEMPT"), "did", first, flush=True)
