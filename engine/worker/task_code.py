"""Layers as a worker knows them: code that is opened once. (`inputs.py` finds what its items need.)

Everything here runs on slot threads: opening a user's function imports her modules.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from howdah.engine.protocol.frames import Buffer
from howdah.engine.protocol.messages import DefineLayer
from howdah.engine.serialization.references import REFERENCE_MARKER, UnboundInputs, binding_inputs
from howdah.engine.serialization.serialize import loads

_MOST_KNOWN, _KNOWN_BYTES = 1000, 1000

_known: dict[bytes, tuple[Callable[..., Any], bool, bool]] = {}
"""What frames that name a function of a module open to: (function, pass_inputs, is_async). A `submit` is a layer of its
own, and most are of functions that were there before."""
_known_lock = threading.Lock()  # for writers


def _is_of_module(fn: Callable[..., Any]) -> bool:
    """Whether `fn` is what its module has under its name now: a file that was uploaded again has another."""
    return type(fn) is FunctionType and getattr(sys.modules.get(fn.__module__), fn.__name__, None) is fn


class LayerCode:
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
            frame = bytes(self.frame)
            known = _known.get(frame) if len(frame) <= _KNOWN_BYTES else None
            if known is not None and _is_of_module(known[0]):
                self.fn, self.pass_inputs, self.is_async = known
            else:
                self.per_item = REFERENCE_MARKER in frame
                with binding_inputs(UnboundInputs()):
                    self.fn, self.kwargs, self.pass_inputs = loads(frame)
                self.is_async = inspect.iscoroutinefunction(self.fn)
                if not self.kwargs and len(frame) <= _KNOWN_BYTES and _is_of_module(self.fn):
                    with _known_lock:
                        if len(_known) >= _MOST_KNOWN:
                            del _known[next(iter(_known))]  # the oldest; reads are not slowed by an order of use
                        _known[frame] = self.fn, self.pass_inputs, self.is_async
            self._opened = True

    def call(self, inputs: list[Any], arguments: Buffer | None) -> Any:
        """Compute the item that has these inputs. Raises what the function raises."""
        fn, kwargs = self.fn, self.kwargs
        if arguments is None and not self.per_item:
            args = ()
        else:
            with binding_inputs(inputs):
                args = loads(arguments) if arguments is not None else ()
                if self.per_item:
                    fn, kwargs = loads(self.frame)[:2]
        if self.pass_inputs:
            return fn(*inputs, *args, **kwargs)
        inputs.clear()
        return fn(*args, **kwargs)


def _unopened(*_: Any, **__: Any) -> Any:
    raise RuntimeError("the layer's code was not opened")
