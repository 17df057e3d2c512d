"""The client: from a user's calls to layers on the scheduler, and from results back to values."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from howdah.engine.client.future import Future, Hold
from howdah.engine.client.gathering import Gathering, nested_futures, with_values
from howdah.engine.client.link import Link
from howdah.engine.client.packing import Packed, pack
from howdah.engine.client.results import DONE, FAILED, Failure, Results, Watch
from howdah.engine.comm.identity import Security
from howdah.engine.comm.loop import loop_thread
from howdah.engine.comm.messages import (
    Addresses,
    Cancel,
    Done,
    Failed,
    Hello,
    Lost,
    Release,
    SchedulerTellsClient,
    Submit,
)
from howdah.engine.graph.layer import Key, Span
from howdah.engine.scheduler.records import TaskError
from howdah.errors import DeadlineExceeded, HowdahError, InputError, bad_value

DROP_DELAY = 0.02
"""Seconds for which dropped futures are collected before the scheduler is told."""

Spans = list[tuple[Results, int, int]]


class Client:
    """A connection to a cluster: give it work, get results.

    Parameters
    ----------
    address : a scheduler's address, a cluster object (`LocalCluster`, `YarnCluster`), or None: the cluster that this
        program was started in (``HOWDAH_SCHEDULER``), else a `LocalCluster` of its own, which ends with the client.
    security : the security directory, for a TLS address.
    name : what others see; any text.
    timeout : seconds to wait for the scheduler to answer.
    lease : seconds for which the scheduler keeps this client's work when the connection is lost.
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
        security: str | os.PathLike[str] | None = None,
        name: str | None = None,
        timeout: float = 30.0,
        lease: float = 60.0,
        **local: Any,
    ) -> None:
        self._own_cluster: Any = None
        self.cluster: Any = None
        self.scratch_root: str | None = None
        """Where collections put the job folders of their writes; None: beside the output."""
        address, security = self._find(address, security, local)
        self.address: str = address
        self.name = name or f"{getpass.getuser()}-{os.getpid()}"
        self._gathering: Gathering | None = None
        self._registry: dict[Key, Results] = {}
        self._lock = threading.RLock()
        self._dropped: deque[tuple[Results, int, int]] = deque()
        self._drop_scheduled = False
        self._addresses: dict[str, str] = {}
        self._names: dict[Key, str] = {}
        self._watches: set[Watch] = set()
        self._thread = loop_thread()
        hello = Hello("client", f"{self.name}-{secrets.token_hex(4)}", lease=lease, host=socket.gethostname())
        identity = Security.load(security) if security is not None else None
        self._link = Link(address, identity, hello, self._heard, self._lost_link)
        try:
            self._link.open(timeout)
        except BaseException:
            if self._own_cluster is not None:
                self._own_cluster.close()
            raise
        self._gathering = Gathering(self._link, self.name, identity, self._addresses, self._send_unfetched)
        self._closed = False
        _make_current(self)

    def _find(self, given: Any, security: Any, local: Mapping[str, Any]) -> tuple[str, Any]:
        if isinstance(given, str):
            if local:
                raise InputError(f"{sorted(local)}: only for a local cluster, and an address was given")
            return given, security
        if given is None and "HOWDAH_SCHEDULER" in os.environ and not local:
            self.scratch_root = os.environ.get("HOWDAH_STAGING") or None
            return os.environ["HOWDAH_SCHEDULER"], security or os.environ.get("HOWDAH_SECURITY") or None
        if given is None:
            from howdah.engine.local_cluster import LocalCluster

            given = self._own_cluster = LocalCluster(**local)
        if not hasattr(given, "scheduler_address"):
            raise bad_value("address", given, "give an address, a cluster, or nothing")
        self.cluster = given
        self.scratch_root = getattr(given, "scratch_root", None)
        return given.scheduler_address, security or getattr(given, "security", None)

    # -- work -----------------------------------------------------------------------------------------------------

    def submit(
        self,
        fn: Callable[..., Any],
        *args: Any,
        pure: bool = True,
        retries: int = 0,
        priority: int = 0,
        hosts: Sequence[str] = (),
        **kwargs: Any,
    ) -> Future:
        """Run ``fn(*args, **kwargs)`` on the cluster.

        Parameters
        ----------
        pure : the same function of the same arguments is the same task, and runs once. False: always a new one.
        retries : how often it is tried again when it raises.
        priority : higher runs first.
        hosts : where it should rather run, best first.

        Raises
        ------
        Unpicklable : the function or an argument cannot travel.
        """
        _check_callable(fn)
        packed = pack(fn, [args], kwargs, retries=retries, pure=pure, hosts=[tuple(hosts)] if hosts else None)
        results = self._submit(packed, priority)
        return Future(self, results, 0)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        pure: bool = True,
        retries: int = 0,
        priority: int = 0,
        hosts: Sequence[Sequence[str]] | None = None,
        **kwargs: Any,
    ) -> list[Future]:
        """Run ``fn`` on each element of the iterables, as `map` does; one future each, in order.

        All of them are one layer: a hundred thousand cost little more than one. The other arguments are `submit`'s;
        `hosts` is one sequence per element.
        """
        _check_callable(fn)
        if not iterables:
            raise InputError("map: give at least one iterable")
        items = list(zip(*iterables))
        if not items:
            return []
        where = None if hosts is None else [tuple(h) for h in hosts]
        if where is not None and len(where) != len(items):
            raise bad_value("hosts", f"{len(where)} entries", f"give one per element: {len(items)}")
        results = self._submit(
            pack(fn, items, kwargs, retries=retries, pure=pure, hosts=where), priority
        )
        return [Future(self, results, item) for item in range(len(items))]

    def scatter(self, data: Any) -> Any:
        """Put data on the cluster: a future, or a list of them for a list (a dictionary for a dictionary).

        The data stays in the scheduler's keeping too, so it survives its worker.
        """
        if isinstance(data, dict):
            return dict(zip(data, self.map(_itself, list(data.values()))))
        if isinstance(data, list | tuple | set | frozenset):
            return type(data)(self.map(_itself, list(data)))
        return self.submit(_itself, data)

    def _submit(self, packed: Packed, priority: int) -> Results:
        spec = packed.spec
        with self._lock:
            results = self._hold(spec.key, spec.name, spec.n, 0, spec.n)
            self._link.send(
                Submit((spec,), (Span(spec.key, 0, spec.n),), priority), packed.code, packed.offsets, packed.arguments
            )
        return results

    def _hold(self, key: Key, name: str, n: int, start: int, stop: int) -> Results:
        """Count one more reference to each of these items. Under the lock."""
        results = self._registry.get(key)
        if results is None:
            results = self._registry[key] = Results(key, name, n)
        refs = results.refs
        for item in range(start, stop):
            refs[item] += 1
        return results

    # -- collections (engine/execute.py) ----------------------------------------------------------------------------

    def start_graph(
        self, layers: Sequence[Packed], wanted: Sequence[Span], priority: int = 0
    ) -> tuple[Spans, Hold]:
        """Send layers in topological order; the wanted spans, and what keeps them while it lives."""
        lengths = {packed.spec.key: packed.spec for packed in layers}
        spans: Spans = []
        with self._lock:
            for key, start, stop in wanted:
                spec = lengths.get(key)
                known = self._registry.get(key)
                if spec is None and known is None:
                    raise HowdahError(f"layer {key.hex()} is wanted and neither in the graph nor held")
                name, n = (spec.name, spec.n) if spec is not None else (known.name, known.n)  # type: ignore[union-attr]
                spans.append((self._hold(key, name, n, start, stop), start, stop))
            hold = Hold(self, spans)
            for spec in lengths.values():
                self._names[spec.key] = spec.name
            frames = [frame for packed in layers for frame in (packed.code, packed.offsets, packed.arguments)]
            specs = tuple(packed.spec for packed in layers)
            self._link.send(Submit(specs, tuple(wanted), priority), *frames)
        return spans, hold

    def progress(self) -> list[dict[str, Any]]:
        """The layers that this client waits for: name, n, done, running, waiting, failed and bytes of each."""
        found: list[dict[str, Any]] = self._link.ask("progress")
        return found

    # -- results ----------------------------------------------------------------------------------------------------

    def gather(self, futures: Any, errors: str = "raise") -> Any:
        """The values of futures in any nest of lists, tuples, sets and dictionaries, in the same nest.

        Parameters
        ----------
        errors : "raise" raises the first failure as soon as it is known; "skip" leaves failed ones out of a list.
        """
        if errors not in ("raise", "skip"):
            raise bad_value("errors", errors, "write 'raise' or 'skip'")
        found = nested_futures(futures)
        spans = _spans_of(found)
        if errors == "skip":
            self._wait(spans, None)
            found = [future for future in found if future.results.state[future.item] == DONE]
            values = self._results_of(_spans_of(found), None)
            return with_values(futures, dict(zip(map(id, found), values)), skip=True)
        values = self._results_of(spans, None)
        if type(futures) is list and len(found) == len(futures):
            return values
        return with_values(futures, dict(zip(map(id, found), values)))

    def _results_of(
        self, spans: Spans, timeout: float | None, progress: Callable[[list[dict[str, Any]]], None] | None = None
    ) -> list[Any]:
        """Values of spans, item by item. Raises the first failure that is known."""
        deadline = None if timeout is None else time.monotonic() + timeout
        assert self._gathering is not None
        while True:
            rest = None if deadline is None else max(0.0, deadline - time.monotonic())
            self._wait(spans, rest, first_failure=True, progress=progress)
            for results, start, stop in spans:
                failed = results.first_failed(start, stop)
                if failed >= 0:
                    raise self._failure(results, failed) or HowdahError("a task failed without a reason")
            values = self._gathering.collect(spans)
            if values is not None:
                return values
            # A holder was lost between its report and the fetch: what it held is made again.

    def _wait(
        self,
        spans: Spans,
        timeout: float | None,
        first_failure: bool = False,
        progress: Callable[[list[dict[str, Any]]], None] | None = None,
    ) -> None:
        """Return when all is settled (or one has failed). Raises DeadlineExceeded, or the link's fault."""
        if all(results.settled(start, stop) for results, start, stop in spans) and self._link.fault is None:
            return
        watch = Watch(spans, first_failure)
        self._thread.loop.call_soon_threadsafe(self._begin, watch)
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while not watch.event.is_set():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise DeadlineExceeded(_still_waiting(spans, timeout or 0.0))
                if progress is None:
                    watch.event.wait(left)
                elif not watch.event.wait(0.2 if left is None else min(0.2, left)):
                    progress(self.progress())
            if progress is not None and self._link.fault is None:
                progress(self.progress())
        finally:
            self._thread.loop.call_soon_threadsafe(self._end, watch)
        if self._link.fault is not None and not all(r.settled(a, b) for r, a, b in spans):
            raise self._link.fault

    def _begin(self, watch: Watch) -> None:
        self._watches.add(watch)
        watch.start()
        if self._link.fault is not None:
            watch.event.set()

    def _end(self, watch: Watch) -> None:
        self._watches.discard(watch)
        watch.stop()

    def _failure(self, results: Results, item: int) -> BaseException | None:
        """The exception of a failed item, made anew each time; None if it has not failed."""
        if results.state[item] != FAILED:
            return None
        from howdah.engine.comm.failure import raised_again

        failure = results.failure_of(item)
        return raised_again(failure.error, self._where(results, item, failure))

    def _where(self, results: Results, item: int, failure: Failure) -> str:
        error, origin = failure
        name = self._names.get(origin.layer) or (results.name if origin.layer == results.key else "")
        task = f"{name or origin.layer.hex()[:8]}[{origin.start}]"
        place = f" on worker {error.worker} (host {error.host}" if error.worker else ""
        if place:
            place += f", container {error.container})" if error.container else ")"
        text = f"howdah: task {task} {'failed' if error.kind != 'cancelled' else 'was cancelled'}{place}"
        if origin.layer != results.key or not origin.start <= item < origin.stop:
            text += f"; {results.name}[{item}] needs it"
        return text

    def cancel(self, futures: Any) -> None:
        """Do not compute these, unless another client wants them; waiting for them raises Cancelled."""
        spans = _spans_of(nested_futures(futures))
        with self._lock:
            for results, _, _ in spans:
                # The same call made again is another task: it must not find the cancelled one.
                if self._registry.get(results.key) is results:
                    del self._registry[results.key]
            self._link.send(Cancel(tuple(Span(r.key, a, b) for r, a, b in spans)))
        self._thread.call(self._cancelled(spans))

    async def _cancelled(self, spans: Spans) -> None:
        for results, start, stop in spans:
            for item in range(start, stop):
                if not results.settled(item, item + 1):
                    error = TaskError("cancelled", f"{results.name}[{item}] was cancelled")
                    results.failed(item, item + 1, Failure(error, Span(results.key, item, item + 1)))

    def _call_when_done(self, future: Future, fn: Callable[[Future], object]) -> None:
        assert self._gathering is not None
        pool = self._gathering.callbacks

        def changed(results: Results, start: int, stop: int) -> None:
            if results.settled(future.item, future.item + 1):
                results.listeners.remove(changed)
                pool.submit(_called_back, fn, future)

        def begin() -> None:
            future.results.listeners.append(changed)
            changed(future.results, 0, 0)

        self._thread.loop.call_soon_threadsafe(begin)

    # -- what the scheduler says, on the loop's thread --------------------------------------------------------------

    def _heard(self, message: SchedulerTellsClient, frames: Sequence[memoryview]) -> None:
        match message:
            case Done(span, holder):
                results = self._registry.get(span.layer)
                if results is not None:
                    results.done(span.start, span.stop, holder, frames)
            case Failed(span, error, origin):
                results = self._registry.get(span.layer)
                if results is not None:
                    results.failed(span.start, span.stop, Failure(error, origin))
            case Lost(span):
                results = self._registry.get(span.layer)
                if results is not None:
                    results.lost(span.start, span.stop)
            case Addresses(of):
                self._addresses.update(of)

    def _lost_link(self, fault: HowdahError) -> None:
        for watch in tuple(self._watches):
            watch.event.set()

    def _send_unfetched(self, message: Any) -> None:
        self._link.send(message)

    # -- release ----------------------------------------------------------------------------------------------------

    def _drop(self, results: Results, start: int, stop: int) -> None:
        """One reference less to each of these. Called by destructors, on any thread, at any time: takes no lock."""
        self._dropped.append((results, start, stop))
        if not self._drop_scheduled:
            self._drop_scheduled = True
            loop = self._thread.loop
            if not loop.is_closed():
                loop.call_soon_threadsafe(loop.call_later, DROP_DELAY, self._release)

    def _release(self) -> None:
        """Tell the scheduler what nobody holds any more. On the loop's thread."""
        self._drop_scheduled = False
        free: list[Span] = []
        with self._lock:
            if self._link.fault is not None:
                self._dropped.clear()
                return
            while self._dropped:
                results, start, stop = self._dropped.popleft()
                refs = results.refs
                for item in range(start, stop):
                    refs[item] -= 1
                    if refs[item]:
                        continue
                    results.released(item, item + 1)
                    if self._registry.get(results.key) is not results:
                        continue  # cancelled; the scheduler knows
                    if free and free[-1].layer == results.key and free[-1].stop == item:
                        free[-1] = Span(results.key, free[-1].start, item + 1)
                    else:
                        free.append(Span(results.key, item, item + 1))
            for key in {span.layer for span in free}:
                if not any(self._registry[key].refs):
                    del self._registry[key]
                    self._names.pop(key, None)
            if free:
                self._link.send(Release(tuple(free)))

    # -- the cluster ------------------------------------------------------------------------------------------------

    def scheduler_info(self) -> dict[str, Any]:
        """The scheduler's name and address, and its workers: host, slots, memory, container of each."""
        found: dict[str, Any] = self._link.ask("info")
        return found

    def summary(self) -> dict[str, Any]:
        """Tasks and bytes by locality, and progress per layer, since the cluster was started."""
        found: dict[str, Any] = self._link.ask("summary")
        return found

    def who_has(self, futures: Any) -> dict[str, list[str]]:
        """Per future's key the workers that hold its result."""
        found = nested_futures(futures)
        answer = self._link.who_has([future.span for future in found])
        return {future.key: [part[2] for part in parts] for future, parts in zip(found, answer)}

    def wait_for_workers(self, n: int, timeout: float | None = None) -> None:
        """Return when `n` workers are there. Raises DeadlineExceeded, which says how many there are."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = threading.Event()
        while True:
            there = len(self.scheduler_info()["workers"])
            if there >= n:
                return
            if deadline is not None and time.monotonic() > deadline:
                raise DeadlineExceeded(f"{there} of {n} workers were there after {timeout:g} s")
            pause.wait(0.05)

    def add_cleanup(self, url: str) -> None:
        """The application deletes this path when it ends uncleanly."""
        self._link.ask("add_cleanup", url=url)

    def drop_cleanup(self, url: str) -> None:
        """The path is in order now: it stays."""
        self._link.ask("drop_cleanup", url=url)

    def close(self) -> None:
        """Release everything and part; ends the local cluster that this client started. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        _forget_current(self)
        self._link.close()
        if self._gathering is not None:
            self._gathering.close()
        if self._own_cluster is not None:
            self._own_cluster.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._closed:
            return f"<Client {self.address} closed>"
        if self._link.fault is not None:
            return f"<Client {self.address} lost: {self._link.fault}>"
        workers = self.scheduler_info()["workers"].values()
        slots = sum(worker["slots"] for worker in workers)
        return f"<Client {self.address} {len(workers)} workers, {slots} slots>"

    def _repr_html_(self) -> str:
        import html

        return f"<b>Client</b> <code>{html.escape(repr(self))}</code>"


