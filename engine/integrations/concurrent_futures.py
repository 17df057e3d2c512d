"""`Executor`: a cluster behind the interface of `concurrent.futures`.

For programs that take an executor, and for users who know one. Its futures are `concurrent.futures.Future` objects,
so `wait`, `as_completed`, `asyncio.wrap_future` and callbacks work as they are documented there. Whether a call has
started is requested from the worker that has it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from howdah.engine.client.layer_results import PENDING, LayerResults
from howdah.engine.execution.default_client import get_default_client, new_client
from howdah.engine.protocol.messages import CoordinationCall
from howdah.errors import HowdahError, InputError, NotSupported, bad_value, near

if TYPE_CHECKING:
    from howdah.engine.client.cluster_client import ClusterClient
    from howdah.engine.client.future import Future

OPTIONS = ("workers", "resources", "retries", "priority", "allow_other_workers", "pure", "hosts")
"""Of `Client.submit`, that an executor takes for all its calls."""

FETCH_BATCH = 1000
"""Results of a `map` that are fetched together, as far as they are ready."""


class BrokenCluster(HowdahError, concurrent.futures.BrokenExecutor):
    """The executor's cluster is lost, or its client closed: pending calls never end, and no new ones are accepted."""


class ExecutorFuture(concurrent.futures.Future[Any]):
    """A call's future. Its value stays on the cluster until `result` fetches it."""

    def __init__(self, of: Future) -> None:
        super().__init__()
        self.task: Future | None = of
        self._fetching = threading.Lock()

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the call and return its value. Raises what it raised, TimeoutError or CancelledError."""
        of = self.task
        if not self.done() and of is not None:  # not through the thread for callbacks, which costs a switch
            with contextlib.suppress(HowdahError):  # the cluster is lost, or the time is over: raised below
                of.client.waiter.wait([of.range], timeout)
                self.settle()
            timeout = 0 if timeout is not None else None
        super().result(timeout)
        if self.task is not None:
            with self._fetching:
                if self.task is not None:
                    self.set_fetched(self.task.client.gathered([self.task])[0])
        return super().result()

    def set_fetched(self, value: Any) -> None:
        with self._condition:
            self._result, self.task = value, None

    def cancel(self) -> bool:
        """Cancel the call if it has not started; whether it is cancelled now."""
        of = self.task
        if not self.done() and of is not None and _request_blocking(of, "cancel"):
            self.mark_cancelled()
        return self.cancelled()

    def running(self) -> bool:
        """Return whether the call is being executed: its worker has it and nothing before it."""
        of = self.task
        return not self.done() and of is not None and _request_blocking(of, "running")

    # -- the end of the call ------------------------------------------------------------------------------------------

    def mark_cancelled(self) -> None:
        with self._condition:
            if self.done() or not super().cancel():
                return
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self.set_running_or_notify_cancel()

    def settle(self) -> None:
        """Take over the state of the howdah future, which has ended."""
        of = self.task
        if of is None or self.done():
            return
        if of.cancelled():
            self.mark_cancelled()
            return
        error = of.client.registry.failure(of.results, of.item)
        self.fail(error) if error is not None else self._done()

    def _done(self) -> None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # it was cancelled at this very moment
            self.set_result(None)

    def fail(self, error: BaseException) -> None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self.set_exception(error)
        self.task = None


class Executor(concurrent.futures.Executor):
    """Runs calls on a cluster; a drop-in for `ProcessPoolExecutor` and `ThreadPoolExecutor`.

    Parameters
    ----------
    max_workers : worker processes of the local cluster that the executor starts; only where there is no client.
    client : whose cluster it uses; None is the default client, or a local cluster of its own, which ends at `shutdown`.
    initializer, initargs : raise NotSupported: the workers of a cluster are shared.
    workers, resources, retries, priority, allow_other_workers, pure, hosts : as in `Client.submit`, for every call.
        Unlike there, calls are not `pure` by default.
    **unknown : none; another option raises InputError with similar names.

    Raises
    ------
    InputError : another option, or `max_workers` together with a client.
    NotSupported : `initializer` or `initargs`.

    Examples
    --------
    >>> with Executor(1) as executor:
    ...     list(executor.map(pow, [2, 3], [5, 2]))
    [32, 9]
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        client: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        workers: Iterable[str] | str | None = None,
        resources: Mapping[str, float] | None = None,
        retries: int | None = None,
        priority: int = 0,
        allow_other_workers: bool = False,
        pure: bool = False,
        hosts: Sequence[str] = (),
        **unknown: Any,
    ) -> None:
        if initializer is not None or initargs:
            raise NotSupported(
                "initializer: workers outlive an executor and are shared, so none can be set up for it; "
                "put the set-up into the function, behind functools.cache, and it runs once per worker"
            )
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        for option in unknown:
            raise InputError(f"Executor: unknown option {option!r}; {near(option, OPTIONS)}")
        client = client if client is not None else get_default_client()
        if client is not None and max_workers is not None:
            raise bad_value(
                "max_workers", max_workers, "leave it out: there is a client, and its cluster's workers are used"
            )
        self._own = client is None
        self._client: ClusterClient = new_client(n_workers=max_workers) if client is None else client
        options = {
            "workers": workers, "resources": resources, "retries": retries, "priority": priority or None,
            "allow_other_workers": allow_other_workers or None, "hosts": hosts or None,
        }  # fmt: skip
        self._options = {"pure": pure, **{name: value for name, value in options.items() if value is not None}}
        self._guard = threading.Lock()
        self._pending: set[ExecutorFuture] = set()
        self._unfetched: weakref.WeakSet[ExecutorFuture] = weakref.WeakSet()
        self._closed = False
        self._on_loss = _weakly(self)
        self._client.when_lost.add(self._on_loss)
        self._call_back(
            int
        )  # a call may end while the interpreter exits, when Python (3.12) starts no threads any more
        _open.add(self)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Schedule ``fn(*args, **kwargs)``.

        Parameters
        ----------
        fn : the function.
        *args, **kwargs : its arguments.

        Returns
        -------
        concurrent.futures.Future

        Raises
        ------
        RuntimeError : after `shutdown`.
        BrokenCluster : the cluster is lost; it is a `BrokenExecutor`.
        Unpicklable : the function or an argument cannot be sent.
        """
        with self._guard:
            self._check_open()
            if kwargs:  # of the function, whatever `Client.submit` calls its own
                fn = functools.partial(fn, **kwargs)
            return self._watch([self._client.submit(fn, *args, **self._options)])[0]

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Make a call per element at once, and iterate over their results in order.

        Parameters
        ----------
        fn : the function.
        *iterables : elements at the same place are the arguments of one call.
        timeout : seconds from this call on, after which the iterator raises TimeoutError.
        chunksize : without effect: howdah batches calls by the time that they take.
        buffersize : number of calls that are made ahead of the result that was taken last; the iterables are read no
            further, and may be infinite. (In the standard library since Python 3.14.)

        Returns
        -------
        iterator

        Raises
        ------
        RuntimeError : after `shutdown`.
        BrokenCluster : the cluster is lost.
        ValueError, TypeError : `chunksize` or `buffersize` is not valid.
        """
        end = None if timeout is None else time.monotonic() + timeout
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None:
            if not isinstance(buffersize, int):
                raise TypeError("buffersize must be an integer or None")
            if buffersize < 1:
                raise ValueError("buffersize must be None or > 0")
            rest = zip(*iterables)
            ahead = deque([self.submit(fn, *args) for args in islice(rest, buffersize)])
            return _one_for_one(weakref.ref(self), fn, rest, ahead, end)
        items = list(zip(*iterables))
        with self._guard:
            self._check_open()
            made = self._client.map(fn, *zip(*items), **self._options) if items else []
            futures = self._watch(made)
        return _results(futures, end)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no further calls.

        Parameters
        ----------
        wait : return when all calls have ended.
        cancel_futures : cancel those that have not started.
        """
        if self._client.loop_thread.inherited:
            return  # a forked child: the calls are the parent's
        with self._guard:
            self._closed = True
            pending = list(self._pending)
        _open.discard(self)
        if not pending:
            self._client.when_lost.discard(self._on_loss)
        if cancel_futures and pending:
            _cancel_all(self._client, pending)
        if wait:
            concurrent.futures.wait(pending)
        if not self._own:
            return
        if wait:
            self._end()
        else:
            threading.Thread(target=self._end_later, args=(pending,), name="howdah-executor", daemon=False).start()

    def _end_later(self, pending: list[ExecutorFuture]) -> None:
        concurrent.futures.wait(pending)
        self._end()

    def _end(self) -> None:
        """Close the executor's own client, after fetching values that may still be requested."""
        for future in list(self._unfetched):
            with contextlib.suppress(BaseException):  # `result` raises it
                future.result(0)
        self._client.close()

    def __del__(self) -> None:
        """Shut down. Pending calls keep the executor alive until they have ended (`_watch`)."""
        if "_on_loss" not in self.__dict__:
            return  # `__init__` raised
        self._client.when_lost.discard(self._on_loss)
        if self._own and not self._closed:
            self.shutdown(wait=False)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        fault = self._client.connection.error
        if fault is not None:
            raise _broken(fault)

    # -- the ends of calls --------------------------------------------------------------------------------------------

    def _watch(self, made: list[Future]) -> list[ExecutorFuture]:
        """Return the futures that users receive for these."""
        futures = [ExecutorFuture(of) for of in made]
        self._pending.update(futures)
        layers: dict[int, list[ExecutorFuture]] = {}  # lists of their own, since `map` empties the one that it receives
        for of, future in zip(made, futures):
            layers.setdefault(id(of.results), []).append(future)
        for part in layers.values():
            self._client.loop_thread.loop.call_soon_threadsafe(self._listen, part)
        return futures

    def _listen(self, futures: list[ExecutorFuture]) -> None:
        """Settle each of these, which are of one layer, when it ends. On the loop's thread."""
        waiting = {future.task.item: future for future in futures if future.task is not None}
        first = futures[0].task
        if first is None:
            return  # the cluster is lost already
        results = first.results

        def changed(results: LayerResults, start: int, stop: int) -> None:
            items = range(start, stop) if stop - start < len(waiting) else list(waiting)
            ended = [
                waiting.pop(item)
                for item in items
                if item in waiting and start <= item < stop and results.state[item] != PENDING
            ]
            if not waiting:
                results.remove_listener(changed)
            if ended:
                self._call_back(self._settle, ended)

        results.add_listener(changed)
        changed(results, 0, results.n)
        if self._client.connection.error is not None:
            self.on_cluster_lost(self._client.connection.error)

    def _call_back(self, fn: Callable[..., object], *args: Any) -> None:
        """Call `fn` on the client's thread for callbacks, or on a new one when that has ended."""
        try:
            self._client.call_back(fn, *args)
        except RuntimeError:
            threading.Thread(target=fn, args=args, name="howdah-callbacks", daemon=True).start()

    def _settle(self, ended: list[ExecutorFuture]) -> None:
        for future in ended:
            future.settle()
            if future.task is not None:
                self._unfetched.add(future)
        with self._guard:
            self._pending.difference_update(ended)
            if self._closed and not self._pending:
                self._client.when_lost.discard(self._on_loss)

    def on_cluster_lost(self, fault: HowdahError) -> None:
        """Fail the pending calls.

        Parameters
        ----------
        fault : why the cluster is lost.
        """
        self._call_back(self._fail, fault)

    def _fail(self, fault: HowdahError) -> None:
        with self._guard:
            pending, self._pending = list(self._pending), set()
        for future in pending:
            future.settle() if future.task is not None and future.task.done() else future.fail(_broken(fault))

    def __repr__(self) -> str:
        return f"<Executor of {self._client!r}{' shut down' if self._closed else ''}>"


