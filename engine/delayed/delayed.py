"""`delayed`: calls that are written now and run later, as a graph. The free layer of the house (DESIGN, section 5).

A `Delayed` holds a function and its arguments, which may be other `Delayed` at any depth of lists, tuples, sets and
dictionaries. Nothing is hashed and no graph is touched when it is made, so building is linear in the number of calls;
`delayed_layers.py` turns what is wanted into one layer per call site and depth. For users, and `engine/collection.py`.
"""

from __future__ import annotations

import itertools
import operator
import os
import types
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from howdah.engine.graph.annotations import Annotations, active_annotations
from howdah.engine.graph.inputs import NESTS
from howdah.errors import InputError

if TYPE_CHECKING:
    from howdah.engine.delayed.drawing import Drawing

ATOMS = frozenset({int, float, str, bytes, bool, type(None), complex})
"""Types that hold nothing, and need no look inside."""

_PREFIX = os.urandom(8)
_numbers = itertools.count()


def given(value: Any) -> Any:
    """The function of a `Delayed` that is data."""
    return value


def attribute(value: Any, name: str) -> Any:
    return getattr(value, name)


def call_method(value: Any, name: str, /, *args: Any, **kwargs: Any) -> Any:
    return getattr(value, name)(*args, **kwargs)


def call(function: Any, /, *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


def finished(collection: Any) -> Any:
    """The function of a task that gets a frame (or another collection) as its argument: computed inside the task.

    On a worker that means by its cluster: the task gives its slot away meanwhile.
    """
    from howdah.engine.coordination.worker_context import current_client, current_worker

    return collection.compute(scheduler="threads" if current_worker() is None else current_client())


def trace(nest: Any, found: list[Delayed], above: tuple[int, ...] = ()) -> Any:
    """`nest` with collections in it made `Delayed`; all `Delayed` in it, in order, are appended to `found`."""
    kind = type(nest)
    if kind is Delayed:
        found.append(nest)
        return nest
    if kind in NESTS:
        if id(nest) in above:
            raise InputError(f"the graph has a cycle: a {kind.__name__} in an argument contains itself")
        parts = list(nest.values()) if kind is dict else list(nest)
        kinds = set(map(type, parts))
        if kind is dict:
            kinds |= set(map(type, nest))
        if kinds <= ATOMS:
            return nest
        if kinds == {Delayed} and kind is not dict:
            found.extend(parts)
            return kind(parts)  # a copy: what happens to the caller's list later is not part of this call
        above = (*above, id(nest))
        if kind is dict:
            return {trace(k, found, above): trace(v, found, above) for k, v in nest.items()}
        return kind([part if type(part) in ATOMS else trace(part, found, above) for part in parts])
    if kind.__name__ == "Future" and kind.__module__ == "howdah.engine.client.future":
        leaf = from_future(nest)
        found.append(leaf)
        return leaf
    if is_lazy(nest):
        leaf = _leaf(finished, nest, "finished", None)
        found.append(leaf)
        return leaf
    return nest


def is_lazy(value: Any) -> bool:
    """Whether `value` is a lazy object of howdah's that `compute` turns into data."""
    kind = type(value)
    return kind is Delayed or (
        kind.__module__.startswith("howdah.engine.") and callable(getattr(kind, "compute", None))
    )


class _Fields:
    """What a `Delayed` holds. Written once, by `_task`: a slot of this class takes a sixth of the time that
    `object.__setattr__` takes, which is the only other way past `Delayed.__setattr__`."""

    __slots__ = (
        "__weakref__", "_args", "_deps", "_fn", "_held", "_kwargs", "_level", "_name", "_nested", "_notes", "_nout",
        "_pure", "_token",
    )  # fmt: skip

    _fn: Callable[..., Any]
    _args: tuple[Any, ...]
    _kwargs: dict[str, Any]
    _deps: tuple[Delayed, ...]
    """The `Delayed` in the arguments, in order; `_args` itself where there is nothing else in it."""
    _nested: bool
    _notes: Annotations | None
    _level: int
    _name: str
    _nout: int | None
    _pure: bool
    _held: Any
    _token: bytes


_new = object.__new__


def _task(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], name: str, nout: int | None, pure: bool
) -> Delayed:
    made: Any = _new(_Fields)
    deps: list[Delayed] = []
    nested = False
    plain = True
    for value in args:
        kind = type(value)
        if kind is Delayed:
            deps.append(value)
        elif kind not in ATOMS:
            plain = False
    if not plain or kwargs:
        deps = []
        fresh = []
        for value in args:
            fresh.append(trace(value, deps))
            nested = nested or (type(value) in NESTS and bool(deps))
        args = tuple(fresh)
        kwargs = {key: trace(value, deps) for key, value in kwargs.items()} if kwargs else kwargs
    level = 0
    for dep in deps:
        if dep._level >= level:
            level = dep._level + 1
    made._fn = fn
    made._args = args
    made._kwargs = kwargs
    made._deps = args if plain and not kwargs and len(deps) == len(args) else tuple(deps)
    made._nested = nested
    made._notes = active_annotations()
    made._level = level
    made._name = name
    made._nout = nout
    made._pure = pure
    made._held = None
    made._token = _content(fn, args, kwargs) if pure else _PREFIX + next(_numbers).to_bytes(8, "little")
    made.__class__ = Delayed  # from here on nobody changes it
    task: Delayed = made
    return task


