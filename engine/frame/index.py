"""`Index`: the names and dtypes of a frame's index, which are known, and its labels, which are computed on request."""

from __future__ import annotations

from typing import Any

from howdah.engine.frame import compute as _compute
from howdah.engine.frame.state import FrameState
from howdah.engine.frame.unsupported import unsupported


class Index:
    """The index of a DataFrame or Series, not computed. Returned by `df.index`.

    Examples
    --------
    >>> import pandas as pd
    >>> import howdah as hd
    >>> index = hd.from_pandas(pd.DataFrame({"k": [2, 1], "x": [1, 2]})).groupby("k").x.sum().index
    >>> index.name, index.compute().tolist()
    ('k', [1, 2])
    """

    def __init__(self, state: FrameState):
        self._state = FrameState(state.base, (), state.index)
        self._length = state

    @property
    def names(self) -> list[Any]:
        """The names of the levels."""
        return [level.label for level in self._state.index]

    @property
    def name(self) -> Any:
        """The name of the only level; None if it has none, or there are several levels."""
        return self.names[0] if self.nlevels == 1 else None

    @property
    def nlevels(self) -> int:
        """The number of levels."""
        return len(self._state.index)

    @property
    def dtypes(self) -> list[str]:
        """pandas' names of the levels' dtypes."""
        return [level.values.dtype.pandas for level in self._state.index]

    def compute(self, scheduler: Any = None) -> Any:
        """Compute the labels and return the pandas Index.

        Parameters
        ----------
        scheduler
            As for `DataFrame.compute`.

        Returns
        -------
        pandas.Index
        """
        columns = self._length.columns[:1] if self._state.is_range else ()
        state = FrameState(self._length.base, columns, self._state.index)
        return _compute.to_pandas(state, _compute.compute_rows(state, scheduler)).index

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise unsupported("Index", name)

    def __repr__(self) -> str:
        return f"<howdah Index {self.names}, not computed>"
