"""`Delayed` and `delayed`: function calls that are written now and computed later, as a graph.

A `Delayed` holds a function and its arguments, which may be other `Delayed` at any depth of lists, tuples, sets and
dictionaries. Nothing is hashed and no graph is touched when it is made, so building is linear in the number of calls;
`lowering` turns the calls that are computed into one layer per call site and depth. For users, and the client.
"""

from __future__ import annotations

import itertools
import operator
import os
import types
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Unpack

from howdah.engine.client.future import Future
from howdah.engine.client.references import held_layer
from howdah.engine.delayed.compute import compute, persist
from howdah.engine.delayed.drawing import visualize
from howdah.engine.delayed.in_task import compute_in_task
from howdah.engine.delayed.task import ATOMS, LazyTask, is_lazy, level_of
from howdah.engine.graph.adapters import call_method, call_value, callable_name, get_attribute, identity
from howdah.engine.graph.annotations import TaskOptions, active_annotations
from howdah.engine.graph.graph import PersistedLayer
from howdah.engine.graph.keys import content_hash
from howdah.engine.graph.nests import NESTS, is_nest, parts_of, with_keys, with_parts
from howdah.errors import InputError, Unpicklable

if TYPE_CHECKING:
    from howdah.engine.delayed.drawing import Drawing

_PREFIX = os.urandom(8)
_numbers = itertools.count()


def trace(nest: Any, found: list[Delayed], above: tuple[int, ...] = ()) -> Any:
    """Return `nest` with its lazy objects made `Delayed`; append all `Delayed` in it, in order, to `found`."""
    kind = type(nest)
    if kind is Delayed:
        found.append(nest)
        return nest
    if kind is Future:
        leaf = from_future(nest)
        found.append(leaf)
        return leaf
    if kind in ATOMS:
        return nest
    if is_lazy(nest):
        leaf = literal_task(compute_in_task, nest, "compute", None)
        found.append(leaf)
        return leaf
    if kind not in NESTS and is_nest(nest):
        if id(nest) in above:
            raise InputError(f"the graph has a cycle: a {kind.__name__} in an argument contains itself")
        above = (*above, id(nest))
        if isinstance(nest, dict):
            nest = with_keys(nest, lambda key: trace(key, found, above))
        return with_parts(nest, [trace(part, found, above) for part in parts_of(nest)])
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
            return kind(parts)  # a copy: later changes of the caller's list are not part of this call
        above = (*above, id(nest))
        if kind is dict:
            return {trace(k, found, above): trace(v, found, above) for k, v in nest.items()}
        return kind([part if type(part) in ATOMS else trace(part, found, above) for part in parts])
    return nest


_create = object.__new__


def new_task(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], name: str, nout: int | None, pure: bool
) -> Delayed:
    """Return the `Delayed` of one call. Its fields are written before it is a `Delayed`, which cannot be changed."""
    self: Any = _create(LazyTask)
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
            nested = nested or (bool(deps) and is_nest(value))
        args = tuple(fresh)
        kwargs = {key: trace(value, deps) for key, value in kwargs.items()} if kwargs else kwargs
    level = 0
    for dep in deps:
        above = level_of(dep) + 1
        if above > level:
            level = above
    self._fn = fn
    self._args = args
    self._kwargs = kwargs
    self._deps = args if plain and not kwargs and len(deps) == len(args) else tuple(deps)
    self._nested = nested
    self._annotations = active_annotations()
    self._level = level
    self._name = name
    self._nout = nout
    self._pure = pure
    self._persisted = None
    self._token = content_hash((fn, args, kwargs)) if pure else _PREFIX + next(_numbers).to_bytes(8, "little")
    self.__class__ = Delayed
    task: Delayed = self
    return task


def literal_task(fn: Callable[..., Any], value: Any, name: str, nout: int | None, pure: bool = False) -> Delayed:
    """Return a task of one value, whose inside is not searched for other tasks."""
    made = new_task(fn, (), {}, name, nout, False)
    object.__setattr__(made, "_args", (value,))
    if pure:
        object.__setattr__(made, "_pure", True)
    return made


