"""The opaque part of layers: code and arguments as frames, which the scheduler keeps and hands on but never opens."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec import Struct

from howdah.engine.comm.connection.framing import Buffer, nbytes
from howdah.engine.protocol.events import LayerSpec
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import DefineLayer
from howdah.errors import HowdahError

FRAMES = 3
"""Frames per layer in `Submit`: code, offsets (u64), arguments."""


SMALL = 1024
"""Frames of up to so many bytes are kept as bytes of their own: a view is twice as much for the garbage collector."""


class Part(NamedTuple):
    """The arguments of the items from `start` on, as far as `offsets` go."""

    start: int
    offsets: memoryview
    arguments: memoryview


class Kept(Struct, frozen=True, gc=False):
    """One layer: what workers are told of it, its code, and where its items' arguments are (`raw`: n + 1 offsets, or
    none); `more` came later."""

    define: DefineLayer
    code: Buffer
    raw: Buffer
    arguments: Buffer
    nbytes: int
    """Of the three."""
    more: tuple[Part, ...] = ()

    @property
    def arrived(self) -> int:
        last = self.more[-1] if self.more else self.first
        return last.start + len(last.offsets) - 1

    @property
    def first(self) -> Part:
        return Part(0, memoryview(self.raw).cast("Q"), memoryview(self.arguments))


class LayerFrames:
    """Frames by layer, from submission until the state forgets the layer."""

    def __init__(self) -> None:
        self._kept: dict[Key, Kept] = {}
        self.nbytes = 0

    def __contains__(self, key: Key) -> bool:
        return key in self._kept

    def add(self, specs: Sequence[LayerSpec], frames: Sequence[memoryview]) -> list[Key]:
        """Keep what is new; returns its keys. Raises HowdahError when the frames do not fit the layers."""
        if len(frames) != FRAMES * len(specs):
            raise HowdahError(f"{len(specs)} layers came with {len(frames)} frames, not {FRAMES} each")
        new: list[Key] = []
        for number, spec in enumerate(specs):
            if spec.key in self._kept:
                continue
            code, raw, arguments = frames[FRAMES * number : FRAMES * (number + 1)]
            here = spec.n if spec.arrived < 0 else spec.arrived
            offsets, size = raw.nbytes, arguments.nbytes
            if offsets != 8 * (here + 1) and (offsets or spec.arrived >= 0):
                raise HowdahError(f"layer {spec.name}: {offsets} bytes of offsets for {here} items")
            if offsets and raw.cast("Q")[here] > size:
                raise HowdahError(f"layer {spec.name}: its arguments end beyond their frame")
            lengths = tuple([self._length(dep.layer) for dep in spec.deps]) if spec.deps else ()
            define = DefineLayer(spec.key, spec.name, spec.n, spec.deps, lengths, spec.timeout)
            size += code.nbytes + offsets
            if size <= SMALL:
                kept = Kept(define, bytes(code), bytes(raw), bytes(arguments), size)
            else:
                kept = Kept(define, _own(code), _own(raw), _own(arguments), size)
            self._kept[spec.key] = kept
            self.nbytes += size
            new.append(spec.key)
        return new

    def extend(self, key: Key, start: int, frames: Sequence[memoryview]) -> int:
        """More arguments of a layer; returns where they end, or 0 where they are not needed (any more).

        Two clients may send the same layer: the parts have the same bounds, and the first to come counts.
        """
        kept = self._kept.get(key)
        if kept is None or len(frames) != 2 or not kept.raw or start != kept.arrived:
            return 0
        offsets, arguments = frames[0].cast("Q"), frames[1]
        if start + len(offsets) - 1 > kept.define.n or len(offsets) < 2 or offsets[-1] > arguments.nbytes:
            raise HowdahError(f"layer {kept.define.name}: its arguments do not fit it")
        kept = self._kept[key] = msgspec.structs.replace(kept, more=(*kept.more, Part(start, offsets, arguments)))
        self.nbytes += frames[0].nbytes + arguments.nbytes
        return kept.arrived

    def _length(self, key: Key) -> int:
        kept = self._kept.get(key)
        return 0 if kept is None else kept.define.n  # the state refuses a graph whose dependency is not known

    def get(self, key: Key) -> Kept:
        return self._kept[key]

    def name(self, key: Key) -> str:
        kept = self._kept.get(key)
        return kept.define.name if kept is not None else key.hex()

    def slice(self, span: TaskRange) -> tuple[Buffer, Buffer]:
        """Offsets and arguments of the span's items, not copied; both empty when items have none."""
        kept = self._kept[span.layer]
        if not kept.raw:
            return kept.raw, b""
        here = nbytes(kept.raw) // 8 - 1
        if span.start == 0 and span.stop == here:
            return kept.raw, kept.arguments
        if span.stop > here:
            return self._joined(kept, span)
        first = kept.first
        mine = first.offsets[span.start : span.stop + 1]
        return mine.cast("B"), first.arguments[mine[0] : mine[-1]]

    def _joined(self, kept: Kept, span: TaskRange) -> tuple[memoryview, memoryview]:
        """The same where arguments came in parts; what lies in several parts is copied."""
        parts = [kept.first, *kept.more]
        first = bisect_right(parts, span.start, key=lambda part: part.start) - 1
        ends, pieces, at, item = array("Q", [0]), [], 0, span.start
        for start, offsets, arguments in parts[first:]:
            stop = min(span.stop, start + len(offsets) - 1)
            if item >= stop:
                break
            mine = offsets[item - start : stop - start + 1]
            if item == span.start and stop == span.stop:
                return mine.cast("B"), arguments[mine[0] : mine[-1]]
            ends.extend([end - mine[0] + at for end in mine[1:]])
            pieces.append(arguments[mine[0] : mine[-1]])
            at, item = ends[-1], stop
        return memoryview(ends.tobytes()), memoryview(b"".join(pieces))

    def forget(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.nbytes -= kept.nbytes
            if kept.more:
                self.nbytes -= sum(part.offsets.nbytes + part.arguments.nbytes for part in kept.more)


def _own(frame: memoryview) -> Buffer:
    return bytes(frame) if frame.nbytes <= SMALL else frame
