"""The index of a frame: its names and dtypes are known, its labels are computed when asked."""

from __future__ import annotations

from typing import Any

from howdah.engine.frame import compute as _compute
from howdah.engine.frame.state import FrameState
from howdah.engine.frame.unsupported import unsupported


class Index:
    """Names and dtypes of a frame's index. `compute()` gives the pandas Index."""

    def __init__(self, rows: FrameState):
        self._state = FrameState(rows.base, (), rows.index)
        self._length = rows

    @property
    def names(self) -> list[Any]:
        return [level.label for level in self._state.index]

    @property
    def name(self) -> Any:
        return self.names[0] if self.nlevels == 1 else None

    @property
    def nlevels(self) -> int:
        return len(self._state.index)

    @property
    def dtypes(self) -> list[str]:
        return [level.values.dtype.pandas for level in self._state.index]

    def compute(self, scheduler: Any = None) -> Any:
        """The pandas Index."""
        rows = FrameState(
            self._length.base, self._length.columns[:1] if self._state.is_range else (), self._state.index
        )
        return _compute.to_pandas(rows, _compute.compute_rows(rows, scheduler)).index

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise unsupported("Index", name)

    def __repr__(self) -> str:
        return f"<howdah Index {self.names}, not computed>"
