"""Graphs: layers in topological order, checked as they are added, culled before they run.

Collections build a `Graph` and pass it to `engine.execution.dispatch`. Adding a layer is linear in its size, whatever
the graph contains already. Layers are immutable; sharing them between graphs is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from howdah.engine.graph.keys import layer_key
from howdah.engine.protocol.layers import Key, Layer, OneToOne, TaskRange
from howdah.engine.protocol.patterns import problem_of
from howdah.engine.serialization.references import is_encoding_futures
from howdah.errors import InputError


class CollisionError(InputError):
    """Two different contents have one key: an explicit key was given twice, or (2**-64) a hash collided."""


@dataclass(frozen=True, slots=True)
class PersistedLayer:
    """Results of a layer that are stored elsewhere (by workers, or in this process) while this object exists.

    layer, n : their layer's key and number of items. results : has `values()`; not part of comparison or pickles.
    """

    layer: Key
    n: int
    results: Any = field(default=None, compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # Futures inside may travel to a task or another client, and what they keep with them.
        return PersistedLayer, (
            self.layer,
            self.n,
            *((self.results,) if hasattr(self.results, "future") and is_encoding_futures() else ()),
        )

    def __howdah_content__(self) -> Key:
        return self.layer


class Graph:
    """Layers by key, in topological order: a layer is added after its dependencies.

    `persisted` are layers whose results exist already, by key: other layers may depend on them.

    Examples
    --------
    >>> from howdah.engine.protocol.layers import Dependency, KToOne
    >>> graph = Graph()
    >>> numbers = graph.add(Layer("float", float, 4, args=[(i,) for i in range(4)]))
    >>> total = graph.add(Layer("sum", sum, 2, deps=(Dependency(numbers, KToOne(2)),)))
    >>> len(graph), graph.full_range(total)
    (2, TaskRange(layer=b'...', start=0, stop=2))
    >>> graph.add(Layer("bad", sum, 3, deps=(Dependency(numbers, OneToOne()),)))
    Traceback (most recent call last):
    howdah.errors.InputError: layer 'bad': OneToOne needs layers of the same length: ...
    """

    def __init__(self, layers: Iterable[Layer] = (), persisted: dict[Key, PersistedLayer] | None = None) -> None:
        self.layers: dict[Key, Layer] = {}
        self.persisted: dict[Key, PersistedLayer] = dict(persisted or {})
        for layer in layers:
            self.add(layer)

    def add(self, layer: Layer) -> Key:
        """Check the layer, give it its key if it has none, and add it. Returns the key.

        A layer that is there already is not added twice. Its dependencies must have been added (or be `persisted`), so
        a cycle cannot be written.

        Raises
        ------
        InputError : a dependency is missing, lengths do not fit the pattern, or there are arguments for other lengths.
        CollisionError : another layer has this key.
        """
        problem = _problem_of(layer, self.length)
        if problem is not None:
            raise InputError(f"layer {layer.name!r}: {problem}")
        if not layer.key:
            layer = replace(layer, key=layer_key(layer))
        known = self.layers.get(layer.key)
        if known is None:
            self.layers[layer.key] = layer
        elif known is not layer and not _alike(known, layer):
            raise CollisionError(
                f"layer {layer.name!r}: its key {layer.key.hex()} is that of {known.name!r}, which is other work; "
                "leave `key` empty to have it computed from the content"
            )
        return layer.key

    def length(self, key: Key) -> int | None:
        """Return the number of items of a layer; None if it is neither in the graph nor persisted."""
        if key in self.layers:
            return self.layers[key].n
        persisted = self.persisted.get(key)
        return None if persisted is None else persisted.n

    def full_range(self, key: Key) -> TaskRange:
        """Return the range of all items of a layer."""
        n = self.length(key)
        if n is None:
            raise InputError(f"layer {key.hex()} is not in the graph")
        return TaskRange(key, 0, n)

    def update(self, other: Graph) -> None:
        """Add all layers of another graph."""
        self.persisted.update(other.persisted)
        for layer in other.layers.values():
            self.add(layer)

    def cull(self, targets: Sequence[TaskRange]) -> Graph:
        """Return the layers that the targets need, directly or not, in the same order.

        Whole layers are kept or left out; which items of a layer are needed is decided where they run.
        """
        needed: set[Key] = set()
        stack = [task_range.layer for task_range in targets]
        for task_range in targets:
            self._check(task_range)
        while stack:
            key = stack.pop()
            if key not in needed:
                needed.add(key)
                if key not in self.persisted and key in self.layers:
                    stack.extend([dep.layer for dep in self.layers[key].deps])
        culled = Graph()
        culled.layers = {k: layer for k, layer in self.layers.items() if k in needed and k not in self.persisted}
        culled.persisted = {k: layer for k, layer in self.persisted.items() if k in needed}
        return culled

    def _check(self, task_range: TaskRange) -> None:
        layer, start, stop = task_range
        n = self.length(layer)
        if n is None:
            raise InputError(f"targets: layer {layer.hex()} is not in the graph")
        if not 0 <= start <= stop <= n:
            raise InputError(f"targets: items {start} to {stop} of layer {layer.hex()}, which has {n}")

    def __len__(self) -> int:
        return len(self.layers)

    def __contains__(self, key: object) -> bool:
        return key in self.layers or key in self.persisted

    def __repr__(self) -> str:
        names = ", ".join(f"{layer.name}[{layer.n}]" for layer in list(self.layers.values())[:8])
        return f"<Graph of {len(self.layers)} layers: {names}{', ...' if len(self.layers) > 8 else ''}>"


def from_layers(layers: Iterable[Layer]) -> Graph:
    """Return the graph of layers in any order, which have keys. A cycle is an `InputError` that names its layers.

    >>> from howdah.engine.protocol.layers import Dependency
    >>> a = Layer("a", abs, 1, deps=(Dependency(b"b", OneToOne()),), key=b"a")
    >>> b = Layer("b", abs, 1, deps=(Dependency(b"a", OneToOne()),), key=b"b")
    >>> from_layers([a, b])
    Traceback (most recent call last):
    howdah.errors.InputError: the graph has a cycle: a -> b -> a
    """
    by_key = {layer.key: layer for layer in layers}
    graph = Graph()
    path: dict[Key, None] = {}
    for root in by_key:
        stack: list[tuple[Key, int]] = [(root, 0)]
        while stack:
            key, at = stack.pop()
            if key in graph.layers:
                continue
            layer = by_key[key]
            path[key] = None
            while at < len(layer.deps) and (layer.deps[at].layer in graph.layers or layer.deps[at].layer not in by_key):
                at += 1
            if at == len(layer.deps):
                graph.add(layer)
                del path[key]
                continue
            below = layer.deps[at].layer
            if below in path:
                cycle = [*list(path)[list(path).index(below) :], below]
                raise InputError("the graph has a cycle: " + " -> ".join(by_key[k].name for k in cycle))
            stack += [(key, at), (below, 0)]
    return graph


def _problem_of(layer: Layer, length: Callable[[Key], int | None]) -> str | None:
    n = layer.n
    if n < 0:
        return f"n is {n}"
    if layer.args is not None and len(layer.args) != n:
        return f"args for {len(layer.args)} items, where n is {n}"
    for name in ("hosts", "nbytes"):
        entries = getattr(layer, name)
        if entries is not None and len(entries) != n:
            return f"{name} for {len(entries)} items, where n is {n}"
    fn: object = layer.fn
    if not callable(fn):
        return f"fn is {fn!r}, which cannot be called"
    for dep in layer.deps:
        n_source = length(dep.layer)
        if n_source is None:
            return f"needs layer {dep.layer.hex()}, which is not in the graph: add what a layer needs before it"
        if type(dep.pattern) is OneToOne and n == n_source:
            continue
        problem = problem_of(dep.pattern, n, n_source)
        if problem is not None:
            return problem
    return None


def _alike(one: Layer, other: Layer) -> bool:
    """Return whether two layers of one key can be the same work: whatever is cheap to compare agrees."""
    return one.n == other.n and one.deps == other.deps and one.pass_inputs == other.pass_inputs
