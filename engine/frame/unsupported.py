"""The names of pandas that howdah lacks, and what to use instead. Internal to `engine.frame`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from howdah.errors import NotSupported

_MAP = "map_partitions(function), which runs pandas on each partition"
_SMALL = "compute() once the data is small, then pandas"
_EACH = "the reductions of each column: df.x.sum(), df.x.mean(), ..."

ALTERNATIVES: dict[str, str] = {
    "apply": _MAP + ", or column arithmetic",
    "map": _MAP + ", or column arithmetic",
    "applymap": _MAP,
    "transform": _MAP,
    "pipe": "a plain function call",
    "eval": "column arithmetic: df.a + df.b",
    "query": "a boolean mask: df[df.a > 1]",
    "where": "a boolean mask, or fillna",
    "mask": "a boolean mask, or fillna",
    "loc": "a boolean mask for rows, df[[...]] for columns",
    "iloc": "head(n), tail(n) or nlargest(n, columns)",
    "at": _SMALL,
    "iat": _SMALL,
    "join": "merge(other, on=...)",
    "concat": "read_parquet of one folder that holds all files",
    "append": "read_parquet of one folder that holds all files",
    "pivot_table": "groupby on both keys, compute(), then pandas' unstack",
    "pivot": "groupby on both keys, compute(), then pandas' unstack",
    **dict.fromkeys(["sum", "mean", "min", "max", "std", "var", "count", "nunique", "any", "all"], _EACH),
    "describe": "agg by name: df.x.mean(), df.x.std(), ...",
    "drop_duplicates": "groupby(keys).first()",
    "duplicated": "groupby(keys).size()",
    "unique": "value_counts(), whose index holds the distinct values",
    "sort_index": "sort_values(by=...)",
    "iterrows": "compute(), then pandas",
    "itertuples": "compute(), then pandas",
    "to_csv": "to_parquet, or compute() and pandas' to_csv",
    "to_sql": "to_parquet, or compute() and pandas' to_sql",
    "values": "compute().values",
    "to_numpy": "compute().to_numpy()",
    "T": "compute().T",
    "sample": "head(n)",
    "median": "mean, min or max; exact medians need all values in one place",
    "quantile": "mean, min or max; exact quantiles need all values in one place",
    "rolling": _SMALL,
    "shift": _SMALL,
    "cumsum": _SMALL,
    "diff": _SMALL,
    "rank": "nlargest(n, columns)",
    "plot": "compute().plot",
    "hist": "compute().hist",
    "info": "dtypes and columns",
    "memory_usage": "explain(), which shows the bytes that will be read",
    "copy": "the frame itself: no operation changes a frame in place",
    "iterating": "compute(), then pandas",
}


@lru_cache(maxsize=8)
def _pandas_names(kind: str) -> frozenset[str]:
    import pandas as pd

    groups: dict[str, Any] = {
        "DataFrame": pd.DataFrame,
        "Series": pd.Series,
        "DataFrameGroupBy": pd.api.typing.DataFrameGroupBy,
        "SeriesGroupBy": pd.api.typing.SeriesGroupBy,
        "str": pd.Series([""]).str,
        "dt": pd.Series(pd.DatetimeIndex([])).dt,
    }
    return frozenset(dir(groups[kind]))


def is_pandas(kind: str, name: str) -> bool:
    """Whether pandas' class `kind` has a public attribute `name`."""
    return not name.startswith("_") and name in _pandas_names(kind)


class MissingName(NotSupported, AttributeError):
    """A name of pandas that howdah lacks; an AttributeError too, so that `hasattr` is False."""

    __str__ = Exception.__str__


def unsupported(kind: str, name: str) -> MissingName:
    """Return the error for a name of pandas that howdah does not have."""
    remedy = ALTERNATIVES.get(name, f"{_MAP}, or {_SMALL}")
    return MissingName(f"pandas' {kind}.{name} is not there yet: use {remedy}")


def require_default(what: str, **given: Any) -> None:
    """Raise `NotSupported` for an argument that differs from the only supported value.

    >>> require_default("merge", indicator=(False, False))
    >>> require_default("merge", indicator=(True, False))
    Traceback (most recent call last):
    howdah.errors.NotSupported: merge(indicator=True) is not there yet: only indicator=False
    """
    for name, (value, allowed) in given.items():
        if value is not allowed and value != allowed:
            raise NotSupported(f"{what}({name}={value!r}) is not there yet: only {name}={allowed!r}")
