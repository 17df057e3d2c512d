"""Group-bys: keys, the columns that are aggregated, and pandas' shapes of the result.

`DataFrameGroupBy` and `SeriesGroupBy` are made by `DataFrame.groupby` and `Series.groupby`, and are public; the rest is
internal to `engine.frame`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from howdah.engine.frame.collection import frame_from, is_series, series_from, state_of
from howdah.engine.frame.state import DEFAULT, FrameState, Label, Level, internal_name, numbered
from howdah.engine.frame.unsupported import is_pandas, require_default, unsupported
from howdah.engine.relational import relations
from howdah.engine.relational.aggregates import AGGREGATES, NUMERIC_ONLY, Agg, as_pandas_dtype
from howdah.engine.relational.columns import Col, Column, is_unresolved
from howdah.engine.relational.relations import INDEX
from howdah.errors import NotSupported, SchemaError

if TYPE_CHECKING:
    from howdah.engine.frame.dataframe import DataFrame

Keys = list[tuple[Label, Column]]


class _GroupBy:
    """Keys over the rows of a frame. Dtypes that the data decides are decided by the rows before grouping."""

    _kind: str

    def __init__(
        self, state: FrameState, keys: Keys, *, sort: bool = True, dropna: bool = True, as_index: bool = True
    ) -> None:
        for label, e in keys:
            _ = e.dtype.polars  # raises for an unsupported column, with its name
            if e.dtype.kind in ("anybool", "none", "bytes", "time"):
                raise NotSupported(f"groupby({label!r}): keys of {e.dtype}: use .fillna(...).astype(...) first")
        if any(is_unresolved(e) for _, e in (*state.columns, *keys)):
            hidden = [(f"{INDEX}key{i}", e) for i, (_, e) in enumerate(keys)]
            visible = [(internal_name(c), e) for c, e in state.columns]
            base = relations.Project(state.base, (*visible, *hidden))
            state = FrameState(base, state.columns).by_label()
            keys = [(label, Col(n, base.schema[n])) for (label, _), (n, _) in zip(keys, hidden)]
        self._state, self._keys = state, keys
        self._sort, self._dropna, self._as_index = sort, dropna, as_index

    def _result(self, aggs: Sequence[tuple[Label, Agg]]) -> FrameState:
        """Return the frame of aggregates; the keys are its index, or its first columns."""
        names = [f"{INDEX}{i}" for i in range(len(self._keys))]
        keys = tuple((n, e) for n, (_, e) in zip(names, self._keys))
        made = tuple((internal_name(label), agg) for label, agg in aggs)
        if len({n for n, _ in made}) < len(made):
            raise NotSupported("agg: two results of one name are not there yet: use distinct names")
        node = relations.Aggregate(self._state.base, keys, made, self._sort, self._dropna)
        columns = tuple((label, as_pandas_dtype(internal_name(label), agg)) for label, agg in aggs)
        levels = tuple(Level(label, Col(n, node.schema[n])) for n, (label, _) in zip(names, self._keys))
        if self._as_index:
            return FrameState(node, columns, levels)
        shown = [
            (label if label is not None else f"level_{i}", Col(n, node.schema[n]))
            for i, (n, (label, _)) in enumerate(zip(names, self._keys))
        ]
        twice = [label for label, _ in shown if label in dict(columns)]
        if twice:
            raise NotSupported(
                f"agg: the result {twice[0]!r} has the name of a key: choose another, or use as_index=True"
            )
        both = (*shown, *columns)
        plain = relations.Project(node, tuple((internal_name(c), e) for c, e in both))
        return FrameState(numbered(plain), both, DEFAULT).by_label()

    def _agg(self, name: Any, e: Column | None, where: Label) -> Agg:
        if name == "size":
            return Agg("size", None)
        if not isinstance(name, str):
            raise NotSupported(
                f"agg({name!r}): functions are not there yet: use a name, one of {', '.join(AGGREGATES)}"
            )
        if name not in AGGREGATES:
            raise NotSupported(f"groupby(...).{name} is not there yet: there are {', '.join(AGGREGATES)}")
        assert e is not None
        try:
            return Agg(name, e)
        except SchemaError as error:
            raise type(error)(f"groupby: column {where!r}: {error}") from None

    def __iter__(self) -> Any:
        raise NotSupported("groups cannot be iterated: compute() first, then pandas")

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and is_pandas(self._kind, name):
            raise unsupported(self._kind, name)
        raise AttributeError(f"{self._kind} has no attribute {name!r}")


class DataFrameGroupBy(_GroupBy):
    """Groups of a frame's rows: `df.groupby(...)`.

    Choose columns by `["x"]`, `.x` or `[["x", "y"]]`; without a choice, all but the keys are aggregated. Missing values
    are skipped. The keys become the index, or with `as_index=False` columns.

    Examples
    --------
    >>> import pandas as pd
    >>> import howdah as hd
    >>> df = hd.from_pandas(pd.DataFrame({"k": [1, 2, 1], "x": [1, 2, 3]}))
    >>> df.groupby("k", as_index=False).agg(total=("x", "sum"), n=("x", "size")).compute()
       k  total  n
    0  1      4  2
    1  2      2  1
    """

    _kind = "DataFrameGroupBy"

    def __init__(
        self, state: FrameState, keys: Keys, chosen: Sequence[Label] | None, by: Sequence[Label], **how: bool
    ) -> None:
        super().__init__(state, keys, **how)
        self._how, self._by = how, by
        self._chosen = list(chosen) if chosen is not None else [c for c in state.labels() if c not in by]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, list):
            for label in key:
                self._state.require(label, "groupby")
            return DataFrameGroupBy(self._state, self._keys, key, self._by, **self._how)
        self._state.require(key, "groupby")
        return SeriesGroupBy(self._state, self._keys, key, **self._how)

    def __getattr__(self, name: str) -> Any:
        state = self.__dict__.get("_state")
        if state is not None and name in state.labels():
            return self[name]
        return super().__getattr__(name)

    def _all(self, name: str, numeric_only: bool = False) -> DataFrame:
        chosen = [(c, self._state.require(c, "groupby")) for c in self._chosen]
        if numeric_only:
            chosen = [(c, e) for c, e in chosen if e.dtype.is_number or e.dtype.kind == "bool"]
        elif name in NUMERIC_ONLY:
            text = [c for c, e in chosen if e.dtype.kind == "str"]
            if text:
                raise SchemaError(
                    f"groupby(...).{name}(): column {text[0]!r} is text: choose columns, as in "
                    f"groupby(...)[[...]], or use numeric_only=True"
                )
        return frame_from(self._result([(c, self._agg(name, e, c)) for c, e in chosen]))

    def sum(self, numeric_only: bool = False) -> DataFrame:
        """Return the sums of each group; 0 where all values are missing.

        Parameters
        ----------
        numeric_only
            Leave out columns that are neither numbers nor bools.

        Returns
        -------
        DataFrame
        """
        return self._all("sum", numeric_only)

    def mean(self, numeric_only: bool = False) -> DataFrame:
        """Return the means of each group.

        Parameters
        ----------
        numeric_only
            Leave out columns that are neither numbers nor bools.

        Returns
        -------
        DataFrame
        """
        return self._all("mean", numeric_only)

    def min(self, numeric_only: bool = False) -> DataFrame:
        """Return the smallest values of each group.

        Parameters
        ----------
        numeric_only
            Leave out columns that are neither numbers nor bools.

        Returns
        -------
        DataFrame
        """
        return self._all("min", numeric_only)

    def max(self, numeric_only: bool = False) -> DataFrame:
        """Return the largest values of each group.

        Parameters
        ----------
        numeric_only
            Leave out columns that are neither numbers nor bools.

        Returns
        -------
        DataFrame
        """
        return self._all("max", numeric_only)

    def std(self, ddof: int = 1, *, numeric_only: bool = False) -> DataFrame:
        """Return the standard deviations of each group.

        Parameters
        ----------
        ddof
            Degrees of freedom taken off the number of values; only 1.
        numeric_only
            Leave out columns that are neither numbers nor bools.

        Returns
        -------
        DataFrame
        """
        require_default("std", ddof=(ddof, 1))
        return self._all("std", numeric_only)

    def var(self, ddof: int = 1, *, numeric_only: bool = False) -> DataFrame:
        """Return the variances of each group.

        Parameters
        ----------
        ddof
            Degrees of freedom taken off the number of values; only 1.
        numeric_only
            Leave out columns that are neither numbers nor bools.

        Returns
        -------
        DataFrame
        """
        require_default("var", ddof=(ddof, 1))
        return self._all("var", numeric_only)

    def first(self) -> DataFrame:
        """Return the first present value of each group, in the order of the rows.

        Returns
        -------
        DataFrame
        """
        return self._all("first")

    def last(self) -> DataFrame:
        """Return the last present value of each group, in the order of the rows.

        Returns
        -------
        DataFrame
        """
        return self._all("last")

    def count(self) -> DataFrame:
        """Return the number of present values of each group.

        Returns
        -------
        DataFrame of int64
        """
        return self._all("count")

    def nunique(self, dropna: bool = True) -> DataFrame:
        """Return the number of distinct values of each group.

        Parameters
        ----------
        dropna
            Do not count a missing value; only True.

        Returns
        -------
        DataFrame of int64
        """
        require_default("nunique", dropna=(dropna, True))
        return self._all("nunique")

    def size(self) -> Any:
        """Return the number of rows of each group.

        Returns
        -------
        Series of int64 without a name; or with `as_index=False`, a DataFrame with the column "size"
        """
        out = frame_from(self._result([("size", Agg("size", None))]))
        return out["size"].rename(None) if self._as_index else out

    def agg(self, func: Any = None, **named: Any) -> Any:
        """Aggregate by name: ``agg("sum")``, ``agg({"x": "sum"})``, ``agg(total=("x", "sum"))``.

        Parameters
        ----------
        func
            One aggregate for all columns, or a mapping from column to aggregate.
        **named
            The label of a result column, and (column, aggregate).

        Returns
        -------
        DataFrame; of "size" what `size` returns

        Raises
        ------
        NotSupported : several aggregates of one column in `func`, which would need two levels of labels.

        Examples
        --------
        >>> import pandas as pd
        >>> import howdah as hd
        >>> df = hd.from_pandas(pd.DataFrame({"k": [1, 1], "x": [1, 2]}))
        >>> df.groupby("k").agg(total=("x", "sum"), mean=("x", "mean")).compute()
           total  mean
        k
        1      3   1.5
        """
        if func is None:
            pairs = []
            for label, pair in named.items():
                if not (isinstance(pair, tuple) and len(pair) == 2):
                    raise SchemaError(
                        f"agg({label}={pair!r}): give (column, aggregate), as in agg({label}=('x', 'sum'))"
                    )
                pairs.append((label, self._agg(pair[1], self._state.require(pair[0], "groupby"), pair[0])))
            if not pairs:
                raise SchemaError("agg: give an aggregate, a mapping, or name=(column, aggregate)")
            return frame_from(self._result(pairs))
        if isinstance(func, str):
            return self.size() if func == "size" else self._all(func)
        if isinstance(func, Mapping) and all(isinstance(f, str) for f in func.values()):
            chosen = [(c, self._agg(f, self._state.require(c, "groupby"), c)) for c, f in func.items()]
            return frame_from(self._result(chosen))
        raise NotSupported(
            f"agg({func!r}): several aggregates of one column give two levels of labels, which are not there yet: "
            "use agg(total=('x', 'sum'), mean=('x', 'mean'))"
        )

    aggregate = agg


class SeriesGroupBy(_GroupBy):
    """Groups of one column: `df.groupby(...)["x"]`, `series.groupby(...)`.

    Missing values are skipped. Aggregates are a Series with the keys as its index, or with `as_index=False` a DataFrame
    with the keys as columns.

    Examples
    --------
    >>> import pandas as pd
    >>> import howdah as hd
    >>> df = hd.from_pandas(pd.DataFrame({"k": ["a", "b", "a"], "x": [1, 2, 3]}))
    >>> df.groupby("k").x.mean().compute().to_dict()
    {'a': 2.0, 'b': 2.0}
    """

    _kind = "SeriesGroupBy"

    def __init__(self, state: FrameState, keys: Keys, name: Label, **how: bool) -> None:
        super().__init__(state, keys, **how)
        self._name = name

    def _one(self, name: str) -> Any:
        out = self._result([(self._name, self._agg(name, self._state.column(self._name), self._name))])
        return series_from(out) if self._as_index else frame_from(out)

    def sum(self, *, min_count: int = 0) -> Any:
        """Return the sum of each group; 0 where all values are missing.

        Parameters
        ----------
        min_count
            The number of present values below which the sum is missing; only 0.

        Returns
        -------
        Series, or DataFrame with `as_index=False`
        """
        require_default("sum", min_count=(min_count, 0))
        return self._one("sum")

    def mean(self) -> Any:
        """Return the mean of each group.

        Returns
        -------
        Series of float64, or DataFrame with `as_index=False`
        """
        return self._one("mean")

    def min(self) -> Any:
        """Return the smallest value of each group.

        Returns
        -------
        Series, or DataFrame with `as_index=False`
        """
        return self._one("min")

    def max(self) -> Any:
        """Return the largest value of each group.

        Returns
        -------
        Series, or DataFrame with `as_index=False`
        """
        return self._one("max")

    def std(self, ddof: int = 1) -> Any:
        """Return the standard deviation of each group.

        Parameters
        ----------
        ddof
            Degrees of freedom taken off the number of values; only 1.

        Returns
        -------
        Series of float64, or DataFrame with `as_index=False`
        """
        require_default("std", ddof=(ddof, 1))
        return self._one("std")

    def var(self, ddof: int = 1) -> Any:
        """Return the variance of each group.

        Parameters
        ----------
        ddof
            Degrees of freedom taken off the number of values; only 1.

        Returns
        -------
        Series of float64, or DataFrame with `as_index=False`
        """
        require_default("var", ddof=(ddof, 1))
        return self._one("var")

    def first(self) -> Any:
        """Return the first present value of each group, in the order of the rows.

        Returns
        -------
        Series, or DataFrame with `as_index=False`
        """
        return self._one("first")

    def last(self) -> Any:
        """Return the last present value of each group, in the order of the rows.

        Returns
        -------
        Series, or DataFrame with `as_index=False`
        """
        return self._one("last")

    def count(self) -> Any:
        """Return the number of present values of each group.

        Returns
        -------
        Series of int64, or DataFrame with `as_index=False`
        """
        return self._one("count")

    def nunique(self, dropna: bool = True) -> Any:
        """Return the number of distinct values of each group.

        Parameters
        ----------
        dropna
            Do not count a missing value; only True.

        Returns
        -------
        Series of int64, or DataFrame with `as_index=False`
        """
        require_default("nunique", dropna=(dropna, True))
        return self._one("nunique")

    def size(self) -> Any:
        """Return the number of rows of each group.

        Returns
        -------
        Series of int64; or with `as_index=False`, a DataFrame with the column "size"
        """
        if not self._as_index:
            return frame_from(self._result([("size", Agg("size", None))]))
        return series_from(self._result([(self._name, Agg("size", None))]))

    def agg(self, func: Any = None, **named: Any) -> Any:
        """Aggregate by name: ``agg("sum")`` gives a Series, ``agg(["sum", "mean"])`` and ``agg(total="sum")`` a frame.

        Parameters
        ----------
        func
            An aggregate, or a list of them.
        **named
            The label of a result column, and its aggregate.

        Returns
        -------
        Series or DataFrame

        Raises
        ------
        NotSupported : a function instead of a name.

        Examples
        --------
        >>> import pandas as pd
        >>> import howdah as hd
        >>> df = hd.from_pandas(pd.DataFrame({"k": [1, 1], "x": [1, 2]}))
        >>> df.groupby("k").x.agg(["min", "max"]).compute()
           min  max
        k
        1    1    2
        """
        e = self._state.column(self._name)
        if isinstance(func, str):
            return self.size() if func == "size" else self._one(func)
        if isinstance(func, (list, tuple)) and func:
            return frame_from(self._result([(f, self._agg(f, e, self._name)) for f in func]))
        if func is None and named:
            return frame_from(self._result([(label, self._agg(f, e, self._name)) for label, f in named.items()]))
        raise NotSupported(f"agg({func!r}): use the name of an aggregate, a list of names, or total='sum'")

    aggregate = agg


def group(state: FrameState, by: Any, **how: bool) -> DataFrameGroupBy:
    """Return the groups of a frame by column labels or Series of it; see `DataFrame.groupby`."""
    if by is None or (callable(by) and not is_series(by)) or isinstance(by, Mapping):
        raise NotSupported(f"groupby({by!r}): use column names, or Series of the frame")
    keys: Keys = []
    names: list[Label] = []
    for key in by if isinstance(by, (list, tuple)) else [by]:
        if is_series(key):
            theirs = state_of(key)
            e = state.resolve(theirs.base, theirs.expression, "groupby")
            keys.append((key.name, e))
            if key.name in state.labels() and state.column(key.name) == e:
                names.append(key.name)
        else:
            keys.append((key, state.require(key, "groupby")))
            names.append(key)
    if not keys:
        raise SchemaError("groupby: give at least one key")
    return DataFrameGroupBy(state, keys, None, names, **how)
