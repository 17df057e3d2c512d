"""What a client can ask of its cluster and do with it, beside giving it work: the other half of `Client`."""

from __future__ import annotations

import concurrent.futures
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from howdah.engine.client.async_bridge import blocking
from howdah.engine.client.fetch import nested_futures
from howdah.engine.client.future_registry import ranges_of
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import FetchFailed, Hello
from howdah.errors import DeadlineExceeded, EnvironmentMismatch, InputError, PathExists, bad_value, near

if TYPE_CHECKING:
    from howdah.engine.client.connection import SchedulerConnection
    from howdah.engine.client.future import Future
    from howdah.engine.client.future_registry import FutureRegistry
    from howdah.engine.comm.connection.event_loop import LoopThread
    from howdah.engine.comm.security.certificates import Security

DATASET = "dataset:"
CHECKED = ("python", "howdah", "cloudpickle", "msgspec", "numpy", "pandas", "polars", "pyarrow")
"""What `get_versions` compares."""


class Questions:
    """Mixed into `Client`. In an asynchronous client each of these is awaited."""

    registry: FutureRegistry
    name: str
    connection: SchedulerConnection
    loop_thread: LoopThread
    _identity: Security | None

    if TYPE_CHECKING:

        def _wait(self, spans: Any, timeout: float | None, first_failure: bool = False) -> None: ...

    # -- who and where ------------------------------------------------------------------------------------------------

    @blocking
    def scheduler_info(self) -> dict[str, Any]:
        """The scheduler's name and address, and its workers: host, slots, memory, container of each."""
        found: dict[str, Any] = self.connection.query("info")
        return found

    @blocking
    def summary(self) -> dict[str, Any]:
        """Tasks and bytes by locality, and progress per layer, since the cluster was started."""
        found: dict[str, Any] = self.connection.query("summary")
        return found

    @blocking
    def nthreads(self) -> dict[str, int]:
        """Per worker the number of tasks that it runs at once."""
        return {name: worker["slots"] for name, worker in self._workers().items()}

    @blocking
    def story(self, key: Any) -> list[dict[str, Any]]:
        """What happened to a task, step by step: from which state to which, when, on which worker, why.

        `key` is a future or its key. Old steps are forgotten: the scheduler keeps the last 10,000 of all tasks.
        """
        found: list[dict[str, Any]] = self.connection.query("story", key=getattr(key, "key", key))
        return found

    @blocking
    def who_has(self, futures: Any) -> dict[str, list[str]]:
        """Per future's key the workers that hold its result, copies included; none where there is no result."""
        found = nested_futures(futures)
        answer = self._holders(found)
        return {future.key: workers for future, workers in zip(found, answer)}

    @blocking
    def has_what(self, workers: Iterable[str] | str | None = None) -> dict[str, list[str]]:
        """Per worker the keys of the results that it holds, copies included: ``<layer>-<item>``."""
        chosen = self._chosen(workers)
        held = self.connection.query("has_what")
        return {
            name: [f"{key}-{item}" for key, _, start, stop in held.get(name, ()) for item in range(start, stop)]
            for name in chosen
        }

    @blocking
    def wait_for_workers(self, n_workers: int, timeout: float | None = None) -> None:
        """Return when `n_workers` are there. Raises DeadlineExceeded, which says how many there are."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = threading.Event()
        while True:
            there = len(self._workers())
            if there >= n_workers:
                return
            if deadline is not None and time.monotonic() > deadline:
                raise DeadlineExceeded(f"{there} of {n_workers} workers were there after {timeout:g} s")
            pause.wait(0.02)

    @blocking
    def get_versions(self, check: bool = False) -> dict[str, Any]:
        """Versions of Python and packages: of this client, the scheduler, and each worker.

        Parameters
        ----------
        check : raise EnvironmentMismatch when they differ, naming each package with who has what.
        """
        found = {
            "client": versions(),
            "scheduler": self.connection.query("versions"),
            "workers": self._run(versions, (), {}, None, "raise"),
        }
        if check:
            everybody = {"client": found["client"], "scheduler": found["scheduler"], **found["workers"]}
            wrong = []
            for package in CHECKED:
                have = {who: mine[package] for who, mine in everybody.items() if package in mine}
                if len(set(have.values())) > 1:
                    wrong.append(f"{package}: " + ", ".join(f"{v} on {who}" for who, v in have.items()))
            if wrong:
                raise EnvironmentMismatch(
                    "the ends of this cluster differ: " + "; ".join(wrong) + ". Pack this environment anew for the "
                    "workers, or use theirs here"
                )
        return found

    # -- work that is no task -----------------------------------------------------------------------------------------

    @blocking
    def run(
        self,
        function: Callable[..., Any],
        *args: Any,
        workers: Iterable[str] | str | None = None,
        wait: bool = True,
        on_error: str = "raise",
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Call ``function(*args, **kwargs)`` once on every worker, at once, beside what its slots do.

        Parameters
        ----------
        workers : names of those that do; default: all.
        wait : False returns without waiting for the results: an empty dictionary.
        on_error : "raise" raises the first exception; "return" gives it in place of the result; "ignore" leaves the
            worker out.

        A function that takes ``dask_worker`` gets the worker object. An async one is awaited.

        Returns
        -------
        dict
            per worker the result.
        """
        if on_error not in ("raise", "return", "ignore"):
            raise bad_value("on_error", on_error, "write 'raise', 'return' or 'ignore'")
        if not callable(function):
            raise bad_value("function", function, "give a function (or another callable) first, then its arguments")
        if not wait:
            threading.Thread(
                target=self._run, args=(function, args, kwargs, workers, "ignore"), name="howdah-run", daemon=True
            ).start()
            return {}
        return self._run(function, args, kwargs, workers, on_error)

    def _run(self, function: Any, args: Any, kwargs: Any, workers: Any, on_error: str) -> dict[str, Any]:
        from howdah.engine.serialization.remote_calls import decode_reply
        from howdah.engine.serialization.serialize import dumps

        chosen = self._chosen(workers)
        data = dumps((function, args, kwargs))
        there = self._workers()
        answers = [
            self.loop_thread.start(self._called(there[name]["address"], data)) for name in chosen
        ]  # all at once; then one after the other is waited for
        concurrent.futures.wait(answers)
        results: dict[str, Any] = {}
        for name, answer in zip(chosen, answers):
            try:
                results[name] = decode_reply(answer.result())
            except Exception as error:  # user code may raise anything; the choice is the caller's
                if on_error == "raise":
                    raise
                if on_error == "return":
                    results[name] = error
        return results

    async def _called(self, address: str, data: bytes) -> Any:
        from howdah.engine.comm.connection.connect import connect

        channel, _ = await connect(address, Hello("call", self.name), self._identity, expect="worker")
        try:
            channel.write([data])
            return await channel.read()
        finally:
            channel.close()

    @blocking
    def upload_file(self, filename: str | os.PathLike[str]) -> list[str]:
        """Give a file to all workers, those that come later too. Modules, zip, egg and whl files can be imported.

        Tasks that are submitted afterwards find it. A newer version of a module takes the older one's place.

        Returns
        -------
        list
            names of the workers that were sent it.
        """
        try:
            with open(filename, "rb") as file:
                data = file.read()
        except OSError as error:
            raise InputError(f"filename: got {os.fspath(filename)!r}: {error.strerror}") from error
        found: list[str] = self.connection.query("upload", name=os.path.basename(filename), data=data)
        return found

    @blocking
    def restart(self, timeout: float = 60.0, wait_for_workers: bool = True) -> None:
        """Start the workers' processes anew. Futures of this client are cancelled; other clients' work is done again.

        Raises DeadlineExceeded when a worker is not back after `timeout` seconds.
        """
        before = self._workers()
        with self.registry.lock:
            everything = [(results, 0, results.n) for results in self.registry.layers()]
        self._cancel(everything)
        names = self.connection.query("restart")
        deadline = time.monotonic() + timeout
        pause = threading.Event()
        while wait_for_workers:
            now = self._workers()
            left = [name for name in names if name not in now or now[name]["since"] <= before[name]["since"]]
            if not left:
                return
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"workers {left} were not back {timeout:g} s after their restart")
            pause.wait(0.02)

    if TYPE_CHECKING:

        def _cancel(self, spans: Any) -> None: ...

    # -- results ------------------------------------------------------------------------------------------------------

    @blocking
    def retry(self, futures: Any) -> None:
        """Run failed tasks again, and those that failed before them. The futures are pending again."""
        found = [future for future in nested_futures(futures) if future.status == "error"]
        if found:
            self.connection.query("retry", spans=self._plain(found))

    @blocking
    def replicate(self, futures: Any, n: int | None = None, workers: Iterable[str] | str | None = None) -> None:
        """Have copies of these results on `n` workers (default: all); waits for the results and for the copies.

        Parameters
        ----------
        workers : only these get copies.
        """
        found = nested_futures(futures)
        if n is not None and n < 1:
            raise bad_value("n", n, "give the number of workers that hold each result, at least 1")
        self._wait(ranges_of(found), None)
        names = self._chosen(workers)
        deadline = time.monotonic() + 60.0
        for future, held in zip(found, self._holders(found)):
            others = [name for name in names if name not in held]
            wanted = len(others) if n is None else max(0, n - len(held))
            if wanted:
                at = future.item % len(others) if others else 0
                self._copied([future], (others[at:] + others[:at])[:wanted], deadline)

    @blocking
    def rebalance(self, futures: Any = None, workers: Iterable[str] | str | None = None) -> None:
        """Move results of this client from workers that hold much to such that hold little.

        Parameters
        ----------
        futures : which may move; the default is all finished ones of this client.
        workers : among these; default: all.
        """
        names = self._chosen(workers)
        if futures is None:
            spans = [
                (r, item)
                for r in self.registry.layers()
                for item in range(r.n)
                if r.reference_counts[item] and r.state[item] == 1
            ]
        else:
            spans = [(future.results, future.item) for future in nested_futures(futures)]
            self._wait([(r, item, item + 1) for r, item in spans], None)
        plain = [[r.key, item, item + 1] for r, item in spans]
        holders = [held[0] for held in self.connection.query("holders", spans=plain)] if plain else []
        of: dict[str, list[Any]] = {name: [] for name in names}
        for span, held in zip(plain, holders):
            if len(held) == 1 and held[0] in of:
                of[held[0]].append(span)
        deadline = time.monotonic() + 60.0
        share = -(-sum(map(len, of.values())) // len(names)) if names else 0
        for name in names:
            while len(of[name]) > share:
                target = min(names, key=lambda other: len(of[other]))
                count = min(len(of[name]) - share, share - len(of[target]))
                if target == name or count <= 0:
                    break
                moving, of[name] = of[name][-count:], of[name][:-count]
                self.connection.query("replicate", spans=moving, workers=[target])
                self._until_held(moving, target, deadline)
                # The holder is said not to have them any more: the copies serve, and it drops what it has.
                self.connection.send(FetchFailed(name, tuple(TaskRange(*span) for span in moving)))
                of[target] += moving

    def _copied(self, futures: list[Future], workers: Sequence[str], deadline: float) -> None:
        spans = self._plain(futures)
        self.connection.query("replicate", spans=spans, workers=list(workers))
        for worker in workers:
            self._until_held(spans, worker, deadline)

    def _until_held(self, spans: list[Any], worker: str, deadline: float) -> None:
        pause = threading.Event()
        while not all(worker in held for part in self.connection.query("holders", spans=spans) for held in part):
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"{worker} did not get its copies in time; is it busy, or gone?")
            pause.wait(0.005)

    @staticmethod
    def _plain(futures: Sequence[Future]) -> list[Any]:
        return [[results.key, start, stop] for results, start, stop in ranges_of(futures)]

    def _holders(self, futures: Sequence[Future]) -> list[list[str]]:
        answer = self.connection.query("holders", spans=self._plain(futures)) if futures else []
        return [workers for part in answer for workers in part]

    def _workers(self) -> dict[str, Any]:
        found: dict[str, Any] = self.connection.query("info")["workers"]
        return found

    def _chosen(self, workers: Iterable[str] | str | None) -> list[str]:
        """Names of workers, given by name, address or host; all of them for None."""
        there = self._workers()
        if workers is None:
            return list(there)
        chosen: list[str] = []
        for wanted in [workers] if isinstance(workers, str) else workers:
            mine = [name for name, w in there.items() if wanted in (name, w["address"], w["host"])]
            if not mine:
                raise InputError(f"workers: there is no worker {wanted!r}; {near(str(wanted), there)}")
            chosen += [name for name in mine if name not in chosen]
        return chosen

    # -- data sets ----------------------------------------------------------------------------------------------------

    @blocking
    def publish_dataset(self, *args: Any, name: str | None = None, override: bool = False, **kwargs: Any) -> None:
        """Keep data on the cluster under a name, for all clients, until it is unpublished.

        ``publish_dataset(futures, name="prices")`` or ``publish_dataset(prices=futures, limits={...})``: futures at any
        depth, persisted collections, and plain data. It stays when this client leaves.

        Raises
        ------
        PathExists : there is one of that name, and not `override`.
        """
        if args and (len(args) > 1 or name is None):
            raise InputError("publish_dataset: give one value and name=..., or name=value pairs")
        given = {**({name: args[0]} if name is not None and args else {}), **kwargs}
        there = self.connection.query("datasets")
        for key in given:
            if key in there and not override:
                raise PathExists(f"there is a dataset {key!r} already; unpublish it first, or give override=True")
        for key, value in given.items():
            self._variable(key).set(value)

    @blocking
    def get_dataset(self, name: str, default: Any = ..., timeout: float = 10.0) -> Any:
        """What was published under `name`. Raises InputError, with near names, when there is none and no `default`."""
        there = self.connection.query("datasets")
        if name not in there:
            if default is ...:
                raise InputError(f"there is no dataset {name!r}; " + (near(name, there) if there else "none is there"))
            return default
        return self._variable(name).get(timeout=timeout)

    @blocking
    def list_datasets(self) -> tuple[str, ...]:
        """Names of what is published."""
        return tuple(self.connection.query("datasets"))

    @blocking
    def unpublish_dataset(self, name: str) -> None:
        """Keep it no longer. Raises InputError when there is none of that name."""
        there = self.connection.query("datasets")
        if name not in there:
            raise InputError(f"there is no dataset {name!r}; " + (near(name, there) if there else "none is there"))
        self._variable(name).delete()

    def _variable(self, name: str) -> Any:
        from howdah.engine.coordination.values import Variable

        return Variable(DATASET + name, client=self)

    # -- of the application -------------------------------------------------------------------------------------------

    def add_cleanup(self, url: str) -> None:
        """The application deletes this path when it ends uncleanly."""
        self.connection.query("add_cleanup", url=url)

    def drop_cleanup(self, url: str) -> None:
        """The path is in order now: it stays."""
        self.connection.query("drop_cleanup", url=url)


def versions() -> dict[str, str]:
    """Of this process: Python and the packages that both ends should agree on, where they are installed."""
    from importlib.metadata import PackageNotFoundError, version

    import howdah

    found = {"python": "{}.{}.{}".format(*sys.version_info[:3]), "howdah": howdah.__version__}
    for package in CHECKED[2:]:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