def _spans_of(futures: Sequence[Future]) -> Spans:
    """Neighbouring futures of one layer as one span."""
    spans: Spans = []
    current: Results | None = None
    start = stop = 0
    for future in futures:
        if future.results is current and future.item == stop:
            stop += 1
            continue
        if current is not None:
            spans.append((current, start, stop))
        current, start = future.results, future.item
        stop = start + 1
    if current is not None:
        spans.append((current, start, stop))
    return spans


def _still_waiting(spans: Spans, timeout: float) -> str:
    names = [f"{r.name}[{a}:{b}]" if b - a > 1 else f"{r.name}[{a}]" for r, a, b in spans if not r.settled(a, b)]
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"not done after {timeout:g} s: {shown}"


def _called_back(fn: Callable[[Future], object], future: Future) -> None:
    import logging

    try:
        fn(future)
    except Exception:
        logging.getLogger(__name__).exception("a done callback of %r raised", future)


def _itself(value: Any) -> Any:
    return value


def _check_callable(fn: Any) -> None:
    if not callable(fn):
        raise bad_value("fn", fn, "give a function (or another callable) first, then its arguments")


def _make_current(client: Client) -> None:
    from howdah.engine import current

    current.set_current(client)


def _forget_current(client: Client) -> None:
    from howdah.engine import current

    if current.get_current() is client:
        current.set_current(None)
