"""The lowering of relations: a step for each kind of relation, from plan to stages and layers.

Operators that work row by row are appended to the open stage; those that bring rows together (groups, joins, order)
close it. Small inputs are one partition, so small plans are one task that Polars runs whole. Called by `compile`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from howdah.engine.plan.lowering import Lowering, OpenStage
from howdah.engine.protocol.layers import Broadcast, Dependency, Key, KToOne, Layer, OneToOne, Pattern
from howdah.engine.relational import relations
from howdah.engine.relational.columns import Col
from howdah.engine.relational.compiler.stage import RelationalStage, count_rows, return_rows
from howdah.engine.relational.dtypes import INT64
from howdah.engine.relational.estimate import estimated_bytes
from howdah.engine.relational.relations import Relation
from howdah.errors import NotSupported

if TYPE_CHECKING:
    from howdah.io.readers.table import Split

Stage: TypeAlias = OpenStage[Relation]


class RelationalLowering(Lowering[Relation]):
    """One lowering of relations into a graph; see `howdah.engine.plan.lowering.Lowering`."""

    steps: ClassVar[Mapping[type, Callable[[Any, Any], Stage]]]

    def task_function(self, stage: Stage) -> RelationalStage:
        return RelationalStage(strip_sources(stage.tree), stage.splits is not None, stage.numbered)

    def stage_name(self, tree: Relation) -> str:
        return stage_name(tree)

    def is_plain_input(self, tree: Relation) -> bool:
        return isinstance(tree, relations.StageInput) and not tree.concatenate

    def splits_in(self, tree: Relation) -> list[Split]:
        return [split for node in tree.walk() if isinstance(node, relations.Scan) for split in node.splits or ()]

    # -- leaves

    def scan(self, node: relations.Scan) -> Stage:
        assert node.table is not None
        for dtype in node.schema.values():
            _ = dtype.polars  # an unsupported column raises here, and not in a task
        splits = tuple(
            node.table.splits(node.stored(), conditions=node.conditions, target_bytes=self.options.split_bytes)
        )
        small = sum(split.nbytes for split in splits) <= self.options.single_task_bytes
        if self.single_task or small or len(splits) <= 1:
            return OpenStage(replace(node, splits=splits), 1)
        return OpenStage(node, len(splits), splits=splits)

    def in_memory(self, node: relations.InMemory) -> Stage:
        if self.single_task or len(node.parts) == 1:
            return OpenStage(node, 1)
        args = [(p,) for p in node.parts]
        key = self.add_layer(
            Layer("rows of the client", return_rows, len(node.parts), args=args, key=_client_rows_key(node)), None
        )
        return OpenStage(relations.StageInput(0, node.schema), len(node.parts), ((key, OneToOne()),))

    def persisted(self, node: relations.Persisted) -> Stage:
        self.graph.persisted[node.held.layer] = node.held
        return OpenStage(relations.StageInput(0, node.schema), node.n, ((node.held.layer, OneToOne()),))

    # -- row by row

    def fused(self, node: relations.Relation) -> Stage:
        (source,) = node.children()
        return self.lower(source).append(lambda tree: node.map_children(lambda _: tree))

    def number(self, node: relations.Number) -> Stage:
        stage = self.lower(node.source)
        if stage.n == 1:
            return stage.append(lambda tree: replace(node, source=tree))
        key, n = self.close_stage(stage)
        counted = hashlib.blake2b(b"howdah.count" + key, digest_size=16).digest()
        counts = self.add_layer(Layer("count rows", count_rows, n, (Dependency(key, OneToOne()),), key=counted), None)
        tree = replace(node, source=relations.StageInput(0, node.source.schema))
        numbered: Stage = OpenStage(tree, n, ((key, OneToOne()), (counts, Broadcast())), numbered=True)
        key, n = self.close_stage(numbered, "number rows")
        return OpenStage(relations.StageInput(0, node.schema), n, ((key, OneToOne()),))

    # -- order

    def gather(self, stage: Stage, label: str = "") -> Stage:
        """Return the same rows as one partition."""
        if stage.n == 1:
            return stage
        key, n = self.close_stage(stage, label)
        return OpenStage(relations.StageInput(0, stage.tree.schema, concatenate=True), 1, ((key, KToOne(n)),))

    def tree_reduce(self, stage: Stage, step: Callable[[Relation], Relation], label: str) -> Stage:
        """Apply `step` to every partition, then to groups of `fan_in` results, until one partition is left."""
        stage = stage.append(step)
        while stage.n > 1:
            key, n = self.close_stage(stage)
            rows = relations.StageInput(0, stage.tree.schema, concatenate=True)
            stage = OpenStage(step(rows), -(-n // self.options.fan_in), ((key, KToOne(self.options.fan_in)),))
        return stage

    def head(self, node: relations.Head) -> Stage:
        stage = self.lower(node.source)
        if stage.n > 1 and node.n < 0:
            stage = self.gather(stage)
        stage = _first_splits(stage, node.n)
        return self.tree_reduce(stage, lambda tree: relations.Head(tree, node.n), "head")

    def tail(self, node: relations.Tail) -> Stage:
        stage = self.lower(node.source)
        if stage.n > 1 and node.n < 0:
            stage = self.gather(stage)
        return self.tree_reduce(stage, lambda tree: relations.Tail(tree, node.n), "tail")

    def top(self, node: relations.Top) -> Stage:
        return self.tree_reduce(self.lower(node.source), lambda tree: replace(node, source=tree), "top")

    def sort(self, node: relations.Sort) -> Stage:
        return self.gather(self.lower(node.source)).append(lambda tree: replace(node, source=tree))

    # -- groups

    def aggregate(self, node: relations.Aggregate) -> Stage:
        stage = self.lower(node.source)
        if stage.n == 1:
            return stage.append(lambda tree: replace(node, source=tree))
        stage = stage.append(lambda tree: relations.PartialAggregate(replace(node, source=tree)))
        thin = replace(node, source=relations.StageInput(0, node.source.schema))
        while stage.n > 1:
            key, n = self.close_stage(stage)
            states = relations.CombineAggregate(relations.StageInput(0, {}, concatenate=True), thin)
            stage = OpenStage(states, -(-n // self.options.fan_in), ((key, KToOne(self.options.fan_in)),))
        return stage.append(lambda tree: relations.FinishAggregate(tree, thin))

    # -- joins

    def join(self, node: relations.Join) -> Stage:
        left, right = self.lower(node.left), self.lower(node.right)
        if left.n == 1 and right.n == 1:
            return _side_by_side(node, left, right)
        small = node.broadcast or ("right" if right.n == 1 else "left")
        if small not in _CAN_SEND[node.how] and self._fit_together(node):
            return _side_by_side(node, self.gather(left), self.gather(right))
        self._check_broadcast(node, small)
        if small == "left" and node.how == "inner" and node.ordered:
            return self._in_left_order(node)
        other, stage = (right, left) if small == "right" else (left, right)
        key, n = self.close_stage(other, "small side of join")
        many = n > 1
        table = relations.StageInput(len(stage.inputs), getattr(node, small).schema, concatenate=True)
        one, two = (stage.tree, table) if small == "right" else (table, stage.tree)
        pattern: Pattern = Broadcast() if many or stage.n > 1 else OneToOne()
        joined = replace(node, broadcast=small, left=one, right=two)
        return replace(stage, tree=joined, inputs=(*stage.inputs, (key, pattern)))

    def _fit_together(self, node: relations.Join) -> bool:
        return estimated_bytes(node.left) + estimated_bytes(node.right) <= self.options.broadcast_bytes

    def _in_left_order(self, node: relations.Join) -> Stage:
        """Lower a join whose left side goes to every task: its rows are sorted into the left side's order."""
        mark = "\1left row"
        numbered = relations.Number(node.left, mark)
        take = (*node.take, (mark, "left", mark, INT64))
        loose = replace(node, left=numbered, take=take, broadcast="left", ordered=False)
        rows = self.gather(self.lower(loose))
        columns = tuple((n, Col(n, d)) for n, d in node.schema.items())
        return rows.append(
            lambda tree: relations.Project(relations.Sort(tree, (mark,), (True,), kind="stable"), columns)
        )

    def _check_broadcast(self, node: relations.Join, small: str) -> None:
        size = estimated_bytes(getattr(node, small))
        if size > self.options.broadcast_bytes:
            raise NotSupported(
                f"merge: the smaller side holds {size / 2**20:,.0f} MiB (stored) of the columns that are needed, and "
                f"up to {self.options.broadcast_bytes / 2**20:,.0f} MiB can be sent to every task: choose fewer "
                "columns, filter or aggregate it before merging"
            )
        if small not in _CAN_SEND[node.how]:
            raise NotSupported(
                f"merge(how={node.how!r}): rows without a partner are kept of both sides, and these are known "
                f"only when both are in one place, which takes at most {self.options.broadcast_bytes / 2**20:,.0f} MiB "
                "(stored) together: use how='left' or how='inner', or make the sides smaller first"
            )


