"""From an optimised plan to layers: which work is one task, and what goes between tasks.

A `OpenStage` is a relation still being fused: its tree, how many partitions it has, and what its tasks need. Operators
that work row by row only grow the tree; those that bring rows together (groups, joins, order) cut it into a layer and
start a new one. `Stage` is what runs. Small inputs are one partition, so small plans are one task that Polars runs
whole. Called by `howdah.engine.frame`; uses `engine.graph`'s records only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import polars as pl

from howdah.engine.protocol.layers import Broadcast, Dependency, Key, KToOne, Layer, OneToOne, Pattern
from howdah.engine.relational import relations, sizes
from howdah.engine.relational.columns import Col
from howdah.engine.relational.dtypes import INT64
from howdah.engine.relational.evaluate import (
    CombineAggregate,
    FinishAggregate,
    PartialAggregate,
    StageContext,
    collect,
    evaluate,
)
from howdah.errors import NotSupported


class GraphBuilder(Protocol):
    """What is needed of `howdah.engine.graph.graph.Graph`."""

    persisted: dict[Key, Any]

    def add(self, layer: Layer) -> Key: ...


@dataclass(frozen=True, slots=True)
class Stage:
    """One task's work: inputs and arguments in, an Arrow table out. A module-level class, so it pickles by name.

    tree : what to compute. scans : whether the first argument is the piece that the tree's scan reads.
    numbered : whether the last argument is the task's number and the last input the row counts of all partitions.
    """

    tree: relations.Relation
    scans: bool = False
    numbered: bool = False

    def __call__(self, *arguments: Any) -> Any:
        rest = list(arguments)
        offset = 0
        if self.numbered:
            number = rest.pop()
            counts = rest.pop()
            offset = sum(counts[:number])
        piece = rest.pop() if self.scans else None
        return self.table(rest, piece, offset)

    def table(self, inputs: Sequence[Any], piece: Any, offset: int) -> Any:
        """The stage's rows as an Arrow table."""
        frame = collect(evaluate(self.tree, StageContext(inputs=inputs, split=piece, offset=offset)))
        return frame.to_arrow(compat_level=pl.CompatLevel.newest())


def count_rows(table: Any) -> int:
    """The number of rows of a partition."""
    return int(table.num_rows)


@dataclass(frozen=True)
class OpenStage:
    """A relation being fused. `inputs` are (layer, pattern) by slot number; `pieces` are what its scan reads."""

    tree: relations.Relation
    n: int
    inputs: tuple[tuple[Key, Pattern], ...] = ()
    splits: tuple[Any, ...] | None = None
    numbered: bool = False

    def append(self, make: Callable[[relations.Relation], relations.Relation]) -> OpenStage:
        return replace(self, tree=make(self.tree))


@dataclass(frozen=True)
class PhysicalLayer:
    """A line of the physical plan, for people."""

    name: str
    n: int
    tree: relations.Relation | None
    inputs: tuple[str, ...]


