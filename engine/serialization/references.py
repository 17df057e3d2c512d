"""References to inputs inside pickled arguments: what a `Future` in an argument is while it travels.

On the client a `Future` that is pickled asks `note` for its place (dependency and position); in the pickle it is a
call of `input_reference`. On the worker the call finds the value among the inputs of the item that this thread is
opening. Outside of both a Future cannot be pickled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

_here = threading.local()

REFERENCE_MARKER = b"input_reference"
"""Found in a pickle when it refers to inputs."""


def input_reference(dependency: int, position: int) -> Any:
    """The value of an input, while arguments are opened on a worker. Never called by hand."""
    value = _here.inputs[dependency]
    return value if position < 0 else value[position]


class binding_inputs:  # used as a function is
    """While arguments are opened on this thread, references mean `inputs`."""

    __slots__ = ("_inputs",)

    def __init__(self, inputs: Any) -> None:
        self._inputs = inputs

    def __enter__(self) -> None:
        _here.inputs = self._inputs

    def __exit__(self, *exc: object) -> None:
        _here.inputs = None


class encoding_futures:  # used as a function is
    """While arguments are pickled on this thread, `note(future)` says which input it becomes."""

    __slots__ = ("_note",)

    def __init__(self, note: Callable[[Any], tuple[int, int]]) -> None:
        self._note = note

    def __enter__(self) -> None:
        _here.note = self._note

    def __exit__(self, *exc: object) -> None:
        _here.note = None


def is_encoding_futures() -> bool:
    """Whether references can be made on this thread now."""
    return getattr(_here, "note", None) is not None


def encode_future(future: Any) -> tuple[int, int] | None:
    """The place of `future` among the inputs of what is being pickled on this thread; None when nothing is."""
    note = getattr(_here, "note", None)
    return None if note is None else note(future)


class UnboundInputs(list[Any]):
    """Stands for all inputs while a function is opened whose keyword arguments refer to some."""

    def __getitem__(self, _: Any) -> Any:
        return self
