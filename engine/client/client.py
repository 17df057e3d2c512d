"""The client: from a user's calls to layers on the scheduler, and from results back to values."""

from __future__ import annotations

import atexit
import contextlib
import getpass
import os
import secrets
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import signature
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from howdah.engine.client.future import Future, Hold
from howdah.engine.client.gathering import Gathering, nested_futures, with_values
from howdah.engine.client.ledger import Ledger, Spans, spans_of, still_waiting
from howdah.engine.client.link import Link
from howdah.engine.client.packing import pack
from howdah.engine.client.results import DONE, Results, Watch
from howdah.engine.comm.identity import Security
from howdah.engine.comm.loop import loop_thread
from howdah.engine.comm.messages import (
    Cancel,
    Hello,
    Submit,
)
from howdah.engine.current import drop_current, set_current
from howdah.engine.graph.encode import Encoded, encode
from howdah.engine.graph.layer import Span
from howdah.errors import DeadlineExceeded, HowdahError, InputError, bad_value, near

if TYPE_CHECKING:
    from howdah.engine.graph.graph import Graph, Held
    from howdah.engine.local import Progress

EXPECTED_SECONDS = 30.0
"""How long work with preferred hosts waits for workers that were asked for (as Spark does)."""


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
        self._expected = 0  # workers that are asked for and may still be on their way
        address, security = self._find(address, security, local)
        self.address: str = address
        self.name = name or f"{getpass.getuser()}-{os.getpid()}"
        self._gathering: Gathering | None = None
        self.ledger = Ledger()
        self._watches: set[Watch] = set()
        self._thread = loop_thread()
        hello = Hello("client", f"{self.name}-{secrets.token_hex(4)}", lease=lease, host=socket.gethostname())
        identity = Security.load(security) if security is not None else None
        self._link = Link(address, identity, hello, self.ledger.heard, self._lost_link)
        self.ledger.attach(self._link)
        try:
            self._link.open(timeout)
        except BaseException:
            self._close_own_cluster()
            raise
        self._gathering = Gathering(self._link, self.name, identity, self.ledger.addresses)
        self._closed = False
        _open.add(self)
        set_current(self)

    def _find(self, given: Any, security: Any, local: Mapping[str, Any]) -> tuple[str, Any]:
        if isinstance(given, str):
            if local:
                raise InputError(f"{sorted(local)}: only for a local cluster, and an address was given")
            return given, security
        if given is None and "HOWDAH_SCHEDULER" in os.environ and not local:
            self.scratch_root = os.environ.get("HOWDAH_STAGING") or None
            self._expected = int(os.environ.get("HOWDAH_WORKERS") or 0)
            return os.environ["HOWDAH_SCHEDULER"], security or os.environ.get("HOWDAH_SECURITY") or None
        if given is None:
            from howdah.engine.local_cluster import LocalCluster

            unknown = [option for option in local if option not in signature(LocalCluster).parameters]
            if unknown:
                raise InputError(f"Client: unknown option {unknown[0]!r}; {near(unknown[0], _OPTIONS)}")
            given = self._own_cluster = LocalCluster(**local)
        if not hasattr(given, "scheduler_address"):
            raise bad_value("address", given, "give an address, a cluster, or nothing")
        self.cluster = given
        self.scratch_root = getattr(given, "scratch_root", None)
        self._expected = int(getattr(given, "expected_workers", 0))
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
        results = self._submit(pack(fn, items, kwargs, retries=retries, pure=pure, hosts=where), priority)
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

    def _submit(self, layer: Encoded, priority: int) -> Results:
        spec = layer.spec
        with self.ledger.lock:
            results = self.ledger.hold(spec.key, spec.name, spec.n, 0, spec.n)
            self._link.send(Submit((spec,), (Span(spec.key, 0, spec.n),), priority), *_frames_of(layer))
        return results

    # -- collections (engine/execute.py) ----------------------------------------------------------------------------

    def compute_graph(self, graph: Graph, wanted: Sequence[Span], progress: Progress | None = None) -> list[list[Any]]:
        """Values per wanted span, for `engine.execute`. `progress` gets (done, all, layer) now and then."""
        spans, hold = self._start_graph(graph, wanted)
        values = self._results_of(spans, None, progress)
        del hold
        cuts = [0, *accumulate(stop - start for _, start, stop in spans)]
        return [values[a:b] for a, b in pairwise(cuts)]

    def persist_graph(self, graph: Graph, wanted: Sequence[Span]) -> list[Held]:
        """Start whole layers and keep their results while what is returned lives, for `engine.execute`."""
        from howdah.engine.graph.graph import Held

        spans, hold = self._start_graph(graph, wanted)
        self.ledger.again(spans)
        del hold
        return [Held(span.layer, span.stop, Hold(self, [mine])) for span, mine in zip(wanted, spans)]

    def _start_graph(self, graph: Graph, wanted: Sequence[Span]) -> tuple[list[tuple[Results, int, int]], Hold]:
        """Send what of the graph is not held; the wanted spans, and what keeps them while it lives."""
        layers = [encode(layer) for layer in graph.layers.values()]
        if any(layer.spec.host_sets for layer in layers):
            self._await_expected()
        lengths = {layer.spec.key: layer.spec for layer in layers}
        spans: list[tuple[Results, int, int]] = []
        with self.ledger.lock:
            for key, start, stop in wanted:
                known = self.ledger.known(key)
                if key in lengths:
                    name, n = lengths[key].name, lengths[key].n
                elif known is not None:
                    name, n = known.name, known.n
                else:
                    raise HowdahError(f"layer {key.hex()} is wanted and neither in the graph nor held by this client")
                spans.append((self.ledger.hold(key, name, n, start, stop), start, stop))
            hold = Hold(self, spans)
            for spec in lengths.values():
                self.ledger.names[spec.key] = spec.name
            frames = [frame for layer in layers for frame in _frames_of(layer)]
            specs = tuple(layer.spec for layer in layers)
            self._link.send(Submit(specs, tuple(wanted)), *frames)
        return spans, hold

    def _await_expected(self) -> None:
        """Work that knows where its data lies waits once, and not for long, for the workers that were asked for.

        The first worker to come would otherwise take everything, wherever it lies. Spark has the same rule
        (`minRegisteredResourcesRatio`, `maxRegisteredResourcesWaitingTime`).
        """
        expected, self._expected = self._expected, 0
        if expected:
            with contextlib.suppress(DeadlineExceeded):  # it is then begun with those that are there
                self.wait_for_workers(expected, EXPECTED_SECONDS)

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
        spans = spans_of(found)
        if errors == "skip":
            self._wait(spans, None)
            found = [future for future in found if future.results.state[future.item] == DONE]
            values = self._results_of(spans_of(found), None)
            return with_values(futures, dict(zip(map(id, found), values)), skip=True)
        values = self._results_of(spans, None)
        if type(futures) is list and len(found) == len(futures):
            return values
        return with_values(futures, dict(zip(map(id, found), values)))

    def _results_of(self, spans: Spans, timeout: float | None, progress: Progress | None = None) -> list[Any]:
        """Values of spans, item by item. Raises the first failure that is known."""
        deadline = None if timeout is None else time.monotonic() + timeout
        assert self._gathering is not None
        while True:
            rest = None if deadline is None else max(0.0, deadline - time.monotonic())
            self._wait(spans, rest, first_failure=True, progress=progress)
            for results, start, stop in spans:
                failed = results.first_failed(start, stop)
                if failed >= 0:
                    raise self.ledger.failure(results, failed) or HowdahError("a task failed without a reason")
            values = self._gathering.collect(spans)
            if values is not None:
                return values
            # A holder was lost between its report and the fetch: what it held is made again.

    def _wait(
        self,
        spans: Spans,
        timeout: float | None,
        first_failure: bool = False,
        progress: Progress | None = None,
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
                    raise DeadlineExceeded(still_waiting(spans, timeout or 0.0))
                if progress is None:
                    watch.event.wait(left)
                elif not watch.event.wait(0.2 if left is None else min(0.2, left)):
                    self._report(progress)
            if progress is not None and self._link.fault is None:
                self._report(progress)
        finally:
            self._thread.loop.call_soon_threadsafe(self._end, watch)
        if self._link.fault is not None and not all(r.settled(a, b) for r, a, b in spans):
            raise self._link.fault

    def _report(self, progress: Progress) -> None:
        layers = self.progress()
        open_layers = [layer for layer in layers if layer["done"] + layer["idle"] < layer["n"]]
        progress(
            sum(layer["done"] for layer in layers),
            sum(layer["n"] - layer["idle"] for layer in layers),
            open_layers[0]["name"] if open_layers else "",
        )

    def _begin(self, watch: Watch) -> None:
        self._watches.add(watch)
        watch.start()
        if self._link.fault is not None:
            watch.event.set()

    def _end(self, watch: Watch) -> None:
        self._watches.discard(watch)
        watch.stop()

    def cancel(self, futures: Any) -> None:
        """Do not compute these, unless another client wants them; waiting for them raises Cancelled."""
        spans = spans_of(nested_futures(futures))
        with self.ledger.lock:
            self.ledger.disown(spans)
            self._link.send(Cancel(tuple(Span(r.key, a, b) for r, a, b in spans)))
        self._thread.call(self.ledger.cancelled(spans))

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

    def _lost_link(self, fault: HowdahError) -> None:
        for watch in tuple(self._watches):
            watch.event.set()

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
        _open.discard(self)
        drop_current(self)
        self._link.close()
        if self._gathering is not None:
            self._gathering.close()
        self._close_own_cluster()

    def _close_own_cluster(self) -> None:
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


_OPTIONS = ("address", "security", "name", "timeout", "lease", "n_workers", "threads_per_worker", "memory_limit")

_open: weakref.WeakSet[Client] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Part from the scheduler when the program ends: it need not keep this client's work for a lease."""
    for client in list(_open):
        client.close()


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


def _frames_of(layer: Encoded) -> tuple[bytes, bytes, bytes]:
    return layer.code, layer.offsets.tobytes(), layer.args
