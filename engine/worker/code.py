"""Layers as a worker knows them: code that is opened once. (`inputs.py` finds what its items need.)

Everything here runs on slot threads: opening a user's function imports her modules.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Any

from howdah.engine.comm.messages import DefineLayer
from howdah.engine.comm.references import REFERENCE, AnyInput, opening
from howdah.engine.comm.serialize import Buffer, loads


class Code:
    """One layer's function with what goes to every item. Opened at the first use, on the thread that needs it."""

    def __init__(self, layer: DefineLayer, frame: Buffer) -> None:
        self.layer = layer
        self.frame = frame
        self.fn: Callable[..., Any] = _unopened
        self.kwargs: Mapping[str, Any] = {}
        self.pass_inputs = True
        self.is_async = False
        self.per_item = False
        """Whether the function or its keyword arguments refer to inputs, and are opened anew for each item."""
        self._opened = False
        self._lock = threading.Lock()

    def open(self) -> None:
        """Unpickle the function. Raises whatever the user's modules raise when they are imported."""
        with self._lock:
            if self._opened:
                return
            self.per_item = REFERENCE in bytes(self.frame)
            with opening(AnyInput()):
                self.fn, self.kwargs, self.pass_inputs = loads(self.frame)
            self.is_async = inspect.iscoroutinefunction(self.fn)
            self._opened = True

    def call(self, inputs: list[Any], arguments: Buffer | None) -> Any:
        """Compute the item that has these inputs. Raises what the function raises."""
        fn, kwargs = self.fn, self.kwargs
        if arguments is None and not self.per_item:
            args = ()
        else:
            with opening(inputs):
                args = loads(arguments) if arguments is not None else ()
                if self.per_item:
                    fn, kwargs = loads(self.frame)[:2]
        if self.pass_inputs:
            return fn(*inputs, *args, **kwargs)
        inputs.clear()
        return fn(*args, **kwargs)


def _unopened(*_: Any, **__: Any) -> Any:
    raise RuntimeError("the layer's code was not opened")
