"""`DataFrame`: columns with an index, in pandas' language, over partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from howdah.engine.frame import display
from howdah.engine.frame.collection import Collection, state_of
from howdah.engine.frame.groupby import DataFrameGroupBy, group
from howdah.engine.frame.merge import merge
from howdah.engine.frame.operators import Operators
from howdah.engine.frame.scalar import Scalar
from howdah.engine.frame.series import Series, check_rankable, na_last
from howdah.engine.frame.state import FrameState, Label, Level, internal_name
from howdah.engine.frame.unsupported import is_pandas, require_default, unsupported
from howdah.engine.relational import casts, relations
from howdah.engine.relational.columns import Constant, binary, call
from howdah.errors import NotSupported, SchemaError, UnknownColumn, near


class DataFrame(Operators, Collection):
    """A table, computed on request. Made by `read_parquet`, `from_pandas`, and by operations on other frames.

    Answers are pandas' in values, order, labels, dtypes and missing values. Schema errors (`UnknownColumn`,
    `SchemaError`, `NotSupported`) are raised on the line that writes them, before anything is read.

    Examples
    --------
    >>> import pandas as pd
    >>> import howdah as hd
    >>> df = hd.from_pandas(pd.DataFrame({"k": ["a", "b", "a"], "x": [1.5, 2.0, 4.0]}))
    >>> df.assign(y=df.x * 2).groupby("k").y.sum().compute()
    k
    a    11.0
    b     4.0
    Name: y, dtype: float64
    """

    _kind = "DataFrame"

    # -- what it is

    @property
    def columns(self) -> Any:
        """The pandas Index of column labels."""
        import pandas as pd

        labels = self._state.labels()
        return pd.Index(labels, dtype=None if labels else "str")

    @property
    def dtypes(self) -> Any:
        """pandas' dtypes; where the data decides (see `explain`), the dtype with room for missing values."""
        import pandas as pd

        found = {label: pd.api.types.pandas_dtype(d.pandas) for label, d in self._state.dtypes().items()}
        return pd.Series(found, index=self.columns, dtype=object)

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns. Computes the number of rows where it is not known."""
        return (len(self), len(self._state.columns))

    @property
    def size(self) -> int:
        """The number of rows times the number of columns."""
        return len(self) * len(self._state.columns)

    @property
    def ndim(self) -> int:
        """2, the number of dimensions."""
        return 2

    # -- columns

    def __getitem__(self, key: Any) -> Any:
        import pandas as pd

        state = self._state
        if isinstance(key, Series):
            return self._filter(key)
        if isinstance(key, (list, pd.Index)):
            picked = tuple((label, state.require(label, "df[[...]]")) for label in key)
            if len(dict(picked)) < len(picked):
                raise NotSupported(f"df[{key!r}]: a column twice: give each copy a name with assign")
            return DataFrame(FrameState(state.base, picked, state.index))
        if isinstance(key, DataFrame):
            raise unsupported("DataFrame", "where")
        if isinstance(key, slice) or not isinstance(key, (str, int)):
            raise NotSupported(f"df[{key!r}]: use a column name, a list of names, or a boolean mask; head(n) for rows")
        return Series(FrameState(state.base, ((key, state.require(key, "df[...]")),), state.index))

    def __setitem__(self, key: Any, value: Any) -> None:
        """`df["x"] = ...`: this object shows the new column; frames and Series made from it before do not change."""
        if not isinstance(key, str):
            raise NotSupported(f"df[{key!r}] = ...: one column name at a time; use assign")
        self.__dict__["_state"] = state_of(self.assign(**{key: value}))

    def __delitem__(self, key: Any) -> None:
        self.__dict__["_state"] = state_of(self.drop(columns=[key]))

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            state = self.__dict__.get("_state")
            if state is not None and name in state.labels():
                return self[name]
            if is_pandas("DataFrame", name):
                raise unsupported("DataFrame", name)
            if state is not None:
                known = [c for c in state.labels() if isinstance(c, str)]
                raise _NoColumn(f"DataFrame has no column and no attribute {name!r}: {near(name, known)}")
        raise AttributeError(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._state.labels():
            self[name] = value
            return
        raise SchemaError(f'df.{name} = ... makes no column: write df["{name}"] = ..., or df.assign({name}=...)')

    def __contains__(self, key: object) -> bool:
        return key in self._state.labels()

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(c for c in self._state.labels() if isinstance(c, str))})

    def keys(self) -> Any:
        """Return the column labels.

        Returns
        -------
        pandas.Index
        """
        return self.columns

    def assign(self, **columns: Any) -> DataFrame:
        """Add or replace columns.

        Parameters
        ----------
        **columns
            By label, a Series of this frame, a scalar, or a function of the frame so far.

        Returns
        -------
        DataFrame

        Raises
        ------
        SchemaError : a Series of a frame with other rows.

        Examples
        --------
        >>> import pandas as pd
        >>> import howdah as hd
        >>> df = hd.from_pandas(pd.DataFrame({"x": [1, 2]}))
        >>> df.assign(y=df.x + 1, z=lambda d: d.x * d.y).compute()
           x  y  z
        0  1  2  2
        1  2  3  6
        """
        out = self
        for name, value in columns.items():
            value = value(out) if callable(value) and not isinstance(value, Collection) else value
            out = DataFrame(_assigned(state_of(out), name, value))
        return out

    def drop(self, labels: Any = None, *, columns: Any = None, axis: Any = 0, errors: str = "raise") -> DataFrame:
        """Leave out columns.

        For rows, use a boolean mask.

        Parameters
        ----------
        labels
            The columns, with ``axis=1``.
        columns
            A column, or several.
        axis
            1 or "columns", where `labels` is given.
        errors
            "ignore" ignores labels that are not there.

        Returns
        -------
        DataFrame

        Raises
        ------
        UnknownColumn : a label is not there.
        """
        if columns is None:
            if axis not in (1, "columns") or labels is None:
                raise NotSupported("drop of rows by label is not there yet: use a boolean mask")
            columns = labels
        gone = [columns] if isinstance(columns, str) else list(columns)
        if errors != "ignore":
            for label in gone:
                self._state.require(label, "drop")
        return self._with((c, e) for c, e in self._state.columns if c not in gone)

    def rename(self, *, columns: Any = None, index: Any = None) -> DataFrame:
        """Change column labels. Labels that are not there are ignored, as in pandas.

        Parameters
        ----------
        columns
            A mapping from old to new label, or a function of the label.
        index
            Only None.

        Returns
        -------
        DataFrame
        """
        require_default("rename", index=(index, None))
        if columns is None:
            raise SchemaError('rename: give columns={"old": "new"}')
        new = columns if callable(columns) else lambda label: columns.get(label, label)
        renamed = tuple((new(c), e) for c, e in self._state.columns)
        if len({c for c, _ in renamed}) < len(renamed):
            raise NotSupported("rename: two columns of one name are not there yet: choose distinct names")
        if not all(isinstance(c, str) for c, _ in renamed):
            raise NotSupported("rename: column labels must be text")
        return self._with(renamed)

    def _with(self, columns: Any) -> DataFrame:
        return DataFrame(FrameState(self._state.base, tuple(columns), self._state.index))

    def _each(self, change: Any) -> DataFrame:
        return self._with((c, change(c, e)) for c, e in self._state.columns)

    def astype(self, dtype: Any) -> DataFrame:
        """Convert columns to another dtype, with pandas' conversions.

        Parameters
        ----------
        dtype
            A dtype for all columns, or a mapping from column to dtype.

        Returns
        -------
        DataFrame
        """
        if not isinstance(dtype, Mapping):
            return self._each(lambda c, e: casts.astype(e, dtype))
        for label in dtype:
            self._state.require(label, "astype")
        return self._each(lambda c, e: casts.astype(e, dtype[c]) if c in dtype else e)

    def fillna(self, value: Any) -> DataFrame:
        """Replace missing values.

        Parameters
        ----------
        value
            A scalar, or a mapping from column to scalar.

        Returns
        -------
        DataFrame
        """
        if isinstance(value, Mapping):
            return self._each(lambda c, e: call("fillna", e, value[c]) if c in value else e)
        if isinstance(value, Collection):
            raise NotSupported("fillna(frame): use a scalar or a mapping, or fillna on each Series")
        return self._each(lambda c, e: call("fillna", e, value))

    def isna(self) -> DataFrame:
        """Return whether each value is missing.

        Returns
        -------
        DataFrame of bool
        """
        return self._each(lambda c, e: call("isna", e))

    def notna(self) -> DataFrame:
        """Return whether each value is present.

        Returns
        -------
        DataFrame of bool
        """
        return self._each(lambda c, e: call("notna", e))

    isnull, notnull = isna, notna

    def isin(self, values: Any) -> DataFrame:
        """Return whether each value is one of `values`.

        Parameters
        ----------
        values
            A list, set, tuple, array or pandas Series.

        Returns
        -------
        DataFrame of bool
        """
        if isinstance(values, Mapping):
            raise NotSupported("isin(mapping): use df.column.isin([...]) for each column")
        import pandas as pd

        plain = tuple(pd.Series(list(values), dtype=object).tolist())
        return self._each(lambda c, e: call("isin", e, values=plain))

    def abs(self) -> DataFrame:
        """Return absolute values.

        Returns
        -------
        DataFrame
        """
        return self._each(lambda c, e: call("abs", e))

    def round(self, decimals: int = 0) -> DataFrame:
        """Round the columns of numbers to a number of decimal places, halves to even.

        Parameters
        ----------
        decimals
            Places after the point; negative ones before it.

        Returns
        -------
        DataFrame
        """
        require_default("DataFrame.round", decimals_type=(type(decimals), int))
        return self._each(lambda c, e: call("round", e, decimals=decimals) if e.dtype.is_number else e)

    def select_dtypes(self, include: Any = None, exclude: Any = None) -> DataFrame:
        """Choose columns by dtype.

        Parameters
        ----------
        include
            A dtype or kind of dtypes, as "number", or a list of them.
        exclude
            The same, to leave out.

        Returns
        -------
        DataFrame
        """
        import pandas as pd

        empty = pd.DataFrame({c: pd.Series([], dtype=d) for c, d in self.dtypes.items()})
        return self[list(empty.select_dtypes(include, exclude).columns)]  # type: ignore[no-any-return]

    def _binary(self, op: str, other: Any, swapped: bool = False) -> DataFrame:
        if isinstance(other, Collection) or (hasattr(other, "__len__") and not isinstance(other, (str, bytes))):
            raise NotSupported(f"DataFrame {op} {type(other).__name__}: use column arithmetic: df.a {op} df.b")
        value = other.compute() if isinstance(other, Scalar) else other
        return self._each(lambda c, e: binary(op, value, e) if swapped else binary(op, e, value))

    # -- rows

    def dropna(self, *, how: str = "any", subset: Any = None) -> DataFrame:
        """Leave out rows with missing values.

        Parameters
        ----------
        how
            "any" leaves out rows with a missing value, "all" those without any other.
        subset
            The columns to look at; all by default.

        Returns
        -------
        DataFrame
        """
        labels = self._state.labels() if subset is None else [subset] if isinstance(subset, str) else list(subset)
        if how not in ("any", "all"):
            raise SchemaError(f"dropna(how={how!r}): use 'any' or 'all'")
        there = [call("notna", self._state.require(c, "dropna")) for c in labels]
        if not there:
            return self
        mask = there[0]
        for e in there[1:]:
            mask = binary("&" if how == "any" else "|", mask, e)
        return self._filter(Series(FrameState(self._state.base, (("mask", mask),), self._state.index)))

    def nlargest(self, n: int, columns: Any, keep: str = "first") -> DataFrame:
        """Return the rows with the largest values, largest first; ties in the order of the rows.

        Parameters
        ----------
        n
            Number of rows.
        columns
            The column to rank by, or several.
        keep
            Which of equal rows to prefer; only "first".

        Returns
        -------
        DataFrame
        """
        return self._top(n, columns, keep, True)

    def nsmallest(self, n: int, columns: Any, keep: str = "first") -> DataFrame:
        """Return the rows with the smallest values, smallest first; ties in the order of the rows.

        Parameters
        ----------
        n
            Number of rows.
        columns
            The column to rank by, or several.
        keep
            Which of equal rows to prefer; only "first".

        Returns
        -------
        DataFrame
        """
        return self._top(n, columns, keep, False)

    def _top(self, n: int, columns: Any, keep: str, largest: bool) -> DataFrame:
        what = "nlargest" if largest else "nsmallest"
        require_default(what, keep=(keep, "first"))
        labels = [columns] if isinstance(columns, str) else list(columns)
        for label in labels:
            check_rankable(what, label, self._state.require(label, what))
        by = tuple(internal_name(label) for label in labels)
        return DataFrame(self._state.projected().map_base(lambda base: relations.Top(base, int(n), by, largest)))

    def sort_values(
        self,
        by: Any,
        *,
        ascending: Any = True,
        kind: str = "quicksort",
        na_position: str = "last",
        ignore_index: bool = False,
    ) -> DataFrame:
        """Order all rows by columns. They are gathered into one partition: for results, not for large tables.

        Parameters
        ----------
        by
            A column, or several.
        ascending
            Smallest first; one bool, or one for each column.
        kind
            "stable" keeps equal rows in order and is the cheapest; others order them as numpy's sort does.
        na_position
            Where missing values go: "first" or "last".
        ignore_index
            Give the rows a fresh index.

        Returns
        -------
        DataFrame
        """
        labels = [by] if isinstance(by, str) else list(by)
        for label in labels:
            self._state.require(label, "sort_values")
        up = [ascending] * len(labels) if isinstance(ascending, (bool, int)) else list(ascending)
        if len(up) != len(labels):
            raise SchemaError(f"sort_values: {len(labels)} columns, but {len(up)} values of ascending")
        names, last = tuple(internal_name(c) for c in labels), na_last(na_position)
        order = tuple(bool(a) for a in up)
        out = DataFrame(self._state.projected().map_base(lambda base: relations.Sort(base, names, order, last, kind)))
        return out.reset_index(drop=True) if ignore_index else out

    def reset_index(self, *, drop: bool = False) -> DataFrame:
        """Give the rows a fresh index 0, 1, 2, ...; the old one becomes columns, unless `drop`.

        Parameters
        ----------
        drop
            Leave the old index out.

        Returns
        -------
        DataFrame

        Raises
        ------
        SchemaError : there is a column of a level's name already.
        """
        return DataFrame(self._state.reset_index(drop))

    def set_index(self, keys: Any, *, drop: bool = True) -> DataFrame:
        """Make columns the index.

        Parameters
        ----------
        keys
            A column, or several.
        drop
            Leave them out of the columns.

        Returns
        -------
        DataFrame
        """
        labels = [keys] if isinstance(keys, str) else list(keys)
        levels = tuple(Level(label, self._state.require(label, "set_index")) for label in labels)
        columns = tuple((c, e) for c, e in self._state.columns if not (drop and c in labels))
        return DataFrame(FrameState(self._state.base, columns, levels))

    # -- together

    def groupby(
        self,
        by: Any = None,
        *,
        as_index: bool = True,
        sort: bool = True,
        dropna: bool = True,
        observed: bool = True,
        level: Any = None,
    ) -> DataFrameGroupBy:
        """Group the rows by columns.

        Parameters
        ----------
        by
            A column, a Series of this frame, or a list of them.
        as_index
            Make the keys the index of results; otherwise their first columns.
        sort
            Order the groups by key; otherwise by first occurrence.
        dropna
            Leave out rows with a missing key.
        observed
            Accepted for pandas compatibility; ignored, as there are no categories.
        level
            Only None.

        Returns
        -------
        DataFrameGroupBy

        Raises
        ------
        UnknownColumn : a key is not there.

        Examples
        --------
        >>> import pandas as pd
        >>> import howdah as hd
        >>> df = hd.from_pandas(pd.DataFrame({"k": ["a", "b", "a"], "x": [1, 2, 3]}))
        >>> df.groupby("k").x.sum().compute().to_dict()
        {'a': 4, 'b': 2}
        """
        require_default("groupby", level=(level, None))
        return group(self._state, by, as_index=as_index, sort=sort, dropna=dropna)

    def merge(
        self,
        right: Any,
        how: str = "inner",
        on: Any = None,
        left_on: Any = None,
        right_on: Any = None,
        *,
        left_index: bool = False,
        right_index: bool = False,
        sort: bool = False,
        suffixes: Sequence[str | None] = ("_x", "_y"),
        copy: bool | None = None,
        indicator: bool = False,
        validate: str | None = None,
    ) -> DataFrame:
        """Join with another frame on columns; the smaller side is sent to every task of the larger.

        Rows are in pandas' order: that of the left keys ("inner", "left"), of the right keys ("right"), or of the
        sorted keys ("outer"). Missing keys match missing keys. The index is fresh.

        Parameters
        ----------
        right
            A DataFrame or Series of howdah.
        how
            "inner", "left", "right" or "outer".
        on
            The key column, or several, of both sides; by default all columns that both have.
        left_on, right_on
            The same where the sides' keys have different labels.
        suffixes
            Added to labels that both sides have, on the left and on the right.
        left_index, right_index, sort, copy, indicator, validate
            Only their defaults.

        Returns
        -------
        DataFrame

        Raises
        ------
        SchemaError : keys of different kinds, or two result columns of one label.
        NotSupported : an option that is not there yet; when computed, both sides are too large to be sent (the message
            has the size and the limit).

        Examples
        --------
        >>> import pandas as pd
        >>> import howdah as hd
        >>> a = hd.from_pandas(pd.DataFrame({"k": [1, 2], "x": [10, 20]}))
        >>> b = hd.from_pandas(pd.DataFrame({"k": [2, 3], "y": [200, 300]}))
        >>> a.merge(b, on="k").compute()
           k   x    y
        0  2  20  200
        """
        right = right.to_frame() if isinstance(right, Series) else right
        if not isinstance(right, DataFrame):
            raise NotSupported(f"merge with a {type(right).__name__}: use howdah.from_pandas(...) for a pandas frame")
        require_default(
            "merge",
            left_index=(left_index, False),
            right_index=(right_index, False),
            sort=(sort, False),
            copy=(copy, None),
            indicator=(indicator, False),
            validate=(validate, None),
        )
        return DataFrame(merge(self._state, state_of(right), how, on, left_on, right_on, suffixes))

    def __repr__(self) -> str:
        return display.as_text(self._state, "DataFrame", self._known_length())

    def _repr_html_(self) -> str:
        return display.as_html(self._state, "DataFrame", self._known_length())


class _NoColumn(UnknownColumn, AttributeError):
    """`df.nmae`: Python's protocols (hasattr, copy) need an AttributeError, users an UnknownColumn."""

    __str__ = Exception.__str__


def _assigned(state: FrameState, name: str, value: Any) -> FrameState:
    """Return the frame with one column added or replaced."""
    if name.startswith(relations.INDEX):
        raise SchemaError(f"assign: the name {name!r} is reserved: choose another")
    if isinstance(value, Series):
        theirs = state_of(value)
        e = state.resolve(theirs.base, theirs.expression, f"assign({name}=...)")
    elif isinstance(value, Collection) or (hasattr(value, "__len__") and not isinstance(value, (str, bytes))):
        raise NotSupported(
            f"assign({name}={type(value).__name__}): use a Series of this frame, a scalar, or a function"
        )
    else:
        e = Constant(value.compute() if isinstance(value, Scalar) else value)
    if name in state.labels():
        columns: tuple[tuple[Label, Any], ...] = tuple((c, e if c == name else old) for c, old in state.columns)
    else:
        columns = (*state.columns, (name, e))
    return FrameState(state.base, columns, state.index)