class Delayed(LazyTask):
    """The result of a call that is computed later. Made by `delayed`, by calling one, and by operators on one.

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
        """The name of the task. Equal calls have equal names only if they are pure."""
        return f"{self._name}-{self._token.hex()}"

    def compute(self, scheduler: Any = None, progress: Any = None, **options: Unpack[TaskOptions]) -> Any:
        """Compute the value and return it.

        Parameters
        ----------
        scheduler
            A `Client`, "threads", "inline" or "processes"; None is the current client, or threads of this process when
            there is none.
        progress
            True shows a progress bar; or a function, see `howdah.compute`.
        **options
            `retries`, `priority`, ... of `howdah.annotate`.

        Returns
        -------
        object
        """
        return compute(self, scheduler=scheduler, progress=progress, **options)[0]

    def persist(self, scheduler: Any = None, **options: Unpack[TaskOptions]) -> Delayed:
        """Compute the value (or begin to, on a cluster) and keep it while the result is referenced.

        Parameters
        ----------
        scheduler
            As for `compute`.
        **options
            `retries`, `priority`, ... of `howdah.annotate`.

        Returns
        -------
        Delayed
        """
        computed: Delayed = persist(self, scheduler=scheduler, **options)[0]
        return computed

    def visualize(self, filename: Any = None, **options: Any) -> Drawing:
        """Draw the graph. Notebooks show the result.

        Parameters
        ----------
        filename
            Where to write it as well: ``.svg`` or ``.html``.
        **options
            As for `howdah.visualize`.

        Returns
        -------
        Drawing
        """
        return visualize(self, filename=filename, **options)

    def __call__(
        self, *args: Any, pure: bool | None = None, dask_key_name: str | None = None, **kwargs: Any
    ) -> Delayed:
        """Write a call of the value: a task with these arguments.

        Parameters
        ----------
        *args, **kwargs
            The arguments; lazy objects among them are computed first.
        pure
            As for `delayed`; by default that of this object.
        dask_key_name
            The name of the task.

        Returns
        -------
        Delayed
        """
        fn, pure = self._fn, self._pure if pure is None else pure
        if fn is identity and not self._deps and self._persisted is None:
            function = self._args[0]
            return new_task(function, args, kwargs, dask_key_name or self._name, self._nout, pure)
        if fn is get_attribute and self._persisted is None:
            value, name = self._args
            return new_task(call_method, (value, name, *args), kwargs, dask_key_name or name, None, pure)
        return new_task(call_value, (self, *args), kwargs, dask_key_name or self._name, None, pure)

    def __getattr__(self, name: str) -> Delayed:
        if name.startswith("_"):
            raise AttributeError(f"a Delayed has no attribute {name!r}; private ones of its value must be asked inside")
        return new_task(get_attribute, (self, name), {}, name, None, self._pure)

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError("a Delayed cannot be changed: its value is not there yet")

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("a Delayed cannot be changed: its value is not there yet")

    def __getitem__(self, index: Any) -> Delayed:
        return new_task(operator.getitem, (self, index), {}, "getitem", None, self._pure)

    def __iter__(self) -> Iterator[Delayed]:
        if self._nout is None:
            raise TypeError("a Delayed cannot be iterated: give its number of values, as in delayed(f, nout=2)")
        return iter([self[i] for i in range(self._nout)])

    def __len__(self) -> int:
        if self._nout is None:
            raise TypeError("a Delayed has no length before it is computed; delayed(f, nout=2) gives it one")
        return self._nout

    def __bool__(self) -> bool:
        raise TypeError("the truth value of a Delayed is not known before it is computed")

    def __get__(self, instance: Any, owner: Any) -> Any:
        """Bind a function that was made delayed in a class's body as a method."""
        if instance is None or self._fn is not identity:
            return self
        return delayed(types.MethodType(self._args[0], instance), pure=self._pure)

    def __hash__(self) -> int:
        return id(self)

    def __howdah_persisted__(self) -> tuple[PersistedLayer, int] | None:
        return self._persisted

    def __howdah_content__(self) -> Any:
        return self._token if self._persisted is None else self._persisted

    def __reduce__(self) -> Any:
        if self._persisted is None:
            return _rebuild, (self._fn, self._args, self._kwargs, self._name, self._nout, self._pure, self._token)
        layer, item = self._persisted
        if not hasattr(layer.results, "future"):
            raise Unpicklable(f"{self!r} is persisted in this process: compute it, and send the value")
        return _rebuild_persisted, (layer.results.future(item), self._name)  # travels wherever futures do

    def __dir__(self) -> list[str]:
        return ["compute", "key", "persist", "visualize"]

    def __repr__(self) -> str:
        return f"Delayed({self.key!r})"

    # -- operators

    def _operation(self, function: Callable[..., Any], name: str, *operands: Any) -> Delayed:
        return new_task(function, operands, {}, name, None, self._pure)

    def __add__(self, other: Any) -> Delayed:
        return self._operation(operator.add, "add", self, other)

    def __radd__(self, other: Any) -> Delayed:
        return self._operation(operator.add, "add", other, self)

    def __sub__(self, other: Any) -> Delayed:
        return self._operation(operator.sub, "sub", self, other)

    def __rsub__(self, other: Any) -> Delayed:
        return self._operation(operator.sub, "sub", other, self)

    def __mul__(self, other: Any) -> Delayed:
        return self._operation(operator.mul, "mul", self, other)

    def __rmul__(self, other: Any) -> Delayed:
        return self._operation(operator.mul, "mul", other, self)

    def __truediv__(self, other: Any) -> Delayed:
        return self._operation(operator.truediv, "truediv", self, other)

    def __rtruediv__(self, other: Any) -> Delayed:
        return self._operation(operator.truediv, "truediv", other, self)

    def __floordiv__(self, other: Any) -> Delayed:
        return self._operation(operator.floordiv, "floordiv", self, other)

    def __rfloordiv__(self, other: Any) -> Delayed:
        return self._operation(operator.floordiv, "floordiv", other, self)

    def __mod__(self, other: Any) -> Delayed:
        return self._operation(operator.mod, "mod", self, other)

    def __rmod__(self, other: Any) -> Delayed:
        return self._operation(operator.mod, "mod", other, self)

    def __pow__(self, other: Any, *modulo: Any) -> Delayed:
        return self._operation(pow if modulo else operator.pow, "pow", self, other, *modulo)

    def __rpow__(self, other: Any) -> Delayed:
        return self._operation(operator.pow, "pow", other, self)

    def __matmul__(self, other: Any) -> Delayed:
        return self._operation(operator.matmul, "matmul", self, other)

    def __rmatmul__(self, other: Any) -> Delayed:
        return self._operation(operator.matmul, "matmul", other, self)

    def __lshift__(self, other: Any) -> Delayed:
        return self._operation(operator.lshift, "lshift", self, other)

    def __rlshift__(self, other: Any) -> Delayed:
        return self._operation(operator.lshift, "lshift", other, self)

    def __rshift__(self, other: Any) -> Delayed:
        return self._operation(operator.rshift, "rshift", self, other)

    def __rrshift__(self, other: Any) -> Delayed:
        return self._operation(operator.rshift, "rshift", other, self)

    def __and__(self, other: Any) -> Delayed:
        return self._operation(operator.and_, "and", self, other)

    def __rand__(self, other: Any) -> Delayed:
        return self._operation(operator.and_, "and", other, self)

    def __or__(self, other: Any) -> Delayed:
        return self._operation(operator.or_, "or", self, other)

    def __ror__(self, other: Any) -> Delayed:
        return self._operation(operator.or_, "or", other, self)

    def __xor__(self, other: Any) -> Delayed:
        return self._operation(operator.xor, "xor", self, other)

    def __rxor__(self, other: Any) -> Delayed:
        return self._operation(operator.xor, "xor", other, self)

    def __divmod__(self, other: Any) -> Delayed:
        return self._operation(divmod, "divmod", self, other)

    def __rdivmod__(self, other: Any) -> Delayed:
        return self._operation(divmod, "divmod", other, self)

    def __neg__(self) -> Delayed:
        return self._operation(operator.neg, "neg", self)

    def __pos__(self) -> Delayed:
        return self._operation(operator.pos, "pos", self)

    def __invert__(self) -> Delayed:
        return self._operation(operator.invert, "invert", self)

    def __abs__(self) -> Delayed:
        return self._operation(operator.abs, "abs", self)

    def __eq__(self, other: Any) -> Delayed:  # type: ignore[override]
        return self._operation(operator.eq, "eq", self, other)

    def __ne__(self, other: Any) -> Delayed:  # type: ignore[override]
        return self._operation(operator.ne, "ne", self, other)

    def __lt__(self, other: Any) -> Delayed:
        return self._operation(operator.lt, "lt", self, other)

    def __le__(self, other: Any) -> Delayed:
        return self._operation(operator.le, "le", self, other)

    def __gt__(self, other: Any) -> Delayed:
        return self._operation(operator.gt, "gt", self, other)

    def __ge__(self, other: Any) -> Delayed:
        return self._operation(operator.ge, "ge", self, other)


