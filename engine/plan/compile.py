"""The compiler: from a plan to layers of tasks, and to their results.

optimise -> resolve (what depends on the data) -> optimise -> lower -> run. `Compiler` drives the steps; a kind of plan
supplies its rules, its resolution and its lowering (`engine.relational.compiler.compile`). Called by the collections.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Generic, TypeVar

import psutil

from howdah.engine.execution import dispatch
from howdah.engine.graph.graph import Graph, PersistedLayer
from howdah.engine.plan.lowering import Lowering, OpenStage
from howdah.engine.plan.node import Node
from howdah.engine.plan.options import current_options
from howdah.engine.plan.rules import Rule, apply_rules
from howdah.engine.protocol.layers import Dependency, Key, Layer, OneToOne

N = TypeVar("N", bound=Node[Any])


class Compiler(ABC, Generic[N]):
    """Compiles plans of one family. Has no state: one object serves all threads.

    `scheduler` is as in `Collection.compute`: a client, "threads", "inline", or None for the current client.
    """

    rules: ClassVar[tuple[Rule[Any], ...]]
    """The usual rules of the family, in order."""

    # -- what a kind of plan supplies

    @abstractmethod
    def resolve(self, plan: N, scheduler: Any) -> N:
        """Return the plan without anything that depends on the data. May run small plans to find out."""

    @abstractmethod
    def new_lowering(self, graph: Graph, *, single_task: bool) -> Lowering[N]:
        """Return a lowering into `graph`."""

    @abstractmethod
    def local_bytes(self, plan: N) -> int | None:
        """Return stored bytes that the plan reads; None when some of them are not in local files."""

    def remarks(self, plan: N) -> Iterable[tuple[str, list[str]]]:
        """Sections (title, lines) that `explain` adds to an optimised plan."""
        return ()

    # -- the steps

    def optimise(self, plan: N) -> N:
        """Return the plan after the rules of the current options, or the usual ones."""
        chosen = current_options().rules
        return apply_rules(plan, self.rules if chosen is None else chosen)

    def optimise_and_resolve(self, plan: N, scheduler: Any) -> N:
        """Return the plan as it is lowered: optimised, with nothing that depends on the data."""
        return self.optimise(self.resolve(self.optimise(plan), scheduler))

    def lower(self, plan: N, scheduler: Any) -> tuple[Lowering[N], OpenStage[N]]:
        """Return the plan as layers of a new graph and a last stage that is still open.

        The plan is one stage when it runs in this process and fits its memory.
        """
        single_task = dispatch.client_for(scheduler) is None and self._fits(plan)
        lowering = self.new_lowering(Graph(), single_task=single_task)
        return lowering, lowering.lower(plan)

    def run(self, plan: N, scheduler: Any) -> list[Any]:
        """Return the partitions of an optimised and resolved plan, in order."""
        graph, key, _ = self._closed(plan, scheduler)
        (partitions,) = dispatch.compute_graph(graph, [graph.full_range(key)], scheduler=scheduler)
        return partitions

    def persist(self, plan: N, scheduler: Any) -> tuple[PersistedLayer, int]:
        """Start to compute an optimised and resolved plan and keep its partitions; these and their number."""
        graph, key, n = self._closed(plan, scheduler)
        (persisted,) = dispatch.persist_graph(graph, [graph.full_range(key)], scheduler=scheduler)
        return persisted, n

    def write(self, plan: N, write_partition: Callable[[Any, int], Any], scheduler: Any) -> list[Any]:
        """Call `write_partition(partition, number)` where each partition was computed; what the calls return, in order.

        The calls are never taken for equal to those of another write: each runs, perhaps more than once.
        """
        graph, key, n = self._closed(plan, scheduler)
        args = [(i,) for i in range(n)]
        deps = (Dependency(key, OneToOne()),)
        last = graph.add(Layer("write", write_partition, n, deps, args=args, pure=False, key=os.urandom(16)))
        (written,) = dispatch.compute_graph(graph, [graph.full_range(last)], scheduler=scheduler)
        return written

    def partitions(self, plan: N) -> int:
        """How many partitions the plan's rows would have on a cluster."""
        return self.new_lowering(Graph(), single_task=False).lower(self.optimise(plan)).n

    def _closed(self, plan: N, scheduler: Any) -> tuple[Graph, Key, int]:
        lowering, stage = self.lower(plan, scheduler)
        key, n = lowering.close_stage(stage)
        graph = lowering.graph
        assert isinstance(graph, Graph)
        return graph, key, n

    def _fits(self, plan: N) -> bool:
        """Whether the files that the plan reads are local and fit the free memory."""
        nbytes = self.local_bytes(plan)
        available = int(psutil.virtual_memory().available)
        return nbytes is not None and nbytes <= current_options().local_memory_share * available
