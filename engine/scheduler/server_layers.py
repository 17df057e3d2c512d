"""The opaque part of layers: code and arguments as frames, which the scheduler keeps and hands on but never opens."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from howdah.engine.comm.messages import DefineLayer
from howdah.engine.graph.layer import Key, Span
from howdah.engine.scheduler.records import LayerSpec
from howdah.errors import HowdahError

FRAMES = 3
"""Frames per layer in `Submit`: code, offsets (u64), arguments."""


class Part(NamedTuple):
    """The arguments of the items from `start` on, as far as `offsets` go."""

    start: int
    offsets: memoryview
    arguments: memoryview


class Kept(NamedTuple):
    """One layer: what workers are told of it, its code, and where its items' arguments are; `more` came later."""

    define: DefineLayer
    code: memoryview
    offsets: memoryview
    arguments: memoryview
    more: list[Part]

    @property
    def arrived(self) -> int:
        last = self.more[-1] if self.more else Part(0, self.offsets, self.arguments)
        return last.start + len(last.offsets) - 1


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
            if raw.nbytes not in (0, 8 * (here + 1)) or (spec.arrived >= 0 and not raw.nbytes):
                raise HowdahError(f"layer {spec.name}: {raw.nbytes} bytes of offsets for {here} items")
            offsets = raw.cast("Q")
            if raw.nbytes and offsets[here] > arguments.nbytes:
                raise HowdahError(f"layer {spec.name}: its arguments end beyond their frame")
            lengths = tuple([self._length(dep.layer) for dep in spec.deps])
            define = DefineLayer(spec.key, spec.name, spec.n, spec.deps, lengths, spec.timeout)
            self._kept[spec.key] = Kept(define, code, offsets, arguments, [])
            self.nbytes += code.nbytes + raw.nbytes + arguments.nbytes
            new.append(spec.key)
        return new

    def extend(self, key: Key, start: int, frames: Sequence[memoryview]) -> int:
        """More arguments of a layer; returns where they end, or 0 where they are not needed (any more).

        Two clients may send the same layer: the parts have the same bounds, and the first to come counts.
        """
        kept = self._kept.get(key)
        if kept is None or len(frames) != 2 or not kept.offsets.nbytes or start != kept.arrived:
            return 0
        offsets, arguments = frames[0].cast("Q"), frames[1]
        if start + len(offsets) - 1 > kept.define.n or len(offsets) < 2 or offsets[-1] > arguments.nbytes:
            raise HowdahError(f"layer {kept.define.name}: its arguments do not fit it")
        kept.more.append(Part(start, offsets, arguments))
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

    def slice(self, span: Span) -> tuple[memoryview, memoryview]:
        """Offsets and arguments of the span's items, not copied; both empty when items have none."""
        kept = self._kept[span.layer]
        offsets, arguments = kept.offsets, kept.arguments
        if not offsets.nbytes:
            return offsets, arguments[:0]
        if span.stop >= len(offsets):
            return self._joined(kept, span)
        if span.start == 0 and span.stop == len(offsets) - 1:
            return offsets.cast("B"), arguments
        mine = offsets[span.start : span.stop + 1]
        return mine.cast("B"), arguments[mine[0] : mine[-1]]

    def _joined(self, kept: Kept, span: Span) -> tuple[memoryview, memoryview]:
        """The same where arguments came in parts; what lies in several parts is copied."""
        parts = [Part(0, kept.offsets, kept.arguments), *kept.more]
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
            self.nbytes -= kept.code.nbytes + kept.offsets.nbytes + kept.arguments.nbytes
            self.nbytes -= sum(part.offsets.nbytes + part.arguments.nbytes for part in kept.more)
