"""`Series`: one column of a frame, or of values derived from it, in pandas' language."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from howdah.engine.frame import display
from howdah.engine.frame.accessors import DatetimeAccessor, StringAccessor
from howdah.engine.frame.collection import Collection, frame_from, state_of
from howdah.engine.frame.groupby import SeriesGroupBy
from howdah.engine.frame.operators import Operators
from howdah.engine.frame.scalar import Scalar
from howdah.engine.frame.state import DEFAULT, FrameState, Label, internal_name, numbered
from howdah.engine.frame.unsupported import is_pandas, require_default, unsupported
from howdah.engine.relational import casts, relations
from howdah.engine.relational.columns import Column, binary, call, is_unresolved
from howdah.engine.relational.compiler.compile import ComputedTable
from howdah.errors import NotSupported, SchemaError

if TYPE_CHECKING:
    from howdah.engine.frame.dataframe import DataFrame


class Series(Operators, Collection):
    """A column, computed on request: arithmetic, comparisons and methods build expressions.

    Made by `df["x"]`, `df.x`, `groupby(...).x.sum()`. Answers are pandas' in values, order, labels and dtypes. What the
    schema shows to be wrong fails on the line that writes it (`SchemaError`, `UnknownColumn`, `NotSupported`).

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
        """The label of the column."""
        return self._state.columns[0][0]

    @property
    def dtype(self) -> Any:
        """pandas' dtype. Where it depends on the data (see `explain`), the one with room for missing values."""
        import pandas as pd

        return pd.api.types.pandas_dtype(self._state.expression.dtype.pandas)

    @property
    def shape(self) -> tuple[int]:
        """The number of rows, in a tuple."""
        return (len(self),)

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(self)

    def _with(self, expression: Column, name: Any = ...) -> Series:
        state = self._state
        return Series(FrameState(state.base, ((self.name if name is ... else name, expression),), state.index))

    def _call(self, function: str_, other: Any = None, **params: Any) -> Series:
        return self._with(call(function, self._state.expression, other, **params))

    # -- operators

    def _operand(self, other: Any, what: str_) -> Any:
        """Return the other operand: an expression over this base, or a scalar."""
        if isinstance(other, Series):
            theirs = state_of(other)
            return self._state.resolve(theirs.base, theirs.expression, what)
        if isinstance(other, Scalar):
            return other.compute()
        if isinstance(other, Collection) or (hasattr(other, "__len__") and not isinstance(other, (str, bytes))):
            raise NotSupported(f"{what} with a {type(other).__name__}: use a Series of the same frame, or a scalar")
        return other

    def _binary(self, op: str_, other: Any, swapped: bool = False) -> Series:
        what = f"{self.name} {op} {getattr(other, 'name', other)!s:.40}"
        value = self._operand(other, what)
        mine, state = self._state.expression, self._state
        if isinstance(other, Series) and state_of(other).base.key != state.base.key:
            raise SchemaError(f"{what}: one side has fewer rows: filter the frame, then take both columns from it")
        node = binary(op, value, mine) if swapped else binary(op, mine, value)
        same = not isinstance(other, Series) or other.name == self.name
        return Series(FrameState(state.base, ((self.name if same else None, node),), state.index))

    def __and__(self, other: Any) -> Series:
        return self._binary("&", other)

    def __rand__(self, other: Any) -> Series:
        return self._binary("&", other, swapped=True)

    def __or__(self, other: Any) -> Series:
        return self._binary("|", other)

    def __ror__(self, other: Any) -> Series:
        return self._binary("|", other, swapped=True)

    def __xor__(self, other: Any) -> Series:
        return self._binary("^", other)

    def __rxor__(self, other: Any) -> Series:
        return self._binary("^", other, swapped=True)

    def __neg__(self) -> Series:
        return self._call("neg")

    def __pos__(self) -> Series:
        return self

    def __invert__(self) -> Series:
        return self._call("invert")

    def __abs__(self) -> Series:
        return self.abs()

    def __bool__(self) -> bool:
        raise SchemaError("a Series has no truth value: use & and | between masks, and .any() of a computed Series")

    def add(self, other: Any) -> Series:
        """Return ``self + other``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series
        """
        return self._binary("+", other)

    def radd(self, other: Any) -> Series:
        """Return ``other + self``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series
        """
        return self._binary("+", other, swapped=True)

    def sub(self, other: Any) -> Series:
        """Return ``self - other``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series
        """
        return self._binary("-", other)

    def rsub(self, other: Any) -> Series:
        """Return ``other - self``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series
        """
        return self._binary("-", other, swapped=True)

    def mul(self, other: Any) -> Series:
        """Return ``self * other``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series
        """
        return self._binary("*", other)

    def rmul(self, other: Any) -> Series:
        """Return ``other * self``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series
        """
        return self._binary("*", other, swapped=True)

    def truediv(self, other: Any) -> Series:
        """Return ``self / other``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series
        """
        return self._binary("/", other)

    def rtruediv(self, other: Any) -> Series:
        """Return ``other / self``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series
        """
        return self._binary("/", other, swapped=True)

    def div(self, other: Any) -> Series:
        """Return ``self / other``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series
        """
        return self._binary("/", other)

    def rdiv(self, other: Any) -> Series:
        """Return ``other / self``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series
        """
        return self._binary("/", other, swapped=True)

    def floordiv(self, other: Any) -> Series:
        """Return ``self // other``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series
        """
        return self._binary("//", other)

    def rfloordiv(self, other: Any) -> Series:
        """Return ``other // self``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series
        """
        return self._binary("//", other, swapped=True)

    def mod(self, other: Any) -> Series:
        """Return ``self % other``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series
        """
        return self._binary("%", other)

    def rmod(self, other: Any) -> Series:
        """Return ``other % self``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series
        """
        return self._binary("%", other, swapped=True)

    def pow(self, other: Any) -> Series:
        """Return ``self ** other``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series
        """
        return self._binary("**", other)

    def rpow(self, other: Any) -> Series:
        """Return ``other ** self``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series
        """
        return self._binary("**", other, swapped=True)

    def eq(self, other: Any) -> Series:
        """Return ``self == other``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series of bool
        """
        return self._binary("==", other)

    def ne(self, other: Any) -> Series:
        """Return ``self != other``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series of bool
        """
        return self._binary("!=", other)

    def lt(self, other: Any) -> Series:
        """Return ``self < other``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series of bool
        """
        return self._binary("<", other)

    def le(self, other: Any) -> Series:
        """Return ``self <= other``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series of bool
        """
        return self._binary("<=", other)

    def gt(self, other: Any) -> Series:
        """Return ``self > other``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series of bool
        """
        return self._binary(">", other)

    def ge(self, other: Any) -> Series:
        """Return ``self >= other``, row by row.

        Parameters
        ----------
        other
            A Series of the same frame, or a scalar.

        Returns
        -------
        Series of bool
        """
        return self._binary(">=", other)

    # -- row by row

    def abs(self) -> Series:
        """Return absolute values. Missing Decimals stay missing.

        Returns
        -------
        Series
        """
        return self._call("abs")

    def round(self, decimals: int = 0) -> Series:
        """Round to a number of decimal places, halves to even.

        Parameters
        ----------
        decimals
            Places after the point; negative ones before it.

        Returns
        -------
        Series
        """
        return self._call("round", decimals=int(decimals))

    def astype(self, dtype: Any) -> Series:
        """Convert to another dtype, with pandas' conversions.

        Parameters
        ----------
        dtype
            A numpy dtype or its name, or "str".

        Returns
        -------
        Series

        Raises
        ------
        NotSupported : a dtype that howdah does not have. A value that cannot be converted raises pandas' error when
            it is computed.

        Examples
        --------
        >>> import pandas as pd
        >>> import howdah as hd
        >>> hd.from_pandas(pd.DataFrame({"x": [1, 2]})).x.astype("float64").compute().tolist()
        [1.0, 2.0]
        """
        return self._with(casts.astype(self._state.expression, dtype))

    def isna(self) -> Series:
        """Return whether each value is missing.

        Returns
        -------
        Series of bool
        """
        return self._call("isna")

    def notna(self) -> Series:
        """Return whether each value is present.

        Returns
        -------
        Series of bool
        """
        return self._call("notna")

    isnull, notnull = isna, notna

    def fillna(self, value: Any) -> Series:
        """Replace missing values.

        Parameters
        ----------
        value
            A scalar, or a Series of the same frame.

        Returns
        -------
        Series
        """
        return self._call("fillna", self._operand(value, "fillna"))

    def dropna(self) -> Series:
        """Leave out the rows whose value is missing.

        Returns
        -------
        Series
        """
        return self._filter(self.notna())

    def isin(self, values: Iterable[Any]) -> Series:
        """Return whether each value is one of `values`.

        Parameters
        ----------
        values
            A list, set, tuple, array or pandas Series; a Series of howdah is refused.

        Returns
        -------
        Series of bool
        """
        if isinstance(values, Collection):
            raise NotSupported("isin(a howdah Series): use merge on the column, or isin(series.compute())")
        if isinstance(values, str):
            raise SchemaError(f"isin({values!r}): give a list of values, as in isin([{values!r}])")
        import pandas as pd

        plain = tuple(pd.Series(list(values), dtype=object).tolist())
        return self._call("isin", values=plain)

    def between(self, left: Any, right: Any, inclusive: str_ = "both") -> Series:
        """Return whether each value lies between two bounds.

        Parameters
        ----------
        left, right
            The bounds: scalars, or Series of the same frame.
        inclusive
            Which bounds belong to the range: "both", "left", "right" or "neither".

        Returns
        -------
        Series of bool
        """
        ends = {"both": (">=", "<="), "left": (">=", "<"), "right": (">", "<="), "neither": (">", "<")}
        if inclusive not in ends:
            raise SchemaError(f"between(inclusive={inclusive!r}): use one of {', '.join(map(repr, ends))}")
        low, high = ends[inclusive]
        return self._binary(low, left) & self._binary(high, right)

    def clip(self, lower: Any = None, upper: Any = None) -> Series:
        """Replace values beyond a bound by the bound.

        Parameters
        ----------
        lower
            The smallest value; None is no bound.
        upper
            The largest value; None is no bound.

        Returns
        -------
        Series
        """
        if not self._state.expression.dtype.is_number:
            raise NotSupported(f"clip of {self._state.expression.dtype}: only of numbers")
        return self._call("clip", lower=lower, upper=upper)

    @property
    def str(self) -> StringAccessor:
        """Methods of text columns."""
        return StringAccessor(self.name, self._state.expression, self._with)

    @property
    def dt(self) -> DatetimeAccessor:
        """Parts of datetimes and timedeltas."""
        return DatetimeAccessor(self.name, self._state.expression, self._with)

    # -- rows

    def __getitem__(self, key: Any) -> Series:
        if isinstance(key, Series):
            return self._filter(key)
        raise NotSupported(f"series[{key!r}]: only boolean masks: use head(n), or compute() and then pandas")

    def nlargest(self, n: int = 5, keep: Any = "first") -> Series:
        """Return the largest values, largest first; ties in the order of the rows.

        Parameters
        ----------
        n
            Number of values.
        keep
            Which of equal values to prefer; only "first".

        Returns
        -------
        Series
        """
        return self._top(n, keep, True)

    def nsmallest(self, n: int = 5, keep: Any = "first") -> Series:
        """Return the smallest values, smallest first; ties in the order of the rows.

        Parameters
        ----------
        n
            Number of values.
        keep
            Which of equal values to prefer; only "first".

        Returns
        -------
        Series
        """
        return self._top(n, keep, False)

    def _top(self, n: int, keep: Any, largest: bool) -> Series:
        what = "nlargest" if largest else "nsmallest"
        require_default(what, keep=(keep, "first"))
        check_rankable(what, self.name, self._state.expression)
        by = (internal_name(self.name),)
        return Series(self._state.projected().map_base(lambda base: relations.Top(base, int(n), by, largest)))

    def sort_values(self, *, ascending: bool = True, kind: Any = "quicksort", na_position: Any = "last") -> Series:
        """Order all rows by value. They are gathered into one partition: for results, not for large tables.

        Parameters
        ----------
        ascending
            Smallest first.
        kind
            "stable" keeps equal values in order and is the cheapest; others order them as numpy's sort does.
        na_position
            Where missing values go: "first" or "last".

        Returns
        -------
        Series
        """
        by, last = (internal_name(self.name),), na_last(na_position)
        projected = self._state.projected()
        return Series(projected.map_base(lambda base: relations.Sort(base, by, (bool(ascending),), last, kind)))

    def rename(self, name: Any = None) -> Series:
        """Give the Series another name.

        Parameters
        ----------
        name
            The name; None for none.

        Returns
        -------
        Series
        """
        if isinstance(name, dict) or callable(name):
            raise NotSupported("Series.rename of labels: only rename(name): use reset_index, then assign")
        return self._with(self._state.expression, name)

    def to_frame(self, name: Any = ...) -> DataFrame:
        """Return a frame of this one column.

        Parameters
        ----------
        name
            The column's label; by default the Series' name, or 0 if it has none.

        Returns
        -------
        DataFrame
        """
        label = self.name if name is ... else name
        label = 0 if label is None else label
        return frame_from(FrameState(self._state.base, ((label, self._state.expression),), self._state.index))

    def reset_index(self, *, drop: bool = False, name: Any = ...) -> Any:
        """Give the rows a fresh index 0, 1, 2, ...; the old one becomes columns, unless `drop`.

        Parameters
        ----------
        drop
            Leave the old index out.
        name
            The label of the values' column.

        Returns
        -------
        DataFrame; a Series if `drop`
        """
        if drop:
            alone = relations.Project(self._state.base, ((internal_name(self.name), self._state.expression),))
            return Series(FrameState(numbered(alone), self._state.columns, DEFAULT).by_label())
        return self.to_frame(name).reset_index()

    def value_counts(
        self, *, normalize: bool = False, sort: bool = True, ascending: bool = False, dropna: bool = True
    ) -> Series:
        """Count how often each value occurs, most frequent first; ties in the order of first occurrence.

        Parameters
        ----------
        normalize
            Give shares instead of counts; only False.
        sort
            Order by count; otherwise by first occurrence.
        ascending
            Least frequent first.
        dropna
            Leave missing values out.

        Returns
        -------
        Series of int64
            Named "count", with the values as index.

        Examples
        --------
        >>> import pandas as pd
        >>> import howdah as hd
        >>> hd.from_pandas(pd.DataFrame({"x": ["b", "a", "b"]})).x.value_counts().compute().to_dict()
        {'b': 2, 'a': 1}
        """
        require_default("value_counts", normalize=(normalize, False))
        keys = [(self.name, self._state.expression)]
        groups = SeriesGroupBy(self._state, keys, self.name, sort=False, dropna=dropna)
        counts: Series = groups.size().rename("count")
        return counts.sort_values(ascending=ascending, kind="stable") if sort else counts

    def groupby(self, by: Any, *, sort: bool = True, dropna: bool = True, level: Any = None) -> SeriesGroupBy:
        """Group the values by Series of the same frame.

        Parameters
        ----------
        by
            A Series, or a list of them.
        sort
            Order the groups by key; otherwise by first occurrence.
        dropna
            Leave out rows with a missing key.
        level
            Only None.

        Returns
        -------
        SeriesGroupBy
        """
        require_default("Series.groupby", level=(level, None))
        keys = []
        for key in by if isinstance(by, (list, tuple)) else [by]:
            if not isinstance(key, Series):
                raise NotSupported(f"Series.groupby({key!r}): use a Series of the same frame, or DataFrame.groupby")
            theirs = state_of(key)
            keys.append((key.name, self._state.resolve(theirs.base, theirs.expression, "groupby")))
        return SeriesGroupBy(self._state, keys, self.name, sort=sort, dropna=dropna)

    # -- reductions

    def _reduce(self, name: Any, **extra: Any) -> Scalar:
        require_default(f"Series.{name}", **extra)
        state = self._state.projected() if is_unresolved(self._state.expression) else self._state
        return Scalar(state.base, name, state.expression)

    def sum(self, *, skipna: bool = True, min_count: int = 0) -> Scalar:
        """Return the sum of the present values; 0 of none.

        Parameters
        ----------
        skipna
            Leave missing values out; only True.
        min_count
            The number of present values below which the sum is missing; only 0.

        Returns
        -------
        Scalar
            int64 or uint64 of integers and bools, float64 of floats, and exact of Decimals.

        Examples
        --------
        >>> import pandas as pd
        >>> import howdah as hd
        >>> hd.from_pandas(pd.DataFrame({"x": [1.5, None, 2.0]})).x.sum().compute()
        np.float64(3.5)
        """
        return self._reduce("sum", skipna=(skipna, True), min_count=(min_count, 0))

    def mean(self, *, skipna: bool = True) -> Scalar:
        """Return the mean of the present values; NaN of none.

        Parameters
        ----------
        skipna
            Leave missing values out; only True.

        Returns
        -------
        Scalar of float64
        """
        return self._reduce("mean", skipna=(skipna, True))

    def min(self, *, skipna: bool = True) -> Scalar:
        """Return the smallest present value; NaN of none.

        Parameters
        ----------
        skipna
            Leave missing values out; only True.

        Returns
        -------
        Scalar of the Series' dtype
        """
        return self._reduce("min", skipna=(skipna, True))

    def max(self, *, skipna: bool = True) -> Scalar:
        """Return the largest present value; NaN of none.

        Parameters
        ----------
        skipna
            Leave missing values out; only True.

        Returns
        -------
        Scalar of the Series' dtype
        """
        return self._reduce("max", skipna=(skipna, True))

    def std(self, *, ddof: int = 1) -> Scalar:
        """Return the standard deviation of the present values.

        Parameters
        ----------
        ddof
            Degrees of freedom taken off the number of values; only 1.

        Returns
        -------
        Scalar of float64
        """
        return self._reduce("std", ddof=(ddof, 1))

    def var(self, *, ddof: int = 1) -> Scalar:
        """Return the variance of the present values.

        Parameters
        ----------
        ddof
            Degrees of freedom taken off the number of values; only 1.

        Returns
        -------
        Scalar of float64
        """
        return self._reduce("var", ddof=(ddof, 1))

    def count(self) -> Scalar:
        """Return the number of present values.

        Returns
        -------
        Scalar of int64
        """
        return self._reduce("count")

    def nunique(self, dropna: bool = True) -> Scalar:
        """Return the number of distinct values.

        Parameters
        ----------
        dropna
            Do not count a missing value; only True.

        Returns
        -------
        Scalar, whose value is an int
        """
        return self._reduce("nunique", dropna=(dropna, True))

    def agg(self, func: Any) -> Scalar:
        """Return one aggregate by name.

        Parameters
        ----------
        func
            The name of a reduction, as "sum".

        Returns
        -------
        Scalar

        Raises
        ------
        NotSupported : a function, or a list of names.
        """
        if not isinstance(func, str_):
            raise NotSupported(f"Series.agg({func!r}): use the name of one aggregate, as in agg('sum')")
        return self._reduce(func)

    aggregate = agg

    # -- the rest of pandas

    def __getattr__(self, name: Any) -> Any:
        if is_pandas("Series", name):
            raise unsupported("Series", name)
        raise AttributeError(f"Series has no attribute {name!r}")

    def _to_pandas(self, found: ComputedTable) -> Any:
        series = super()._to_pandas(found).iloc[:, 0]
        series.name = self.name
        return series

    def __repr__(self) -> str_:
        return display.as_text(self._state, "Series", self._known_length())


str_ = str  # within the class, `str` is the accessor


def check_rankable(what: Any, label: Any, e: Column) -> None:
    """Raise `SchemaError` for a column that cannot be ranked.

    pandas ranks numbers, bools and times. Decimals are ranked here too; to pandas they are objects, and refused.
    """
    if not (e.dtype.is_number or e.dtype.kind in ("bool", "datetime", "timedelta", "decimal")):
        raise SchemaError(
            f"{what}: column {label!r} is {e.dtype}, and only numbers and times can be ranked: "
            "use sort_values(...).head(n)"
        )


def na_last(position: Any) -> bool:
    """Return whether `na_position` puts missing values last."""
    if position not in ("first", "last"):
        raise SchemaError(f"na_position={position!r}: use 'first' or 'last'")
    return bool(position == "last")
