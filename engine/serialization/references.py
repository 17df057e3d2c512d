"""References to inputs inside pickled arguments: the form in which a `Future` in an argument travels.

On the client, pickling a `Future` calls the `encode` of `encoding_futures` for its place (dependency and position); the
pickle holds a call of `input_reference`. On the worker this call returns the value among the inputs of the item that
the thread is unpickling (`binding_inputs`). Outside of both a Future cannot be pickled. A leaf.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

_here = threading.local()

REFERENCE_MARKER = b"input_reference"
"""Occurs in every pickle that refers to inputs."""


def input_reference(dependency: int, position: int) -> Any:
    """Return the value of an input, while a worker unpickles arguments. Only pickles call it."""
    value = _here.inputs[dependency]
    return value if position < 0 else value[position]


class binding_inputs:  # a context manager, used like a function
    """Resolve references to `inputs` while this thread unpickles arguments."""

    __slots__ = ("_inputs",)

    def __init__(self, inputs: Any) -> None:
        self._inputs = inputs

    def __enter__(self) -> None:
        _here.inputs = self._inputs

    def __exit__(self, *exc: object) -> None:
        _here.inputs = None


class encoding_futures:  # a context manager, used like a function
    """Call `encode(future)` for the input that a future becomes, while this thread pickles arguments."""

    __slots__ = ("_encode",)

    def __init__(self, encode: Callable[[Any], tuple[int, int]]) -> None:
        self._encode = encode

    def __enter__(self) -> None:
        _here.encode = self._encode

    def __exit__(self, *exc: object) -> None:
        _here.encode = None


def is_encoding_futures() -> bool:
    """Return whether futures can be pickled on this thread now."""
    return getattr(_here, "encode", None) is not None


def encode_future(future: Any) -> tuple[int, int] | None:
    """Return the place of `future` among the inputs of what this thread pickles; None if it pickles no arguments."""
    encode = getattr(_here, "encode", None)
    return None if encode is None else encode(future)


class UnboundInputs(list[Any]):
    """Stands for all inputs while a function is unpickled whose keyword arguments refer to some."""

    def __getitem__(self, _: Any) -> Any:
        return self
