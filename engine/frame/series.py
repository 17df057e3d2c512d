"""Series: one column of a frame, or of values derived from it, as pandas speaks of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from howdah.engine.frame import compute as _compute
from howdah.engine.frame.collection import Collection
from howdah.engine.frame.scalar import Scalar
from howdah.engine.frame.state import DEFAULT, FrameState, Label, internal_name, numbered
from howdah.engine.frame.unsupported import is_pandas, require_default, unsupported
from howdah.engine.relational import casts, relations
from howdah.engine.relational.columns import Column, binary, call, is_unresolved
from howdah.errors import NotSupported, SchemaError

if TYPE_CHECKING:
    from howdah.engine.frame.accessors import DatetimeAccessor, StringAccessor
    from howdah.engine.frame.dataframe import DataFrame
    from howdah.engine.frame.groupby import SeriesGroupBy


class Series(Collection):
    """A column, computed when asked: arithmetic, comparisons and methods build expressions.

    Made by `df["x"]`, `df.x`, `groupby(...).sum()`; answers are pandas' in values, order, labels and dtypes. What fails
    fails on the line that is wrong, where the schema can tell (`SchemaError`, `UnknownColumn`, `NotSupported`).

    Examples
    --------
    >>> import pandas as pd
    >>> import howdah as hd
    >>> x = hd.from_pandas(pd.DataFrame({"x": [3, 1, 2]})).x
    >>> (x * 2 + 1).nlargest(2).compute().tolist()
    [7, 5]
    >>> int(x[x > 1].sum())
    5
    """

    _kind = "Series"

    @property
    def name(self) -> Label:
        return self._state.columns[0][0]

    @property
    def dtype(self) -> Any:
        """pandas' dtype. Where it depends on the data (`explain` says where), the one with room for missing values."""
        import pandas as pd

        return pd.api.types.pandas_dtype(self._expression.dtype.pandas)

    @property
    def shape(self) -> tuple[int]:
        return (len(self),)

    @property
    def _expression(self) -> Column:
        return self._state.columns[0][1]

    def _with(self, expression: Column, name: Any = ...) -> Series:
        rows = self._state
        return Series(FrameState(rows.base, ((self.name if name is ... else name, expression),), rows.index))

    # -- operators

    def _other(self, other: Any, what: str) -> Any:
        """The other operand: an expression over this base, or a scalar."""
        if isinstance(other, Series):
            return self._state.resolve(other._state.base, other._expression, what)
        if isinstance(other, Scalar):
            return other.compute()
        if isinstance(other, Collection) or (hasattr(other, "__len__") and not isinstance(other, (str, bytes))):
            raise NotSupported(f"{what} with a {type(other).__name__}: use a Series of the same frame, or a scalar")
        return other

    def _binary(self, op: str, other: Any, swapped: bool = False) -> Series:
        what = f"{self.name} {op} {getattr(other, 'name', other)!s:.40}"
        value = self._other(other, what)
        mine, rows = self._expression, self._state
        if isinstance(other, Series) and other._state.base.key != rows.base.key:
            raise SchemaError(f"{what}: one side has fewer rows: filter the frame, then take both columns from it")
        node = binary(op, value, mine) if swapped else binary(op, mine, value)
        same = not isinstance(other, Series) or other.name == self.name
        return Series(FrameState(rows.base, ((self.name if same else None, node),), rows.index))

    def __neg__(self) -> Series:
        return self._with(call("neg", self._expression))

    def __pos__(self) -> Series:
        return self

    def __invert__(self) -> Series:
        return self._with(call("invert", self._expression))

    def __abs__(self) -> Series:
        return self.abs()

    def __bool__(self) -> bool:
        raise SchemaError("a Series has no truth value: use & and | between masks, and .any() of a computed Series")

    __hash__ = None  # type: ignore[assignment]  # == builds an expression

    # -- row by row

    def abs(self) -> Series:
        return self._with(call("abs", self._expression))

    def round(self, decimals: int = 0) -> Series:
        return self._with(call("round", self._expression, decimals=int(decimals)))

    def astype(self, dtype: Any) -> Series:
        """Another dtype, with pandas' conversions; values that cannot be converted fail when computed, as in pandas."""
        return self._with(casts.astype(self._expression, dtype))

    def isna(self) -> Series:
        return self._with(call("isna", self._expression))

    def notna(self) -> Series:
        return self._with(call("notna", self._expression))

    isnull, notnull = isna, notna

    def fillna(self, value: Any) -> Series:
        return self._with(call("fillna", self._expression, self._other(value, "fillna")))

    def dropna(self) -> Series:
        return self._keep(self.notna())

    def isin(self, values: Iterable[Any]) -> Series:
        """Whether each value is one of `values` (a list, set, tuple, array or pandas Series; not a howdah one)."""
        if isinstance(values, Collection):
            raise NotSupported("isin(a howdah Series): use merge on the column, or isin(series.compute())")
        if isinstance(values, str):
            raise SchemaError(f"isin({values!r}): give a list of values, as in isin([{values!r}])")
        import pandas as pd

        plain = tuple(pd.Series(list(values), dtype=object).tolist())
        return self._with(call("isin", self._expression, values=plain))

    def between(self, left: Any, right: Any, inclusive: str = "both") -> Series:
        ends = {"both": (">=", "<="), "left": (">=", "<"), "right": (">", "<="), "neither": (">", "<")}
        if inclusive not in ends:
            raise SchemaError(f"between(inclusive={inclusive!r}): use one of {', '.join(map(repr, ends))}")
        low, high = ends[inclusive]
        return self._binary(low, left)._binary("&", self._binary(high, right))

    def clip(self, lower: Any = None, upper: Any = None) -> Series:
        if not self._expression.dtype.is_number:
            raise NotSupported(f"clip of {self._expression.dtype}: only of numbers")
        return self._with(call("clip", self._expression, lower=lower, upper=upper))

    @property
    def str(self) -> StringAccessor:
        from howdah.engine.frame.accessors import StringAccessor

        return StringAccessor(self)

    @property
    def dt(self) -> DatetimeAccessor:
        from howdah.engine.frame.accessors import DatetimeAccessor

        return DatetimeAccessor(self)

    # -- rows

    def __getitem__(self, key: Any) -> Series:
        if isinstance(key, Series):
            return self._keep(key)
        raise NotSupported(f"series[{key!r}]: only boolean masks: use head(n), or compute() and then pandas")

    def nlargest(self, n: int = 5, keep: Any = "first") -> Series:
        """The n largest values, largest first; ties in the order of the rows."""
        return self._top(n, keep, True)

    def nsmallest(self, n: int = 5, keep: Any = "first") -> Series:
        """The n smallest values, smallest first; ties in the order of the rows."""
        return self._top(n, keep, False)

    def _top(self, n: int, keep: Any, largest: bool) -> Series:
        what = "nlargest" if largest else "nsmallest"
        require_default(what, keep=(keep, "first"))
        check_rankable(what, self.name, self._expression)
        projected = self._state.projected()
        return Series(
            projected.map_base(lambda base: relations.Top(base, int(n), (internal_name(self.name),), largest))
        )

    def sort_values(self, *, ascending: bool = True, kind: Any = "quicksort", na_position: Any = "last") -> Series:
        """All rows in order. They are gathered into one partition: for results, not for large tables."""
        projected = self._state.projected()
        by, last = (internal_name(self.name),), _na_last(na_position)
        return Series(projected.map_base(lambda base: relations.Sort(base, by, (bool(ascending),), last, kind)))

    def rename(self, name: Any = None) -> Series:
        if isinstance(name, dict) or callable(name):
            raise NotSupported("Series.rename of labels: only rename(name): use reset_index, then assign")
        return self._with(self._expression, name)

    def to_frame(self, name: Any = ...) -> DataFrame:
        from howdah.engine.frame.dataframe import DataFrame

        label = self.name if name is ... else name
        label = 0 if label is None else label
        return DataFrame(FrameState(self._state.base, ((label, self._expression),), self._state.index))

    def reset_index(self, *, drop: bool = False, name: Any = ...) -> Any:
        """The index as columns, and a fresh one; `drop=True` gives a Series without the old one."""
        if drop:
            alone = relations.Project(self._state.base, ((internal_name(self.name), self._expression),))
            return Series(FrameState(numbered(alone), self._state.columns, DEFAULT).by_label())
        return self.to_frame(name).reset_index()

    def value_counts(self, *, normalize: bool = False, sort: bool = True, ascending: bool = False,
                     dropna: bool = True) -> Series:  # fmt: skip
        """How often each value occurs, most frequent first; ties in the order in which they were first seen."""
        from howdah.engine.frame.groupby import SeriesGroupBy

        require_default("value_counts", normalize=(normalize, False))
        groups = SeriesGroupBy(self._state, [(self.name, self._expression)], self.name, sort=False, dropna=dropna)
        counts: Series = groups.size().rename("count")
        return counts.sort_values(ascending=ascending, kind="stable") if sort else counts

    def groupby(self, by: Any, *, sort: bool = True, dropna: bool = True, level: Any = None) -> SeriesGroupBy:
        from howdah.engine.frame.groupby import SeriesGroupBy

        require_default("Series.groupby", level=(level, None))
        keys = []
        for key in by if isinstance(by, (list, tuple)) else [by]:
            if not isinstance(key, Series):
                raise NotSupported(f"Series.groupby({key!r}): use a Series of the same frame, or DataFrame.groupby")
            keys.append((key.name, self._state.resolve(key._state.base, key._expression, "groupby")))
        return SeriesGroupBy(self._state, keys, self.name, sort=sort, dropna=dropna)

    # -- reductions

    def _reduce(self, name: Any, **extra: Any) -> Scalar:
        require_default(f"Series.{name}", **extra)
        rows = self._state.projected() if is_unresolved(self._expression) else self._state
        return Scalar(rows.base, name, rows.columns[0][1])

    def sum(self, *, skipna: bool = True, min_count: int = 0) -> Scalar:
        return self._reduce("sum", skipna=(skipna, True), min_count=(min_count, 0))

    def mean(self, *, skipna: bool = True) -> Scalar:
        return self._reduce("mean", skipna=(skipna, True))

    def min(self, *, skipna: bool = True) -> Scalar:
        return self._reduce("min", skipna=(skipna, True))

    def max(self, *, skipna: bool = True) -> Scalar:
        return self._reduce("max", skipna=(skipna, True))

    def std(self, *, ddof: int = 1) -> Scalar:
        return self._reduce("std", ddof=(ddof, 1))

    def var(self, *, ddof: int = 1) -> Scalar:
        return self._reduce("var", ddof=(ddof, 1))

    def count(self) -> Scalar:
        return self._reduce("count")

    def nunique(self, dropna: bool = True) -> Scalar:
        return self._reduce("nunique", dropna=(dropna, True))

    @property
    def size(self) -> int:
        return len(self)

    def agg(self, func: Any) -> Scalar:
        if not isinstance(func, str_):
            raise NotSupported(f"Series.agg({func!r}): use the name of one aggregate, as in agg('sum')")
        return self._reduce(func)

    aggregate = agg

    # -- the rest of pandas

    def __getattr__(self, name: Any) -> Any:
        if is_pandas("Series", name):
            raise unsupported("Series", name)
        raise AttributeError(f"Series has no attribute {name!r}")

    def _frame(self, found: _compute.ComputedRows) -> Any:
        frame = _compute.to_pandas(self._state, found)
        series = frame.iloc[:, 0]
        series.name = self.name
        return series

    def __repr__(self) -> Any:
        return f"<howdah Series {self.name!r}: {self._expression.dtype}, not computed: compute() for the values>"


