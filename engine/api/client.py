"""The client: from a user's calls to layers on the scheduler, and from results back to values."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import getpass
import os
import secrets
import socket
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from inspect import signature
from itertools import islice
from typing import TYPE_CHECKING, Any

from howdah.engine.api import options
from howdah.engine.api.cluster_info import Questions
from howdah.engine.api.graph_submission import Graphs, frames_of
from howdah.engine.api.logs import Captured
from howdah.engine.client.async_bridge import ItemCallbacks, blocking, on_event_loop
from howdah.engine.client.connection import SchedulerConnection, read_address_file
from howdah.engine.client.encoding import encode_call
from howdah.engine.client.fetch import ResultFetcher, nested_futures
from howdah.engine.client.future import Future
from howdah.engine.client.future_registry import FutureRegistry, ResultRanges, ranges_of
from howdah.engine.client.layer_results import CompletionWatch, LayerResults
from howdah.engine.client.waiting import Waits
from howdah.engine.comm.connection.event_loop import loop_thread
from howdah.engine.comm.security.certificates import Security
from howdah.engine.coordination.worker_context import worker_name
from howdah.engine.execution.default_client import remove_default_client, set_default_client
from howdah.engine.graph.encode import Encoded
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import CancelTasks, Hello, Submit
from howdah.errors import HowdahError, InputError, bad_value, near

if TYPE_CHECKING:
    from howdah.engine.integrations.concurrent_futures import Executor


class Client(Graphs, Waits, Questions, Captured):
    """A connection to a cluster: give it work, get results.

    Parameters
    ----------
    address : a scheduler's address, a cluster object (`LocalCluster`, `YarnCluster`), or None: the cluster that this
        program was started in (``HOWDAH_SCHEDULER``), inside a task the cluster that runs it, else a `LocalCluster` of
        its own, which ends with the client.
    security : the security directory, for a TLS address.
    name : what others see; any text.
    timeout : seconds to wait for the scheduler to answer.
    lease : seconds for which the scheduler keeps this client's work when the connection is lost.
    set_as_default : whether collections compute with this client from now on.
    asynchronous : for use in coroutines: what waits is awaited. Connect by ``async with Client(...)`` or
        ``await Client(...)``. Called where no event loop runs, it behaves as any other client.
    **local : options of the `LocalCluster`, when one is started.

    Safe to use from several threads. After a fork the child needs a client of its own.

    Examples
    --------
    >>> with Client(n_workers=1) as client:
    ...     client.gather(client.map(abs, [-1, 2]))
    [1, 2]
    """

    def __init__(
        self,
        address: Any = None,
        *,
        security: str | os.PathLike[str] | Security | None = None,
        name: str | None = None,
        timeout: float = 30.0,
        lease: float = 60.0,
        set_as_default: bool = True,
        asynchronous: bool = False,
        **local: Any,
    ) -> None:
        self._own_cluster: Any = None
        self.cluster: Any = None
        self.scratch_root: str | None = None
        """Where collections put the job folders of their writes; None: beside the output."""
        self._expected = 0  # workers that are asked for and may still be on their way
        self._closed = False
        self._gathering: ResultFetcher | None = None
        self._asynchronous = asynchronous
        _check_local(address, local)
        self.name = name or f"{getpass.getuser()}-{os.getpid()}"
        self.address = ""
        self.registry = FutureRegistry()
        self._watches: set[CompletionWatch] = set()
        self._item_waits = ItemCallbacks()
        self.when_lost: set[Callable[[HowdahError], object]] = set()
        """Called on the loop's thread when the cluster is lost for good, or the client closed."""
        self._labels: weakref.WeakValueDictionary[str, LayerResults] = weakref.WeakValueDictionary()
        self.loop_thread = loop_thread()
        self._start_with = (address, security, timeout, lease, set_as_default, local)
        self._started = False
        self._locate: Callable[[], str] | None = None
        if not asynchronous:
            self._start()

    def _start(self) -> None:
        """Connect."""
        if self._started:
            return
        given, security, timeout, lease, as_default, local = self._start_with
        self.address, security = self._find(given, security, local)
        hello = Hello("client", f"{self.name}-{secrets.token_hex(4)}", lease=lease, host=socket.gethostname())
        hello.worker = worker_name()
        self._identity = security if isinstance(security, Security | None) else Security.load(security)
        locate = getattr(self.cluster, "locate_scheduler", None) or self._locate
        self.connection = SchedulerConnection(
            self.address, self._identity, hello, self.registry.on_message, self._on_connection_lost, locate
        )
        self.registry.attach(self.connection)
        try:
            self.connection.open(timeout)
        except BaseException:
            self._close_own_cluster()
            raise
        self._gathering = ResultFetcher(self.connection, self.name, self._identity, self.registry.addresses)
        self.registry.on_worker_gone = self._gathering.drop_peer
        self._started = True
        _open.add(self)
        if as_default:
            set_default_client(self)

    @property
    def asynchronous(self) -> bool:
        """Whether a call made here and now gives an awaitable: an asynchronous client, on an event loop."""
        return self._asynchronous and on_event_loop()

    def _find(self, given: Any, security: Any, local: Mapping[str, Any]) -> tuple[str, Any]:
        if isinstance(given, str):
            return given, security
        if given is None and not local:
            from howdah.engine.coordination.worker_context import current_worker

            here = current_worker()
            if here is not None:
                return here.scheduler, here.security
        if given is None and "HOWDAH_SCHEDULER" in os.environ and not local:
            self.scratch_root = os.environ.get("HOWDAH_STAGING") or None
            self._expected = int(os.environ.get("HOWDAH_WORKERS") or 0)
            if "HOWDAH_SCHEDULER_FILE" in os.environ:
                self._locate = functools.partial(read_address_file, os.environ["HOWDAH_SCHEDULER_FILE"])
            return os.environ["HOWDAH_SCHEDULER"], security or os.environ.get("HOWDAH_SECURITY") or None
        if given is None:
            from howdah.engine.deploy.local import LocalCluster

            given = self._own_cluster = LocalCluster(**local)
        self.cluster = given
        self.scratch_root = getattr(given, "scratch_root", None)
        self._expected = int(getattr(given, "expected_workers", 0))
        return given.scheduler_address, security or getattr(given, "security", None)

    # -- work -----------------------------------------------------------------------------------------------------

    def submit(
        self,
        fn: Callable[..., Any],
        *args: Any,
        key: str | None = None,
        workers: Iterable[str] | str | None = None,
        resources: Mapping[str, float] | None = None,
        retries: int | None = None,
        priority: int = 0,
        allow_other_workers: bool = False,
        actor: bool = False,
        pure: bool = True,
        hosts: Sequence[str] = (),
        **kwargs: Any,
    ) -> Any:
        """Run ``fn(*args, **kwargs)`` on the cluster; a `Future` of its result, at once.

        Futures may stand anywhere in the arguments, in lists, dictionaries and objects of any kind.

        Parameters
        ----------
        key : what the future's `key` is to be. The same key for other work is an InputError while the first lives.
        workers : names, addresses or hosts of the workers that may run it. It waits for them, also for such as are not
            there yet.
        allow_other_workers : others may run it while none of `workers` is there.
        resources : amounts of its worker's resources that it takes while it runs, as ``{"gpu": 1}``. Workers have what
            they were started with.
        retries : how often it is tried again when it raises.
        timeout : seconds that it may take once it was begun; then it fails with TaskTimeout, and its worker's process
            is replaced. A function that has a parameter of this name gets it as its own argument.
        priority : higher runs first.
        actor : `fn` is a class: make an object of it that stays on one worker, and return its `Actor`, not a future.
        pure : the same function of the same arguments is the same task, and runs once. False: always a new one.
        hosts : where it should rather run, best first; of no effect beside `workers` and `resources`.

        What is not said here, an `annotate` block around the call may say.

        Raises
        ------
        Unpicklable : the function or an argument cannot travel; the message names the part inside that cannot.
        InputError : a keyword that neither `submit` nor the function knows.
        """
        options.check_callable(fn)
        if actor:
            from howdah.engine.coordination.actors import make_actor

            return make_actor(
                self, fn, args, kwargs, priority=priority, hosts=hosts, workers=workers, resources=resources,
                allow_other_workers=allow_other_workers,
            )  # fmt: skip
        limit = options.time_limit(fn, kwargs)
        options.check_keywords(fn, kwargs, "submit")
        said = options.options("submit", retries, priority, resources, workers, allow_other_workers)
        labels = options.labels(key, 1, "submit")
        near_hosts = [(hosts,) if isinstance(hosts, str) else tuple(hosts)] if hosts else None
        packed = encode_call(fn, [args], kwargs, said.retries, pure, near_hosts, labels, said.extras | limit)
        return Future(self, self._submit(packed, said.priority, labels), 0)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        key: str | Iterable[str] | None = None,
        workers: Iterable[str] | str | None = None,
        resources: Mapping[str, float] | None = None,
        retries: int | None = None,
        priority: int = 0,
        allow_other_workers: bool = False,
        pure: bool = True,
        batch_size: int | None = None,
        hosts: Sequence[Sequence[str]] | None = None,
        **kwargs: Any,
    ) -> list[Future]:
        """Run ``fn`` on each element of the iterables, as `map` does; one future each, in order.

        All of them are one layer: a hundred thousand cost little more than one. The other arguments are `submit`'s.

        Parameters
        ----------
        key : one text, to which the number of the element is added, or one for each element.
        batch_size : send so many at a time, for iterables too long to be held at once; the first run meanwhile.
        hosts : one sequence per element.
        """
        options.check_callable(fn)
        limit = options.time_limit(fn, kwargs)
        options.check_keywords(fn, kwargs, "map")
        said = options.options("map", retries, priority, resources, workers, allow_other_workers)
        if not iterables:
            raise InputError("map: give at least one iterable")
        items = zip(*iterables)
        if batch_size is not None and batch_size < 1:
            raise bad_value("batch_size", batch_size, "give a number from 1 on")
        if batch_size is not None and hosts is None and not isinstance(key, str | None):
            key = list(key)
        futures: list[Future] = []
        while part := _first(items, batch_size):
            where: list[tuple[str, ...]] | None = None
            if hosts is not None:
                where = [tuple(h) for h in hosts[len(futures) : len(futures) + len(part)]]
                if (batch_size is None and len(hosts) != len(part)) or len(where) != len(part):
                    raise bad_value("hosts", f"{len(hosts)} entries", f"give one per element: {len(part)}")
            labels = options.labels(_part_of(key, len(futures), len(part), batch_size), len(part), "map")
            packed = encode_call(fn, part, kwargs, said.retries, pure, where, labels, said.extras | limit)
            results = self._submit(packed, said.priority, labels)
            futures += [Future(self, results, item) for item in range(len(part))]
        return futures

    @blocking
    def scatter(
        self,
        data: Any,
        workers: Iterable[str] | str | None = None,
        broadcast: bool | int = False,
        direct: bool | None = None,
        hash: bool = True,
        timeout: float | None = None,
    ) -> Any:
        """Put data on the cluster: a future, or a list of them for a list (a dictionary for a dictionary).

        The data stays in the scheduler's keeping too, so it survives its worker.

        Parameters
        ----------
        workers : names, addresses or hosts of workers on which it is to lie; on others while none of them is there.
        broadcast : True puts a copy on every worker, a number on so many; waits until they are there.
        hash : equal data is put there once. False: every call puts it there anew.
        direct, timeout : there for dask's sake.
        """
        where: dict[str, Any] = {"workers": workers, "allow_other_workers": workers is not None, "pure": hash}
        made: Any
        if isinstance(data, dict):
            made = dict(zip(data, self.map(_itself, list(data.values()), **where)))
        elif isinstance(data, list | tuple | set | frozenset):
            made = type(data)(self.map(_itself, list(data), **where))
        elif hasattr(data, "__next__"):
            raise InputError("data: got an iterator, which can be read only once; make it a list first")
        else:
            made = self.submit(_itself, data, **where)
        if broadcast:
            self.replicate(made, None if broadcast is True else int(broadcast), workers)
        return made

    def _submit(self, layer: Encoded, priority: int, labels: list[str] | None = None) -> LayerResults:
        spec = layer.spec
        with self.registry.lock:
            if labels is not None:
                self._check_labels(labels, spec.key)
            results = self.registry.add_reference(spec.key, spec.name, spec.n, 0, spec.n)
            if labels is not None and results.labels is None:
                results.labels = labels
                self._labels.update(dict.fromkeys(labels, results))
            self.connection.send(Submit((spec,), (TaskRange(spec.key, 0, spec.n),), priority), *frames_of(layer))
        return results

    def _check_labels(self, labels: list[str], key: bytes) -> None:
        for label in labels:
            known = self._labels.get(label)
            if known is not None and known.key != key and known.referenced and self.registry.get(known.key) is known:
                from howdah.engine.graph.graph import CollisionError

                raise CollisionError(
                    f"key: {label!r} is the key of {known.name!r} with other arguments, of which there are "
                    f"futures; give another key, or none"
                )

    def get_executor(self, **options: Any) -> Executor:
        """A `concurrent.futures.Executor` on this client's cluster; `options` are those of `submit`, for all calls."""
        from howdah.engine.integrations.concurrent_futures import Executor

        return Executor(client=self, **options)

    @contextlib.contextmanager
    def as_current(self) -> Iterator[Client]:
        """While it is entered, collections compute with this client."""
        set_default_client(self)
        try:
            yield self
        finally:
            remove_default_client(self)

    # -- ends --------------------------------------------------------------------------------------------------------

    @blocking
    def cancel(self, futures: Any, force: bool = False) -> None:
        """Do not compute these, unless another client wants them; waiting for them raises Cancelled.

        force : there for dask's sake; what another client wants goes on.
        """
        self._cancel(ranges_of(nested_futures(futures)))

    def _cancel(self, spans: ResultRanges) -> None:
        with self.registry.lock:
            self.registry.detach(spans)
            self.connection.send(CancelTasks(tuple(TaskRange(r.key, a, b) for r, a, b in spans)))
        self.loop_thread.call(self.registry.mark_cancelled(spans))

    @blocking
    def close(self) -> None:
        """Release everything and part; ends the local cluster that this client started. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        if not self._started:
            return
        _open.discard(self)
        remove_default_client(self)
        self.connection.close()
        if self._gathering is not None:
            self._gathering.close()
        self._close_own_cluster()

    def _close_own_cluster(self) -> None:
        if self._own_cluster is not None:
            self._own_cluster.close()

    def __enter__(self) -> Client:
        if self.asynchronous:
            raise InputError("an asynchronous client is entered by `async with`")
        self._start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __await__(self) -> Generator[Any, None, Client]:
        yield from asyncio.to_thread(self._start).__await__()
        return self

    async def __aenter__(self) -> Client:
        await self
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        if not self._started:
            return "<Client not connected>"
        if self._closed:
            return f"<Client {self.address} closed>"
        if self.connection.error is not None:
            return f"<Client {self.address} lost: {self.connection.error}>"
        if self.asynchronous:  # a look must not hold up somebody's event loop (a notebook's kernel has one, too)
            return f"<Client {self.address}>"
        workers = self.connection.query("info")["workers"].values()
        slots = sum(worker["slots"] for worker in workers)
        return f"<Client {self.address} {len(workers)} workers, {slots} slots>"

    def _repr_html_(self) -> str:
        from howdah.engine.api.repr import client_as_html

        silent = self._closed or not self._started or self.connection.error is not None or self.asynchronous
        workers = {} if silent else self.connection.query("info")["workers"]
        return client_as_html(repr(self), workers, getattr(self.cluster, "dashboard_link", ""))


_OPTIONS = (
    "address", "security", "name", "timeout", "lease", "set_as_default", "asynchronous", "n_workers",
    "threads_per_worker", "memory_limit", "resources",
)  # fmt: skip


def _check_local(given: Any, local: Mapping[str, Any]) -> None:
    if given is not None and not isinstance(given, str) and not hasattr(given, "scheduler_address"):
        raise bad_value("address", given, "give an address, a cluster, or nothing")
    if not local:
        return
    from howdah.engine.deploy.local import LocalCluster

    unknown = [option for option in local if option not in signature(LocalCluster).parameters]
    if unknown:
        raise InputError(f"Client: unknown option {unknown[0]!r}; {near(unknown[0], _OPTIONS)}")
    if given is not None:
        raise InputError(f"{sorted(local)}: only for a local cluster, and one was given")


def _first(items: Iterator[tuple[Any, ...]], count: int | None) -> list[tuple[Any, ...]]:
    return list(items) if count is None else list(islice(items, count))


def _part_of(key: Any, start: int, count: int, batch_size: int | None) -> Any:
    """The keys of one batch."""
    if batch_size is None or key is None:
        return key
    return [f"{key}-{i}" for i in range(start, start + count)] if isinstance(key, str) else key[start : start + count]


_open: weakref.WeakSet[Client] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Part from the scheduler when the program ends: it need not keep this client's work for a lease."""
    for client in list(_open):
        client.close()


def _itself(value: Any) -> Any:
    return value