RelationalLowering.steps = {
    relations.Scan: RelationalLowering.scan,
    relations.InMemory: RelationalLowering.in_memory,
    relations.Persisted: RelationalLowering.persisted,
    relations.Filter: RelationalLowering.fused,
    relations.Project: RelationalLowering.fused,
    relations.MapPartitions: RelationalLowering.fused,
    relations.Number: RelationalLowering.number,
    relations.Head: RelationalLowering.head,
    relations.Tail: RelationalLowering.tail,
    relations.Top: RelationalLowering.top,
    relations.Sort: RelationalLowering.sort,
    relations.Aggregate: RelationalLowering.aggregate,
    relations.Join: RelationalLowering.join,
}


_CAN_SEND = {"inner": ("left", "right"), "left": ("right",), "right": ("left",), "outer": ()}
"""The sides of a join that may go to every task: those whose rows without a partner are not in the result."""


def _client_rows_key(node: relations.InMemory) -> Key:
    return hashlib.blake2b(b"howdah.given" + node.digest + repr(len(node.parts)).encode(), digest_size=16).digest()


def _side_by_side(node: relations.Join, left: Stage, right: Stage) -> Stage:
    """Both sides in one task; the right side's inputs come after the left's."""
    tree = shift_inputs(right.tree, len(left.inputs))
    return OpenStage(replace(node, left=left.tree, right=tree), 1, (*left.inputs, *right.inputs))


