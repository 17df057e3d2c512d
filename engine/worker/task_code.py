"""The code of layers as workers hold it: unpickled once where calls may share it, otherwise for each call.

(`inputs` finds what its items need.) For slots and `batches`.

Unpickling imports the user's modules, so it runs on slot threads.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from howdah.engine.graph.adapters import KeywordCall, StarCall
from howdah.engine.protocol.frames import Buffer
from howdah.engine.protocol.messages import DefineLayer
from howdah.engine.serialization.references import REFERENCE_MARKER, UnboundInputs, binding_inputs
from howdah.engine.serialization.serialize import loads
from howdah.engine.serialization.shared_code import is_shareable

_CACHED_FUNCTIONS, _CACHED_BYTES = 1000, 1000
"""Functions in the cache, and bytes of their frames, at most."""

_cache: dict[bytes, tuple[Callable[..., Any], bool, bool]] = {}
"""Frame that names a function of a module -> (function, pass_inputs, is_async). Each `submit` is a layer of its own,
and most repeat an earlier function."""

_cache_lock = threading.Lock()
"""Held while the cache is written to."""


def _is_current(fn: Callable[..., Any]) -> bool:
    """Return whether `fn` is what its module has under its name now: an uploaded file may have replaced it."""
    return type(fn) is FunctionType and getattr(sys.modules.get(fn.__module__), fn.__name__, None) is fn


class LayerCode:
    """One layer's function and keyword arguments, unpickled at the first use, on the thread that needs them."""

    def __init__(self, layer: DefineLayer, frame: Buffer) -> None:
        self.layer = layer
        self.frame = frame
        self.fn: Callable[..., Any] = _not_open
        self.kwargs: Mapping[str, Any] = {}
        self.pass_inputs = True
        self.is_async = False
        self.per_item = False
        """Whether function and keyword arguments are unpickled for each item: they refer to inputs, or a call could
        change them for the next."""
        self._unused: list[tuple[Callable[..., Any], Mapping[str, Any]]] = []
        """What `open` has unpickled and no call has used, if it is unpickled for each item."""
        self._opened = False
        self._lock = threading.Lock()

    def open(self) -> None:
        """Unpickle the function. Raises whatever the user's modules raise when they are imported."""
        with self._lock:
            if self._opened:
                return
            frame = bytes(self.frame)
            cached = _cache.get(frame) if len(frame) <= _CACHED_BYTES else None
            if cached is not None and _is_current(cached[0]):
                self.fn, self.pass_inputs, self.is_async = cached
            else:
                self.per_item = REFERENCE_MARKER in frame
                with binding_inputs(UnboundInputs()):
                    self.fn, self.kwargs, self.pass_inputs = loads(frame)
                self.is_async = inspect.iscoroutinefunction(self.fn)
                if not self.per_item and not _is_shareable(self.fn, self.kwargs):
                    self.per_item = True
                    self._unused.append((self.fn, self.kwargs))
                    self.fn, self.kwargs = _not_open, {}
                if not self.per_item and not self.kwargs and len(frame) <= _CACHED_BYTES and _is_current(self.fn):
                    with _cache_lock:
                        if len(_cache) >= _CACHED_FUNCTIONS:
                            del _cache[next(iter(_cache))]  # the oldest; reads are not slowed by an order of use
                        _cache[frame] = self.fn, self.pass_inputs, self.is_async
            self._opened = True

    def call(self, inputs: list[Any], arguments: Buffer | None) -> Any:
        """Compute the item with these inputs. Raises what the function raises."""
        fn, kwargs = self.fn, self.kwargs
        if arguments is None and not self.per_item:
            args = ()
        else:
            with binding_inputs(inputs):
                args = loads(arguments) if arguments is not None else ()
                if self.per_item:
                    fn, kwargs = self._own_code()
        if self.pass_inputs:
            return fn(*inputs, *args, **kwargs)
        inputs.clear()
        return fn(*args, **kwargs)

    def _own_code(self) -> tuple[Callable[..., Any], Mapping[str, Any]]:
        """Return function and keyword arguments that no other call has."""
        try:
            return self._unused.pop()
        except IndexError:
            fn, kwargs, _ = loads(self.frame)
            return fn, kwargs


def _is_shareable(fn: Callable[..., Any], kwargs: Mapping[str, Any]) -> bool:
    while isinstance(fn, StarCall | KeywordCall):
        fn = fn.fn
    return is_shareable(fn) and all(map(is_shareable, kwargs.values()))


def _not_open(*_: Any, **__: Any) -> Any:
    raise RuntimeError("the layer's code was not unpickled")
