"""`Executor`: a cluster behind the interface of `concurrent.futures`.

For programs that take an executor, and for people who know one. Its futures are `concurrent.futures.Future` objects,
so `wait`, `as_completed`, `asyncio.wrap_future` and callbacks work as they are documented there; where a documented
promise needs the cluster's word (whether a call has begun), the worker that has the call is asked.
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
"""Results of a `map` that are fetched in one go, as far as they are there."""


class BrokenCluster(HowdahError, concurrent.futures.BrokenExecutor):
    """The executor's cluster is lost, or its client closed: calls that had not ended never will, none are taken."""


class ExecutorFuture(concurrent.futures.Future[Any]):
    """A call's future. Its value is fetched when it is asked for, and stays on the cluster until then."""

    def __init__(self, of: Future) -> None:
        super().__init__()
        self.task: Future | None = of
        self._fetching = threading.Lock()

    def result(self, timeout: float | None = None) -> Any:
        """The value. Raises what the call raised, TimeoutError after `timeout` seconds, CancelledError."""
        of = self.task
        if not self.done() and of is not None:  # without a trip over the thread for callbacks
            with contextlib.suppress(HowdahError):  # the cluster is lost, or the time is over: said below
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
        """Cancel the call if it has not begun; whether it is cancelled now."""
        of = self.task
        if not self.done() and of is not None and _ask(of, "cancel"):
            self.mark_cancelled()
        return self.cancelled()

    def running(self) -> bool:
        """Whether the call is being executed: its worker has it and nothing before it."""
        of = self.task
        return not self.done() and of is not None and _ask(of, "running")

    # -- what became of the call --------------------------------------------------------------------------------------

    def mark_cancelled(self) -> None:
        with self._condition:
            if self.done() or not super().cancel():
                return
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self.set_running_or_notify_cancel()

    def settle(self) -> None:
        """The call has ended, as its howdah future knows."""
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
    client : whose cluster it uses; default: the current one, else a local cluster of its own, which ends at
        `shutdown`.
    initializer, initargs : not possible on a cluster whose workers others use too: raises NotSupported.
    workers, resources, retries, priority, allow_other_workers, pure, hosts : as in `Client.submit`, for every call.
        Unlike there, calls are not `pure` by default.

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
        self._call_back(int)  # calls may end while the program does, when Python (3.12) starts no threads any more
        _open.add(self)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Schedule ``fn(*args, **kwargs)``.

        Raises
        ------
        RuntimeError : after `shutdown`.
        BrokenCluster : the cluster is lost; it is a `BrokenExecutor`.
        Unpicklable : the function or an argument cannot travel.
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
        """As `map`, with the calls made at once and their results in order.

        Parameters
        ----------
        timeout : seconds from this call on, after which the iterator raises TimeoutError.
        chunksize : no effect: howdah batches by the time that calls take.
        buffersize : so many calls are made ahead of the result that was taken last; the iterables are read as far as
            that, and may be endless. (In the standard library since Python 3.14.)
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
        """Take no calls any more.

        Parameters
        ----------
        wait : return when all calls have ended.
        cancel_futures : cancel those that have not begun.
        """
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
        """Close the client that is the executor's own; values that somebody may still ask for are fetched before."""
        for future in list(self._unfetched):
            with contextlib.suppress(BaseException):  # whoever asks for the value is told
                future.result(0)
        self._client.close()

    def __del__(self) -> None:
        """Nobody can give it calls any more. Those that it has keep it alive until they have ended (`_watch`)."""
        if "_on_loss" not in self.__dict__:
            return  # its making failed
        self._client.when_lost.discard(self._on_loss)
        if self._own and not self._closed:
            self.shutdown(wait=False)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        fault = self._client.connection.error
        if fault is not None:
            raise _broken(fault)

    # -- news of calls ------------------------------------------------------------------------------------------------

    def _watch(self, made: list[Future]) -> list[ExecutorFuture]:
        """The futures that users get for these."""
        futures = [ExecutorFuture(of) for of in made]
        self._pending.update(futures)
        layers: dict[int, list[ExecutorFuture]] = {}  # lists of their own: `map` takes the one that it gets apart
        for of, future in zip(made, futures):
            layers.setdefault(id(of.results), []).append(future)
        for part in layers.values():
            self._client.loop_thread.loop.call_soon_threadsafe(self._listen, part)
        return futures

    def _listen(self, futures: list[ExecutorFuture]) -> None:
        """Hear of the end of each of these, which are of one layer. On the loop's thread."""
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
            self._on_loss_of_cluster(self._client.connection.error)

    def _call_back(self, fn: Callable[..., object], *args: Any) -> None:
        """Call `fn` on the thread for users' callbacks, or on one of its own when that has ended."""
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

    def _on_loss_of_cluster(self, fault: HowdahError) -> None:
        self._call_back(self._fail, fault)

    def _fail(self, fault: HowdahError) -> None:
        with self._guard:
            pending, self._pending = list(self._pending), set()
        for future in pending:
            future.settle() if future.task is not None and future.task.done() else future.fail(_broken(fault))

    def __repr__(self) -> str:
        return f"<Executor of {self._client!r}{' shut down' if self._closed else ''}>"


def _weakly(executor: Executor) -> Callable[[HowdahError], object]:
    """What a client calls when it is lost, which keeps no executor alive."""
    of = weakref.ref(executor)

    def lost(fault: HowdahError) -> None:
        found = of()
        if found is not None:
            found._on_loss_of_cluster(fault)

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
    """The values in order; for each that is taken another call is made, while the executor is there."""
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
    """The values in order. What was not asked for when the iterator ends is cancelled."""
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
    """Fetch the values of those at the end of the list that are there, in one go."""
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


async def _asked(of: Future, verb: str) -> bool:
    question = CoordinationCall(0, "task", "", verb, ranges=(of.span,))
    answer: list[Any] = await of.client.connection.request(question, None)
    return bool(answer[1])


def _ask(of: Future, verb: str) -> bool:
    """The scheduler's word; False when it is lost."""
    if of.client.connection.error is not None or of.done():
        return False
    return of.client.loop_thread.call(_asked(of, verb))


def _cancel_all(client: ClusterClient, futures: list[ExecutorFuture]) -> None:
    """Cancel those that have not begun; all questions travel together."""
    asked = [(future, of) for future in futures if not future.done() and (of := future.task) is not None]
    if client.connection.error is not None:
        return

    async def ask() -> list[bool]:
        return await asyncio.gather(*(_asked(of, "cancel") for _, of in asked))

    for (future, _), cancelled in zip(asked, client.loop_thread.call(ask())):
        if cancelled:
            future.mark_cancelled()


_open: weakref.WeakSet[Executor] = weakref.WeakSet()


def _finish() -> None:
    """As those of the standard library do, executors finish their calls before the program ends."""
    for executor in list(_open):
        executor.shutdown()


# As the standard library's executors do it: before any pool is shut, and before `atexit` ends clients and clusters.
threading._register_atexit(_finish)  # type: ignore[attr-defined]
