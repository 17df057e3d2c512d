"""The compiler serves any family of plans: here lists of numbers, with a rule, data-dependent nodes, and layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from howdah.engine.execution.dispatch import client_for
from howdah.engine.graph.graph import Graph
from howdah.engine.plan.compile import Compiler
from howdah.engine.plan.explain import explain
from howdah.engine.plan.lowering import Lowering, OpenStage, stage_key
from howdah.engine.plan.node import Node
from howdah.engine.plan.options import compile_options
from howdah.engine.protocol.layers import Broadcast, Dependency, Layer, OneToOne


class Bag(Node["Bag"], family=True):
    """A list of numbers in partitions."""


@dataclass(frozen=True)
class Given(Bag):
    parts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Times(Bag):
    """Every number times `factor`; None is "2 if any number is odd, else 1" and has to be resolved."""

    source: Bag
    factor: int | None

    def describe(self) -> str:
        return f"times {self.factor}"


@dataclass(frozen=True)
class Total(Bag):
    source: Bag


@dataclass(frozen=True)
class Input(Bag):
    pass


def evaluate(tree: Bag, rows: Any) -> Any:
    if isinstance(tree, Times):
        assert tree.factor is not None
        return [n * tree.factor for n in evaluate(tree.source, rows)]
    if isinstance(tree, Total):
        parts = evaluate(tree.source, rows)
        return [sum(n for part in parts for n in part)]
    return rows


@dataclass(frozen=True)
class Task:
    tree: Bag

    def __call__(self, rows: Any) -> Any:
        return evaluate(self.tree, rows)


class BagLowering(Lowering[Bag]):
    def task_function(self, stage: OpenStage[Bag]) -> Callable[..., Any]:
        return Task(stage.tree)

    def stage_name(self, tree: Bag) -> str:
        return "+".join(node.describe() for node in tree.walk())

    def is_plain_input(self, tree: Bag) -> bool:
        return isinstance(tree, Input)

    def splits_in(self, tree: Bag) -> list[Any]:
        return []

    def given(self, node: Given) -> OpenStage[Bag]:
        key = self.add_layer(Layer("given", list, len(node.parts), args=[(p,) for p in node.parts]), None)
        return OpenStage(Input(), len(node.parts), ((key, OneToOne()),))

    def times(self, node: Times) -> OpenStage[Bag]:
        return self.lower(node.source).append(lambda tree: Times(tree, node.factor))

    def total(self, node: Total) -> OpenStage[Bag]:
        key, _ = self.close_stage(self.lower(node.source))
        return OpenStage(Total(Input()), 1, ((key, Broadcast()),))


BagLowering.steps = {Given: BagLowering.given, Times: BagLowering.times, Total: BagLowering.total}


def fuse_factors(plan: Bag) -> Bag:
    match plan:
        case Times(Times(source, int(a)), int(b)):
            return fuse_factors(Times(source, a * b))
    return plan.map_children(fuse_factors)


class BagCompiler(Compiler[Bag]):
    rules = (fuse_factors,)

    def resolve(self, plan: Bag, scheduler: Any) -> Bag:
        def visit(node: Bag) -> Bag:
            if isinstance(node, Times) and node.factor is None:
                odd = any(n % 2 for part in self.run(node.source, scheduler) for n in part)
                return Times(node.source, 2 if odd else 1)
            return node

        return plan.transform(visit)

    def new_lowering(self, graph: Graph, *, single_task: bool) -> BagLowering:
        return BagLowering(graph, single_task=single_task)

    def local_bytes(self, plan: Bag) -> int | None:
        return None


COMPILER = BagCompiler()
BAG = Given(((1, 2), (3,)))


def run(plan: Bag) -> list[Any]:
    return COMPILER.run(COMPILER.optimise_and_resolve(plan, "inline"), "inline")


def test_a_plan_is_optimised_lowered_and_run() -> None:
    assert run(Total(Times(Times(BAG, 2), 5))) == [[60]]
    assert run(Times(BAG, 2)) == [[2, 4], [6]]


def test_what_depends_on_the_data_is_resolved_before_and_optimised_after() -> None:
    plan = COMPILER.optimise_and_resolve(Times(Times(BAG, None), 3), "inline")
    assert plan == Times(BAG, 6)
    assert run(Times(Times(BAG, 2), None)) == [[2, 4], [6]]


def test_rules_are_those_of_the_options() -> None:
    assert COMPILER.optimise(Times(Times(BAG, 2), 5)) == Times(BAG, 10)
    with compile_options(rules=()):
        assert COMPILER.optimise(Times(Times(BAG, 2), 5)) == Times(Times(BAG, 2), 5)


def test_a_shared_subtree_is_one_layer_and_a_plain_input_is_none() -> None:
    lowering, stage = COMPILER.lower(Total(BAG), "inline")
    again = lowering.lower(Total(Given(BAG.parts)))
    assert stage is again
    lowering.close_stage(stage)
    assert [layer.name for layer in lowering.layers] == ["given", "input+total"]
    assert [layer.inputs for layer in lowering.layers] == [(), ("all of 1",)]


def test_partitions_are_written_where_they_are_and_each_write_runs() -> None:
    seen: list[tuple[Any, int]] = []

    def note(partition: Any, number: int) -> str:
        seen.append((partition, number))
        return f"part {number}"

    for _ in range(2):
        assert COMPILER.write(Times(BAG, 2), note, "inline") == ["part 0", "part 1"]
    assert sorted(seen) == [([2, 4], 0), ([2, 4], 0), ([6], 1), ([6], 1)]


def test_a_persisted_plan_is_kept_with_its_length() -> None:
    held, n = COMPILER.persist(Times(BAG, 2), "inline")
    assert n == held.n == COMPILER.partitions(BAG) == 2
    assert held.results.values() == [[2, 4], [6]]


def test_the_plan_is_explained_as_written_optimised_and_as_layers() -> None:
    text = explain(COMPILER, Times(Times(BAG, 2), 5), "inline")
    assert "as written:\n  times 5\n    times 2\n      given" in text
    assert "optimised:\n  times 10\n    given" in text
    assert "layers, on this process:\n  1. given: 2 tasks\n  2. input+times 10: 2 tasks  (takes one of 1)" in text


def test_equal_stages_have_equal_keys_and_others_do_not() -> None:
    stage: OpenStage[Bag] = OpenStage(Times(Input(), 2), 2, ((b"k" * 16, OneToOne()),))
    assert stage_key(stage) == stage_key(OpenStage(Times(Input(), 2), 2, ((b"k" * 16, OneToOne()),)))
    others: list[OpenStage[Bag]] = [
        OpenStage(Times(Input(), 3), 2, stage.inputs),
        OpenStage(Times(Input(), 2), 3, stage.inputs),
        OpenStage(Times(Input(), 2), 2, ((b"k" * 16, Broadcast()),)),
        OpenStage(Times(Input(), 2), 2, stage.inputs, numbered=True),
    ]
    assert stage_key(stage) not in {stage_key(other) for other in others}


@pytest.mark.parametrize("scheduler", ["threads", "inline"])
def test_no_client_does_the_work_of_this_process(scheduler: str) -> None:
    assert client_for(scheduler) is None


def test_dependencies_must_be_in_the_graph() -> None:
    lowering = COMPILER.new_lowering(Graph(), single_task=False)
    with pytest.raises(ValueError, match="layer"):
        lowering.add_layer(Layer("lost", list, 1, (Dependency(b"x" * 16, OneToOne()),)), None)