def _weakly(executor: Executor) -> Callable[[HowdahError], object]:
    """Return a callback for the loss of the client, which does not keep the executor alive."""
    of = weakref.ref(executor)

    def lost(fault: HowdahError) -> None:
        found = of()
        if found is not None:
            found.on_cluster_lost(fault)

    return lost


def _broken(fault: HowdahError) -> BrokenCluster:
    broken = BrokenCluster(str(fault))
    broken.__cause__ = fault
    return broken


def _one_for_one(
    of: weakref.ref[Executor],
    fn: Callable[..., Any],
    rest: Iterator[tuple[Any, ...]],
    ahead: deque[concurrent.futures.Future[Any]],
    end: float | None,
) -> Iterator[Any]:
    """Yield the values in order; for each that is taken make another call, while the executor exists."""
    try:
        while ahead:
            executor = of()
            args = next(rest, None) if executor is not None else None
            if executor is not None and args is not None:
                ahead.append(executor.submit(fn, *args))
            del executor, args
            yield ahead.popleft().result(None if end is None else max(0.0, end - time.monotonic()))
    finally:
        for future in ahead:
            future.cancel()


def _results(futures: list[ExecutorFuture], end: float | None) -> Iterator[Any]:
    """Yield the values in order. The rest is cancelled when the iterator is closed."""
    futures.reverse()
    try:
        while futures:
            if end is None:
                concurrent.futures.Future.result(futures[-1])
            else:
                concurrent.futures.Future.result(futures[-1], max(0.0, end - time.monotonic()))
            _fetch(futures)
            yield futures.pop().result()
    finally:
        if futures:
            of = futures[-1].task
            if of is not None:
                _cancel_all(of.client, futures)


