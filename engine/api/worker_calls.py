"""`WorkerCalls`: functions, files and restarts for all workers at once, beside the tasks in their slots."""

from __future__ import annotations

import concurrent.futures
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from howdah.engine.api.cluster_info import POLL_INTERVAL, ClusterInfo
from howdah.engine.client.connection import SchedulerConnection
from howdah.engine.comm.connection.connect import connect
from howdah.engine.comm.connection.event_loop import LoopThread
from howdah.engine.protocol.messages import Hello
from howdah.engine.serialization.remote_calls import decode_reply
from howdah.engine.serialization.serialize import dumps
from howdah.errors import DeadlineExceeded, EnvironmentMismatch, InputError
from howdah.version import VERSION

COMPARED = ("python", "howdah", "cloudpickle", "msgspec", "numpy", "pandas", "polars", "pyarrow")
"""What `Client.get_versions` compares."""


class WorkerCalls:
    """Calls to workers, each over a connection of its own, all at once."""

    def __init__(self, connection: SchedulerConnection, info: ClusterInfo, loop_thread: LoopThread, name: str) -> None:
        self._connection, self._info = connection, info
        self._loop_thread, self._name = loop_thread, name

    def run(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        workers: Iterable[str] | str | None = None,
        on_error: str = "raise",
    ) -> dict[str, Any]:
        """Call a function once on each worker; the result per worker.

        Raises
        ------
        InputError : there is no such worker.
        Exception : with ``on_error="raise"`` the first exception of a call.
        """
        chosen = self._info.select_workers(workers)
        data = dumps((function, args, dict(kwargs or {})))
        there = self._info.workers()
        answers = [self._loop_thread.start(self._call(there[name]["address"], data)) for name in chosen]
        concurrent.futures.wait(answers)
        results: dict[str, Any] = {}
        for name, answer in zip(chosen, answers):
            try:
                results[name] = decode_reply(answer.result())
            except Exception as error:  # user code may raise anything; the caller has chosen what becomes of it
                if on_error == "raise":
                    raise
                if on_error == "return":
                    results[name] = error
        return results

    def start(
        self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], workers: Iterable[str] | str | None
    ) -> None:
        """`run` on a thread of its own, whose results and errors are dropped."""
        threading.Thread(
            target=self.run, args=(function, args, kwargs, workers, "ignore"), name="howdah-run", daemon=True
        ).start()

    async def _call(self, address: str, data: bytes) -> Any:
        channel, _ = await connect(address, Hello("call", self._name), self._connection.security, expect="worker")
        try:
            channel.write([data])
            return await channel.read()
        finally:
            channel.close()

    def upload(self, filename: str | os.PathLike[str]) -> list[str]:
        """Send a file to all workers, later ones included; the names of those that were sent it now."""
        try:
            with open(filename, "rb") as file:
                data = file.read()
        except OSError as error:
            raise InputError(f"filename: got {os.fspath(filename)!r}: {error.strerror}") from error
        found: list[str] = self._connection.query("upload", name=os.path.basename(filename), data=data)
        return found

    def restart(self, timeout: float, wait: bool, before: Callable[[], None]) -> None:
        """Restart the workers' processes, after `before()`; with `wait` return when they are back.

        Raises
        ------
        DeadlineExceeded : a worker was not back after `timeout` seconds.
        """
        old = self._info.workers()
        before()
        names = self._connection.query("restart")
        deadline = time.monotonic() + timeout
        pause = threading.Event()
        while wait:
            now = self._info.workers()
            left = [name for name in names if name not in now or now[name]["since"] <= old[name]["since"]]
            if not left:
                return
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"workers {left} were not back {timeout:g} s after their restart")
            pause.wait(POLL_INTERVAL)

    def versions(self, check: bool) -> dict[str, Any]:
        """Return versions of this process, the scheduler and each worker.

        Raises
        ------
        EnvironmentMismatch : with `check`, if they differ.
        """
        found = {
            "client": installed_versions(),
            "scheduler": self._connection.query("versions"),
            "workers": self.run(installed_versions),
        }
        if check:
            processes = {"client": found["client"], "scheduler": found["scheduler"], **found["workers"]}
            wrong = []
            for package in COMPARED:
                have = {name: mine[package] for name, mine in processes.items() if package in mine}
                if len(set(have.values())) > 1:
                    wrong.append(f"{package}: " + ", ".join(f"{v} on {name}" for name, v in have.items()))
            if wrong:
                raise EnvironmentMismatch(
                    "the ends of this cluster differ: " + "; ".join(wrong) + ". Pack this environment anew for the "
                    "workers, or use theirs here"
                )
        return found


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that both ends should agree on, where they are installed."""
    found = {"python": "{}.{}.{}".format(*sys.version_info[:3]), "howdah": VERSION}
    for package in COMPARED[2:]:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
