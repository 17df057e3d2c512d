"""Column expressions: immutable nodes, typed when they are built, with a key of their content. They compute nothing.

The kinds are `Col`, `Lit`, `Constant`, `Binary`, `FunctionCall`, `Cast` and `DataDependent`. A node derives its dtype
at construction by applying pandas to one-row samples (`dtypes`), so an operation that pandas refuses raises on the line
that writes it. `compiler.polars_expr` turns expressions into Polars'. Built by `frame` and by the rules.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from howdah.engine.plan.node import Node
from howdah.engine.relational.dtypes import BOOL, DType, is_na, of_pandas
from howdah.engine.relational.functions import FUNCTIONS
from howdah.errors import NotSupported, SchemaError

ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "//": operator.floordiv, "%": operator.mod, "**": operator.pow,
}  # fmt: skip
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
LOGIC: dict[str, Callable[[Any, Any], Any]] = {"&": operator.and_, "|": operator.or_, "^": operator.xor}
OPERATORS = ARITHMETIC | COMPARISONS | LOGIC


class Column(Node["Column"], family=True):
    """Base of all column expressions. `dtype` is derived when the expression is built."""

    dtype: DType

    def names(self) -> frozenset[str]:
        """Return the columns that the expression reads."""
        return self._names

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(name for child in self.children() for name in child.names())

    @cached_property
    def unresolved(self) -> bool:
        """Whether the expression has a `DataDependent` without an answer."""
        return any(child.unresolved for child in self.children())

    def describe(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Col(Column):
    """A column of the relation that the expression is evaluated on."""

    name: str
    dtype: DType

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset((self.name,))

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, repr=False)
class Lit(Column):
    """A scalar. As an operand it follows pandas' rules for scalars: the other operand decides the dtype."""

    value: Any
    dtype: DType = field(init=False)

    def __post_init__(self) -> None:
        value = self.value.item() if isinstance(self.value, np.ndarray) and self.value.ndim == 0 else self.value
        object.__setattr__(self, "value", value)
        found = of_pandas(pd.Series([value], dtype=object if isinstance(value, bytes) else None))
        object.__setattr__(self, "dtype", _scalar(found, value))

    def __repr__(self) -> str:
        return f"Lit({type(self.value).__name__}:{self.value!r})"

    def __str__(self) -> str:
        return repr(self.value.item() if isinstance(self.value, np.generic) else self.value)


@dataclass(frozen=True, repr=False)
class Constant(Column):
    """A column with the same value in every row: an assigned scalar.

    >>> narrow = Col("a", DType("int8"))
    >>> Binary("+", narrow, Constant(1)).dtype.pandas, Binary("+", narrow, Lit(1)).dtype.pandas
    ('int64', 'int8')
    """

    value: Any
    dtype: DType = field(init=False)

    def __post_init__(self) -> None:
        found = of_pandas(pd.DataFrame(index=[0]).assign(x=self.value)["x"])
        object.__setattr__(self, "dtype", _scalar(found, self.value))

    def __repr__(self) -> str:
        return f"Constant({type(self.value).__name__}:{self.value!r})"

    def __str__(self) -> str:
        return repr(self.value.item() if isinstance(self.value, np.generic) else self.value)


def _scalar(found: DType, value: Any) -> DType:
    if found.kind == "unsupported":
        raise NotSupported(
            f"a scalar of type {type(value).__name__} cannot be used in a column yet: use a number, str, bool, "
            "date, datetime or Decimal"
        )
    return found


