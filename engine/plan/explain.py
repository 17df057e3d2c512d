"""Plans as text: as written, optimised, and as layers of tasks. Computes nothing. Called by the collections."""

from __future__ import annotations

from typing import Any, TypeVar

from howdah.engine.execution.dispatch import client_for
from howdah.engine.graph.graph import Graph
from howdah.engine.plan.compile import Compiler
from howdah.engine.plan.node import Node

N = TypeVar("N", bound=Node[Any])


def explain(compiler: Compiler[N], written: N, scheduler: Any) -> str:
    """Return the logical, the optimised and the physical plan, and the compiler's remarks."""
    plan = compiler.optimise(written)
    lowering, stage = compiler.lower(plan, scheduler)
    lowering.close_stage(stage)
    where = "the cluster" if client_for(scheduler) is not None else "this process"
    out = ["as written:", written.tree("  "), "", "optimised:", plan.tree("  "), "", f"layers, on {where}:"]
    for i, layer in enumerate(lowering.layers):
        inputs = f"  (takes {', '.join(layer.inputs)})" if layer.inputs else ""
        tasks = f"{layer.n} task{'s' * (layer.n != 1)}"
        out.append(f"  {i + 1}. {layer.name}: {tasks}{_stored(lowering.graph, i)}{inputs}")
        if layer.tree is not None:
            out.append(layer.tree.tree("       "))
    for title, lines in compiler.remarks(plan):
        if lines:
            out += ["", f"{title}:", *(f"  {line}" for line in lines)]
    return "\n".join(out)


def _stored(graph: Any, i: int) -> str:
    """Return the bytes that a layer reads and the hosts that hold them."""
    assert isinstance(graph, Graph)
    layer = list(graph.layers.values())[i]
    if not layer.nbytes:
        return ""
    hosts = {host for item in layer.hosts or () for host in item[:1]}
    return f", {sum(layer.nbytes) / 2**20:,.1f} MiB stored" + (f" on {len(hosts)} hosts" if hosts else "")
