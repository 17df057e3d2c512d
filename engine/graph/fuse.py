"""Linear fusion: a chain of one-to-one layers becomes one layer, whose items cost one task and store nothing between.

Only where nothing is lost by it: the inner layer has one dependent, its results are no target, and both take their
inputs by position. The fused layer has the key of the last, since its results are the same. Called by `dispatch`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from howdah.engine.graph.graph import Graph
from howdah.engine.protocol.layers import Key, Layer, OneToOne, TaskRange


@dataclass(frozen=True, slots=True)
class Fused:
    """Calls its steps in turn, each with the result of the one before. `fixed`: how many arguments a step takes.

    >>> Fused(((max, {}, 2), (pow, {}, 1)))(3, 5, 2)
    25
    """

    steps: tuple[tuple[Callable[..., Any], Mapping[str, Any], int], ...]

    def __call__(self, *args: Any) -> Any:
        """Call the steps: with the inputs of the first, then its arguments, then those of the others."""
        # What goes before the first step's own arguments are its inputs, however many there are.
        own = sum([count for _, _, count in self.steps])
        first = self.steps[0][2] + len(args) - own
        fn, kwargs, _ = self.steps[0]
        value = fn(*args[:first], **kwargs)
        at = first
        for fn, kwargs, count in self.steps[1:]:
            value = fn(value, *args[at : at + count], **kwargs)
            at += count
        return value


def fuse(graph: Graph, targets: Sequence[TaskRange]) -> Graph:
    """Return a graph of fewer layers with the same results under the same keys.

    >>> from howdah.engine.protocol.layers import Dependency
    >>> graph = Graph()
    >>> a = graph.add(Layer("abs", abs, 3, args=[(-1,), (2,), (-3,)]))
    >>> b = graph.add(Layer("pow", pow, 3, deps=(Dependency(a, OneToOne()),), args=[(2,)] * 3))
    >>> [layer.name for layer in fuse(graph, [graph.full_range(b)]).layers.values()]
    ['abs+pow']
    """
    users: dict[Key, int] = {}
    for layer in graph.layers.values():
        for dep in layer.deps:
            users[dep.layer] = users.get(dep.layer, 0) + 1
    for task_range in targets:
        users[task_range.layer] = users.get(task_range.layer, 0) + 2
    made: dict[Key, Layer] = {}
    for key, layer in graph.layers.items():
        inner = made.get(layer.deps[0].layer) if len(layer.deps) == 1 else None
        if (
            inner is not None
            and type(layer.deps[0].pattern) is OneToOne
            and users[inner.key] == 1
            and _fusible(layer)
            and layer.hosts is None
            and layer.annotations == inner.annotations
            and _fusible(inner)
        ):
            del made[inner.key]
            layer = _joined(inner, layer)
        made[key] = layer
    fused = Graph(persisted=graph.persisted)
    fused.layers = made
    return fused


def _fusible(layer: Layer) -> bool:
    same = layer.args is None or len({len(args) for args in layer.args}) <= 1
    limited = layer.timeout or any(name == "timeout" for name, _ in layer.annotations)
    return layer.pass_inputs and layer.pure and same and not limited


def _fixed(layer: Layer) -> int:
    return len(layer.args[0]) if layer.args is not None and layer.n else 0


def _joined(inner: Layer, outer: Layer) -> Layer:
    steps: tuple[Any, ...] = (
        inner.fn.steps if isinstance(inner.fn, Fused) else ((inner.fn, inner.kwargs, _fixed(inner)),)
    )
    args: list[tuple[Any, ...]] | None = None
    if inner.args is not None or outer.args is not None:
        none: list[tuple[Any, ...]] = [()] * outer.n
        args = [a + b for a, b in zip(inner.args or none, outer.args or none)]
    return replace(
        outer,
        name=f"{inner.name}+{outer.name}",
        fn=Fused((*steps, (outer.fn, outer.kwargs, _fixed(outer)))),
        deps=inner.deps,
        args=args,
        kwargs={},
        hosts=inner.hosts,
        nbytes=inner.nbytes,
        retries=max(inner.retries, outer.retries),
    )
