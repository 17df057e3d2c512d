"""One task, when all workers are there: after it every node of the small Hadoop has the environment unpacked."""

import os

from howdah import Client

if __name__ == "__main__":
    with Client() as client:
        client.wait_for_workers(int(os.environ["HOWDAH_WORKERS"]))
        print(client.submit(max, 1, 2).result())
