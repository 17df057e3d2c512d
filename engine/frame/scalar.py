"""`Scalar`: the result of a reduction, computed when its value is needed."""

from __future__ import annotations

import math
from typing import Any

from howdah.engine.client.progress_block import shown
from howdah.engine.frame.collection import Collection
from howdah.engine.frame.operators import Operators
from howdah.engine.relational import relations
from howdah.engine.relational.aggregates import Agg
from howdah.engine.relational.columns import OPERATORS, Column
from howdah.engine.relational.compiler.compile import COMPILER
from howdah.engine.relational.convert import to_series
from howdah.engine.relational.dtypes import DType
from howdah.engine.relational.relations import Relation


class Scalar(Operators):
    """The value of a reduction such as `Series.sum()`, of the type that pandas gives.

    `compute()` returns the value. Arithmetic, comparisons, `float()`, `int()` and formatting compute it by themselves,
    once, on the current client or in this process.

    Examples
    --------
    >>> import pandas as pd
    >>> import howdah as hd
    >>> total = hd.from_pandas(pd.DataFrame({"x": [1, 2, 4]})).x.sum()
    >>> int(total), total > 6
    (7, np.True_)
    """

    def __init__(self, base: Relation, name: str, source: Column | None):
        self._agg = Agg(name, source, grouped=False)
        self._plan = relations.Aggregate(base, (), (("value", self._agg),))
        self._known: list[Any] = []

    @property
    def dtype(self) -> str:
        """pandas' name of the dtype."""
        return self._agg.dtype.pandas

    def compute(self, scheduler: Any = None, *, progress: Any = None) -> Any:
        """Compute the value and return it. It is computed once, whatever the scheduler of later calls.

        Parameters
        ----------
        scheduler
            As for `Series.compute`.
        progress
            As for `Series.compute`.

        Returns
        -------
        numpy scalar, str, Timestamp, date or Decimal
            What pandas would return; NaN of no rows.
        """
        if not self._known:
            with shown(progress):
                plan = COMPILER.optimise_and_resolve(self._plan, scheduler)
                self._known.append(_value(COMPILER.table(plan, scheduler)["value"], plan.schema["value"], self._agg))
        return self._known[0]

    def _binary(self, op: str, other: Any, swapped: bool = False) -> Any:
        if isinstance(other, Collection):
            return NotImplemented
        if isinstance(other, Scalar):
            other = other.compute()
        return OPERATORS[op](other, self.compute()) if swapped else OPERATORS[op](self.compute(), other)

    def __repr__(self) -> str:
        return repr(self._known[0]) if self._known else f"<howdah scalar {self._agg}: compute() for its value>"

    def __float__(self) -> float:
        return float(self.compute())

    def __int__(self) -> int:
        return int(self.compute())

    def __bool__(self) -> bool:
        return bool(self.compute())

    def __format__(self, spec: str) -> str:
        return format(self.compute(), spec)

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


def _value(found: Any, dtype: DType, agg: Agg) -> Any:
    if found.null_count() and not dtype.is_float:
        return (
            math.nan if dtype.kind not in ("datetime", "timedelta") else to_series(found, dtype.as_nullable()).iloc[0]
        )
    value = to_series(found, dtype).iloc[0]
    return int(value) if agg.name == "nunique" else value
