"""The systems that are compared, each with 2 worker processes of 1 thread, and the functions that all of them run."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import struct
from collections.abc import Iterator
from multiprocessing import get_context
from typing import Any


def inc(x: int) -> int:
    return x + 1


def add(x: int, y: int) -> int:
    return x + y


def add3(x: int, y: int, z: int) -> int:
    return x + y + z


def total(values: list[int]) -> int:
    return sum(values)


def check(found: object, expected: object) -> None:
    if found != expected:
        raise SystemExit(f"wrong answer: {found!r}, not {expected!r}")


@contextlib.contextmanager
def howdah() -> Iterator[Any]:
    """A warm client."""
    from howdah.engine.api import Client
    from howdah.engine.deploy.local import LocalCluster

    with LocalCluster(2, threads_per_worker=1) as cluster, Client(cluster) as client:
        cluster.wait_for_workers()
        for _ in range(2):
            client.gather(client.map(inc, range(200), pure=False))
        yield client


@contextlib.contextmanager
def environment_kept() -> Iterator[None]:
    """What distributed sets for its workers (MALLOC_TRIM_THRESHOLD_ and others) is not for those started after it."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def distributed() -> Iterator[Any]:
    """A warm client of distributed."""
    import dask
    from distributed import Client, LocalCluster

    dask.config.set({f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause", "terminate")})
    with (
        environment_kept(),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        for _ in range(2):
            client.gather(client.map(inc, range(200), pure=False))
        yield client


# -- no engine at all: individually pickled tasks over socket pairs ---------------------------------------------------

_SIZE = struct.Struct("<I")


def _receive(line: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view.nbytes:
        view = view[line.recv_into(view) :]
    return data


def _send(line: socket.socket, parts: list[bytes]) -> None:
    lengths = struct.pack(f"<{len(parts)}I", *map(len, parts))
    blob = b"".join(parts)
    line.sendall(_SIZE.pack(len(parts)) + _SIZE.pack(len(blob)) + lengths + blob)


def _take(line: socket.socket) -> list[memoryview]:
    count, size = struct.unpack("<II", _receive(line, 8))
    lengths = struct.unpack(f"<{count}I", _receive(line, 4 * count))
    blob, at, parts = memoryview(_receive(line, size)), 0, []
    for length in lengths:
        parts.append(blob[at : at + length])
        at += length
    return parts


def _serve(line: socket.socket) -> None:
    while True:
        try:
            tasks = _take(line)
        except ValueError:
            return
        if not tasks:
            return
        done = []
        for task in tasks:
            fn, args = pickle.loads(task)
            done.append(pickle.dumps(fn(*args)))
        _send(line, done)


def raw_pipe(n: int, batch: int = 100) -> int:
    """`inc` of 0 to n on two processes, `batch` individually pickled tasks a message, 2 messages in flight each."""
    import cloudpickle

    context = get_context("fork")
    lines, processes = [], []
    for _ in range(2):
        mine, other = socket.socketpair()
        process = context.Process(target=_serve, args=(other,), daemon=True)
        process.start()
        other.close()
        lines.append(mine)
        processes.append(process)
    answer = 0
    flying = [0, 0]
    at = 0
    while at < n or any(flying):
        for number, line in enumerate(lines):
            while flying[number] < 2 and at < n:
                stop = min(n, at + batch)
                _send(line, [cloudpickle.dumps((inc, (i,))) for i in range(at, stop)])
                flying[number] += 1
                at = stop
        for number, line in enumerate(lines):
            if flying[number]:
                answer += sum([pickle.loads(part) for part in _take(line)])
                flying[number] -= 1
    for line, process in zip(lines, processes):
        _send(line, [])
        process.join(5)
        line.close()
    return answer
