"""A layer as it travels: its spec for the scheduler, its code and its arguments as bytes that only workers open.

The arguments of each item are a pickle of their own in one blob, so any run of items is a slice of it and nobody
between client and worker has to open anything.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from howdah.engine.graph.layer import Layer
from howdah.engine.scheduler.records import LayerSpec
from howdah.errors import Unpicklable


@dataclass(frozen=True, slots=True)
class Encoded:
    """`code` is a pickle of (fn, kwargs, pass_inputs). `offsets` are n + 1 positions in `args`, none without args."""

    spec: LayerSpec
    code: bytes
    args: bytes
    offsets: array[int]


def spec_of(layer: Layer) -> LayerSpec:
    """All that the scheduler may know of a layer; it must have its key.

    >>> spec = spec_of(Layer("scan", abs, 3, hosts=[("a", "b"), (), ("a", "b")], key=b"k"))
    >>> spec.host_sets, spec.host_index
    ((('a', 'b'), ()), (0, 1, 0))
    """
    sets: dict[tuple[str, ...], int] = {}
    index: list[int] = []
    if layer.hosts is not None and any(layer.hosts):
        index = [sets.setdefault(tuple(hosts), len(sets)) for hosts in layer.hosts]
    nbytes = tuple(layer.nbytes) if layer.nbytes is not None else ()
    return LayerSpec(layer.key, layer.name, layer.n, layer.deps, tuple(sets), tuple(index), nbytes, layer.retries)


def encode(layer: Layer) -> Encoded:
    """The layer, ready to travel.

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
    from howdah.engine.comm.serialize import dumps, dumps_each  # not before something travels: local runs never do

    try:
        code = dumps((layer.fn, dict(layer.kwargs), layer.pass_inputs))
    except Unpicklable as error:
        raise Unpicklable(
            f"the function or keyword arguments of layer {layer.name!r} cannot travel: {error}"
        ) from error
    if layer.args is None:
        return Encoded(spec_of(layer), code, b"", array("Q"))
    try:
        blob, offsets = dumps_each(layer.args)
    except Unpicklable as error:
        where = _culprit(layer.args)
        raise Unpicklable(f"the arguments of {layer.name}[{where}] cannot travel: {error}") from error
    return Encoded(spec_of(layer), code, blob, array("Q", offsets))


def _culprit(args: Sequence[tuple[object, ...]]) -> int:
    from howdah.engine.comm.serialize import dumps

    for i, item in enumerate(args):
        try:
            dumps(item)
        except Unpicklable:
            return i
    return -1
