"""Execution of graphs in this process, without sockets and pickles: on the calling thread or on several.

Tasks run depth first: those that a finished task makes ready run before those that were ready already, and a value is
dropped after its last use, so memory stays small. The first exception of a task ends the run and is raised as it is,
with a note that names the task, after the tasks that are running then have ended. Called by `dispatch`.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from howdah.engine.execution.persisted import values_of
from howdah.engine.graph.graph import Graph
from howdah.engine.graph.inputs import fill
from howdah.engine.protocol.layers import Key, Layer, OneToOne, TaskRange, inputs_of
from howdah.engine.protocol.patterns import Wiring, wiring

Progress: TypeAlias = Callable[[int, int, str], None]
"""progress(done tasks, all tasks, name of the present layer): called every PROGRESS_INTERVAL, and once at the end."""

PROGRESS_INTERVAL = 0.1
"""Seconds between two calls of a progress function."""

_EMPTY: Any = object()


def compute_local(
    graph: Graph, targets: Sequence[TaskRange], *, threads: int | None = None, progress: Progress | None = None
) -> list[list[Any]]:
    """Compute a graph in this process and return the values of each target range.

    Parameters
    ----------
    graph, targets
        As for `dispatch.compute_graph`.
    threads
        0 runs in the calling thread; None is one thread per core.
    progress
        As for `dispatch.compute_graph`.

    Returns
    -------
    list of lists

    Examples
    --------
    >>> from howdah.engine.protocol.layers import KToOne, Dependency
    >>> graph = Graph()
    >>> squares = graph.add(Layer("square", lambda x: x * x, 4, args=[(i,) for i in range(4)]))
    >>> sums = graph.add(Layer("sum", sum, 2, deps=(Dependency(squares, KToOne(2)),)))
    >>> compute_local(graph, [graph.full_range(sums), TaskRange(squares, 3, 4)], threads=0)
    [[1, 13], [9]]
    """
    work = _Computation(graph.cull(targets), targets)
    try:
        if threads == 0:
            _inline(work, progress)
        else:
            _threads(work, threads or os.cpu_count() or 1, progress)
    except BaseException:
        work.drop_values()  # the traceback of an error, which a notebook holds, must not keep results
        raise
    if progress is not None:
        progress(work.total, work.total, work.name)
    return [work.parts[task_range.layer].values[task_range.start : task_range.stop] for task_range in targets]


class _LayerTally:
    """The counts of a layer. By item: `missing` inputs (-1: it is not needed), remaining `uses` of the value."""

    __slots__ = ("ins", "is_async", "layer", "missing", "n", "out", "todo", "users", "uses", "values")

    def __init__(self, layer: Layer | None, n: int) -> None:
        self.layer, self.n = layer, n
        self.values: list[Any] = [_EMPTY] * n
        self.missing = [-1] * n
        self.uses = [0] * n
        self.users = 0  # items that need all of this layer and have not run
        self.todo = n  # items without a value, for dependents of the whole layer
        self.ins: list[tuple[_LayerTally, Any]] = []
        self.out: list[tuple[_LayerTally, Wiring]] = []
        self.is_async = layer is not None and inspect.iscoroutinefunction(layer.fn)


class _Computation:
    """The state of a computation: layers, counts and ready tasks. Not thread-safe by itself."""

    def __init__(self, graph: Graph, targets: Sequence[TaskRange]) -> None:
        self.parts: dict[Key, _LayerTally] = {}
        self.ready: list[tuple[_LayerTally, int]] = []
        self.done = self.total = 0
        self.name = ""
        for key, persisted in graph.persisted.items():
            part = self.parts[key] = _LayerTally(None, persisted.n)
            part.values = list(values_of(persisted))
            part.missing, part.todo, part.uses = [0] * part.n, 0, [1] * part.n
        for key, layer in graph.layers.items():
            part = self.parts[key] = _LayerTally(layer, layer.n)
            for dep in layer.deps:
                source = self.parts[dep.layer]
                part.ins.append((source, dep.pattern))
                source.out.append((part, wiring(dep.pattern, layer.n, source.n)))
        self._count(targets)

    def drop_values(self) -> None:
        """Forget all values."""
        for part in self.parts.values():
            part.values.clear()
        self.parts.clear()
        self.ready.clear()

    def _count(self, targets: Sequence[TaskRange]) -> None:
        """Mark the needed items, depth first, so that the tasks without inputs are in the order of their dependents."""
        for task_range in targets:
            part = self.parts[task_range.layer]
            for item in range(task_range.start, task_range.stop):
                part.uses[item] += 1
        stack = [
            (self.parts[task_range.layer], item)
            for task_range in reversed(targets)
            for item in range(task_range.stop - 1, task_range.start - 1, -1)
        ]
        roots = []
        while stack:
            part, item = stack.pop()
            if part.missing[item] >= 0:
                continue
            self.total += 1
            left = 0
            needed: list[tuple[_LayerTally, int]] = []
            for source, pattern in part.ins:
                if _every(pattern):
                    if source.users == 0:
                        needed += [(source, i) for i in range(source.n)]
                    source.users += 1
                    left += source.todo > 0
                else:
                    for i in inputs_of(pattern, item, source.n):
                        source.uses[i] += 1
                        if source.layer is not None:
                            left += 1
                            needed.append((source, i))
            part.missing[item] = left
            if left == 0:
                roots.append((part, item))
            needed.reverse()
            stack += needed
        roots.reverse()
        self.ready = roots

    def call(self, part: _LayerTally, item: int) -> Any:
        """Run one task. Reads no counts, so several threads may call this at once."""
        layer = part.layer
        assert layer is not None  # persisted layers are never ready
        inputs: list[Any] = []
        if layer.pass_inputs:
            for source, pattern in part.ins:
                if type(pattern) is OneToOne:
                    inputs.append(source.values[item])
                else:
                    inputs.append([source.values[i] for i in inputs_of(pattern, item, source.n)])
        args = layer.args[item] if layer.args is not None else ()
        if not layer.pass_inputs and part.ins:
            args = fill(args, [[source.values[i] for i in inputs_of(p, item, source.n)] for source, p in part.ins])
        try:
            if part.is_async:
                return asyncio.run(layer.fn(*inputs, *args, **layer.kwargs))
            return layer.fn(*inputs, *args, **layer.kwargs)
        except BaseException as error:
            error.add_note(f"while computing {layer.name}[{item}]")
            raise

    def finish(self, part: _LayerTally, item: int, value: Any) -> None:
        """Store the value of a task; update the counts of its dependents and of its inputs."""
        self.done += 1
        if part.uses[item] or part.users:
            part.values[item] = value
        part.todo -= 1
        ready = self.ready
        for target, wires in part.out:
            if wires.broadcast:
                if part.todo == 0:
                    for i in range(target.n - 1, -1, -1):
                        _arrive(target, i, 1, ready)
                continue
            reach = wires.dependents(item, item + 1)
            if isinstance(reach, list):
                for lo, hi, weight in reach:
                    for i in range(lo, hi):
                        _arrive(target, i, weight, ready)
            else:
                for i in reach.tolist():
                    _arrive(target, i, 1, ready)
        for source, pattern in part.ins:
            if _every(pattern):
                source.users -= 1
                if source.users == 0:
                    for i, uses in enumerate(source.uses):
                        if uses == 0:
                            source.values[i] = _EMPTY
            else:
                for i in inputs_of(pattern, item, source.n):
                    source.uses[i] -= 1
                    if source.uses[i] == 0 and source.users == 0:
                        source.values[i] = _EMPTY


def _every(pattern: Any) -> bool:
    return type(pattern).__name__ == "Broadcast"


def _arrive(part: _LayerTally, item: int, count: int, ready: list[tuple[_LayerTally, int]]) -> None:
    if part.missing[item] > 0:
        part.missing[item] -= count
        if part.missing[item] == 0:
            ready.append((part, item))


def _inline(work: _Computation, progress: Progress | None) -> None:
    due = time.monotonic() + PROGRESS_INTERVAL
    while work.ready:
        part, item = work.ready.pop()
        work.finish(part, item, work.call(part, item))
        if progress is not None and time.monotonic() >= due:
            due = time.monotonic() + PROGRESS_INTERVAL
            progress(work.done, work.total, part.layer.name if part.layer else "")


class _Pool:
    """Threads that share one computation, until it is done or one task has raised."""

    def __init__(self, work: _Computation, count: int) -> None:
        self.work = work
        self.error: BaseException | None = None
        self.stop = False
        self.running = 0
        self.changed = threading.Condition()
        count = max(1, min(count, work.total))
        self.threads = [
            threading.Thread(target=self._serve, name=f"howdah-local-{i}", daemon=True) for i in range(count)
        ]

    def _serve(self) -> None:
        work, changed = self.work, self.changed
        while True:
            with changed:
                while not work.ready and self.running and not self.stop:
                    changed.wait()
                if self.stop or not work.ready:
                    self.stop = True
                    changed.notify_all()
                    return
                part, item = work.ready.pop()
                self.running += 1
            try:
                value = work.call(part, item)
            except BaseException as error:  # noqa: BLE001  # any exception of user code is raised where compute was called
                with changed:
                    self.running -= 1
                    self.error = self.error or error
                    self.stop = True
                    changed.notify_all()
                return
            with changed:
                self.running -= 1
                waiting = len(work.ready)
                work.finish(part, item, value)
                work.name = part.layer.name if part.layer else ""
                del value
                for _ in range(len(work.ready) - waiting):
                    changed.notify()
                if not self.running and not work.ready:
                    changed.notify_all()


def _threads(work: _Computation, count: int, progress: Progress | None) -> None:
    if not work.total:
        return
    pool = _Pool(work, count)
    for thread in pool.threads:
        thread.start()
    try:
        with pool.changed:
            while not pool.stop:
                pool.changed.wait(PROGRESS_INTERVAL if progress is not None else None)
                if progress is not None:
                    progress(work.done, work.total, work.name)
    finally:  # an interrupt included: no task is begun any more, and no thread is left
        with pool.changed:
            pool.stop = True
            pool.changed.notify_all()
        for thread in pool.threads:
            thread.join()
    if pool.error is not None:
        raise pool.error