@dataclass(frozen=True)
class Binary(Column):
    """An arithmetic, comparison or logical operation of two columns, or of a column and a scalar.

    >>> Binary("*", Col("price", DType("float64")), Lit(2)).dtype.pandas
    'float64'
    >>> Binary("+", Col("a", DType("int8")), Col("b", DType("int16"))).dtype.pandas
    'int16'
    >>> Binary("<", Col("name", DType("str")), Lit(1))
    Traceback (most recent call last):
    ...
    howdah.errors.SchemaError: name < 1: pandas refuses: Invalid comparison between dtype=str and int
    """

    op: str
    left: Column
    right: Column
    dtype: DType = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", self._derive())

    def _derive(self) -> DType:
        left, right = self.left.dtype, self.right.dtype
        kinds = {left.kind, right.kind}
        if "decimal" in kinds and self.op in ("/", "//", "%", "**"):
            raise NotSupported(f'{self}: Decimals cannot be divided yet: use .astype("float64") first')
        if self.op in LOGIC and not (kinds == {"bool"} or (left.is_integer and right.is_integer)):
            raise NotSupported(f"{self}: only bools with bools, or integers with integers: compare or .astype first")
        if self.op in ("//", "%", "**") and "bool" in kinds:
            raise NotSupported(f'{self}: use .astype("int64") on the bools first')
        series = not (isinstance(self.left, Lit) or isinstance(self.right, Lit))
        if series and self.op in COMPARISONS and ("decimal" in kinds and (left.is_float or right.is_float)):
            raise NotSupported(
                f'{self}: a Decimal column beside a float column: use .astype("float64") on the Decimals'
            )
        if series and self.op not in ("==", "!=") and self.op in COMPARISONS and kinds == {"date", "datetime"}:
            raise NotSupported(f'{self}: dates beside times: use .astype("datetime64[us]") on the dates')
        if self.op == "//" and kinds == {"timedelta"}:
            raise NotSupported(f"{self}: the dtype would depend on missing values: use / and then .round()")
        if "anybool" in kinds and self.op not in COMPARISONS:
            raise NotSupported(f"{self}: bools with missing values: use .fillna(False).astype(bool) first")
        a, b = (n.value if isinstance(n, Lit) else n.dtype.sample() for n in (self.left, self.right))
        found = derive_dtype(str(self), _key("binary", self.op, a, b), lambda: OPERATORS[self.op](a, b))
        if self.op in ("//", "%") and found.kind == "float32":
            raise NotSupported(
                f'{self}: the dtype would depend on whether a divisor is zero: use .astype("float64") first'
            )
        if self.op in COMPARISONS or found.kind == "bool":
            return BOOL
        na_value = {"decimal": "nan", "date": "NaT"}.get(found.kind, "None")
        return (
            found.as_nullable(na_value)
            if found.is_float or left.is_nullable or right.is_nullable
            else found.as_non_null()
        )

    def __str__(self) -> str:
        return f"{_inner(self.left)} {self.op} {_inner(self.right)}"


@dataclass(frozen=True)
class FunctionCall(Column):
    """A row-wise function by name (`functions.FUNCTIONS`) of one or two columns, with literal parameters."""

    function: str
    source: Column
    other: Column | None = None
    params: tuple[tuple[str, Any], ...] = ()
    dtype: DType = field(init=False)

    def __post_init__(self) -> None:
        function = FUNCTIONS[self.function]
        have = self.source.dtype
        sample = have.sample_with_na() if self.function == "fillna" and have.is_nullable else have.sample()
        if self.source.dtype.kind == "str" and str(dict(self.params).get("dtype")).startswith("datetime64"):
            sample = pd.Series(["2020-01-01"], dtype="str")  # the sample of text is no date
        other = self.other.value if isinstance(self.other, Lit) else self.other.dtype.sample() if self.other else None
        key = _key(self.function, repr(self.params), sample, other)
        found = derive_dtype(str(self), key, lambda: function.pandas_form(sample, other, **dict(self.params)))
        nullable = self.source.dtype.is_nullable or bool(self.other and self.other.dtype.is_nullable)
        if self.function == "fillna":
            nullable = bool(self.other and self.other.dtype.is_nullable)
        na_value = "NaT" if self.function == "dt.date" else have.na_value
        keeps = found.is_float or (nullable and found.kind != "bool")
        object.__setattr__(self, "dtype", found.as_nullable(na_value) if keeps else found.as_non_null())

    def __str__(self) -> str:
        others = [str(self.other)] if self.other else []
        inside = ", ".join(others + [f"{k}={v!r}" for k, v in self.params if v is not None])
        return f"{_inner(self.source)}.{self.function}({inside})"


@dataclass(frozen=True)
class Cast(Column):
    """The same values with another dtype, where the casts of Polars and numpy agree (`casts.astype` decides)."""

    source: Column
    dtype: DType

    def __str__(self) -> str:
        return f"{_inner(self.source)}.astype({self.dtype.pandas!r})"


@dataclass(frozen=True)
class DataDependent(Column):
    """One of two expressions, chosen by the data: `if_true` when `condition` is true for any row of the relation.

    Some dtypes of pandas depend on values: an integer column becomes float64 when a left join leaves missing values in
    it. While `answer` is None the dtype is that of `if_true`; `dtype_resolution.resolve` sets `answer` before anything
    is computed.
    """

    condition: Column
    if_true: Column
    if_false: Column
    answer: bool | None = None

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return self.if_false.dtype if self.answer is False else self.if_true.dtype

    @cached_property
    def unresolved(self) -> bool:
        return self.answer is None or any(child.unresolved for child in self.children())

    def chosen(self) -> Column:
        """Return the branch that the answer, or its absence, selects."""
        return self.if_false if self.answer is False else self.if_true

    def __str__(self) -> str:
        return (
            str(self.chosen())
            if self.answer is not None
            else f"({self.if_true} if any {self.condition} else {self.if_false})"
        )


# -- dtypes by pandas --------------------------------------------------------------------------------------------------

_derived: dict[Any, DType] = {}
MAX_DERIVED = 4096
"""Operations whose dtype is remembered; the oldest is forgotten first."""


