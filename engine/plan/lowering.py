"""From a plan to layers: which work is one task, and what goes between tasks.

An `OpenStage` is a plan that is still being fused into one task: operators that work row by row are appended to it;
operators that bring rows together close it, which makes it a layer, and open a new one. `Lowering` has what all kinds
of plans share; a subclass (`engine.relational.compiler.lowering`) has one step per kind of node. Called by `compile`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from howdah.engine.plan.node import Node
from howdah.engine.plan.options import CompileOptions, current_options
from howdah.engine.protocol.layers import Dependency, Key, KToOne, Layer, OneToOne, Pattern

if TYPE_CHECKING:
    from howdah.io.readers.table import Split

N = TypeVar("N", bound=Node[Any])

MAX_HOSTS = 3
"""Preferred hosts of a task that reads several splits."""


class GraphBuilder(Protocol):
    """The part of `howdah.engine.graph.graph.Graph` that lowering uses."""

    persisted: dict[Key, Any]

    def add(self, layer: Layer) -> Key: ...


@dataclass(frozen=True, slots=True)
class OpenStage(Generic[N]):
    """A plan that is being fused into one stage.

    Attributes
    ----------
    tree : the nodes of the stage; its leaves are scans and inputs.
    n : partitions, the tasks that the stage will have.
    inputs : (layer, pattern) of each input, by its number.
    splits : the split that each task reads; None when the scans of the tree have their own, or there are none.
    numbered : whether each task is also given its number, and the row counts of all partitions as its last input.
    """

    tree: N
    n: int
    inputs: tuple[tuple[Key, Pattern], ...] = ()
    splits: tuple[Split, ...] | None = None
    numbered: bool = False

    def append(self, make: Callable[[N], N]) -> OpenStage[N]:
        """Return the stage with the node that `make` puts on top of the tree."""
        return replace(self, tree=make(self.tree))


@dataclass(frozen=True, slots=True)
class PhysicalLayer:
    """A layer of the physical plan, for users. `inputs` are texts such as "all of 2"."""

    name: str
    n: int
    tree: Node[Any] | None
    inputs: tuple[str, ...]


class Lowering(ABC, Generic[N]):
    """One lowering of plans into `graph`. Not for use by several threads.

    Parameters
    ----------
    graph : receives the layers.
    single_task : make every scan one task, for a plan that runs in this process.
    options : sizes; None is `current_options()`.
    """

    steps: ClassVar[Mapping[type, Callable[[Any, Any], OpenStage[Any]]]]
    """For each kind of node the function (lowering, node) -> stage."""

    def __init__(
        self, graph: GraphBuilder, *, single_task: bool = False, options: CompileOptions | None = None
    ) -> None:
        self.graph = graph
        self.single_task = single_task
        self.options = current_options() if options is None else options
        self.layers: list[PhysicalLayer] = []
        self._labels: dict[Key, str] = {}
        self._lowered: dict[bytes, OpenStage[N]] = {}

    # -- what a kind of plan supplies

    @abstractmethod
    def task_function(self, stage: OpenStage[N]) -> Callable[..., Any]:
        """Return what each task of the stage runs: inputs, then its split, then its number in; a partition out."""

    @abstractmethod
    def stage_name(self, tree: N) -> str:
        """Return the name of the layer, for users."""

    @abstractmethod
    def is_plain_input(self, tree: N) -> bool:
        """Whether the tree is nothing but one input, a partition as it is."""

    @abstractmethod
    def splits_in(self, tree: N) -> list[Split]:
        """Return the splits that the scans of the tree hold themselves."""

    # -- for all kinds

    def lower(self, node: N) -> OpenStage[N]:
        """Return the stage of `node`. A subtree that occurs twice is lowered once, and its layers are computed once."""
        found = self._lowered.get(node.key)
        if found is None:
            found = self._lowered[node.key] = self.steps[type(node)](self, node)
        return found

    def close_stage(self, stage: OpenStage[N], label: str = "") -> tuple[Key, int]:
        """Make the stage a layer, unless it is one already; the layer's key and its number of partitions."""
        if self.is_plain_input(stage.tree) and len(stage.inputs) == 1 and not stage.numbered:
            key, pattern = stage.inputs[0]
            if isinstance(pattern, OneToOne):
                return key, stage.n
        args: list[tuple[Any, ...]] | None = None
        if stage.splits is not None:
            args = [(split,) for split in stage.splits]
        if stage.numbered:
            args = [(*(args[i] if args else ()), i) for i in range(stage.n)]
        read = list(stage.splits) if stage.splits is not None else self.splits_in(stage.tree)
        layer = Layer(
            name=label or self.stage_name(stage.tree),
            fn=self.task_function(stage),
            n=stage.n,
            deps=tuple(Dependency(key, pattern) for key, pattern in stage.inputs),
            args=args,
            hosts=_hosts(stage, read),
            nbytes=_nbytes(stage, read),
            key=stage_key(stage),
        )
        return self.add_layer(layer, stage.tree), stage.n

    def add_layer(self, layer: Layer, tree: N | None) -> Key:
        """Add the layer to the graph and to `layers`; its key."""
        key = self.graph.add(layer)
        if key not in self._labels:
            self._labels[key] = f"{len(self.layers) + 1}"
            inputs = tuple(f"{_shown(d.pattern)} of {self._labels.get(d.layer, 'held')}" for d in layer.deps)
            self.layers.append(PhysicalLayer(layer.name, layer.n, tree, inputs))
        return key


def stage_key(stage: OpenStage[Any]) -> Key:
    """Return the layer's content hash: the tree (with the fingerprints of its files), the inputs and the splits."""
    digest = hashlib.blake2b(b"howdah.frame\1" + stage.tree.key, digest_size=16)
    for part in (stage.n, stage.inputs, stage.splits, stage.numbered):
        digest.update(b"\1" + repr(part).encode())
    return digest.digest()


def _hosts(stage: OpenStage[Any], read: list[Split]) -> list[tuple[str, ...]] | None:
    """Return the hosts that hold each task's split, or most bytes of the splits of a single task."""
    if stage.splits is not None:
        return [tuple(split.hosts) for split in stage.splits]
    bytes_of: dict[str, int] = {}
    for split in read:
        for host in split.hosts:
            bytes_of[host] = bytes_of.get(host, 0) + split.nbytes
    best = sorted(bytes_of, key=lambda host: (-bytes_of[host], host))
    return [tuple(best[:MAX_HOSTS])] if best and stage.n == 1 else None


def _nbytes(stage: OpenStage[Any], read: list[Split]) -> list[int] | None:
    if stage.splits is not None:
        return [split.nbytes for split in stage.splits]
    total = sum(split.nbytes for split in read)
    return [total] if total and stage.n == 1 else None


def _shown(pattern: Pattern) -> str:
    match pattern:
        case OneToOne():
            return "one"
        case KToOne(k):
            return f"{k} to one"
    return "all"
