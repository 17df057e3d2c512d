"""Encoding of a layer: its spec for the scheduler, its code and its arguments as bytes that only workers open.

The arguments of each item are a pickle of their own in one blob, so any range of items is a slice of it, and no process
between client and worker has to open it.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from howdah.engine.protocol.events import LayerSpec
from howdah.engine.protocol.layers import Key, Layer
from howdah.errors import Unpicklable


@dataclass(frozen=True, slots=True)
class Encoded:
    """`code` is a pickle of (fn, kwargs, pass_inputs). `offsets` are n + 1 positions in `args`, none without args."""

    spec: LayerSpec
    code: bytes
    args: bytes
    offsets: array[int]


def layer_spec(layer: Layer, code: bytes = b"", key: Key = b"") -> LayerSpec:
    """Return the spec of a layer for the scheduler; `key` is for a layer without one, `code` its pickled function.

    >>> spec = layer_spec(Layer("scan", abs, 3, hosts=[("a", "b"), (), ("a", "b")], key=b"k"))
    >>> spec.host_sets, spec.host_index
    ((('a', 'b'), ()), (0, 1, 0))
    """
    sets: dict[tuple[str, ...], int] = {}
    index: list[int] = []
    if layer.hosts is not None and any(layer.hosts):
        index = [sets.setdefault(tuple(hosts), len(sets)) for hosts in layer.hosts]
    nbytes = tuple(layer.nbytes) if layer.nbytes is not None else ()
    function = hashlib.blake2b(code, digest_size=8).digest() if code else b""
    spec = LayerSpec(
        key or layer.key,
        layer.name,
        layer.n,
        layer.deps,
        tuple(sets),
        tuple(index),
        nbytes,
        layer.retries,
        function=function,
        timeout=layer.timeout,
    )
    return annotated_spec(spec, dict(layer.annotations)) if layer.annotations else spec


def annotated_spec(spec: LayerSpec, said: Mapping[str, Any]) -> LayerSpec:
    """Return the spec with annotated fields (`annotations.Annotations.layer_fields`); a layer's own hosts stay."""
    fields = dict(said)
    hosts = fields.pop("hosts", ())
    if hosts and not spec.host_sets:
        fields["host_sets"] = (hosts,)
    return msgspec.structs.replace(spec, **fields)


FIRST_PART = 4096
"""Items whose arguments are sent with their layer; the rest follow, so that the first run while the last are packed."""

PART = 32_768
"""Items in each of the parts that follow."""


def encode(layer: Layer, first: int | None = None) -> Encoded:
    """Return the layer as bytes; with `first`, only the arguments of that many items: `encode_rest` has the others.

    Raises
    ------
    Unpicklable : names the layer, the argument's item, and the part inside that cannot travel.

    Examples
    --------
    >>> import pickle
    >>> made = encode(Layer("pow", pow, 2, args=[(2, 3), (4, 5)], key=b"k"))
    >>> pickle.loads(made.args[made.offsets[1]:made.offsets[2]]), pickle.loads(made.code)
    ((4, 5), (<built-in function pow>, {}, True))
    """
    from howdah.engine.serialization.serialize import dumps  # not before something travels: local runs never do

    try:
        code = dumps((layer.fn, dict(layer.kwargs), layer.pass_inputs))
    except Unpicklable as error:
        raise Unpicklable(
            f"the function or keyword arguments of layer {layer.name!r} cannot travel: {error}"
        ) from error
    if layer.args is None:
        return Encoded(layer_spec(layer, code), code, b"", array("Q"))
    spec = layer_spec(layer, code)
    if first is not None and first < layer.n:
        spec = msgspec.structs.replace(spec, arrived=first)
    offsets, blob = _packed(layer, 0, layer.n if first is None else min(first, layer.n))
    return Encoded(spec, code, blob, offsets)


def encode_rest(layer: Layer, start: int) -> Iterator[tuple[int, array[int], bytes]]:
    """Yield (first item, offsets, arguments) of the parts that follow item `start`. Raises Unpicklable, as `encode`.

    >>> layer = Layer("pow", pow, 3, args=[(2, 3), (4, 5), (6, 7)], key=b"k")
    >>> [(first, len(offsets)) for first, offsets, _ in encode_rest(layer, 1)]
    [(1, 3)]
    """
    for at in range(start, layer.n if layer.args is not None else 0, PART):
        yield (at, *_packed(layer, at, min(layer.n, at + PART)))


def _packed(layer: Layer, start: int, stop: int) -> tuple[array[int], bytes]:
    from howdah.engine.serialization.serialize import dumps_each

    assert layer.args is not None
    items = layer.args if (start, stop) == (0, layer.n) else layer.args[start:stop]
    try:
        blob, offsets = dumps_each(items)
    except Unpicklable as error:
        where = start + _culprit(items)
        raise Unpicklable(f"the arguments of {layer.name}[{where}] cannot travel: {error}") from error
    return array("Q", offsets), blob


def _culprit(args: Sequence[tuple[object, ...]]) -> int:
    from howdah.engine.serialization.serialize import dumps

    for i, item in enumerate(args):
        try:
            dumps(item)
        except Unpicklable:
            return i
    return -1