str_ = str


def check_rankable(what: Any, label: Any, e: Column) -> None:
    """pandas ranks numbers, bools and times. Decimals are ranked here too; to pandas they are objects, and refused."""
    if not (e.dtype.is_number or e.dtype.kind in ("bool", "datetime", "timedelta", "decimal")):
        raise SchemaError(f"{what}: column {label!r} is {e.dtype}, and only numbers and times can be ranked: "
                          "use sort_values(...).head(n)")  # fmt: skip


def _na_last(position: Any) -> bool:
    if position not in ("first", "last"):
        raise SchemaError(f"na_position={position!r}: use 'first' or 'last'")
    return bool(position == "last")


def _operator(op: str_, swapped: bool) -> Callable[[Series, Any], Series]:
    def run(self: Series, other: Any) -> Series:
        return self._binary(op, other, swapped)

    return run


_SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
            "and": "&", "or": "|", "xor": "^"}  # fmt: skip
for _word, _op in _SYMBOLS.items():
    setattr(Series, f"__{_word}__", _operator(_op, False))
    setattr(Series, f"__r{_word}__", _operator(_op, True))
    if _word not in ("and", "or", "xor"):
        setattr(Series, _word, _operator(_op, False))
        setattr(Series, f"r{_word}", _operator(_op, True))
for _word, _op in {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items():
    setattr(Series, f"__{_word}__", _operator(_op, False))
    setattr(Series, _word, _operator(_op, False))
setattr(Series, "div", _operator("/", False))  # noqa: B010
setattr(Series, "rdiv", _operator("/", True))  # noqa: B010