def derive_dtype(what: str, key: Any, how: Callable[[], Any]) -> DType:
    """Return the type of the Series that `how` returns.

    `key` identifies the operation, to remember its dtype; None is not remembered. An error of pandas becomes a
    SchemaError that names `what`.
    """
    if key is not None and (known := _derived.get(key)) is not None:
        return known
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = of_pandas(how())
        except (TypeError, ValueError, OverflowError, NotImplementedError, AttributeError, ArithmeticError) as error:
            raise SchemaError(f"{what}: pandas refuses: {error}{_remedy(str(error))}") from None
    if found.kind == "unsupported":
        raise NotSupported(f"{what}: gives {found.unit}, which howdah cannot carry yet: use map_partitions")
    if key is not None:
        if len(_derived) >= MAX_DERIVED:
            _derived.pop(next(iter(_derived)), None)
        _derived[key] = found
    return found


def _remedy(message: str) -> str:
    if "decimal.Decimal" in message:
        return ': use .astype("float64") on the Decimals, or Decimal scalars'
    if "datetime.date" in message or "and date" in message:
        return ': compare dates with datetime.date, or use .astype("datetime64[us]") and compare with pandas.Timestamp'
    return ""


def _key(*parts: Any) -> Any:
    """Return a dictionary key for an operation on samples; None when a part cannot be hashed."""
    out: list[Any] = []
    for part in parts:
        if isinstance(part, pd.Series):
            value = part.iloc[0] if part.dtype == object else None
            out.append((str(part.dtype), type(value), repr(value)))
        else:
            out.append((type(part), repr(part)))
    return tuple(out)


# -- building -------------------------------------------------------------------------------------------------------


def as_column(value: Any) -> Column:
    """`value` as an expression: itself, or a scalar."""
    return value if isinstance(value, Column) else Lit(value)


def binary(op: str, left: Any, right: Any) -> Column:
    """Return an operation with pandas' result; a `DataDependent` where the dtype depends on the values."""
    left, right = _parsed(op, as_column(left), as_column(right)), _parsed(op, as_column(right), as_column(left))
    node = Binary(op, left, right)
    whole = left.dtype.is_integer and right.dtype.is_integer
    if op not in ("//", "%") or not whole or (isinstance(right, Lit) and right.value):
        return node
    floats = Binary(op, _as_float(left), _as_float(right))
    if not isinstance(right, Lit):
        return DataDependent(Binary("==", right, Lit(0)), floats, node)
    # pandas' x % 0 is float64 always, its x // 0 only where there is a row.
    return floats if op == "%" else DataDependent(FunctionCall("notna", left), floats, left)


def _as_float(node: Column) -> Column:
    return Lit(float(node.value)) if isinstance(node, Lit) else Cast(node, DType("float64", nullable=True))


def _parsed(op: str, node: Column, beside: Column) -> Column:
    """Text that is compared with a datetime, as the time that it spells, as in pandas."""
    if isinstance(node, Lit) and isinstance(node.value, str) and beside.dtype.kind == "datetime" and op in COMPARISONS:
        try:
            return Lit(pd.Timestamp(node.value, tz=beside.dtype.tz or None))
        except ValueError as error:
            raise SchemaError(f"{beside} {op} {node.value!r}: not a date or time: {error}") from None
    return node


def call(function: str, source: Column, other: Any = None, **params: Any) -> Column:
    """Return a row-wise function; a `DataDependent` where pandas' dtype depends on missing values."""
    known = FUNCTIONS[function]
    extra = None if other is None else as_column(other)
    if function == "fillna" and not source.dtype.is_nullable:
        return source
    node = FunctionCall(function, source, extra, tuple(sorted(params.items())))
    if source.dtype.is_nullable and not source.dtype.is_float and (node.dtype.is_number or node.dtype.kind == "bool"):
        pair = source.dtype.sample_with_na()
        beside = extra.value if isinstance(extra, Lit) else None
        found = derive_dtype(str(node), None, lambda: known.pandas_form(pair, beside, **params))
        if found.kind != node.dtype.kind:
            return DataDependent(isna(source), Cast(node, found.as_nullable("nan")), node)
    return node


def isna(source: Column) -> Column:
    """Whether a value is missing."""
    return FunctionCall("isna", source)


def substitute(node: Column, by: dict[str, Column]) -> Column:
    """Return the expression with column references replaced, types derived anew."""
    return node.transform(lambda n: by.get(n.name, n) if isinstance(n, Col) else n)


def is_unresolved(node: Column) -> bool:
    """Whether the expression has an `DataDependent` without an answer."""
    return node.unresolved


def _inner(node: Column) -> str:
    return f"({node})" if isinstance(node, Binary) else str(node)


def is_na_literal(node: Column) -> bool:
    """Whether it is a scalar None, NaN or NaT."""
    return isinstance(node, Lit) and is_na(node.value)
