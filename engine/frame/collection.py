"""What DataFrame and Series can both do: compute, persist, write, explain, and be cut down to some of their rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self

from howdah.engine.frame import compute as _compute
from howdah.engine.frame.state import FrameState
from howdah.engine.frame.unsupported import unsupported
from howdah.engine.relational import relations
from howdah.errors import SchemaError

if TYPE_CHECKING:
    from howdah.engine.frame.dataframe import DataFrame
    from howdah.engine.frame.index import Index


class Collection:
    """Base of DataFrame and Series. `_state` is all that they hold; it is never changed in place."""

    _kind: ClassVar[str]

    def __init__(self, rows: FrameState):
        self.__dict__["_state"] = rows

    _state: FrameState

    # -- results

    def compute(self, scheduler: Any = None) -> Any:
        """The pandas object, computed now.

        Parameters
        ----------
        scheduler : a `Client`, "threads" or "inline". None takes the current client; without one, a plan over local
            files that fits in memory runs as one stage with all cores, and others by threads.

        Raises
        ------
        What the data makes of it: a user's own exception as it was, `StorageError` when a file cannot be read.
        """
        return self._frame(_compute.compute_rows(self._state, scheduler))

    def _frame(self, found: _compute.ComputedRows) -> Any:
        return _compute.to_pandas(self._state, found)

    def persist(self, scheduler: Any = None) -> Self:
        """The same object, computed now and kept in the workers' memory (or this process's) while it is referred to."""
        return type(self)(_compute.persist(self._state, scheduler))

    def explain(self, scheduler: Any = None) -> str:
        """The plan as text: as written, optimised, as layers of tasks, and what runs as pandas. Computes nothing."""
        from howdah.engine.frame.explain import explain

        return explain(self._state, scheduler)

    def to_parquet(self, url: str, *, overwrite: bool = False, index: bool | None = None, scheduler: Any = None) -> Any:
        """Write one Parquet file per partition into the folder `url`, all of them or none.

        Parameters
        ----------
        url : a folder: ``hdfs:///out/revenue``, ``file:///tmp/out`` or a plain path.
        overwrite : replace what is there, once the new data is complete. Otherwise `PathExists`.
        index : None writes an index that is not 0, 1, 2, ..., as pandas does; False never; True always.

        Returns
        -------
        howdah.io.WriteResult
            files, rows and bytes written.
        """
        from howdah.engine.frame.write import write

        return write(self._state, url, overwrite=overwrite, index=index, scheduler=scheduler)

    def map_partitions(self, function: Callable[..., Any], *, meta: Any = None) -> DataFrame:
        """`function` on the pandas object of each partition; what has no columnar form goes through here.

        How rows are cut into partitions is not promised: the function must not care.

        Parameters
        ----------
        function : takes and gives a pandas DataFrame; row labels that it keeps are kept.
        meta : an empty pandas frame with the columns and dtypes of the result. None: `function` is tried on an empty
            one.
        """
        from howdah.engine.frame.partitions import map_partitions

        return map_partitions(self, function, meta)

    # -- rows

    def head(self, n: int = 5) -> Self:
        """The first n rows."""
        return type(self)(self._state.map_base(lambda base: relations.Head(base, int(n))))

    def tail(self, n: int = 5) -> Self:
        """The last n rows."""
        return type(self)(self._state.map_base(lambda base: relations.Tail(base, int(n))))

    def _keep(self, mask: Any) -> Self:
        """The rows where `mask` is true."""
        what = f"{self._kind}[mask]"
        e = self._state.resolve(mask._state.base, mask._expression, what)
        if e.dtype.kind == "anybool":
            raise SchemaError(
                f"{what}: the mask {mask.name!r} may hold missing values: use .fillna(False).astype(bool)"
            )
        if e.dtype.kind != "bool":
            raise SchemaError(f"{what}: the mask is {e.dtype}, not bool: compare it with something")
        return type(self)(self._state.filtered(e))

    def __len__(self) -> int:
        """The number of rows: from the files' footers where nothing was filtered, otherwise computed now."""
        known = _known_length(self._state.base)
        if known is not None:
            return known
        from howdah.engine.frame.scalar import Scalar

        return int(Scalar(self._state.base, "size", None).compute())

    @property
    def empty(self) -> bool:
        return len(self) == 0

    @property
    def index(self) -> Index:
        """The index: its names and dtypes, and `compute()`."""
        from howdah.engine.frame.index import Index

        return Index(self._state)

    @property
    def npartitions(self) -> int:
        """How many tasks would hold the rows."""
        from howdah.engine.frame.explain import partitions

        return partitions(self._state)

    def __iter__(self) -> Any:
        raise unsupported(self._kind, "iterating")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise unsupported(self._kind, "to_numpy")


def _known_length(base: relations.Relation) -> int | None:
    match base:
        case relations.Scan():
            return int(base.table.rows)
        case relations.InMemory():
            return sum(int(p.num_rows) for p in base.parts)
        case relations.Project() | relations.Number() | relations.Sort():
            return _known_length(base.source)
        case relations.Head() if base.n >= 0:
            known = _known_length(base.source)
            return None if known is None else min(known, base.n)
    return None
