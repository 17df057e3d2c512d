"""How a task's function is called that does not take its inputs as they come. Workers open these with the function, so
this module imports nothing: a task should not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class StarCall:
    """Calls `fn` with the items of the one input list as its first arguments.

    >>> Spread(pow)([2, 3])
    8
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __call__(self, inputs: Sequence[Any], *args: Any) -> Any:
        return self.fn(*inputs, *args)

    def __reduce__(self) -> Any:
        return StarCall, (self.fn,)


class KeywordCall:
    """Calls `fn` with a tuple of positional and a dictionary of keyword arguments, which differ from item to item.

    >>> Apply(int)(("11",), {"base": 2})
    3
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __call__(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return self.fn(*args, **kwargs)

    def __reduce__(self) -> Any:
        return KeywordCall, (self.fn,)