def _leaf(fn: Callable[..., Any], value: Any, name: str, nout: int | None) -> Delayed:
    """A task of one value, which is not looked into."""
    made = _task(fn, (), {}, name, nout, False)
    object.__setattr__(made, "_args", (value,))
    return made


def _content(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    from howdah.engine.graph.keys import content_hash

    return content_hash((fn, args, kwargs))


class Delayed(_Fields):
    """A value that will be there once it is computed. Made by `delayed`, by calling one, and by operators on one.

    Attributes, items, methods and operators of it are tasks too: ``delayed(load)(path).rows[0] + 1``. It has no truth
    value, no length (unless `nout` was given) and no iteration, since these need the value now.

    Examples
    --------
    >>> total = delayed(sum)([delayed(pow)(i, 2) for i in range(4)])
    >>> total.compute(scheduler="inline")
    14
    >>> (total // 2).compute(scheduler="inline")
    7
    """

    __slots__ = ()

    def __init__(self, *_: Any) -> None:
        raise TypeError("write delayed(...) to make a Delayed")

    @property
    def key(self) -> str:
        """Names the task. The same for the same call only if it is pure."""
        return f"{self._name}-{self._token.hex()}"

    def compute(self, scheduler: Any = None, progress: Any = None, **options: Any) -> Any:
        """The value, computed now: on `scheduler`, which is a `Client`, "threads", "inline" or "processes"; None is the
        current client, or threads of this process when there is none."""
        from howdah.engine.delayed.compute import compute

        return compute(self, scheduler=scheduler, progress=progress, **options)[0]

    def persist(self, scheduler: Any = None, **options: Any) -> Delayed:
        """The same, computed (or begun, on a cluster) and kept while what is returned is referred to."""
        from howdah.engine.delayed.compute import persist

        kept: Delayed = persist(self, scheduler=scheduler, **options)[0]
        return kept

    def visualize(self, filename: Any = None, **options: Any) -> Drawing:
        """Its graph as a picture, which notebooks show; with `filename` (``.svg``, ``.html``) it is written there."""
        from howdah.engine.delayed.drawing import visualize

        return visualize(self, filename=filename, **options)

    def __call__(
        self, *args: Any, pure: bool | None = None, dask_key_name: str | None = None, **kwargs: Any
    ) -> Delayed:
        fn, pure = self._fn, self._pure if pure is None else pure
        if fn is given and not self._deps and self._held is None:
            function = self._args[0]
            return _task(function, args, kwargs, dask_key_name or self._name, self._nout, pure)
        if fn is attribute and self._held is None:
            value, name = self._args
            return _task(call_method, (value, name, *args), kwargs, dask_key_name or name, None, pure)
        return _task(call, (self, *args), kwargs, dask_key_name or self._name, None, pure)

    def __getattr__(self, name: str) -> Delayed:
        if name.startswith("_"):
            raise AttributeError(f"a Delayed has no attribute {name!r}; private ones of its value must be asked inside")
        return _task(attribute, (self, name), {}, name, None, self._pure)

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError("a Delayed cannot be changed: its value is not there yet")

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("a Delayed cannot be changed: its value is not there yet")

    def __getitem__(self, index: Any) -> Delayed:
        return _task(operator.getitem, (self, index), {}, "getitem", None, self._pure)

    def __iter__(self) -> Iterator[Delayed]:
        if self._nout is None:
            raise TypeError("a Delayed cannot be iterated: say how many values it gives, as in delayed(f, nout=2)")
        return iter([self[i] for i in range(self._nout)])

    def __len__(self) -> int:
        if self._nout is None:
            raise TypeError("a Delayed has no length before it is computed; delayed(f, nout=2) gives it one")
        return self._nout

    def __bool__(self) -> bool:
        raise TypeError("the truth value of a Delayed is not known before it is computed")

    def __get__(self, instance: Any, owner: Any) -> Any:
        """A function that was made delayed in a class's body is a method: `self` goes along."""
        if instance is None or self._fn is not given:
            return self
        return delayed(types.MethodType(self._args[0], instance), pure=self._pure)

    def __hash__(self) -> int:
        return id(self)

    def __howdah_content__(self) -> Any:
        return self._token if self._held is None else self._held

    def __reduce__(self) -> Any:
        state = (self._fn, self._args, self._kwargs, self._name, self._nout, self._pure, self._token)
        if self._held is not None:
            held, item = self._held
            if not hasattr(held.results, "future"):
                from howdah.errors import Unpicklable

                raise Unpicklable(f"{self!r} is persisted in this process: compute it, and send the value")
            return _arrived, (held.results.future(item), self._name)  # where futures may travel, so may this
        return _again, state

    def __dir__(self) -> list[str]:
        return ["compute", "key", "persist", "visualize"]

    def __repr__(self) -> str:
        return f"Delayed({self.key!r})"


def _again(fn: Any, args: Any, kwargs: Any, name: str, nout: int | None, pure: bool, token: bytes) -> Delayed:
    made = _task(fn, args, kwargs, name, nout, False)
    object.__setattr__(made, "_pure", pure)
    object.__setattr__(made, "_token", token)
    return made


def persisted(value: Delayed, held: Any, item: int) -> Delayed:
    """`value`, whose result is item number `item` of the layer `held`."""
    made = _task(value._fn, (), {}, value._name, value._nout, False)
    for name, what in (("_pure", value._pure), ("_token", value._token), ("_held", (held, item))):
        object.__setattr__(made, name, what)
    return made


def _arrived(value: Any, name: str) -> Delayed:
    """A persisted one that has travelled: as a future for a client, as the value itself for a task."""
    made = from_future(value) if type(value).__name__ == "Future" else _task(given, (value,), {}, name, None, False)
    object.__setattr__(made, "_name", name)
    return made


def from_future(future: Any) -> Delayed:
    """The value of a `Future`, as an argument."""
    from howdah.engine.client.references import held_layer

    made = _task(given, (), {}, future.results.name, None, False)
    object.__setattr__(made, "_held", (held_layer(future), future.item))
    return made


def _operator(function: Callable[..., Any], reverse: bool = False) -> Callable[..., Delayed]:
    name = function.__name__.strip("_")

    def apply(self: Delayed, *others: Any) -> Delayed:
        args = (*others, self) if reverse else (self, *others)
        return _task(function, args, {}, name, None, self._pure)

    return apply


for _symbol in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "lshift", "rshift", "and", "or",
                "xor", "divmod"):  # fmt: skip
    _function = divmod if _symbol == "divmod" else getattr(operator, f"__{_symbol}__")
    setattr(Delayed, f"__{_symbol}__", _operator(_function))
    setattr(Delayed, f"__r{_symbol}__", _operator(_function, reverse=True))
