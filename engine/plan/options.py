"""The settings of a compilation: the sizes at which plans take another shape, and the rules.

The defaults are measured and serve all users. `compile_options` changes them for the plans that the current thread
compiles inside a `with` block; tests use it to get many tasks of small tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from howdah.engine.plan.rules import Rule


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """Sizes in stored bytes of the columns that a plan reads.

    Attributes
    ----------
    single_task_bytes : a table up to this size is one task.
    broadcast_bytes : the smaller side of a join goes to every task up to this size.
    split_bytes : what one task reads, about: a second of work, some 200 MB in memory.
    fan_in : partitions that one combining task takes.
    local_memory_share : without a cluster, a plan over local files of up to this share of the free memory is one stage.
    rules : the optimiser's rules in order; None is the usual ones of the plan's family.

    >>> with compile_options(fan_in=2) as options:
    ...     options.fan_in, current_options() is options
    (2, True)
    """

    single_task_bytes: int = 16 * 2**20
    broadcast_bytes: int = 64 * 2**20
    split_bytes: int = 32 * 2**20
    fan_in: int = 8
    local_memory_share: float = 0.25
    rules: tuple[Rule[Any], ...] | None = None


_current: ContextVar[CompileOptions] = ContextVar("howdah.compile_options", default=CompileOptions())  # noqa: B039


def current_options() -> CompileOptions:
    """Return the options of the current context."""
    return _current.get()


@contextmanager
def compile_options(**changes: Any) -> Iterator[CompileOptions]:
    """Compile with changed options inside the `with` block.

    Raises
    ------
    TypeError
        There is no option of that name.
    """
    options = replace(_current.get(), **changes)
    token = _current.set(options)
    try:
        yield options
    finally:
        _current.reset(token)
