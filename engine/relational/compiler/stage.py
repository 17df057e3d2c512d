"""What one task of a plan runs: a stage, as a function of its inputs.

Module-level names, so that they pickle by name. Made by `lowering`; runs on workers and in the client's process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from howdah.engine.relational.compiler.evaluate import StageContext, collect, evaluate
from howdah.engine.relational.relations import Relation

if TYPE_CHECKING:
    from howdah.io.readers.table import Split


@dataclass(frozen=True, slots=True)
class RelationalStage:
    """The work of one task: inputs and arguments in, an Arrow table out.

    Attributes
    ----------
    tree : what to compute.
    scans : whether an argument follows the inputs: the split that the tree's scan reads.
    numbered : whether the last argument is the task's number and the last input the row counts of all partitions.
    """

    tree: Relation
    scans: bool = False
    numbered: bool = False

    def __call__(self, *arguments: Any) -> Any:
        rest = list(arguments)
        offset = 0
        if self.numbered:
            number = rest.pop()
            counts = rest.pop()
            offset = sum(counts[:number])
        split = rest.pop() if self.scans else None
        return self.table(rest, split, offset)

    def table(self, inputs: Sequence[Any], split: Split | None, offset: int) -> Any:
        """Return the stage's rows as an Arrow table."""
        frame = collect(evaluate(self.tree, StageContext(inputs=inputs, split=split, offset=offset)))
        return frame.to_arrow(compat_level=pl.CompatLevel.newest())


def count_rows(table: Any) -> int:
    """Return the number of rows of a partition."""
    return int(table.num_rows)


def return_rows(table: Any) -> Any:
    """Return a partition as it is: rows that the client sends with the layer."""
    return table
