"""The opaque part of layers: code and arguments as frames, which the server stores and sends but never opens.

`LayerStore` holds them from submission until the scheduler forgets the layer. Read by the parts of the server; changed
when a client submits, and when the scheduler forgets.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Struct

from howdah.engine.protocol.events import GraphSubmitted, LayerSpec
from howdah.engine.protocol.frames import Buffer, nbytes
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import DefineLayer
from howdah.errors import HowdahError

FRAMES = 3
"""Frames per layer in `Submit`: code, offsets (u64), arguments."""


SMALL = 1024
"""Frames of up to so many bytes are stored as bytes of their own: a view costs the garbage collector twice as much."""


class ArgumentPart(NamedTuple):
    """The arguments of the items from `start` on, as far as `offsets` go."""

    start: int
    offsets: memoryview
    arguments: memoryview


class StoredLayer(Struct, frozen=True, gc=False):
    """One layer: its definition for workers, its code, and its items' arguments.

    `offsets` has n + 1 numbers (u64), or is empty when items have no arguments; `more` are parts that came later.
    """

    define: DefineLayer
    code: Buffer
    offsets: Buffer
    arguments: Buffer
    nbytes: int
    """Of code, offsets and arguments."""
    more: tuple[ArgumentPart, ...] = ()

    @property
    def arrived(self) -> int:
        """The number of items whose arguments are here."""
        last = self.more[-1] if self.more else self.first
        return last.start + len(last.offsets) - 1

    @property
    def first(self) -> ArgumentPart:
        """The arguments that came with the layer."""
        return ArgumentPart(0, memoryview(self.offsets).cast("Q"), memoryview(self.arguments))


class LayerStore:
    """Frames by layer."""

    def __init__(self) -> None:
        self._stored: dict[Key, StoredLayer] = {}
        self.inline: set[Key] = set()
        """Layers of which a client awaits results: small ones travel with the report."""
        self.nbytes = 0

    def __contains__(self, key: Key) -> bool:
        return key in self._stored

    def add(self, specs: Sequence[LayerSpec], frames: Sequence[memoryview]) -> list[Key]:
        """Store the layers that are new and return their keys.

        Raises HowdahError when the frames do not fit the layers.
        """
        if len(frames) != FRAMES * len(specs):
            raise HowdahError(f"{len(specs)} layers came with {len(frames)} frames, not {FRAMES} each")
        new: list[Key] = []
        for number, spec in enumerate(specs):
            if spec.key in self._stored:
                continue
            code, offsets, arguments = frames[FRAMES * number : FRAMES * (number + 1)]
            here = spec.n if spec.arrived < 0 else spec.arrived
            length, size = offsets.nbytes, arguments.nbytes
            if length != 8 * (here + 1) and (length or spec.arrived >= 0):
                raise HowdahError(f"layer {spec.name}: {length} bytes of offsets for {here} items")
            if length and offsets.cast("Q")[here] > size:
                raise HowdahError(f"layer {spec.name}: its arguments end beyond their frame")
            lengths = tuple([self._length(dep.layer) for dep in spec.deps]) if spec.deps else ()
            define = DefineLayer(spec.key, spec.name, spec.n, spec.deps, lengths, spec.timeout)
            size += code.nbytes + length
            if size <= SMALL:
                stored = StoredLayer(define, bytes(code), bytes(offsets), bytes(arguments), size)
            else:
                stored = StoredLayer(define, _own(code), _own(offsets), _own(arguments), size)
            self._stored[spec.key] = stored
            self.nbytes += size
            new.append(spec.key)
        return new

    def extend(self, key: Key, start: int, frames: Sequence[memoryview]) -> int:
        """Store more arguments of a layer; return where they end, or 0 if they are not needed (any more).

        Two clients may send the same layer: the parts have the same bounds, and the first to arrive counts.
        """
        stored = self._stored.get(key)
        if stored is None or len(frames) != 2 or not stored.offsets or start != stored.arrived:
            return 0
        offsets, arguments = frames[0].cast("Q"), frames[1]
        if start + len(offsets) - 1 > stored.define.n or len(offsets) < 2 or offsets[-1] > arguments.nbytes:
            raise HowdahError(f"layer {stored.define.name}: its arguments do not fit it")
        part = ArgumentPart(start, offsets, arguments)
        stored = self._stored[key] = msgspec.structs.replace(stored, more=(*stored.more, part))
        self.nbytes += frames[0].nbytes + arguments.nbytes
        return stored.arrived

    def _length(self, key: Key) -> int:
        stored = self._stored.get(key)
        return 0 if stored is None else stored.define.n  # the scheduler refuses a graph with an unknown dependency

    def get(self, key: Key) -> StoredLayer:
        """The layer; raises KeyError for one that is not stored."""
        return self._stored[key]

    def name(self, key: Key) -> str:
        """The layer's name for users; its key in hexadecimal when it is not stored."""
        stored = self._stored.get(key)
        return stored.define.name if stored is not None else key.hex()

    def request(self, client: str, ranges: Iterable[TaskRange]) -> GraphSubmitted:
        """The event by which `client` requests results of layers that others have submitted."""
        ranges = tuple(ranges)
        specs: list[LayerSpec] = []
        for key in dict.fromkeys(task_range.layer for task_range in ranges):
            stored = self._stored.get(key)
            if stored is not None:
                specs.append(LayerSpec(key, stored.define.name, stored.define.n, stored.define.deps))
            self.inline.add(key)
        return GraphSubmitted(client, tuple(specs), ranges)

    def slice(self, task_range: TaskRange) -> tuple[Buffer, Buffer]:
        """Offsets and arguments of the range's items, not copied; both empty when items have none."""
        stored = self._stored[task_range.layer]
        if not stored.offsets:
            return stored.offsets, b""
        here = nbytes(stored.offsets) // 8 - 1
        if task_range.start == 0 and task_range.stop == here:
            return stored.offsets, stored.arguments
        if task_range.stop > here:
            return self._joined(stored, task_range)
        first = stored.first
        mine = first.offsets[task_range.start : task_range.stop + 1]
        return mine.cast("B"), first.arguments[mine[0] : mine[-1]]

    def _joined(self, stored: StoredLayer, task_range: TaskRange) -> tuple[memoryview, memoryview]:
        """The same where arguments came in parts; a range that lies in several parts is copied."""
        parts = [stored.first, *stored.more]
        first = bisect_right(parts, task_range.start, key=lambda part: part.start) - 1
        ends, pieces, at, item = array("Q", [0]), [], 0, task_range.start
        for start, offsets, arguments in parts[first:]:
            stop = min(task_range.stop, start + len(offsets) - 1)
            if item >= stop:
                break
            mine = offsets[item - start : stop - start + 1]
            if item == task_range.start and stop == task_range.stop:
                return mine.cast("B"), arguments[mine[0] : mine[-1]]
            ends.extend([end - mine[0] + at for end in mine[1:]])
            pieces.append(arguments[mine[0] : mine[-1]])
            at, item = ends[-1], stop
        return memoryview(ends.tobytes()), memoryview(b"".join(pieces))

    def forget(self, key: Key) -> None:
        """Delete the layer's frames."""
        self.inline.discard(key)
        stored = self._stored.pop(key, None)
        if stored is not None:
            self.nbytes -= stored.nbytes
            if stored.more:
                self.nbytes -= sum(part.offsets.nbytes + part.arguments.nbytes for part in stored.more)


def _own(frame: memoryview) -> Buffer:
    return bytes(frame) if frame.nbytes <= SMALL else frame