@dataclass
class Lowering:
    """One lowering into `graph`. `whole`: every scan is one task (the plan runs where the client is)."""

    graph: GraphBuilder
    single_task: bool = False
    layers: list[PhysicalLayer] = field(default_factory=list)
    labels: dict[Key, str] = field(default_factory=dict)
    lowered: dict[bytes, OpenStage] = field(default_factory=dict)

    def lower(self, node: relations.Relation) -> OpenStage:
        """The stream of `node`; a subtree that occurs twice is lowered, and computed, once if it needs a layer."""
        if node.key not in self.lowered:
            self.lowered[node.key] = _LOWER[type(node)](self, node)
        return self.lowered[node.key]

    def close_stage(self, stream: OpenStage, label: str = "") -> tuple[Key, int]:
        """Make the stream a layer (unless it already is one), and give the layer's key and length."""
        tree = stream.tree
        if (
            isinstance(tree, relations.StageInput)
            and not tree.concatenate
            and len(stream.inputs) == 1
            and not stream.numbered
        ):
            key, pattern = stream.inputs[0]
            if isinstance(pattern, OneToOne):
                return key, stream.n
        stage = Stage(slim(tree), stream.splits is not None, stream.numbered)
        args: list[tuple[Any, ...]] | None = None
        if stream.splits is not None:
            args = [(p,) for p in stream.splits]
        if stream.numbered:
            args = [(*(args[i] if args else ()), i) for i in range(stream.n)]
        layer = Layer(
            name=label or stage_name(tree),
            fn=stage,
            n=stream.n,
            deps=tuple(Dependency(k, p) for k, p in stream.inputs),
            args=args,
            hosts=_hosts(stream, tree),
            nbytes=_nbytes(stream, tree),
            key=_name(stream),
        )
        return self.add_layer(layer, tree), stream.n

    def add_layer(self, layer: Layer, tree: relations.Relation | None) -> Key:
        key = self.graph.add(layer)
        if key not in self.labels:
            self.labels[key] = f"{len(self.layers) + 1}"
            needs = tuple(f"{_pattern(d.pattern)} of {self.labels.get(d.layer, 'held')}" for d in layer.deps)
            self.layers.append(PhysicalLayer(layer.name, layer.n, tree, needs))
        return key

    # -- leaves

    def scan(self, node: relations.Scan) -> OpenStage:
        table = node.table
        pieces = tuple(table.splits(list(node.stored()), filters=list(node.conditions), target_bytes=sizes.SPLIT_BYTES))
        small = sum(p.nbytes for p in pieces) <= sizes.SINGLE_TASK_BYTES
        if self.single_task or small or len(pieces) <= 1:
            return OpenStage(replace(node, splits=pieces), 1)
        return OpenStage(node, len(pieces), splits=pieces)

    def in_memory(self, node: relations.InMemory) -> OpenStage:
        if self.single_task or len(node.parts) == 1:
            return OpenStage(node, 1)
        args = [(p,) for p in node.parts]
        key = self.add_layer(
            Layer("rows of the client", _given, len(node.parts), args=args, key=_given_key(node)), None
        )
        return OpenStage(relations.StageInput(0, node.schema), len(node.parts), ((key, OneToOne()),))

    def persisted(self, node: relations.Persisted) -> OpenStage:
        self.graph.persisted[node.held.layer] = node.held
        return OpenStage(relations.StageInput(0, node.schema), node.n, ((node.held.layer, OneToOne()),))

    # -- row by row

    def fused(self, node: relations.Relation) -> OpenStage:
        (source,) = node.children()
        return self.lower(source).append(lambda tree: node.map_children(lambda _: tree))

    def number(self, node: relations.Number) -> OpenStage:
        stream = self.lower(node.source)
        if stream.n == 1:
            return stream.append(lambda tree: replace(node, source=tree))
        key, n = self.close_stage(stream)
        counted = hashlib.blake2b(b"howdah.count" + key, digest_size=16).digest()
        counts = self.add_layer(Layer("count rows", count_rows, n, (Dependency(key, OneToOne()),), key=counted), None)
        tree = replace(node, source=relations.StageInput(0, node.source.schema))
        ready = OpenStage(tree, n, ((key, OneToOne()), (counts, Broadcast())), numbered=True)
        key, n = self.close_stage(ready, "number rows")
        return OpenStage(relations.StageInput(0, node.schema), n, ((key, OneToOne()),))

    # -- order

    def gather(self, stream: OpenStage, label: str = "") -> OpenStage:
        """The same rows as one partition."""
        if stream.n == 1:
            return stream
        key, n = self.close_stage(stream, label)
        return OpenStage(relations.StageInput(0, stream.tree.schema, concatenate=True), 1, ((key, KToOne(n)),))

    def tree_reduce(
        self, stream: OpenStage, step: Callable[[relations.Relation], relations.Relation], label: str
    ) -> OpenStage:
        """`step` on every partition, then on groups of `sizes.FAN_IN` results, until one partition is left."""
        stream = stream.append(step)
        while stream.n > 1:
            key, n = self.close_stage(stream)
            rows = relations.StageInput(0, stream.tree.schema, concatenate=True)
            stream = OpenStage(step(rows), -(-n // sizes.FAN_IN), ((key, KToOne(sizes.FAN_IN)),))
        return stream

    def head(self, node: relations.Head) -> OpenStage:
        stream = self.lower(node.source)
        if stream.n > 1 and node.n < 0:
            stream = self.gather(stream)
        stream = _first_pieces(stream, node.n)
        return self.tree_reduce(stream, lambda tree: relations.Head(tree, node.n), "head")

    def tail(self, node: relations.Tail) -> OpenStage:
        stream = self.lower(node.source)
        if stream.n > 1 and node.n < 0:
            stream = self.gather(stream)
        return self.tree_reduce(stream, lambda tree: relations.Tail(tree, node.n), "tail")

    def top(self, node: relations.Top) -> OpenStage:
        return self.tree_reduce(self.lower(node.source), lambda tree: replace(node, source=tree), "top")

    def sort(self, node: relations.Sort) -> OpenStage:
        return self.gather(self.lower(node.source)).append(lambda tree: replace(node, source=tree))

    # -- groups

    def aggregate(self, node: relations.Aggregate) -> OpenStage:
        stream = self.lower(node.source)
        if stream.n == 1:
            return stream.append(lambda tree: replace(node, source=tree))
        stream = stream.append(lambda tree: PartialAggregate(replace(node, source=tree)))
        thin = replace(node, source=relations.StageInput(0, node.source.schema))
        while stream.n > 1:
            key, n = self.close_stage(stream)
            states = CombineAggregate(relations.StageInput(0, {}, concatenate=True), thin)
            stream = OpenStage(states, -(-n // sizes.FAN_IN), ((key, KToOne(sizes.FAN_IN)),))
        return stream.append(lambda tree: FinishAggregate(tree, thin))

    # -- joins

    def join(self, node: relations.Join) -> OpenStage:
        left, right = self.lower(node.left), self.lower(node.right)
        if left.n == 1 and right.n == 1:
            return _side_by_side(node, left, right)
        small = node.small or ("right" if right.n == 1 else "left")
        if small not in _CAN_SEND[node.how] and self._fit_together(node):
            return _side_by_side(node, self.gather(left), self.gather(right))
        self._check_broadcast(node, small)
        if small == "left" and node.how == "inner" and node.ordered:
            return self._in_left_order(node)
        other, stream = (right, left) if small == "right" else (left, right)
        key, n = self.close_stage(other, "small side of join")
        many = n > 1
        slot = len(stream.inputs)
        table = relations.StageInput(slot, getattr(node, small).schema, concatenate=True)
        one, two = (stream.tree, table) if small == "right" else (table, stream.tree)
        pattern: Pattern = Broadcast() if many or stream.n > 1 else OneToOne()
        joined = replace(node, small=small, left=one, right=two)
        return replace(stream, tree=joined, inputs=(*stream.inputs, (key, pattern)))

    def _fit_together(self, node: relations.Join) -> bool:
        return sizes.estimated_bytes(node.left) + sizes.estimated_bytes(node.right) <= sizes.BROADCAST_BYTES

    def _in_left_order(self, node: relations.Join) -> OpenStage:
        """A join whose left side goes to every task: the tasks' rows come together and into the left side's order."""
        mark = "\1left row"
        numbered = relations.Number(node.left, mark)
        take = (*node.take, (mark, "left", mark, INT64))
        loose = replace(node, left=numbered, take=take, small="left", ordered=False)
        rows = self.gather(self.lower(loose))
        wanted = tuple((n, Col(n, d)) for n, d in node.schema.items())
        return rows.append(
            lambda tree: relations.Project(relations.Sort(tree, (mark,), (True,), kind="stable"), wanted)
        )

    def _check_broadcast(self, node: relations.Join, small: str) -> None:
        size = sizes.estimated_bytes(getattr(node, small))
        if size > sizes.BROADCAST_BYTES:
            raise NotSupported(
                f"merge: the smaller side holds {size / 2**20:,.0f} MiB (stored) of the columns that are needed, and "
                f"up to {sizes.BROADCAST_BYTES / 2**20:,.0f} MiB can be sent to every task: choose fewer columns, "
                "filter or aggregate it before merging"
            )
        if small not in _CAN_SEND[node.how]:
            raise NotSupported(
                f"merge(how={node.how!r}): rows without a partner are wanted from both sides, and these can be told "
                f"only when both are in one place, which takes at most {sizes.BROADCAST_BYTES / 2**20:,.0f} MiB "
                "(stored) together: use how='left' or how='inner', or make the sides smaller first"
            )


_CAN_SEND = {"inner": ("left", "right"), "left": ("right",), "right": ("left",), "outer": ()}
"""The side of a join that may go to every task: the one whose rows without a partner nobody wants."""


def _name(stream: OpenStage) -> Key:
    """The layer's content hash: the tree (which names its files, their sizes and times), the inputs and the pieces."""
    digest = hashlib.blake2b(b"howdah.frame\1" + stream.tree.key, digest_size=16)
    for part in (stream.n, stream.inputs, stream.splits, stream.numbered):
        digest.update(b"\1" + repr(part).encode())
    return digest.digest()


def _given(table: Any) -> Any:
    return table


def _given_key(node: relations.InMemory) -> Key:
    return hashlib.blake2b(b"howdah.given" + node.digest + repr(len(node.parts)).encode(), digest_size=16).digest()


def _side_by_side(node: relations.Join, left: OpenStage, right: OpenStage) -> OpenStage:
    """Both sides in one task; the right side's slots come after the left's."""
    shift = len(left.inputs)
    tree = shift_inputs(right.tree, shift)
    return OpenStage(replace(node, left=left.tree, right=tree), 1, (*left.inputs, *right.inputs))


def shift_inputs(tree: relations.Relation, shift: int) -> relations.Relation:
    """The tree with its slots `shift` further on."""
    if isinstance(tree, relations.StageInput):
        return replace(tree, number=tree.number + shift)
    return tree.map_children(lambda source: shift_inputs(source, shift))


def slim(tree: relations.Relation) -> relations.Relation:
    """The tree as a task needs it: a scan carries the table's files only if it reads all of them here, as one."""
    if isinstance(tree, relations.Scan):
        at_once = tree.splits is not None and tree.table is not None and tree.table.filesystem.is_local
        every = at_once and sum(p.rows for p in tree.splits or ()) == tree.table.rows
        return tree if every else replace(tree, table=None)
    return tree.map_children(slim)


def _first_pieces(stream: OpenStage, n: int) -> OpenStage:
    """Only the pieces that hold the first `n` rows, where every row of the scan is kept."""
    node = stream.tree
    while isinstance(node, (relations.Project,)):
        node = node.source
    if stream.splits is None or not isinstance(node, relations.Scan) or len(stream.inputs) or n < 0:
        return stream
    rows, kept = 0, 0
    for piece in stream.splits:
        rows, kept = rows + piece.rows, kept + 1
        if rows >= n:
            break
    return replace(stream, splits=stream.splits[:kept], n=kept)


def _scan_of(tree: relations.Relation) -> list[Any]:
    return [p for node in tree.walk() if isinstance(node, relations.Scan) for p in node.splits or ()]


def _hosts(stream: OpenStage, tree: relations.Relation) -> list[tuple[str, ...]] | None:
    if stream.splits is not None:
        return [tuple(p.hosts) for p in stream.splits]
    bytes_of: dict[str, int] = {}
    for piece in _scan_of(tree):
        for host in piece.hosts:
            bytes_of[host] = bytes_of.get(host, 0) + piece.nbytes
    best = sorted(bytes_of, key=lambda host: (-bytes_of[host], host))
    return [tuple(best[:3])] if best and stream.n == 1 else None


def _nbytes(stream: OpenStage, tree: relations.Relation) -> list[int] | None:
    if stream.splits is not None:
        return [p.nbytes for p in stream.splits]
    read = sum(p.nbytes for p in _scan_of(tree))
    return [read] if read and stream.n == 1 else None


def _pattern(pattern: Pattern) -> str:
    match pattern:
        case OneToOne():
            return "one"
        case KToOne(k):
            return f"{k} to one"
    return "all"


_WORDS: dict[type, str] = {
    relations.Scan: "scan",
    relations.Filter: "filter",
    relations.Project: "derive",
    relations.Aggregate: "group",
    PartialAggregate: "partial sums",
    CombineAggregate: "combine",
    FinishAggregate: "finish",
    relations.Join: "join",
    relations.Top: "top",
    relations.Sort: "sort",
    relations.Head: "head",
    relations.Tail: "tail",
    relations.MapPartitions: "pandas",
    relations.Number: "number",
}


def stage_name(tree: relations.Relation) -> str:
    """The name of a stage: its steps, in order.

    >>> summary(relations.Head(relations.StageInput(0, {"a": INT64}), 3))
    'head'
    """
    words: list[str] = []
    for node in tree.walk():
        word = _WORDS.get(type(node))
        if isinstance(node, relations.Aggregate) and isinstance(tree, PartialAggregate) and node is tree.aggregate:
            continue
        if word and (not words or words[-1] != word):
            words.append(word)
    return "+".join(words) or "gather"


_LOWER: dict[type, Callable[[Lowering, Any], OpenStage]] = {
    relations.Scan: Lowering.scan,
    relations.InMemory: Lowering.in_memory,
    relations.Persisted: Lowering.persisted,
    relations.Filter: Lowering.fused,
    relations.Project: Lowering.fused,
    relations.MapPartitions: Lowering.fused,
    relations.Number: Lowering.number,
    relations.Head: Lowering.head,
    relations.Tail: Lowering.tail,
    relations.Top: Lowering.top,
    relations.Sort: Lowering.sort,
    relations.Aggregate: Lowering.aggregate,
    relations.Join: Lowering.join,
}


def write_layer(lowering: Lowering, stream: OpenStage, part: Callable[[Any, int], Any]) -> tuple[Key, int]:
    """A layer that gives each partition of the stream, and its number, to `part`. Its key is never shared."""
    key, n = lowering.close_stage(stream)
    args = [(i,) for i in range(n)]
    layer = Layer("write", part, n, (Dependency(key, OneToOne()),), args=args, pure=False, key=os.urandom(16))
    return lowering.add_layer(layer, None), n
