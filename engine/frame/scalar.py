"""The result of a reduction: a scalar that is computed when its value is needed."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from howdah.engine.frame import compute as _compute
from howdah.engine.relational import relations
from howdah.engine.relational.aggregates import Agg
from howdah.engine.relational.columns import Column
from howdah.engine.relational.convert import to_series
from howdah.engine.relational.dtypes import DType
from howdah.engine.relational.relations import Relation


class Scalar:
    """What `Series.sum()` and its like give. `compute()` gives the value, of the type that pandas gives.

    Arithmetic, comparisons, `float()` and `print` compute it (once) by themselves, on the current client or here.
    """

    def __init__(self, base: Relation, name: str, source: Column | None):
        self._agg = Agg(name, source, grouped=False)
        self._plan = relations.Aggregate(base, (), (("value", self._agg),))
        self._known: list[Any] = []

    @property
    def dtype(self) -> str:
        return self._agg.dtype.pandas

    def compute(self, scheduler: Any = None) -> Any:
        """The value: a numpy scalar, str, Timestamp, date or Decimal, as pandas would give it; NaN of nothing."""
        if not self._known:
            plan = _compute.optimise_and_resolve(self._plan, scheduler)
            self._known.append(_value(_compute.run(plan, scheduler)["value"], plan.schema["value"], self._agg))
        return self._known[0]

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

    def __hash__(self) -> int:
        return id(self)


def _value(found: Any, dtype: DType, agg: Agg) -> Any:
    if found.null_count() and not dtype.is_float:
        return (
            math.nan if dtype.kind not in ("datetime", "timedelta") else to_series(found, dtype.as_nullable()).iloc[0]
        )
    value = to_series(found, dtype).iloc[0]
    return int(value) if agg.name == "nunique" else value


def _dyadic(op: Callable[[Any, Any], Any], swapped: bool) -> Callable[[Scalar, Any], Any]:
    def run(self: Scalar, other: Any) -> Any:
        if isinstance(other, Scalar):
            other = other.compute()
        elif hasattr(other, "_state"):
            return NotImplemented
        return op(other, self.compute()) if swapped else op(self.compute(), other)

    return run


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    setattr(Scalar, f"__{_name}__", _dyadic(getattr(operator, _name), False))
    setattr(Scalar, f"__r{_name}__", _dyadic(getattr(operator, _name), True))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Scalar, f"__{_name}__", _dyadic(getattr(operator, _name), False))
