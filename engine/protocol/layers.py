"""Layers, dependencies and ranges of tasks: the vocabulary in which all work is described.

A *layer* is one function over `n` items; a *task* is one item of it, addressed by (layer key, item). A *range* is a run
of neighbouring items of one layer: what users, messages and the scheduler deal in. Immutable records, with no
behaviour beyond looking things up; every module may import this one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import msgspec

MEMORY = "memory"
"""The resource of which every worker has as many bytes as its memory limit, by default."""

Key: TypeAlias = bytes
"""16 bytes: the content hash of a layer (`howdah.engine.graph.keys`)."""


class TaskRange(NamedTuple):
    """The tasks `start` to `stop` (exclusive) of the layer `layer`; its length is their number."""

    layer: Key
    start: int
    stop: int

    def __len__(self) -> int:  # not the number of fields
        return self.stop - self.start


class OneToOne(msgspec.Struct, frozen=True, gc=False, tag="one"):
    """Item i needs item i. Both layers have the same number of items. The input is the value itself."""


class KToOne(msgspec.Struct, frozen=True, gc=False, tag="k"):
    """Item i needs items i*k up to (i+1)*k, fewer at the end (a level of a tree). The input is their list."""

    k: int


class Broadcast(msgspec.Struct, frozen=True, gc=False, tag="all"):
    """Every item needs every item of the dependency. The input is their list."""


class Window(msgspec.Struct, frozen=True, gc=False, tag="window"):
    """Item i needs items i-before to i+after (both included); beyond the ends it wraps round, or is cut off.

    The input is their list, in that order.
    """

    before: int
    after: int
    wrap: bool = False


class Free(msgspec.Struct, frozen=True, gc=False, tag="free"):
    """An explicit adjacency: item i needs the items indices[indptr[i]:indptr[i+1]]. The input is their list.

    Both are little-endian uint32 arrays as bytes, of n + 1 and of indptr[-1] entries.
    """

    indptr: bytes
    indices: bytes


_TWO = struct.Struct("<2I")

Pattern: TypeAlias = OneToOne | KToOne | Broadcast | Window | Free


def inputs_of(pattern: Pattern, item: int, n_source: int) -> Sequence[int]:
    """The items of the dependency (it has `n_source`) that `item` needs, in the order in which it gets them.

    >>> list(inputs_of(KToOne(4), 1, 7))
    [4, 5, 6]
    >>> list(inputs_of(Window(1, 1, wrap=True), 0, 5))
    [4, 0, 1]
    >>> list(inputs_of(Window(1, 1), 0, 5))
    [0, 1]
    """
    match pattern:
        case OneToOne():
            return range(item, item + 1)
        case KToOne(k):
            return range(item * k, min((item + 1) * k, n_source))
        case Broadcast():
            return range(n_source)
        case Window(before, after, wrap):
            if wrap:
                return [j % n_source for j in range(item - before, item + after + 1)]
            return range(max(0, item - before), min(n_source, item + after + 1))
        case Free(indptr, indices):
            lo, hi = _TWO.unpack_from(indptr, item * 4)
            needed: tuple[int, ...] = struct.unpack_from(f"<{hi - lo}I", indices, lo * 4)
            return needed


class Dependency(msgspec.Struct, frozen=True, gc=False):
    """A layer's items need items of the layer `layer`, as `pattern` says."""

    layer: Key
    pattern: Pattern


@dataclass(frozen=True, slots=True)
class Layer:
    """One function over `n` items, as the client holds it (live Python objects).

    Item i is computed as ``fn(*inputs, *args[i], **kwargs)``: one positional input per dependency, in the order of
    `deps`, a single value for `OneToOne` and a list for every other pattern; then the item's own literal arguments.
    With ``pass_inputs=False`` the inputs are not passed by position: they stand wherever a `Future` stood inside
    `args[i]` or `kwargs`, and are put there when the arguments are unpickled on the worker (`client.submit`).

    Parameters
    ----------
    name : what users see: ``inc``, ``scan+partial``. Not part of the key.
    fn : a callable that can be pickled by cloudpickle.
    n : number of items.
    deps : what its items need.
    args : one tuple of literal arguments per item, or None.
    kwargs : keyword arguments, the same for all items.
    hosts : per item, hosts that hold its source data, best first; () is "anywhere". None: no preference at all.
    nbytes : per item, bytes that it reads from outside the engine (for locality's accounts), or None.
    retries : how often an item whose *function raised* is tried again. (Lost workers are no fault of the item:
        those re-runs are counted apart, by the scheduler.)
    annotations : fields of the scheduler's `LayerSpec` (`engine.graph.annotations.Annotations.layer_fields`). Not part
        of the key.
    timeout : seconds that each item may take once it was begun; 0 is no limit. Not part of the key.
    pure : False gives the layer a key of its own, never shared.
    key : the content hash; computed by `Graph.add` when empty.
    """

    name: str
    fn: Callable[..., Any]
    n: int
    deps: tuple[Dependency, ...] = ()
    args: Sequence[tuple[Any, ...]] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    hosts: Sequence[tuple[str, ...]] | None = None
    nbytes: Sequence[int] | None = None
    retries: int = 0
    timeout: float = 0.0
    pass_inputs: bool = True
    pure: bool = True
    key: Key = b""
    annotations: tuple[tuple[str, Any], ...] = ()
