"""`Collection`: what DataFrame and Series can both do, and how the modules of this folder build one from a state.

The classes of this folder return each other: `Series.to_frame` a DataFrame, `df["x"]` a Series. So that no module
needs to import one above it, each class registers here when it is defined, and `frame_from` and `series_from` look it
up. `howdah.engine.frame` imports all of them. Internal to `engine.frame`, but for the methods, which are public.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self

from howdah.engine.client.progress_block import shown
from howdah.engine.frame import compute as _compute
from howdah.engine.frame.explain import explain, partitions
from howdah.engine.frame.index import Index
from howdah.engine.frame.partitions import map_partitions
from howdah.engine.frame.state import FrameState
from howdah.engine.frame.unsupported import unsupported
from howdah.engine.frame.write import write
from howdah.engine.relational import relations
from howdah.engine.relational.aggregates import Agg
from howdah.engine.relational.compiler.compile import ComputedTable, compute_table
from howdah.errors import NotSupported, SchemaError

if TYPE_CHECKING:
    from howdah.engine.frame.dataframe import DataFrame
    from howdah.engine.frame.series import Series

_CLASSES: dict[str, type[Any]] = {}


def frame_from(state: FrameState) -> DataFrame:
    """Return the DataFrame of a state."""
    made: DataFrame = _CLASSES["DataFrame"](state)
    return made


def series_from(state: FrameState) -> Series:
    """Return the Series of a state, which has one column."""
    made: Series = _CLASSES["Series"](state)
    return made


def is_series(value: object) -> bool:
    """Whether `value` is a Series of howdah."""
    return isinstance(value, _CLASSES["Series"])


def is_frame(value: object) -> bool:
    """Whether `value` is a DataFrame of howdah."""
    return isinstance(value, _CLASSES["DataFrame"])


class Collection:
    """Base of DataFrame and Series. `_state` is all that they hold; it is never changed in place."""

    _kind: ClassVar[str]
    _state: FrameState

    def __init_subclass__(cls) -> None:
        if "_kind" in cls.__dict__:
            _CLASSES[cls._kind] = cls

    def __init__(self, state: FrameState, *rest: Any, **options: Any):
        if not isinstance(state, FrameState) or rest or options:
            raise NotSupported(
                f"howdah.{self._kind}({type(state).__name__}, ...): make it with pandas, and give it to howdah: "
                f"howdah.from_pandas(pandas.{self._kind}(...))"
            )
        self.__dict__["_state"] = state

    # -- results

    def compute(self, scheduler: Any = None, *, progress: Any = None) -> Any:
        """Compute the rows and return them as the pandas object.

        Parameters
        ----------
        scheduler
            A `Client`, "threads" or "inline". None takes the current client; without one, a plan over local
            files that fits in memory runs as one stage with all cores, and others by threads.
        progress
            True shows a progress bar; or a function that is called as progress(done tasks, all tasks, layer).

        Returns
        -------
        pandas.DataFrame or pandas.Series

        Raises
        ------
        StorageError : a file cannot be read. An exception of a user's function is raised as it is.

        Examples
        --------
        >>> import pandas as pd
        >>> import howdah as hd
        >>> hd.from_pandas(pd.DataFrame({"x": [1, 2]})).x.compute().tolist()
        [1, 2]
        """
        with shown(progress):
            return self._to_pandas(_compute.compute_rows(self._state, scheduler))

    def _to_pandas(self, found: ComputedTable) -> Any:
        return _compute.to_pandas(self._state, found)

    def persist(self, scheduler: Any = None) -> Self:
        """Compute the rows now and keep them in the workers' memory, or this process's, while the result is referenced.

        Parameters
        ----------
        scheduler
            As for `compute`.

        Returns
        -------
        DataFrame or Series
            The same rows; what is derived from it starts from the computed ones.
        """
        return type(self)(_compute.persist(self._state, scheduler))

    def __howdah_persisted__(self) -> tuple[Any, int] | None:
        """Return the layer of the first persisted rows below, for `howdah.progress`, and 0; None if there are none."""
        held = [node.held for node in self._state.base.walk() if isinstance(node, relations.Persisted)]
        return (held[0], 0) if held else None

    def explain(self, scheduler: Any = None) -> str:
        """Return the plan as text: as written, optimised, as layers of tasks, and what runs as pandas.

        Nothing is computed.

        Parameters
        ----------
        scheduler
            As for `compute`; where the plan would run.

        Returns
        -------
        str
        """
        return explain(self._state, scheduler)

    def to_parquet(self, url: str, *, overwrite: bool = False, index: bool | None = None, scheduler: Any = None) -> Any:
        """Write one Parquet file per partition into the folder `url`, all of them or none.

        Parameters
        ----------
        url
            A folder: ``hdfs:///out/revenue``, ``file:///tmp/out`` or a plain path.
        overwrite
            Replace what is there, once the new data is complete.
        index
            None writes an index that is not 0, 1, 2, ..., as pandas does; False never; True always.
        scheduler
            As for `compute`.

        Returns
        -------
        howdah.io.WriteResult
            files, rows and bytes written.

        Raises
        ------
        PathExists : the folder exists, and `overwrite` is False.
        """
        return write(self._state, url, overwrite=overwrite, index=index, scheduler=scheduler)

    def map_partitions(self, function: Callable[..., Any], *, meta: Any = None) -> DataFrame:
        """Apply `function` to the pandas object of each partition, for what has no columnar form.

        How rows are divided into partitions is not promised: the result must not depend on it.

        Parameters
        ----------
        function
            Takes the pandas object of a partition and returns a pandas DataFrame; row labels that it keeps are
            kept.
        meta
            An empty pandas frame with the columns and dtypes of the result. None: `function` is tried on an empty
            one.

        Returns
        -------
        DataFrame

        Raises
        ------
        SchemaError : the result is not a DataFrame with text column names, or has other index levels.

        Examples
        --------
        >>> import pandas as pd
        >>> import howdah as hd
        >>> df = hd.from_pandas(pd.DataFrame({"x": [1, 2]}))
        >>> df.map_partitions(lambda part: part.assign(y=part.x * 2)).y.compute().tolist()
        [2, 4]
        """
        return frame_from(map_partitions(self._state, function, meta, as_series=self._kind == "Series"))

    # -- rows

    def head(self, n: int = 5) -> Self:
        """Return the first rows.

        Parameters
        ----------
        n
            Number of rows; a negative one leaves out the last ``-n``.

        Returns
        -------
        DataFrame or Series
        """
        return type(self)(self._state.map_base(lambda base: relations.Head(base, int(n))))

    def tail(self, n: int = 5) -> Self:
        """Return the last rows.

        Parameters
        ----------
        n
            Number of rows; a negative one leaves out the first ``-n``.

        Returns
        -------
        DataFrame or Series
        """
        return type(self)(self._state.map_base(lambda base: relations.Tail(base, int(n))))

    def _filter(self, mask: Any) -> Self:
        """Return the rows where the Series `mask` is true."""
        what = f"{self._kind}[mask]"
        state = state_of(mask)
        e = self._state.resolve(state.base, state.expression, what)
        if e.dtype.kind == "anybool":
            raise SchemaError(
                f"{what}: the mask {mask.name!r} may hold missing values: use .fillna(False).astype(bool)"
            )
        if e.dtype.kind != "bool":
            raise SchemaError(f"{what}: the mask is {e.dtype}, not bool: compare it with something")
        return type(self)(self._state.filtered(e))

    def _known_length(self) -> int | None:
        return _known_length(self._state.base)

    def __len__(self) -> int:
        """Return the number of rows: from the files' footers where nothing was filtered, otherwise computed now."""
        known = _known_length(self._state.base)
        if known is not None:
            return known
        count = relations.Aggregate(self._state.base, (), (("value", Agg("size", None, grouped=False)),))
        return int(compute_table(count).table["value"].item())

    @property
    def empty(self) -> bool:
        """Whether there are no rows. Computes the number of rows where it is not known."""
        return len(self) == 0

    @property
    def index(self) -> Index:
        """The index: its names and dtypes, and `compute()` for its labels."""
        return Index(self._state)

    @property
    def npartitions(self) -> int:
        """The number of partitions, which is how many tasks would hold the rows on a cluster."""
        return partitions(self._state)

    def __iter__(self) -> Any:
        raise unsupported(self._kind, "iterating")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise unsupported(self._kind, "to_numpy")


def state_of(collection: Collection) -> FrameState:
    """Return the state of another collection. (A public attribute would hide a column of its name.)"""
    state: FrameState = collection.__dict__["_state"]
    return state


def _known_length(base: relations.Relation) -> int | None:
    match base:
        case relations.Scan():
            return base.table.rows if base.table is not None else None
        case relations.InMemory():
            return sum(int(p.num_rows) for p in base.parts)
        case relations.Project() | relations.Number() | relations.Sort():
            return _known_length(base.source)
        case relations.Head() if base.n >= 0:
            known = _known_length(base.source)
            return None if known is None else min(known, base.n)
    return None
