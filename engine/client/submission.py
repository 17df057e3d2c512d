"""`Submitter`: from calls to layers on the scheduler. What `Client.submit` and `Client.map` do.

Runs on the user's thread: options are checked and arguments pickled before anything is sent. It holds the keys that
the user gave to tasks. For `Client`, which passes itself as the client of the futures.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from howdah.engine.client import options
from howdah.engine.client.connection import SchedulerConnection
from howdah.engine.client.encoding import encode_call
from howdah.engine.client.future import Future
from howdah.engine.client.future_registry import FutureRegistry, ResultRanges
from howdah.engine.client.layer_results import LayerResults
from howdah.engine.comm.connection.event_loop import LoopThread
from howdah.engine.graph.encode import Encoded
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import CancelTasks, Submit
from howdah.errors import InputError, bad_value

if TYPE_CHECKING:
    from howdah.engine.client.cluster_client import ClusterClient


class Submitter:
    """Sends calls as layers, and cancellations.

    Raises the connection's error once the cluster is lost, and InputError or Unpicklable before anything is sent.
    """

    def __init__(self, registry: FutureRegistry, connection: SchedulerConnection, loop_thread: LoopThread) -> None:
        self._registry, self._connection, self._loop_thread = registry, connection, loop_thread
        self._keyed: weakref.WeakValueDictionary[str, LayerResults] = weakref.WeakValueDictionary()
        """Layers by the keys that the user gave to their tasks."""

    def submit(
        self,
        client: ClusterClient,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        key: str | None,
        workers: Iterable[str] | str | None,
        resources: Mapping[str, float] | None,
        retries: int | None,
        priority: int,
        allow_other_workers: bool,
        pure: bool,
        hosts: Sequence[str],
    ) -> Future:
        """Send one call; its future."""
        options.check_callable(fn)
        limit = options.time_limit(fn, kwargs)
        options.check_keywords(fn, kwargs, "submit")
        chosen = options.options("submit", retries, priority, resources, workers, allow_other_workers)
        labels = options.labels(key, 1, "submit")
        near_hosts = [(hosts,) if isinstance(hosts, str) else tuple(hosts)] if hosts else None
        encoded = encode_call(fn, [args], kwargs, chosen.retries, pure, near_hosts, labels, chosen.extras | limit)
        return Future(client, self._send(encoded, chosen.priority, labels), 0)

    def map(
        self,
        client: ClusterClient,
        fn: Callable[..., Any],
        iterables: tuple[Iterable[Any], ...],
        kwargs: dict[str, Any],
        key: str | Iterable[str] | None,
        workers: Iterable[str] | str | None,
        resources: Mapping[str, float] | None,
        retries: int | None,
        priority: int,
        allow_other_workers: bool,
        pure: bool,
        batch_size: int | None,
        hosts: Sequence[Sequence[str]] | None,
    ) -> list[Future]:
        """Send a call per element, as one layer (or one per `batch_size` elements); a future each."""
        options.check_callable(fn)
        limit = options.time_limit(fn, kwargs)
        options.check_keywords(fn, kwargs, "map")
        chosen = options.options("map", retries, priority, resources, workers, allow_other_workers)
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
            labels = options.labels(_keys_of_batch(key, len(futures), len(part), batch_size), len(part), "map")
            encoded = encode_call(fn, part, kwargs, chosen.retries, pure, where, labels, chosen.extras | limit)
            results = self._send(encoded, chosen.priority, labels)
            futures += [Future(client, results, item) for item in range(len(part))]
        return futures

    def _send(self, layer: Encoded, priority: int, labels: list[str] | None) -> LayerResults:
        self._loop_thread.check()
        spec = layer.spec
        failed = self._registry.failed_before([(spec.key, 0, spec.n)])
        if failed:
            self._loop_thread.call(self._registry.forget_failures(failed))
        with self._registry.lock:
            if labels is not None:
                self._check_labels(labels, spec.key)
            results = self._registry.add_reference(spec.key, spec.name, spec.n, 0, spec.n)
            if labels is not None and results.labels is None:
                results.labels = labels
                self._keyed.update(dict.fromkeys(labels, results))
            self._connection.send(Submit((spec,), (TaskRange(spec.key, 0, spec.n),), priority), *frames_of(layer))
        return results

    def _check_labels(self, labels: list[str], key: bytes) -> None:
        for label in labels:
            known = self._keyed.get(label)
            if known is not None and known.key != key and known.referenced and self._registry.get(known.key) is known:
                from howdah.engine.graph.graph import CollisionError  # here, because graphs import numpy

                raise CollisionError(
                    f"key: {label!r} is the key of {known.name!r} with other arguments, of which there are "
                    f"futures; give another key, or none"
                )

    def find_task(self, task: Any) -> tuple[bytes, int]:
        """Return the layer's key and the item of a task, given as a future or by its key."""
        if isinstance(task, Future):
            return task.results.key, task.item
        labelled = self._keyed.get(task) if isinstance(task, str) else None
        if labelled is not None and labelled.labels is not None:
            return labelled.key, labelled.labels.index(task)
        layer, _, item = str(task).rpartition("-")
        try:
            return bytes.fromhex(layer), int(item)
        except ValueError:
            raise InputError(f"logs_of: got {task!r}: give a future, or the key of one") from None

    def cancel(self, ranges: ResultRanges) -> None:
        """Cancel these for this client; its waits for them raise Cancelled."""
        with self._registry.lock:
            self._registry.detach(ranges)
            self._connection.send(CancelTasks(tuple(TaskRange(r.key, a, b) for r, a, b in ranges)))
        self._loop_thread.call(self._registry.mark_cancelled(ranges))


def frames_of(layer: Encoded) -> tuple[bytes, bytes, bytes]:
    """Return the frames that follow a layer's spec in a message."""
    return layer.code, layer.offsets.tobytes(), layer.args


def identity(value: Any) -> Any:
    """Return `value`: the function of tasks that put data on the cluster."""
    return value


def _first(items: Iterator[tuple[Any, ...]], count: int | None) -> list[tuple[Any, ...]]:
    return list(items) if count is None else list(islice(items, count))


def _keys_of_batch(key: Any, start: int, count: int, batch_size: int | None) -> Any:
    if batch_size is None or key is None:
        return key
    return [f"{key}-{i}" for i in range(start, start + count)] if isinstance(key, str) else key[start : start + count]
