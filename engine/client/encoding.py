"""`encode_call`: from calls to layers. Pickles functions and arguments, and makes futures in them dependencies.

Runs on the user's thread. An argument may hold futures at any depth; each is a reference in the pickle (see
`howdah.engine.serialization.references`), and its layer a dependency of the new one.
"""

from __future__ import annotations

import hashlib
import weakref
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any

from howdah.engine.client.future import Future
from howdah.engine.client.layer_results import LayerResults
from howdah.engine.graph.adapters import callable_name
from howdah.engine.graph.encode import Encoded, annotated_spec, layer_spec
from howdah.engine.graph.keys import layer_key
from howdah.engine.protocol.layers import Dependency, Free, Key, Layer, OneToOne
from howdah.engine.serialization.references import encoding_futures
from howdah.engine.serialization.serialize import PLAIN_TYPES, dumps, dumps_each


def name_of(fn: Callable[..., Any]) -> str:
    """Return a name for the function.

    >>> name_of(len), name_of(print)
    ('len', 'print')
    """
    return callable_name(fn)


def encode_call(
    fn: Callable[..., Any],
    items: Sequence[tuple[Any, ...]],
    kwargs: Mapping[str, Any],
    retries: int = 0,
    pure: bool = True,
    hosts: Sequence[tuple[str, ...]] | None = None,
    labels: Sequence[str] | None = None,
    extras: Mapping[str, Any] | None = None,
) -> Encoded:
    """Return a layer that computes ``fn(*items[i], **kwargs)`` for each i.

    Parameters
    ----------
    labels : keys that the user gave to the items.
    extras : further fields of the layer's spec.

    Raises
    ------
    Unpicklable : the message names the part that cannot be pickled.
    """
    n = len(items)
    references = _FutureReferences(n)
    with encoding_futures(references.note_shared):
        code = _code(fn) if not kwargs else dumps((fn, dict(kwargs), False))
    whole = _whole_layer(items) if n > 1 and not references.keys else None
    deps: tuple[Dependency, ...]
    if whole is not None:
        code, blob, offsets, args = dumps((fn, dict(kwargs), True)), b"", array("Q"), None
        deps = (Dependency(whole.key, OneToOne()),)
    else:
        with encoding_futures(references.note):
            blob, ends = _one_future(items, references) or dumps_each(
                _TrackedItems(items, references) if n > 1 else items
            )
        offsets, args, deps = array("Q", ends), items, references.dependencies()
    layer = Layer(
        name_of(fn), fn, n, deps, args, kwargs, hosts, retries=retries, pass_inputs=whole is not None, pure=pure
    )
    return _encoded(layer, code, blob, offsets, labels, extras)


def _one_future(items: Sequence[tuple[Any, ...]], references: _FutureReferences) -> tuple[bytes, list[int]] | None:
    """Return what `dumps_each` makes of one future as the only argument, as in a chain; None for anything else."""
    if len(items) != 1 or len(items[0]) != 1 or type(items[0][0]) is not Future or items[0][0].results.n != 1:
        return None
    place = references.note(items[0][0])
    if place not in _references:
        _references[place] = dumps_each(items)[0]
    return _references[place], [0, len(_references[place])]


_references: dict[tuple[int, int], bytes] = {}

_codes: weakref.WeakKeyDictionary[Any, tuple[Any, Any, bytes]] = weakref.WeakKeyDictionary()


def _code(fn: Callable[..., Any]) -> bytes:
    """Return the pickle of a function without keyword arguments; cached while the function uses no globals.

    (Functions of `__main__` are pickled by value, which takes 0.2 ms each time.) A name that is missing at first, or
    that is a builtin's, may become a global later: a notebook's next cell defines it. So the names are looked up again
    at each use.
    """
    if type(fn) is not FunctionType or fn.__closure__ or fn.__dict__ or fn.__kwdefaults__:
        return dumps((fn, {}, False))
    plain, names = fn.__code__, fn.__globals__
    known = _codes.get(fn)
    alone = names.keys().isdisjoint(plain.co_names)
    if alone and known is not None and known[0] is plain and known[1] is fn.__defaults__:
        return known[2]
    data = dumps((fn, {}, False))
    alone = alone and not any(isinstance(c, CodeType) for c in plain.co_consts)
    if alone and all(type(value) in PLAIN_TYPES for value in fn.__defaults__ or ()):
        _codes[fn] = plain, fn.__defaults__, data
    return data