def _fetch(futures: list[ExecutorFuture]) -> None:
    """Fetch the values of those at the end of the list that are ready, together."""
    if futures[-1].task is None:
        return
    there: list[ExecutorFuture] = []
    for future in reversed(futures):
        if len(there) == FETCH_BATCH or not future.done() or future.cancelled() or future.exception() is not None:
            break
        there.append(future)
    pairs = [(future, future.task) for future in there if future.task is not None]
    if len(pairs) > 1:
        for (future, _), value in zip(pairs, pairs[0][1].client.gathered([of for _, of in pairs])):
            future.set_fetched(value)


async def _request(of: Future, verb: str) -> bool:
    request = CoordinationCall(0, "task", "", verb, ranges=(of.task_range,))
    answer: list[Any] = await of.client.connection.request(request, None)
    return bool(answer[1])


def _request_blocking(of: Future, verb: str) -> bool:
    """Request "cancel" or "running" of the call; False when the cluster is lost."""
    if of.client.connection.error is not None or of.done():
        return False
    return of.client.loop_thread.call(_request(of, verb))


def _cancel_all(client: ClusterClient, futures: list[ExecutorFuture]) -> None:
    """Cancel those that have not started, with one batch of requests."""
    asked = [(future, of) for future in futures if not future.done() and (of := future.task) is not None]
    if client.connection.error is not None:
        return

    async def ask() -> list[bool]:
        return await asyncio.gather(*(_request(of, "cancel") for _, of in asked))

    for (future, _), cancelled in zip(asked, client.loop_thread.call(ask())):
        if cancelled:
            future.mark_cancelled()


_open: weakref.WeakSet[Executor] = weakref.WeakSet()


def _finish() -> None:
    """Finish all calls before the interpreter exits, as the standard library's executors do."""
    for executor in list(_open):
        executor.shutdown()


# As the standard library's executors do it: before any pool is shut, and before `atexit` ends clients and clusters.
threading._register_atexit(_finish)  # type: ignore[attr-defined]  # noqa: SLF001  # as concurrent.futures does