for _symbol in ("neg", "pos", "invert", "abs", "eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Delayed, f"__{_symbol}__", _operator(getattr(operator, f"__{_symbol}__")))


def delayed(
    obj: Any = None, name: str | None = None, pure: bool | None = None, nout: int | None = None, traverse: bool = True
) -> Any:
    """Make a function lazy, or data a task's result. Also a decorator.

    Parameters
    ----------
    obj : a function (calls of what is returned are tasks), or any value.
    name : what people see of the tasks, and the beginning of their keys; the default is the function's name.
    pure : the same function of the same arguments is the same task, and runs once. The default is False: every call
        is a task of its own.
    nout : how many values a call gives; then ``a, b = f(x)`` works.
    traverse : look for `Delayed` inside of lists, tuples, sets and dictionaries of `obj`.

    Examples
    --------
    >>> @delayed
    ... def add(a, b):
    ...     return a + b
    >>> add(1, delayed(2)).compute(scheduler="inline")
    3
    >>> q, r = delayed(divmod, nout=2)(7, 2)
    >>> (q + r).compute(scheduler="inline")
    4
    """
    if obj is None and (name is not None or pure is not None or nout is not None):
        return lambda obj: delayed(obj, name, pure, nout, traverse)
    if nout is not None and (type(nout) is not int or nout < 0):
        raise InputError(f"nout: got {nout!r}: give the number of values, from 0 on, or None")
    if type(obj) is Delayed:
        return obj
    if type(obj) is types.FunctionType and name is None:
        made = _task(given, (), {}, obj.__name__, nout, False)
        object.__setattr__(made, "_args", (obj,))
        if pure:
            object.__setattr__(made, "_pure", True)
        return made
    if is_lazy(obj):
        return _leaf(finished, obj, name or type(obj).__name__, nout)
    if callable(obj):
        fn: Any = obj
        while hasattr(fn, "func") and callable(fn.func):  # a partial
            fn = fn.func
        made = _task(given, (), {}, name or str(getattr(fn, "__name__", "") or type(fn).__name__), nout, False)
        object.__setattr__(made, "_args", (obj,))
        object.__setattr__(made, "_pure", bool(pure))
        return made
    if traverse:
        return _task(given, (obj,), {}, name or type(obj).__name__, nout, bool(pure))
    made = _task(given, (), {}, name or type(obj).__name__, nout, False)
    object.__setattr__(made, "_args", (obj,))
    return made
