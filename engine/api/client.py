"""`Client`: a connection to a cluster, by which users give it work and get results.

Composed of parts that hold their own state: `Submitter`, `GraphSubmitter` and `Waiter` for work and its results,
`ClusterInfo`, `WorkerCalls`, `Replication`, `Datasets` and `WorkerLogs` for the rest. Each public method delegates to
one of them. It implements `howdah.engine.client.cluster_client.ClusterClient`.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import getpass
import os
import secrets
import socket
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from howdah.engine.api.cluster_address import check_options, find_cluster
from howdah.engine.api.cluster_info import ClusterInfo
from howdah.engine.api.datasets import Datasets
from howdah.engine.api.logs import WorkerLogs
from howdah.engine.api.replication import Replication
from howdah.engine.api.repr import client_as_html
from howdah.engine.api.worker_calls import WorkerCalls
from howdah.engine.client.async_bridge import as_task, blocking, on_event_loop
from howdah.engine.client.connection import SchedulerConnection
from howdah.engine.client.fetch import ResultFetcher
from howdah.engine.client.future import Future
from howdah.engine.client.future_registry import FutureRegistry, ranges_of
from howdah.engine.client.nests import gather_nest, gather_nest_async, nested_futures
from howdah.engine.client.submission import Submitter, identity
from howdah.engine.client.waiting import Waiter
from howdah.engine.comm.connection.event_loop import loop_thread
from howdah.engine.comm.security.certificates import Security
from howdah.engine.coordination.make_actor import make_actor
from howdah.engine.coordination.worker_context import worker_name
from howdah.engine.execution.default_client import remove_default_client, set_default_client
from howdah.engine.graph.nests import with_parts
from howdah.engine.integrations.concurrent_futures import Executor
from howdah.engine.protocol.messages import Hello
from howdah.errors import HowdahError, InputError, bad_value

if TYPE_CHECKING:
    from howdah.engine.api.graph_submission import GraphSubmitter
    from howdah.engine.deploy.cluster import Cluster
    from howdah.engine.execution.threads import Progress
    from howdah.engine.graph.graph import Graph, PersistedLayer
    from howdah.engine.protocol.layers import TaskRange


class Client:
    """A connection to a cluster: give it work, get results.

    Safe to use from several threads. After a fork the child needs a client of its own: with its
    parent's, every call raises `HowdahError`. In an asynchronous client, on
    an event loop, every method that waits for the cluster returns an awaitable of what is documented here; the work
    starts at once, whether or not it is awaited.

    Parameters
    ----------
    address
        A scheduler's address, a cluster object (`LocalCluster`, `YarnCluster`), or None: inside a task the
        cluster that runs it, else the cluster that this program was started in (``HOWDAH_SCHEDULER``), else a
        `LocalCluster` of its own, which ends with the client.
    security
        The security directory, for a TLS address.
    name
        What others see; any text.
    timeout
        Seconds to wait for the scheduler to answer.
    lease
        Seconds for which the scheduler keeps this client's work when the connection is lost.
    set_as_default
        Whether collections compute with this client from now on.
    asynchronous
        For use in coroutines: what waits is awaited. Connect by ``async with Client(...)`` or
        ``await Client(...)``. Called where no event loop runs, it behaves as any other client.
    **local
        Options of the `LocalCluster`, when one is started.

    Attributes
    ----------
    cluster : the cluster object that it was given or started; None where it was given an address.
    address : the scheduler's address at the time of connecting.
    scratch_root : where collections put the job folders of their writes; None is beside the output.

    Raises
    ------
    InputError : an option that neither the client nor `LocalCluster` has.
    DeadlineExceeded : no scheduler answered within `timeout` seconds.

    Examples
    --------
    >>> with Client(n_workers=1) as client:
    ...     client.gather(client.map(abs, [-1, 2]))
    [1, 2]
    """

    # Parts that exist once it is connected.
    connection: SchedulerConnection
    _fetcher: ResultFetcher
    _submitter: Submitter
    _graph_submitter: GraphSubmitter | None
    _info: ClusterInfo
    _calls: WorkerCalls
    _replication: Replication
    _datasets: Datasets
    _logs: WorkerLogs

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
        self.cluster: Cluster | None = None
        self.scratch_root: str | None = None
        self._owns_cluster = False
        self._started = self._closed = False
        self._asynchronous = asynchronous
        check_options(address, local)
        self.name = name or f"{getpass.getuser()}-{os.getpid()}"
        self.address = ""
        self.loop_thread = loop_thread()
        self.registry = FutureRegistry()
        self.waiter = Waiter(self.registry, self.loop_thread)
        self._start_with = (address, security, timeout, lease, set_as_default, local)
        if not asynchronous:
            self._start()

    def _start(self) -> None:
        """Connect, and make the parts. A second call does nothing."""
        if self._started:
            return
        given, security, timeout, lease, as_default, local = self._start_with
        found = find_cluster(given, security, local)
        self.address, self.cluster, self._owns_cluster = found.address, found.cluster, found.owned
        self.scratch_root = found.scratch_root
        identity_of = found.security if isinstance(found.security, Security | None) else Security.load(found.security)
        hello = Hello("client", f"{self.name}-{secrets.token_hex(4)}", lease=lease, host=socket.gethostname())
        hello.worker = worker_name()
        registry, waiter = self.registry, self.waiter
        self.connection = connection = SchedulerConnection(
            self.address, identity_of, hello, registry.on_message, self._on_connection_lost, found.locate
        )
        registry.attach(connection)
        try:
            connection.open(timeout)
        except BaseException:
            self._close_own_cluster()
            raise
        self._fetcher = ResultFetcher(connection, self.name, identity_of, registry.addresses)
        registry.on_worker_gone = self._fetcher.drop_peer
        waiter.attach(connection, self._fetcher)
        self._info = ClusterInfo(connection)
        self._submitter = Submitter(registry, connection, self.loop_thread)
        self._expected_workers, self._graph_submitter = found.expected_workers, None
        self._calls = WorkerCalls(connection, self._info, self.loop_thread, self.name)
        self._replication = Replication(connection, registry, waiter, self._info)
        self._datasets = Datasets(connection)
        self._logs = WorkerLogs(self._calls)
        self._started = True
        _open.add(self)
        if as_default:
            set_default_client(self)

    def _on_connection_lost(self, error: HowdahError) -> None:
        # A method of the client, so that the connection keeps an unclosed client alive: it is then closed at exit.
        self.waiter.on_connection_lost(error)

    @property
    def asynchronous(self) -> bool:
        """Whether a call made here and now returns an awaitable: an asynchronous client, on an event loop."""
        return self._asynchronous and on_event_loop()

    @property
    def when_lost(self) -> set[Callable[[HowdahError], object]]:
        """Called with the error on the loop's thread when the cluster is lost for good, or the client closed."""
        return self.waiter.when_lost

    @property
    def _graphs(self) -> GraphSubmitter:
        if self._graph_submitter is None:
            from howdah.engine.api.graph_submission import GraphSubmitter  # at the first graph, because it loads numpy

            self._graph_submitter = GraphSubmitter(
                self.registry, self.connection, self.waiter, self._info, self._expected_workers
            )
        return self._graph_submitter

    # -- calls --------------------------------------------------------------------------------------------------------

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
        """Run ``fn(*args, **kwargs)`` on the cluster. Returns at once.

        Futures may stand anywhere in the arguments, in lists, dictionaries and objects of any kind. Options that are
        not given here are taken from the `annotate` blocks around the call.

        Parameters
        ----------
        fn
            The function, or with ``actor=True`` a class.
        *args
            Its arguments.
        key
            Name of the task, which the future has as its `key`. The same key for other work is an InputError while
            the first future lives.
        workers
            Names, addresses or hosts of the only workers that may run it. It waits for them, also for workers
            that have not started.
        resources
            Amounts of its worker's resources that it takes while it runs, as ``{"gpu": 1}``. Workers have what
            they were started with.
        retries
            Number of further attempts when it raises.
        priority
            Higher runs first.
        allow_other_workers
            Others may run it while none of `workers` is there.
        actor
            Make an object of the class `fn`, which stays on one worker, and return its `Actor`.
        pure
            The same function of the same arguments is the same task, and runs once. False: always a new task.
        hosts
            Preferred hosts, best first; without effect beside `workers` and `resources`.
        **kwargs
            Of the function. ``timeout=`` is the task's own limit in seconds, unless the function has a parameter
            of that name: a task that exceeds it fails with TaskTimeout, and its worker's process is replaced.

        Returns
        -------
        Future
            Of the call's result; with ``actor=True`` an `Actor`.

        Raises
        ------
        Unpicklable : the function or an argument cannot be sent; the message names the part inside that cannot.
        InputError : a keyword that neither `submit` nor the function has, or an option's value that is not valid.

        Examples
        --------
        >>> with Client(n_workers=1) as client:
        ...     client.submit(pow, 2, 5, retries=2).result()
        32
        """
        if actor:
            return make_actor(
                self, fn, args, kwargs, priority=priority, hosts=hosts, workers=workers, resources=resources,
                allow_other_workers=allow_other_workers,
            )  # fmt: skip
        return self._submitter.submit(
            self, fn, args, kwargs, key, workers, resources, retries, priority, allow_other_workers, pure, hosts
        )

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
        """Run ``fn`` on each element of the iterables, as the built-in `map` does. Returns at once.

        All calls are one layer: a hundred thousand cost little more than one.

        Parameters
        ----------
        fn
            The function.
        *iterables
            One or more; elements at the same place are the arguments of one call.
        key
            One text, to which the number of the element is added, or one for each element.
        workers, resources, retries, priority, allow_other_workers, pure
            As in `submit`, for all calls.
        batch_size
            Read and send so many elements at a time, for iterables too long to be held at once.
        hosts
            One sequence of preferred hosts per element.
        **kwargs
            The same for each call.

        Returns
        -------
        list of Future
            One per element, in order.

        Raises
        ------
        Unpicklable : the function or an argument cannot be sent.
        InputError : a keyword that neither `map` nor the function has, or an option's value that is not valid.

        Examples
        --------
        >>> with Client(n_workers=1) as client:
        ...     client.gather(client.map(pow, [2, 3], [5, 2]))
        [32, 9]
        """
        return self._submitter.map(
            self, fn, iterables, kwargs, key, workers, resources, retries, priority, allow_other_workers, pure,
            batch_size, hosts,
        )  # fmt: skip

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
        """Put data on the cluster. The scheduler stores it too, so it survives the loss of its worker.

        Parameters
        ----------
        data
            One value, or a list, tuple, set, deque, range or dictionary of values.
        workers
            Names, addresses or hosts of workers that receive it; others do while none of them is there.
        broadcast
            True puts a copy on every worker, a number on so many; returns when they are there.
        hash
            Equal data is stored once. False: each call stores it anew.
        direct, timeout
            Accepted for dask compatibility; ignored.

        Returns
        -------
        Future, or a list, tuple, set or dictionary of them
            In the form of `data`, and of its class; of a range, a list.

        Raises
        ------
        InputError : `data` is an iterator.
        Unpicklable : the data cannot be sent.
        """
        where: dict[str, Any] = {"workers": workers, "allow_other_workers": workers is not None, "pure": hash}
        made: Any
        if isinstance(data, dict):
            made = with_parts(data, self.map(identity, list(data.values()), **where))
        elif isinstance(data, list | tuple | set | frozenset | deque):
            made = with_parts(data, self.map(identity, list(data), **where))
        elif isinstance(data, range):
            made = self.map(identity, data, **where)
        elif hasattr(data, "__next__"):
            raise InputError("data: got an iterator, which can be read only once; make it a list first")
        else:
            made = self.submit(identity, data, **where)
        if broadcast:
            self._replication.replicate(nested_futures(made), None if broadcast is True else int(broadcast), workers)
        return made

    def get_executor(
        self,
        *,
        workers: Iterable[str] | str | None = None,
        resources: Mapping[str, float] | None = None,
        retries: int | None = None,
        priority: int = 0,
        allow_other_workers: bool = False,
        pure: bool = False,
        hosts: Sequence[str] = (),
        **unknown: Any,
    ) -> Executor:
        """Return an executor of `concurrent.futures` on this client's cluster.

        Parameters
        ----------
        workers, resources, retries, priority, allow_other_workers, pure, hosts
            As in `submit`, for all its calls.
        **unknown
            None; another option raises InputError with similar names.

        Returns
        -------
        Executor

        Raises
        ------
        InputError : another option.

        Examples
        --------
        >>> with Client(n_workers=1) as client, client.get_executor() as executor:
        ...     executor.submit(pow, 2, 5).result()
        32
        """
        return Executor(
            client=self, workers=workers, resources=resources, retries=retries, priority=priority,
            allow_other_workers=allow_other_workers, pure=pure, hosts=hosts, **unknown,
        )  # fmt: skip

    # -- results ------------------------------------------------------------------------------------------------------

    def gather(self, futures: Any, errors: str = "raise", direct: bool | None = None) -> Any:
        """Return the values of futures. Waits for them.

        Parameters
        ----------
        futures
            A future, or futures in any nest of lists, tuples, sets and dictionaries.
        errors
            "raise" raises the first failure as soon as it is known; "skip" leaves failed ones out.
        direct
            Accepted for dask compatibility; ignored. Results always come directly from the workers.

        Returns
        -------
        Any
            The nest with values in place of futures.

        Raises
        ------
        Exception : what the first failed task raised.
        InputError : `futures` is an iterator, or `errors` is neither of the two.
        HowdahError : the cluster is lost.

        Examples
        --------
        >>> with Client(n_workers=1) as client:
        ...     client.gather({"a": client.submit(abs, -1), "b": [client.submit(abs, -2)]})
        {'a': 1, 'b': [2]}
        """
        if errors not in ("raise", "skip"):
            raise bad_value("errors", errors, "write 'raise' or 'skip'")
        if self.asynchronous:
            return as_task(gather_nest_async(self.waiter, futures, nested_futures(futures), errors == "skip"))
        return gather_nest(self.waiter, futures, nested_futures(futures), errors == "skip")

    def gathered(self, futures: Sequence[Future]) -> list[Any]:
        """Return the values of futures, in order. Blocks this thread, also in an asynchronous client.

        Parameters
        ----------
        futures
            Of this client.

        Returns
        -------
        list
        """
        return self.waiter.results(ranges_of(futures))

    @blocking
    def cancel(self, futures: Any, force: bool = False) -> None:
        """Cancel tasks, unless another client needs them. Waits for them then raise Cancelled.

        Parameters
        ----------
        futures
            A future, or a nest of them.
        force
            Accepted for dask compatibility; ignored. What another client needs continues.
        """
        self._submitter.cancel(ranges_of(nested_futures(futures)))

    @blocking
    def retry(self, futures: Any) -> None:
        """Run failed tasks again, and the failed tasks that they depend on. The futures are pending again.

        Parameters
        ----------
        futures
            A future, or a nest of them; those that have not failed are left as they are.
        """
        self._replication.retry(nested_futures(futures))

    @blocking
    def replicate(self, futures: Any, n: int | None = None, workers: Iterable[str] | str | None = None) -> None:
        """Copy results to more workers. Waits for the results and for the copies.

        Parameters
        ----------
        futures
            A future, or a nest of them.
        n
            Number of workers that hold each result afterwards; None is all.
        workers
            Names, addresses or hosts of the only workers that receive copies.

        Raises
        ------
        InputError : there is no such worker, or `n` is below 1.
        DeadlineExceeded : a copy was not there after 60 s.
        """
        self._replication.replicate(nested_futures(futures), n, workers)

    @blocking
    def rebalance(self, futures: Any = None, workers: Iterable[str] | str | None = None) -> None:
        """Move results of this client from workers that hold many to workers that hold few.

        Parameters
        ----------
        futures
            What may move; None is all finished ones of this client.
        workers
            Names, addresses or hosts; None is all workers.

        Raises
        ------
        InputError : there is no such worker.
        DeadlineExceeded : a copy was not there after 60 s.
        """
        self._replication.rebalance(None if futures is None else nested_futures(futures), workers)

    # -- lazy objects -------------------------------------------------------------------------------------------------

    def compute(
        self,
        collections: Any,
        sync: bool = False,
        optimize_graph: bool = True,
        workers: Iterable[str] | str | None = None,
        allow_other_workers: bool = False,
        resources: Mapping[str, float] | None = None,
        retries: int | None = None,
        priority: int = 0,
        traverse: bool = True,
    ) -> Any:
        """Start to compute a lazy object, or each of a list. Returns at once.

        Parameters
        ----------
        collections
            A lazy object, or a list, tuple or set of them.
        sync
            Wait, and return the values themselves.
        optimize_graph
            Accepted for dask compatibility; ignored.
        workers, allow_other_workers, resources, retries, priority
            As in `submit`, for all tasks of the graph.
        traverse
            Whether lazy objects inside lists, tuples and dictionaries are found.

        Returns
        -------
        Future, or a list, tuple or set of them

        Examples
        --------
        >>> from howdah import delayed
        >>> with Client(n_workers=1) as client:
        ...     client.compute(delayed(sum)([1, 2])).result()
        3
        """
        found = self._graphs.compute(
            self, collections, traverse, _annotations(workers, allow_other_workers, resources, retries, priority)
        )
        return self.gather(found) if sync else found

    def persist(
        self,
        collections: Any,
        optimize_graph: bool = True,
        workers: Iterable[str] | str | None = None,
        allow_other_workers: bool = False,
        resources: Mapping[str, float] | None = None,
        retries: int | None = None,
        priority: int = 0,
    ) -> Any:
        """Start to compute lazy objects and keep their results on the workers. Returns at once.

        Parameters
        ----------
        collections
            A lazy object, or a list, tuple or set of them.
        optimize_graph
            Accepted for dask compatibility; ignored.
        workers, allow_other_workers, resources, retries, priority
            As in `submit`, for all tasks of the graph.

        Returns
        -------
        lazy object, or a list, tuple or set of them
            The same objects, which refer to the results.
        """
        return self._graphs.persist(
            self, collections, _annotations(workers, allow_other_workers, resources, retries, priority)
        )

    def get(
        self,
        dsk: Any,
        keys: Any,
        workers: Iterable[str] | str | None = None,
        allow_other_workers: bool = False,
        resources: Mapping[str, float] | None = None,
        sync: bool = True,
        retries: int | None = None,
        priority: int = 0,
        **unused: Any,
    ) -> Any:
        """Compute keys of a graph that is written as a dictionary, as dask's are.

        dask's collections compute on this cluster with ``scheduler=client.get``.

        Parameters
        ----------
        dsk
            ``{"x": 1, "y": (inc, "x")}``: calls are tuples that begin with a function, keys stand for their values.
        keys
            One, or a nest of lists.
        workers, allow_other_workers, resources, retries, priority
            As in `submit`, for all tasks of the graph.
        sync
            False returns futures, at once.
        **unused
            Accepted for dask compatibility; ignored.

        Returns
        -------
        Any
            Values (or futures) in the nest of `keys`.

        Raises
        ------
        InputError : a key is not in the graph, or keys depend on each other in a circle (the error names them).

        Examples
        --------
        >>> with Client(n_workers=1) as client:
        ...     client.get({"x": -1, "y": (abs, "x")}, ["x", "y"])
        [-1, 1]
        """
        found = self._graphs.get(
            self, dsk, keys, _annotations(workers, allow_other_workers, resources, retries, priority)
        )
        return self.gather(found) if sync else found

    def started_futures(self, graph: Graph, places: Sequence[tuple[bytes, int]]) -> list[Future]:
        """Start a graph and return futures of single items; for `howdah.engine.delayed`.

        Parameters
        ----------
        graph
            The layers.
        places
            A layer's key and the item, for each future.

        Returns
        -------
        list of Future
            One per place.
        """
        return self._graphs.started_futures(self, graph, places)

    def compute_graph(
        self, graph: Graph, wanted: Sequence[TaskRange], progress: Progress | None = None
    ) -> list[list[Any]]:
        """Run a graph and return the values per wanted range; for `howdah.engine.execution.dispatch`.

        Parameters
        ----------
        graph
            The layers.
        wanted
            Ranges of items.
        progress
            Called with (done, all, layer's name) meanwhile.

        Returns
        -------
        list of list
            The values of each range.
        """
        return self._graphs.compute_graph(self, graph, wanted, progress)

    def persist_graph(self, graph: Graph, wanted: Sequence[TaskRange]) -> list[PersistedLayer]:
        """Start whole layers and keep their results; for `howdah.engine.execution.dispatch`.

        Parameters
        ----------
        graph
            The layers.
        wanted
            Ranges that are whole layers.

        Returns
        -------
        list of PersistedLayer
            One per range; the results are kept while they live.
        """
        return self._graphs.persist_graph(self, graph, wanted)

    # -- information --------------------------------------------------------------------------------------------------

    @blocking
    def scheduler_info(self) -> dict[str, Any]:
        """Return the scheduler's name and address, and its workers.

        Returns
        -------
        dict
            "name", "address", and "workers": per name "host", "address", "slots", "memory", "rss" (bytes), "container".
        """
        return self._info.scheduler_info()

    @blocking
    def summary(self) -> dict[str, Any]:
        """Return tasks and bytes by locality, and the progress of each layer, since the cluster was started.

        Returns
        -------
        dict
        """
        return self._info.summary()

    def progress(self) -> list[dict[str, Any]]:
        """Return the layers that this client waits for.

        Returns
        -------
        list of dict
            "name", "n", "done", "running", "waiting", "failed" and "bytes" of each.
        """
        return self._info.progress()

    @blocking
    def nthreads(self) -> dict[str, int]:
        """Return the number of tasks that each worker runs at once.

        Returns
        -------
        dict
            By the worker's name.
        """
        return {name: worker["slots"] for name, worker in self._info.workers().items()}

    @blocking
    def story(self, key: Any) -> list[dict[str, Any]]:
        """Return what happened to a task, transition by transition.

        Parameters
        ----------
        key
            A future or its key, which the note of a failed task's exception has, too.

        Returns
        -------
        list of dict
            From which state to which, when, on which worker, why. The scheduler keeps the last 10,000 transitions of
            all tasks.
        """
        return self._info.story(self.registry.task_key(str(getattr(key, "key", key))))

    @blocking
    def who_has(self, futures: Any) -> dict[str, list[str]]:
        """Return the workers that hold the results of futures, copies included.

        Parameters
        ----------
        futures
            A future, or a nest of them.

        Returns
        -------
        dict
            By the future's key; an empty list where there is no result.
        """
        found = nested_futures(futures)
        return {future.key: workers for future, workers in zip(found, self._info.holders(found))}

    @blocking
    def has_what(self, workers: Iterable[str] | str | None = None) -> dict[str, list[str]]:
        """Return the keys of the results that workers hold, copies included.

        Parameters
        ----------
        workers
            Names, addresses or hosts; None is all.

        Returns
        -------
        dict
            By the worker's name; keys are ``<layer>-<item>``.
        """
        return self._info.keys_by_worker(workers)

    @blocking
    def wait_for_workers(self, n_workers: int, timeout: float | None = None) -> None:
        """Return when `n_workers` are connected.

        Parameters
        ----------
        n_workers
            How many.
        timeout
            Seconds; None is no limit.

        Raises
        ------
        DeadlineExceeded : the message has the number of those that are connected.
        """
        self._info.wait_for_workers(n_workers, timeout)

    @blocking
    def get_versions(self, check: bool = False) -> dict[str, Any]:
        """Return versions of Python and packages: of this client, the scheduler, and each worker.

        Parameters
        ----------
        check
            Raise when they differ.

        Returns
        -------
        dict
            "client", "scheduler", and "workers" by name.

        Raises
        ------
        EnvironmentMismatch : with `check`; names each package that differs, with its versions.
        """
        return self._calls.versions(check)

    # -- all workers at once ------------------------------------------------------------------------------------------

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
        """Call ``function(*args, **kwargs)`` once on every worker, at once, beside the tasks in its slots.

        Parameters
        ----------
        function
            One with a parameter ``dask_worker`` gets the worker object; an async one is awaited.
        *args
            Its arguments.
        workers
            Names, addresses or hosts; None is all.
        wait
            False returns an empty dictionary without waiting for the calls.
        on_error
            "raise" raises the first exception; "return" puts it in place of the result; "ignore" leaves the
            worker out.
        **kwargs
            Keyword arguments of the function.

        Returns
        -------
        dict
            Results by the worker's name.

        Raises
        ------
        InputError : there is no such worker, or an argument is not valid.
        Exception : with ``on_error="raise"`` what a call raised.

        Examples
        --------
        >>> with Client(n_workers=1) as client:
        ...     client.wait_for_workers(1)
        ...     list(client.run(pow, 2, 5).values())
        [32]
        """
        if on_error not in ("raise", "return", "ignore"):
            raise bad_value("on_error", on_error, "write 'raise', 'return' or 'ignore'")
        if not callable(function):
            raise bad_value("function", function, "give a function (or another callable) first, then its arguments")
        if not wait:
            self._calls.start(function, args, kwargs, workers)
            return {}
        return self._calls.run(function, args, kwargs, workers, on_error)

    @blocking
    def upload_file(self, filename: str | os.PathLike[str]) -> list[str]:
        """Send a file to all workers, later ones included. Modules, zip, egg and whl files can be imported.

        Tasks that are submitted afterwards find it. A newer version of a module replaces the older one.

        Parameters
        ----------
        filename
            Path of a file here.

        Returns
        -------
        list of str
            Names of the workers that were sent it now.

        Raises
        ------
        InputError : the file cannot be read.
        """
        return self._calls.upload(filename)

    @blocking
    def restart(self, timeout: float = 60.0, wait_for_workers: bool = True) -> None:
        """Restart the workers' processes. Futures of this client are cancelled; other clients' work is run again.

        Parameters
        ----------
        timeout
            Seconds to wait for the workers.
        wait_for_workers
            False returns without waiting.

        Raises
        ------
        DeadlineExceeded : a worker was not back after `timeout` seconds.
        """
        self._calls.restart(timeout, wait_for_workers, self._cancel_all)

    def _cancel_all(self) -> None:
        with self.registry.lock:
            everything = [(results, 0, results.n) for results in self.registry.layers()]
        self._submitter.cancel(everything)

    @blocking
    def get_worker_logs(
        self, n: int | None = None, workers: Iterable[str] | str | None = None, nanny: bool = False
    ) -> dict[str, list[tuple[str, str]]]:
        """Return the output of the workers, the newest line first.

        A worker keeps its last 5,000 lines (1 MiB, 200 of each task).

        Parameters
        ----------
        n
            Number of lines of each worker; None is all that are kept.
        workers
            Names, addresses or hosts; None is all.
        nanny
            Accepted for dask compatibility; ignored.

        Returns
        -------
        dict
            By the worker's name (level, text) per line. Lines on stdout and stderr have the levels "STDOUT" and
            "STDERR"; log records from WARNING up have theirs. Lines of a task begin with its name.

        Raises
        ------
        InputError : there is no such worker, or `n` is not a number.
        """
        return self._logs.of_workers(n, workers)

    @blocking
    def logs_of(self, task: Any) -> list[dict[str, Any]]:
        """Return the output of a task, in order.

        A task that ran twice (after a retry, or its worker's death) has the lines of both runs, but for those of a dead
        worker.

        Parameters
        ----------
        task
            A future or its key.

        Returns
        -------
        list of dict
            "time", "worker", "level", "source" and "text" of each line.

        Raises
        ------
        InputError : `task` is neither a future nor a key.
        """
        return self._logs.of_task(*self._submitter.find_task(task))

    # -- datasets -----------------------------------------------------------------------------------------------------

    @blocking
    def publish_dataset(self, *args: Any, name: str | None = None, override: bool = False, **kwargs: Any) -> None:
        """Keep data on the cluster under a name, for all clients, until it is unpublished.

        ``publish_dataset(futures, name="prices")`` or ``publish_dataset(prices=futures, limits={...})``: futures at any
        depth, persisted collections, and plain data. It stays when this client leaves.

        Parameters
        ----------
        *args
            One value, with `name`.
        name
            Of that value.
        override
            Replace datasets of the same name.
        **kwargs
            Values by name.

        Raises
        ------
        PathExists : there is a dataset of that name, and `override` is False.
        InputError : a value without a name.
        """
        if args and (len(args) > 1 or name is None):
            raise InputError("publish_dataset: give one value and name=..., or name=value pairs")
        self._datasets.publish(self, {**({name: args[0]} if name is not None and args else {}), **kwargs}, override)

    @blocking
    def get_dataset(self, name: str, default: Any = ..., timeout: float = 10.0) -> Any:
        """Return what was published under `name`.

        Parameters
        ----------
        name
            Of the dataset.
        default
            Returned when there is none of that name.
        timeout
            Seconds to wait for the value.

        Returns
        -------
        Any
            With futures of this client in place of those that were published.

        Raises
        ------
        InputError : there is none and no `default`; the message has similar names.
        """
        return self._datasets.get(self, name, default, timeout)

    @blocking
    def list_datasets(self) -> tuple[str, ...]:
        """Return the names of all datasets.

        Returns
        -------
        tuple of str
        """
        return self._datasets.names()

    @blocking
    def unpublish_dataset(self, name: str) -> None:
        """Drop a dataset.

        Parameters
        ----------
        name
            Of the dataset.

        Raises
        ------
        InputError : there is none of that name.
        """
        self._datasets.unpublish(self, name)

    # -- the application ----------------------------------------------------------------------------------------------

    def add_cleanup(self, url: str) -> None:
        """Have the application delete a path when it ends uncleanly.

        Parameters
        ----------
        url
            Of the path.
        """
        self.connection.query("add_cleanup", url=url)

    def drop_cleanup(self, url: str) -> None:
        """Keep a path that was registered by `add_cleanup`, because it is complete now.

        Parameters
        ----------
        url
            Of the path.
        """
        self.connection.query("drop_cleanup", url=url)

    # -- life ---------------------------------------------------------------------------------------------------------

    def call_back(self, fn: Callable[..., object], *args: Any) -> None:
        """Call ``fn(*args)`` on the client's thread for callbacks.

        Parameters
        ----------
        fn
            What it raises is lost.
        *args
            Its arguments.

        Raises
        ------
        RuntimeError : the client is closed.
        """
        self.waiter.call_back(fn, *args)

    @contextlib.contextmanager
    def as_current(self) -> Iterator[Client]:
        """Make this the default client of collections in a ``with`` block.

        Yields
        ------
        Client
            This one.
        """
        set_default_client(self)
        try:
            yield self
        finally:
            remove_default_client(self)

    @blocking
    def close(self) -> None:
        """Release everything and disconnect; ends the local cluster that this client started. Closing twice is fine.

        Every wait of this client that is under way raises `HowdahError`. In a forked child it leaves connection and
        cluster to the parent.
        """
        if self._closed:
            return
        self._closed = True
        if not self._started:
            return
        _open.discard(self)
        remove_default_client(self)
        self.connection.close()
        self._fetcher.close()
        self.waiter.close()
        self._close_own_cluster()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _close_own_cluster(self) -> None:
        if self._owns_cluster and self.cluster is not None:
            self.cluster.close()

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
        if self.asynchronous:  # a query would block the user's event loop (a notebook's kernel has one, too)
            return f"<Client {self.address}>"
        workers = self._info.workers().values()
        slots = sum(worker["slots"] for worker in workers)
        return f"<Client {self.address} {len(workers)} workers, {slots} slots>"

    def _repr_html_(self) -> str:
        silent = self._closed or not self._started or self.connection.error is not None or self.asynchronous
        workers = {} if silent else self._info.workers()
        return client_as_html(repr(self), workers, "" if self.cluster is None else self.cluster.dashboard_link)


def _annotations(
    workers: Iterable[str] | str | None,
    allow_other_workers: bool,
    resources: Mapping[str, float] | None,
    retries: int | None,
    priority: int,
) -> dict[str, Any]:
    return {
        "workers": workers,
        "allow_other_workers": allow_other_workers or None,
        "resources": resources or None,
        "retries": retries,
        "priority": priority or None,
    }


_open: weakref.WeakSet[Client] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Disconnect when the program ends, so that the scheduler does not keep this client's work for a lease."""
    for client in list(_open):
        client.close()