def _rebuild(fn: Any, args: Any, kwargs: Any, name: str, nout: int | None, pure: bool, token: bytes) -> Delayed:
    made = new_task(fn, args, kwargs, name, nout, False)
    object.__setattr__(made, "_pure", pure)
    object.__setattr__(made, "_token", token)
    return made


def _rebuild_persisted(value: Any, name: str) -> Delayed:
    """Return a persisted task that was pickled: it arrives as a future for a client, as the value itself for a task."""
    if type(value) is not Future:
        return new_task(identity, (value,), {}, name, None, False)
    made = from_future(value)
    object.__setattr__(made, "_name", name)
    return made


def from_future(future: Future) -> Delayed:
    """Return the task whose result is that of a `Future`."""
    made = new_task(identity, (), {}, future.results.name, None, False)
    object.__setattr__(made, "_persisted", (held_layer(future), future.item))
    return made


def delayed(
    obj: Any = None, name: str | None = None, pure: bool | None = None, nout: int | None = None, traverse: bool = True
) -> Any:
    """Make a function lazy, or data a task's result. Also a decorator.

    Parameters
    ----------
    obj
        A function (calls of the result are tasks), or any value.
    name
        The name of the tasks in pictures and the dashboard, and the beginning of their keys; by default the function's.
    pure
        Equal calls are one task, which runs once. By default each call is a task of its own.
    nout
        The number of values that a call gives; then ``a, b = f(x)`` works.
    traverse
        Look for `Delayed` inside of lists, tuples, sets and dictionaries of `obj`.

    Returns
    -------
    Delayed

    Raises
    ------
    InputError : `nout` is not a number from 0 on.

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
        return literal_task(identity, obj, obj.__name__, nout, bool(pure))
    if is_lazy(obj):
        return literal_task(compute_in_task, obj, name or type(obj).__name__, nout)
    if callable(obj):
        return literal_task(identity, obj, name or callable_name(obj), nout, bool(pure))
    if traverse:
        return new_task(identity, (obj,), {}, name or type(obj).__name__, nout, bool(pure))
    return literal_task(identity, obj, name or type(obj).__name__, nout)
