"""`.str` and `.dt`: row-wise methods of text and times. Those without a Polars form run as pandas on the partition."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from howdah.engine.frame.unsupported import is_pandas, unsupported
from howdah.engine.relational.columns import call
from howdah.engine.relational.functions import MOMENT, MOMENT_METHODS, SPAN, TEXT
from howdah.errors import NotSupported, SchemaError

if TYPE_CHECKING:
    from howdah.engine.frame.series import Series

_SIGNATURES: dict[str, tuple[str, ...]] = {
    "contains": ("pat", "case", "regex"), "startswith": ("pat",), "endswith": ("pat",),
    "replace": ("pat", "repl", "regex"), "slice": ("start", "stop", "step"), "strip": ("to_strip",),
    "lstrip": ("to_strip",), "rstrip": ("to_strip",),
    "zfill": ("width",), "pad": ("width", "side", "fillchar"), "ljust": ("width", "fillchar"),
    "rjust": ("width", "fillchar"), "center": ("width", "fillchar"), "match": ("pat", "case"),
    "fullmatch": ("pat", "case"), "count": ("pat",), "find": ("sub", "start", "end"), "get": ("i",),
    "repeat": ("repeats",), "removeprefix": ("prefix",), "removesuffix": ("suffix",),
    "strftime": ("date_format",), "floor": ("freq",), "ceil": ("freq",), "round": ("freq",),
}  # fmt: skip
_DEFAULTS: dict[str, dict[str, Any]] = {"contains": {"case": True, "regex": True}}


class StringAccessor:
    """`series.str`: methods of text columns.

    >>> import pandas as pd
    >>> import howdah as hd
    >>> hd.from_pandas(pd.DataFrame({"a": ["x1", "y", None]})).a.str.contains("x").compute().tolist()
    [True, False, False]
    """

    def __init__(self, series: Series):
        if series._expression.dtype.kind != "str":
            raise SchemaError(f"{series.name!r}: .str needs text, got {series._expression.dtype}")
        self._series = series

    def __getattr__(self, name: str) -> Callable[..., Series]:
        if name in TEXT:
            return _method(self._series, "str", name)
        if is_pandas("str", name):
            raise unsupported("Series.str", name)
        raise AttributeError(f".str has no attribute {name!r}")

    def __getitem__(self, key: Any) -> Series:
        if isinstance(key, slice):
            return self.slice(key.start, key.stop, key.step)
        return self.get(key)


class DatetimeAccessor:
    """`series.dt`: parts of datetimes and timedeltas.

    >>> import pandas as pd
    >>> import howdah as hd
    >>> hd.from_pandas(pd.DataFrame({"t": pd.to_datetime(["2020-02-03"])})).t.dt.month.compute().tolist()
    [2]
    """

    def __init__(self, series: Series):
        dtype = series._expression.dtype
        if dtype.kind == "date":
            raise SchemaError(f'{series.name!r}: .dt needs times, got dates: use .astype("datetime64[us]").dt')
        if dtype.kind not in ("datetime", "timedelta"):
            raise SchemaError(f"{series.name!r}: .dt needs times, got {dtype}")
        self._series = series

    def __getattr__(self, name: str) -> Any:
        if name in MOMENT or name in SPAN:
            series = self._series
            return series._with(call(f"dt.{name}", series._expression))
        if name in MOMENT_METHODS:
            return _method(self._series, "dt", name)
        if is_pandas("dt", name):
            raise unsupported("Series.dt", name)
        raise AttributeError(f".dt has no attribute {name!r}")


def _method(series: Series, accessor: str, name: str) -> Callable[..., Series]:
    known = _SIGNATURES.get(name, ())

    def run(*args: Any, **kwargs: Any) -> Series:
        what = f".{accessor}.{name}"
        if len(args) > len(known):
            raise SchemaError(f"{what}: takes {len(known)} positional arguments, got {len(args)}")
        params = {**_DEFAULTS.get(name, {}), **dict(zip(known, args)), **kwargs}
        strange = [k for k in params if k not in known]
        if strange:
            raise NotSupported(f"{what}({strange[0]}=...) is not there yet: only {', '.join(known) or 'no arguments'}")
        if any(callable(v) for v in params.values()):
            raise NotSupported(f"{what} with a function: use map_partitions")
        return series._with(call(f"{accessor}.{name}", series._expression, **params))

    return run