def _encoded(
    layer: Layer,
    code: bytes,
    blob: bytes,
    offsets: array[int],
    labels: Sequence[str] | None,
    extras: Mapping[str, Any] | None,
) -> Encoded:
    key = layer_key(layer)
    if labels is not None:
        key = hashlib.blake2b(key + "\0".join(labels).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    spec = layer_spec(layer, code, key)
    return Encoded(annotated_spec(spec, extras) if extras else spec, code, blob, offsets)


def _whole_layer(items: Sequence[tuple[Any, ...]]) -> LayerResults | None:
    """Return the layer whose futures, all of them and in order, are the only arguments of `items`; None otherwise."""
    first = items[0] if items else ()
    if len(first) != 1 or type(first[0]) is not Future:
        return None
    results = first[0].results
    if results.n != len(items) or results.n == 1:
        return None
    for number, item in enumerate(items):
        future = item[0] if len(item) == 1 else None
        if type(future) is not Future or future.results is not results or future.item != number:
            return None
    return results


class _FutureReferences:
    """Futures found while arguments are pickled: per layer, which of its items each item of the new layer needs."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.item = 0
        self.keys: dict[Key, int] = {}
        self._needs: list[list[dict[int, int]]] = []
        self._shared: list[dict[int, int]] = []
        self._single: set[int] = set()

    def note(self, future: Any) -> tuple[int, int]:
        """Return the place of `future` among the inputs of the item that is being pickled."""
        number = self._layer(future)
        if self.n == 1 == future.results.n:  # one to one, which costs the scheduler least
            self._single.add(number)
            return number, -1
        needs = self._needs[number]
        while len(needs) <= self.item:
            needs.append(dict(self._shared[number]))
        mine = needs[self.item]
        return number, mine.setdefault(future.item, len(mine))

    def note_shared(self, future: Any) -> tuple[int, int]:
        """`note` for keyword arguments, which every item receives."""
        number = self._layer(future)
        if self.n == 1 == future.results.n:
            self._single.add(number)
            return number, -1
        mine = self._shared[number]
        return number, mine.setdefault(future.item, len(mine))

    def _layer(self, future: Any) -> int:
        number = self.keys.setdefault(future.results.key, len(self.keys))
        if number == len(self._needs):
            self._needs.append([])
            self._shared.append({})
        return number

    def restart(self) -> None:
        """Forget the items, because they are pickled again in another way."""
        self.item = 0
        for needs in self._needs:
            needs.clear()

    def dependencies(self) -> tuple[Dependency, ...]:
        """Return the dependencies of the new layer."""
        found: list[Dependency] = []
        for key, number in self.keys.items():
            if number in self._single:
                found.append(Dependency(key, OneToOne()))
                continue
            needs, shared = self._needs[number], self._shared[number]
            while len(needs) < self.n:
                needs.append(shared)
            indptr, indices = array("I", [0]), array("I")
            for mine in needs:
                indices.extend(mine)
                indptr.append(len(indices))
            found.append(Dependency(key, Free(indptr.tobytes(), indices.tobytes())))
        return tuple(found)


class _TrackedItems(Sequence[tuple[Any, ...]]):
    """The items; sets `references.item` to the one that is being pickled."""

    def __init__(self, items: Sequence[tuple[Any, ...]], references: _FutureReferences) -> None:
        self._items, self._noted = items, references

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        self._noted.restart()
        for number, item in enumerate(self._items):
            self._noted.item = number
            yield item
