"""DataFrame: columns with an index, as pandas speaks of them, over partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from howdah.engine.frame.collection import Collection
from howdah.engine.frame.scalar import Scalar
from howdah.engine.frame.series import Series, _na_last, check_rankable
from howdah.engine.frame.state import DEFAULT, FrameState, Label, internal_name, numbered
from howdah.engine.frame.unsupported import is_pandas, require_default, unsupported
from howdah.engine.relational import casts, relations
from howdah.engine.relational.columns import Column, Constant, binary, call
from howdah.errors import NotSupported, SchemaError, UnknownColumn, near

if TYPE_CHECKING:
    from howdah.engine.frame.groupby import DataFrameGroupBy


class DataFrame(Collection):
    """A table, computed when asked. Made by `read_parquet`, `from_pandas`, and by what is done to other frames.

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
        """pandas' dtypes; where the data decides (`explain` says where), the dtype with room for missing values."""
        import pandas as pd

        found = {label: pd.api.types.pandas_dtype(d.pandas) for label, d in self._state.dtypes().items()}
        return pd.Series(found, index=self.columns, dtype=object)

    @property
    def shape(self) -> tuple[int, int]:
        return (len(self), len(self._state.columns))

    @property
    def size(self) -> int:
        return len(self) * len(self._state.columns)

    @property
    def ndim(self) -> int:
        return 2

    def _column(self, label: Label, where: str) -> Column:
        try:
            return self._state.column(label)
        except KeyError:
            known = [str(c) for c in self._state.labels()]
            raise UnknownColumn(f"{where}: no column {label!r}: {near(str(label), known)}") from None

    # -- columns

    def __getitem__(self, key: Any) -> Any:
        rows = self._state
        if isinstance(key, Series):
            return self._keep(key)
        if isinstance(key, (list, pd_index())):
            picked = tuple((label, self._column(label, "df[[...]]")) for label in key)
            if len(dict(picked)) < len(picked):
                raise NotSupported(f"df[{key!r}]: a column twice: give each copy a name with assign")
            return DataFrame(FrameState(rows.base, picked, rows.index))
        if isinstance(key, DataFrame):
            raise unsupported("DataFrame", "where")
        if isinstance(key, slice) or not isinstance(key, (str, int)):
            raise NotSupported(f"df[{key!r}]: use a column name, a list of names, or a boolean mask; head(n) for rows")
        return Series(FrameState(rows.base, ((key, self._column(key, "df[...]")),), rows.index))

    def __setitem__(self, key: Any, value: Any) -> None:
        """`df["x"] = ...`: this object shows the new column; frames and Series made from it before do not change."""
        if not isinstance(key, str):
            raise NotSupported(f"df[{key!r}] = ...: one column name at a time; use assign")
        self.__dict__["_state"] = self.assign(**{key: value})._state

    def __delitem__(self, key: Any) -> None:
        self.__dict__["_state"] = self.drop(columns=[key])._state

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            rows = self.__dict__.get("_state")
            if rows is not None and name in rows.labels():
                return self[name]
            if is_pandas("DataFrame", name):
                raise unsupported("DataFrame", name)
            if rows is not None:
                known = [c for c in rows.labels() if isinstance(c, str)]
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
        return self.columns

    def assign(self, **columns: Any) -> DataFrame:
        """New or replaced columns: Series of this frame, scalars, or functions of the frame so far."""
        out = self
        for name, value in columns.items():
            value = value(out) if callable(value) and not isinstance(value, Collection) else value
            out = out._assigned(name, value)
        return out

    def _assigned(self, name: str, value: Any) -> DataFrame:
        rows = self._state
        if name.startswith(relations.INDEX):
            raise SchemaError(f"assign: {name!r} is a name that howdah keeps for itself: choose another")
        if isinstance(value, Series):
            e = rows.resolve(value._state.base, value._expression, f"assign({name}=...)")
        elif isinstance(value, Collection) or (hasattr(value, "__len__") and not isinstance(value, (str, bytes))):
            raise NotSupported(
                f"assign({name}={type(value).__name__}): use a Series of this frame, a scalar, or a function"
            )
        else:
            e = Constant(value.compute() if isinstance(value, Scalar) else value)
        known = rows.labels()
        if name in known:
            columns = tuple((c, e if c == name else old) for c, old in rows.columns)
        else:
            columns = (*rows.columns, (name, e))
        return DataFrame(FrameState(rows.base, columns, rows.index))

    def drop(self, labels: Any = None, *, columns: Any = None, axis: Any = 0, errors: str = "raise") -> DataFrame:
        """Without some columns. (Rows are dropped by boolean masks.)"""
        if columns is None:
            if axis not in (1, "columns") or labels is None:
                raise NotSupported("drop of rows by label is not there yet: use a boolean mask")
            columns = labels
        gone = [columns] if isinstance(columns, str) else list(columns)
        if errors != "ignore":
            for label in gone:
                self._column(label, "drop")
        rows = self._state
        return DataFrame(FrameState(rows.base, tuple((c, e) for c, e in rows.columns if c not in gone), rows.index))

    def rename(self, *, columns: Any = None, index: Any = None) -> DataFrame:
        """Other column labels, by a mapping or a function; names that are not there are passed over, as in pandas."""
        require_default("rename", index=(index, None))
        if columns is None:
            raise SchemaError('rename: give columns={"old": "new"}')
        new = columns if callable(columns) else lambda label: columns.get(label, label)
        renamed = tuple((new(c), e) for c, e in self._state.columns)
        if len({c for c, _ in renamed}) < len(renamed):
            raise NotSupported("rename: two columns of one name are not there yet: choose distinct names")
        if not all(isinstance(c, str) for c, _ in renamed):
            raise NotSupported("rename: column labels must be text")
        return DataFrame(FrameState(self._state.base, renamed, self._state.index))

    def _each(self, change: Any) -> DataFrame:
        rows = self._state
        return DataFrame(FrameState(rows.base, tuple((c, change(c, e)) for c, e in rows.columns), rows.index))

    def astype(self, dtype: Any) -> DataFrame:
        """All columns, or those of a mapping, as another dtype."""
        if not isinstance(dtype, Mapping):
            return self._each(lambda c, e: casts.astype(e, dtype))
        for label in dtype:
            self._column(label, "astype")
        return self._each(lambda c, e: casts.astype(e, dtype[c]) if c in dtype else e)

    def fillna(self, value: Any) -> DataFrame:
        """Missing values replaced: by one scalar, or by a mapping from column to scalar."""
        if isinstance(value, Mapping):
            return self._each(lambda c, e: call("fillna", e, value[c]) if c in value else e)
        if isinstance(value, Collection):
            raise NotSupported("fillna(frame): use a scalar or a mapping, or fillna on each Series")
        return self._each(lambda c, e: call("fillna", e, value))

    def isna(self) -> DataFrame:
        return self._each(lambda c, e: call("isna", e))

    def notna(self) -> DataFrame:
        return self._each(lambda c, e: call("notna", e))

    isnull, notnull = isna, notna

    def isin(self, values: Any) -> DataFrame:
        if isinstance(values, Mapping):
            raise NotSupported("isin(mapping): use df.column.isin([...]) for each column")
        import pandas as pd

        plain = tuple(pd.Series(list(values), dtype=object).tolist())
        return self._each(lambda c, e: call("isin", e, values=plain))

    def abs(self) -> DataFrame:
        return self._each(lambda c, e: call("abs", e))

    def round(self, decimals: int = 0) -> DataFrame:
        require_default("DataFrame.round", decimals_type=(type(decimals), int))
        return self._each(lambda c, e: call("round", e, decimals=decimals) if e.dtype.is_number else e)

    def select_dtypes(self, include: Any = None, exclude: Any = None) -> DataFrame:
        import pandas as pd

        empty = pd.DataFrame({c: pd.Series([], dtype=d) for c, d in self.dtypes.items()})
        return self[list(empty.select_dtypes(include, exclude).columns)]  # type: ignore[no-any-return]

    def _elementwise(self, op: str, other: Any, swapped: bool) -> DataFrame:
        if isinstance(other, Collection) or (hasattr(other, "__len__") and not isinstance(other, (str, bytes))):
            raise NotSupported(f"DataFrame {op} {type(other).__name__}: use column arithmetic: df.a {op} df.b")
        value = other.compute() if isinstance(other, Scalar) else other
        return self._each(lambda c, e: binary(op, value, e) if swapped else binary(op, e, value))

    # -- rows

    def dropna(self, *, how: str = "any", subset: Any = None) -> DataFrame:
        """Without rows in which any (or all) of the columns are missing."""
        labels = self._state.labels() if subset is None else [subset] if isinstance(subset, str) else list(subset)
        if how not in ("any", "all"):
            raise SchemaError(f"dropna(how={how!r}): use 'any' or 'all'")
        there = [call("notna", self._column(c, "dropna")) for c in labels]
        if not there:
            return self
        mask = there[0]
        for e in there[1:]:
            mask = binary("&" if how == "any" else "|", mask, e)
        return self._keep(Series(FrameState(self._state.base, (("mask", mask),), self._state.index)))

    def nlargest(self, n: int, columns: Any, keep: str = "first") -> DataFrame:
        """The n rows with the largest values of `columns`, largest first; ties in the order of the rows."""
        return self._top(n, columns, keep, True)

    def nsmallest(self, n: int, columns: Any, keep: str = "first") -> DataFrame:
        """The n rows with the smallest values of `columns`, smallest first; ties in the order of the rows."""
        return self._top(n, columns, keep, False)

    def _top(self, n: int, columns: Any, keep: str, largest: bool) -> DataFrame:
        what = "nlargest" if largest else "nsmallest"
        require_default(what, keep=(keep, "first"))
        labels = [columns] if isinstance(columns, str) else list(columns)
        for label in labels:
            check_rankable(what, label, self._column(label, what))
        by = tuple(internal_name(label) for label in labels)
        return DataFrame(self._state.projected().map_base(lambda base: relations.Top(base, int(n), by, largest)))

    def sort_values(self, by: Any, *, ascending: Any = True, kind: str = "quicksort", na_position: str = "last",
                    ignore_index: bool = False) -> DataFrame:  # fmt: skip
        """All rows in order. They are gathered into one partition: for results, not for large tables."""
        labels = [by] if isinstance(by, str) else list(by)
        for label in labels:
            self._column(label, "sort_values")
        up = [ascending] * len(labels) if isinstance(ascending, (bool, int)) else list(ascending)
        if len(up) != len(labels):
            raise SchemaError(f"sort_values: {len(labels)} columns, but {len(up)} values of ascending")
        names, last = tuple(internal_name(c) for c in labels), _na_last(na_position)
        order = tuple(bool(a) for a in up)
        out = DataFrame(self._state.projected().map_base(lambda base: relations.Sort(base, names, order, last, kind)))
        return out.reset_index(drop=True) if ignore_index else out

    def reset_index(self, *, drop: bool = False) -> DataFrame:
        """A fresh index 0, 1, 2, ...; the old one becomes columns, unless `drop`."""
        projected = self._state.projected()
        fresh = () if drop else self._levels_as_columns(projected)
        # The old labels are columns of `projected.base` under hidden names; a new INDEX must not take their place.
        named = tuple((internal_name(label), e) for label, e in (*fresh, *projected.columns))
        shown = tuple((label, e) for label, e in (*fresh, *projected.columns))
        return DataFrame(FrameState(numbered(relations.Project(projected.base, named)), shown, DEFAULT).by_label())

    def _levels_as_columns(self, projected: FrameState) -> tuple[tuple[Label, Column], ...]:
        known = self._state.labels()
        out = []
        for i, level in enumerate(projected.index):
            plain = ("index" if "index" not in known else "level_0") if len(projected.index) == 1 else f"level_{i}"
            label = level.label if level.label is not None else plain
            if label in known:
                raise SchemaError(f"reset_index: there is a column {label!r} already: rename it, or use drop=True")
            out.append((label, level.values))
        return tuple(out)

    def set_index(self, keys: Any, *, drop: bool = True) -> DataFrame:
        """Columns as the index."""
        from howdah.engine.frame.state import Level

        labels = [keys] if isinstance(keys, str) else list(keys)
        levels = tuple(Level(label, self._column(label, "set_index")) for label in labels)
        kept = tuple((c, e) for c, e in self._state.columns if not (drop and c in labels))
        return DataFrame(FrameState(self._state.base, kept, levels))

    # -- together

    def groupby(self, by: Any = None, *, as_index: bool = True, sort: bool = True, dropna: bool = True,
                observed: bool = True, level: Any = None) -> DataFrameGroupBy:  # fmt: skip
        """Groups by one or several columns (or Series of this frame); see `DataFrameGroupBy` for what they can do."""
        from howdah.engine.frame.groupby import group

        require_default("groupby", level=(level, None))
        return group(self, by, as_index=as_index, sort=sort, dropna=dropna)

    def merge(self, right: Any, how: str = "inner", on: Any = None, left_on: Any = None, right_on: Any = None,
              suffixes: Sequence[str | None] = ("_x", "_y"), **others: Any) -> DataFrame:  # fmt: skip
        """A database join with another frame on columns; the smaller side is sent to every task of the larger.

        Rows are in pandas' order: that of the left keys ("inner", "left"), of the right keys ("right"), or of the
        sorted keys ("outer"). Missing keys match missing keys. The index is fresh.

        Raises
        ------
        NotSupported : at compute, when neither side is small enough to send (the message has the size and the limit).
        """
        from howdah.engine.frame.merge import merge

        return merge(self, right, how, on, left_on, right_on, suffixes, others)

    def __repr__(self) -> str:
        from howdah.engine.frame.explain import partitions

        body = "\n".join(f"  {c}: {d}" for c, d in self._state.dtypes().items())
        n = partitions(self._state)
        return f"<howdah DataFrame, not computed: compute() for the rows; {n} partition{'s' * (n != 1)}>\n{body}"

    def _repr_html_(self) -> str:
        import html

        cells = "".join(
            f"<tr><td>{html.escape(str(c))}</td><td>{html.escape(str(d))}</td></tr>"
            for c, d in self._state.dtypes().items()
        )
        table = f"<table><tr><th>column</th><th>dtype</th></tr>{cells}</table>"
        return f"<div><b>howdah DataFrame</b>, not computed{table}</div>"


class _NoColumn(UnknownColumn, AttributeError):
    """`df.nmae`: Python's protocols (hasattr, copy) need an AttributeError, people an UnknownColumn."""

    __str__ = Exception.__str__


def pd_index() -> Any:
    import pandas as pd

    return pd.Index


def _operator(op: str, swapped: bool) -> Any:
    def run(self: DataFrame, other: Any) -> DataFrame:
        return self._elementwise(op, other, swapped)

    return run


for _word, _op in {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
}.items():
    setattr(DataFrame, f"__{_word}__", _operator(_op, False))
    setattr(DataFrame, f"__r{_word}__", _operator(_op, True))
for _word, _op in {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items():
    setattr(DataFrame, f"__{_word}__", _operator(_op, False))
DataFrame.__hash__ = None  # type: ignore[assignment]