def shift_inputs(tree: Relation, shift: int) -> Relation:
    """Return the tree with the numbers of its inputs raised by `shift`."""
    return tree.transform(lambda n: replace(n, number=n.number + shift) if isinstance(n, relations.StageInput) else n)


def strip_sources(tree: Relation) -> Relation:
    """Return the tree as a task needs it: a scan keeps its table only if the task reads all of a local one."""

    def strip(node: Relation) -> Relation:
        if not isinstance(node, relations.Scan) or node.table is None:
            return node
        rows = [split.rows for split in node.splits or ()]
        whole = node.splits is not None and node.table.is_local and None not in rows
        return node if whole and sum(filter(None, rows)) == node.table.rows else replace(node, table=None)

    return tree.transform(strip)


def _first_splits(stage: Stage, n: int) -> Stage:
    """Only the splits that hold the first `n` rows, where every row of the scan is kept."""
    node = stage.tree
    while isinstance(node, relations.Project):
        node = node.source
    if stage.splits is None or not isinstance(node, relations.Scan) or stage.inputs or n < 0:
        return stage
    rows, kept = 0, 0
    for split in stage.splits:
        if split.rows is None:
            return stage
        rows, kept = rows + split.rows, kept + 1
        if rows >= n:
            break
    return replace(stage, splits=stage.splits[:kept], n=kept)


_STEP_NAMES: dict[type, str] = {
    relations.Scan: "scan",
    relations.Filter: "filter",
    relations.Project: "derive",
    relations.Aggregate: "group",
    relations.PartialAggregate: "partial sums",
    relations.CombineAggregate: "combine",
    relations.FinishAggregate: "finish",
    relations.Join: "join",
    relations.Top: "top",
    relations.Sort: "sort",
    relations.Head: "head",
    relations.Tail: "tail",
    relations.MapPartitions: "pandas",
    relations.Number: "number",
}


def stage_name(tree: Relation) -> str:
    """Return the name of a stage: its steps, in order.

    >>> stage_name(relations.Head(relations.StageInput(0, {"a": INT64}), 3))
    'head'
    """
    names: list[str] = []
    for node in tree.walk():
        name = _STEP_NAMES.get(type(node))
        if isinstance(tree, relations.PartialAggregate) and node is tree.aggregate:
            continue
        if name and (not names or names[-1] != name):
            names.append(name)
    return "+".join(names) or "gather"
