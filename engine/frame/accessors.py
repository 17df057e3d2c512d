"""`.str` and `.dt`: row-wise methods of text, datetimes and timedeltas.

Signatures are pandas'. Methods without a Polars form run as pandas on each partition; `explain()` lists those. Made by
`Series.str` and `Series.dt`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from howdah.engine.frame.unsupported import is_pandas, require_default, unsupported
from howdah.engine.relational.columns import Column, call
from howdah.errors import NotSupported, SchemaError

if TYPE_CHECKING:
    from howdah.engine.frame.series import Series


class _Accessor:
    """Calls of the functions whose names begin with `_prefix`; `derive` makes a Series of an expression."""

    _prefix: str

    def __init__(self, name: Any, expression: Column, derive: Callable[[Column], Series]) -> None:
        self._check(name, expression)
        self._expression, self._derive = expression, derive

    def _check(self, name: Any, expression: Column) -> None:
        """Raise `SchemaError` for a column of the wrong type."""

    def _call(self, function: str, **params: Any) -> Series:
        if any(callable(v) for v in params.values()):
            raise NotSupported(f".{self._prefix}.{function} with a function: use map_partitions")
        given = {name: value for name, value in params.items() if value is not None}
        return self._derive(call(f"{self._prefix}.{function}", self._expression, **given))

    def __getattr__(self, name: str) -> Any:
        if is_pandas(self._prefix, name):
            raise unsupported(f"Series.{self._prefix}", name)
        raise AttributeError(f".{self._prefix} has no attribute {name!r}")


class StringAccessor(_Accessor):
    """`series.str`: methods of text columns. Missing texts stay missing; of tests, the result is False.

    Examples
    --------
    >>> import pandas as pd
    >>> import howdah as hd
    >>> hd.from_pandas(pd.DataFrame({"a": ["x1", "y", None]})).a.str.contains("x").compute().tolist()
    [True, False, False]
    """

    _prefix = "str"

    def _check(self, name: Any, expression: Column) -> None:
        if expression.dtype.kind != "str":
            raise SchemaError(f"{name!r}: .str needs text, got {expression.dtype}")

    def __getitem__(self, key: Any) -> Series:
        if isinstance(key, slice):
            return self.slice(key.start, key.stop, key.step)
        return self.get(key)

    def upper(self) -> Series:
        """Convert to upper case.

        Returns
        -------
        Series of str
        """
        return self._call("upper")

    def lower(self) -> Series:
        """Convert to lower case.

        Returns
        -------
        Series of str
        """
        return self._call("lower")

    def title(self) -> Series:
        """Convert to title case: words begin with a capital letter.

        Returns
        -------
        Series of str
        """
        return self._call("title")

    def capitalize(self) -> Series:
        """Convert the first letter to upper case and the rest to lower case.

        Returns
        -------
        Series of str
        """
        return self._call("capitalize")

    def swapcase(self) -> Series:
        """Swap upper and lower case.

        Returns
        -------
        Series of str
        """
        return self._call("swapcase")

    def casefold(self) -> Series:
        """Remove distinctions of case, for comparisons.

        Returns
        -------
        Series of str
        """
        return self._call("casefold")

    def len(self) -> Series:
        """Return the number of characters.

        Returns
        -------
        Series of int64; float64 where texts are missing
        """
        return self._call("len")

    def strip(self, to_strip: str | None = None) -> Series:
        """Remove characters at both ends.

        Parameters
        ----------
        to_strip
            The characters to remove; None is white space.

        Returns
        -------
        Series of str
        """
        return self._call("strip", to_strip=to_strip)

    def lstrip(self, to_strip: str | None = None) -> Series:
        """Remove characters at the left end.

        Parameters
        ----------
        to_strip
            The characters to remove; None is white space.

        Returns
        -------
        Series of str
        """
        return self._call("lstrip", to_strip=to_strip)

    def rstrip(self, to_strip: str | None = None) -> Series:
        """Remove characters at the right end.

        Parameters
        ----------
        to_strip
            The characters to remove; None is white space.

        Returns
        -------
        Series of str
        """
        return self._call("rstrip", to_strip=to_strip)

    def slice(self, start: int | None = None, stop: int | None = None, step: int | None = None) -> Series:
        """Take a slice of each text; ``.str[start:stop:step]`` is the same.

        Parameters
        ----------
        start, stop, step
            Positions of characters, as in Python's slices.

        Returns
        -------
        Series of str
        """
        return self._call("slice", start=start, stop=stop, step=step)

    def get(self, i: int) -> Series:
        """Take one character of each text; ``.str[i]`` is the same.

        Parameters
        ----------
        i
            The character's position; negative from the end.

        Returns
        -------
        Series of str
        """
        return self._call("get", i=i)

    def contains(self, pat: str, case: bool = True, flags: int = 0, na: Any = None, regex: bool = True) -> Series:
        """Return whether a pattern occurs in each text.

        Parameters
        ----------
        pat
            A regular expression of Python, or with `regex=False` plain text.
        case
            Distinguish upper and lower case.
        flags
            Flags of the `re` module; only 0.
        na
            The result of a missing text; only None, which gives False.
        regex
            Whether `pat` is a regular expression.

        Returns
        -------
        Series of bool
        """
        require_default(".str.contains", flags=(flags, 0), na=(na, None))
        return self._call("contains", pat=pat, case=case, regex=regex)

    def startswith(self, pat: str | tuple[str, ...], na: Any = None) -> Series:
        """Return whether each text begins with a text.

        Parameters
        ----------
        pat
            A text, or a tuple of texts any of which will do.
        na
            The result of a missing text; only None, which gives False.

        Returns
        -------
        Series of bool
        """
        require_default(".str.startswith", na=(na, None))
        return self._call("startswith", pat=pat)

    def endswith(self, pat: str | tuple[str, ...], na: Any = None) -> Series:
        """Return whether each text ends with a text.

        Parameters
        ----------
        pat
            A text, or a tuple of texts any of which will do.
        na
            The result of a missing text; only None, which gives False.

        Returns
        -------
        Series of bool
        """
        require_default(".str.endswith", na=(na, None))
        return self._call("endswith", pat=pat)

    def match(self, pat: str, case: bool = True, flags: int = 0, na: Any = None) -> Series:
        """Return whether a regular expression matches at the beginning of each text.

        Parameters
        ----------
        pat
            A regular expression of Python.
        case
            Distinguish upper and lower case.
        flags
            Flags of the `re` module; only 0.
        na
            The result of a missing text; only None, which gives False.

        Returns
        -------
        Series of bool
        """
        require_default(".str.match", flags=(flags, 0), na=(na, None))
        return self._call("match", pat=pat, **({} if case else {"case": False}))

    def fullmatch(self, pat: str, case: bool = True, flags: int = 0, na: Any = None) -> Series:
        """Return whether a regular expression matches the whole of each text.

        Parameters
        ----------
        pat
            A regular expression of Python.
        case
            Distinguish upper and lower case.
        flags
            Flags of the `re` module; only 0.
        na
            The result of a missing text; only None, which gives False.

        Returns
        -------
        Series of bool
        """
        require_default(".str.fullmatch", flags=(flags, 0), na=(na, None))
        return self._call("fullmatch", pat=pat, **({} if case else {"case": False}))

    def replace(
        self, pat: str, repl: str, n: int = -1, case: Any = None, flags: int = 0, regex: bool = False
    ) -> Series:
        """Replace what matches a pattern.

        Parameters
        ----------
        pat
            Plain text, or with `regex=True` a regular expression of Python.
        repl
            The replacement; functions are not supported.
        n
            The number of replacements; only -1, all.
        case
            Only None, which distinguishes upper and lower case.
        flags
            Flags of the `re` module; only 0.
        regex
            Whether `pat` is a regular expression.

        Returns
        -------
        Series of str
        """
        require_default(".str.replace", n=(n, -1), case=(case, None), flags=(flags, 0))
        return self._call("replace", pat=pat, repl=repl, regex=regex)

    def count(self, pat: str, flags: int = 0) -> Series:
        """Count what matches a regular expression in each text.

        Parameters
        ----------
        pat
            A regular expression of Python.
        flags
            Flags of the `re` module; only 0.

        Returns
        -------
        Series of int64; float64 where texts are missing
        """
        require_default(".str.count", flags=(flags, 0))
        return self._call("count", pat=pat)

    def find(self, sub: str, start: int = 0, end: int | None = None) -> Series:
        """Return the position where a text first occurs; -1 where it does not.

        Parameters
        ----------
        sub
            The text to look for.
        start, end
            Positions between which to look.

        Returns
        -------
        Series of int64; float64 where texts are missing
        """
        return self._call("find", sub=sub, start=start, end=end)

    def zfill(self, width: int) -> Series:
        """Fill up with zeros on the left.

        Parameters
        ----------
        width
            The number of characters that each text has at least.

        Returns
        -------
        Series of str
        """
        return self._call("zfill", width=width)

    def pad(self, width: int, side: str = "left", fillchar: str = " ") -> Series:
        """Fill up with a character.

        Parameters
        ----------
        width
            The number of characters that each text has at least.
        side
            Where to add: "left", "right" or "both".
        fillchar
            The character to add.

        Returns
        -------
        Series of str
        """
        return self._call("pad", width=width, side=side, fillchar=fillchar)

    def ljust(self, width: int, fillchar: str = " ") -> Series:
        """Fill up with a character on the right.

        Parameters
        ----------
        width
            The number of characters that each text has at least.
        fillchar
            The character to add.

        Returns
        -------
        Series of str
        """
        return self._call("ljust", width=width, fillchar=fillchar)

    def rjust(self, width: int, fillchar: str = " ") -> Series:
        """Fill up with a character on the left.

        Parameters
        ----------
        width
            The number of characters that each text has at least.
        fillchar
            The character to add.

        Returns
        -------
        Series of str
        """
        return self._call("rjust", width=width, fillchar=fillchar)

    def center(self, width: int, fillchar: str = " ") -> Series:
        """Fill up with a character on both sides.

        Parameters
        ----------
        width
            The number of characters that each text has at least.
        fillchar
            The character to add.

        Returns
        -------
        Series of str
        """
        return self._call("center", width=width, fillchar=fillchar)

    def repeat(self, repeats: int) -> Series:
        """Repeat each text.

        Parameters
        ----------
        repeats
            How many times.

        Returns
        -------
        Series of str
        """
        return self._call("repeat", repeats=repeats)

    def removeprefix(self, prefix: str) -> Series:
        """Remove a text at the beginning, where it is there.

        Parameters
        ----------
        prefix
            The text to remove.

        Returns
        -------
        Series of str
        """
        return self._call("removeprefix", prefix=prefix)

    def removesuffix(self, suffix: str) -> Series:
        """Remove a text at the end, where it is there.

        Parameters
        ----------
        suffix
            The text to remove.

        Returns
        -------
        Series of str
        """
        return self._call("removesuffix", suffix=suffix)

    def isdigit(self) -> Series:
        """Return whether all characters are digits, and there is one.

        Returns
        -------
        Series of bool
        """
        return self._call("isdigit")

    def isalpha(self) -> Series:
        """Return whether all characters are letters, and there is one.

        Returns
        -------
        Series of bool
        """
        return self._call("isalpha")

    def isalnum(self) -> Series:
        """Return whether all characters are letters or digits, and there is one.

        Returns
        -------
        Series of bool
        """
        return self._call("isalnum")

    def isnumeric(self) -> Series:
        """Return whether all characters are numeric, and there is one.

        Returns
        -------
        Series of bool
        """
        return self._call("isnumeric")

    def isupper(self) -> Series:
        """Return whether all characters are upper case, and there is one.

        Returns
        -------
        Series of bool
        """
        return self._call("isupper")

    def islower(self) -> Series:
        """Return whether all characters are lower case, and there is one.

        Returns
        -------
        Series of bool
        """
        return self._call("islower")

    def isspace(self) -> Series:
        """Return whether all characters are white space, and there is one.

        Returns
        -------
        Series of bool
        """
        return self._call("isspace")


class DatetimeAccessor(_Accessor):
    """`series.dt`: parts of datetimes and timedeltas. Missing times give missing parts.

    Examples
    --------
    >>> import pandas as pd
    >>> import howdah as hd
    >>> hd.from_pandas(pd.DataFrame({"t": pd.to_datetime(["2020-02-03"])})).t.dt.month.compute().tolist()
    [2]
    """

    _prefix = "dt"

    def _check(self, name: Any, expression: Column) -> None:
        kind = expression.dtype.kind
        if kind == "date":
            raise SchemaError(f'{name!r}: .dt needs times, got dates: use .astype("datetime64[us]").dt')
        if kind not in ("datetime", "timedelta"):
            raise SchemaError(f"{name!r}: .dt needs times, got {expression.dtype}")

    @property
    def year(self) -> Series:
        """The year."""
        return self._call("year")

    @property
    def month(self) -> Series:
        """The month, 1 to 12."""
        return self._call("month")

    @property
    def day(self) -> Series:
        """The day of the month, 1 to 31."""
        return self._call("day")

    @property
    def hour(self) -> Series:
        """The hour, 0 to 23."""
        return self._call("hour")

    @property
    def minute(self) -> Series:
        """The minute, 0 to 59."""
        return self._call("minute")

    @property
    def second(self) -> Series:
        """The second, 0 to 59."""
        return self._call("second")

    @property
    def microsecond(self) -> Series:
        """The microseconds within the second."""
        return self._call("microsecond")

    @property
    def nanosecond(self) -> Series:
        """The nanoseconds within the microsecond."""
        return self._call("nanosecond")

    @property
    def quarter(self) -> Series:
        """The quarter, 1 to 4."""
        return self._call("quarter")

    @property
    def dayofyear(self) -> Series:
        """The day of the year, 1 to 366."""
        return self._call("dayofyear")

    @property
    def day_of_year(self) -> Series:
        """The day of the year, 1 to 366."""
        return self._call("day_of_year")

    @property
    def weekday(self) -> Series:
        """The day of the week; Monday is 0."""
        return self._call("weekday")

    @property
    def dayofweek(self) -> Series:
        """The day of the week; Monday is 0."""
        return self._call("dayofweek")

    @property
    def day_of_week(self) -> Series:
        """The day of the week; Monday is 0."""
        return self._call("day_of_week")

    @property
    def date(self) -> Series:
        """The dates, as `datetime.date` objects."""
        return self._call("date")

    @property
    def days_in_month(self) -> Series:
        """The number of days of the month."""
        return self._call("days_in_month")

    @property
    def is_month_start(self) -> Series:
        """Whether it is the first day of a month."""
        return self._call("is_month_start")

    @property
    def is_month_end(self) -> Series:
        """Whether it is the last day of a month."""
        return self._call("is_month_end")

    @property
    def is_quarter_start(self) -> Series:
        """Whether it is the first day of a quarter."""
        return self._call("is_quarter_start")

    @property
    def is_quarter_end(self) -> Series:
        """Whether it is the last day of a quarter."""
        return self._call("is_quarter_end")

    @property
    def is_year_start(self) -> Series:
        """Whether it is the first day of a year."""
        return self._call("is_year_start")

    @property
    def is_year_end(self) -> Series:
        """Whether it is the last day of a year."""
        return self._call("is_year_end")

    @property
    def is_leap_year(self) -> Series:
        """Whether the year is a leap year."""
        return self._call("is_leap_year")

    @property
    def days(self) -> Series:
        """The whole days of a timedelta."""
        return self._call("days")

    @property
    def seconds(self) -> Series:
        """The seconds of a timedelta within the day, 0 to 86399."""
        return self._call("seconds")

    @property
    def microseconds(self) -> Series:
        """The microseconds of a timedelta within the second."""
        return self._call("microseconds")

    @property
    def nanoseconds(self) -> Series:
        """The nanoseconds of a timedelta within the microsecond."""
        return self._call("nanoseconds")

    def normalize(self) -> Series:
        """Set the time of day to midnight.

        Returns
        -------
        Series of datetime64
        """
        return self._call("normalize")

    def strftime(self, date_format: str) -> Series:
        """Format as text.

        Parameters
        ----------
        date_format
            As for Python's `strftime`.

        Returns
        -------
        Series of str
        """
        return self._call("strftime", date_format=date_format)

    def floor(self, freq: str) -> Series:
        """Round down to a multiple of a frequency.

        Parameters
        ----------
        freq
            A fixed frequency of pandas, as "h" or "15min".

        Returns
        -------
        Series of the same dtype
        """
        return self._call("floor", freq=freq)

    def ceil(self, freq: str) -> Series:
        """Round up to a multiple of a frequency.

        Parameters
        ----------
        freq
            A fixed frequency of pandas, as "h" or "15min".

        Returns
        -------
        Series of the same dtype
        """
        return self._call("ceil", freq=freq)

    def round(self, freq: str) -> Series:
        """Round to the nearest multiple of a frequency.

        Parameters
        ----------
        freq
            A fixed frequency of pandas, as "h" or "15min".

        Returns
        -------
        Series of the same dtype
        """
        return self._call("round", freq=freq)

    def day_name(self) -> Series:
        """Return the English name of the day of the week.

        Returns
        -------
        Series of str
        """
        return self._call("day_name")

    def month_name(self) -> Series:
        """Return the English name of the month.

        Returns
        -------
        Series of str
        """
        return self._call("month_name")

    def total_seconds(self) -> Series:
        """Return the whole length of a timedelta in seconds.

        Returns
        -------
        Series of float64
        """
        return self._call("total_seconds")
