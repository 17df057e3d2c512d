"""A task that needs far more memory than its container has."""

import time

from howdah import Client


def eat(size: int) -> int:
    held = bytearray(size)
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(60)  # YARN looks every second
    return len(held)


if __name__ == "__main__":
    with Client() as client:
        print(client.submit(eat, 2 << 30).result())
