"""Functions of tasks that call something else: with inputs in another form, or on a value that is an input itself.

A leaf that imports nothing, since workers open these together with a task's function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any


def identity(value: Any) -> Any:
    """Return `value`: the function of tasks that are data."""
    return value


def get_attribute(value: Any, name: str) -> Any:
    """Return an attribute of `value`."""
    return getattr(value, name)


def call_method(value: Any, name: str, /, *args: Any, **kwargs: Any) -> Any:
    """Call a method of `value`."""
    return getattr(value, name)(*args, **kwargs)


def call_value(function: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Call an input."""
    return function(*args, **kwargs)


def callable_name(fn: Callable[..., Any]) -> str:
    """Return a name for a callable: of a partial its function's, of an object its class's.

    >>> callable_name(len), callable_name(functools.partial(functools.partial(pow, 2)))
    ('len', 'pow')
    """
    while isinstance(fn, functools.partial):  # of no other class: a mock has every attribute, and always another one
        fn = fn.func
    name = getattr(fn, "__name__", "")
    return name if type(name) is str and name else type(fn).__name__


class StarCall:
    """Calls `fn` with the items of the only input, a list, as its first arguments.

    >>> StarCall(pow)([2, 3])
    8
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __call__(self, inputs: Sequence[Any], *args: Any) -> Any:
        """Call the function with the inputs and the further arguments."""
        return self.fn(*inputs, *args)

    def __reduce__(self) -> Any:
        return StarCall, (self.fn,)


class KeywordCall:
    """Calls `fn` with a tuple of positional and a dictionary of keyword arguments, which differ between items.

    >>> KeywordCall(int)(("11",), {"base": 2})
    3
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __call__(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Call the function."""
        return self.fn(*args, **kwargs)

    def __reduce__(self) -> Any:
        return KeywordCall, (self.fn,)
