"""The opaque part of layers: code and arguments as frames, which the scheduler keeps and hands on but never opens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from howdah.engine.comm.messages import DefineLayer
from howdah.engine.graph.layer import Key, Span
from howdah.engine.scheduler.records import LayerSpec
from howdah.errors import HowdahError

FRAMES = 3
"""Frames per layer in `Submit`: code, offsets (u64), arguments."""


class Kept(NamedTuple):
    """One layer: what workers are told of it, its code, and where its items' arguments are."""

    define: DefineLayer
    code: memoryview
    offsets: memoryview
    arguments: memoryview


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
            if raw.nbytes not in (0, 8 * (spec.n + 1)):
                raise HowdahError(f"layer {spec.name}: {raw.nbytes} bytes of offsets for {spec.n} items")
            offsets = raw.cast("Q")
            if raw.nbytes and offsets[spec.n] > arguments.nbytes:
                raise HowdahError(f"layer {spec.name}: its arguments end beyond their frame")
            lengths = tuple(self._length(dep.layer) for dep in spec.deps)
            define = DefineLayer(spec.key, spec.name, spec.n, spec.deps, lengths)
            self._kept[spec.key] = Kept(define, code, offsets, arguments)
            self.nbytes += code.nbytes + raw.nbytes + arguments.nbytes
            new.append(spec.key)
        return new

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
        _, _, offsets, arguments = self._kept[span.layer]
        if not offsets.nbytes:
            return offsets, arguments[:0]
        mine = offsets[span.start : span.stop + 1]
        return mine.cast("B"), arguments[mine[0] : mine[-1]]

    def forget(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.nbytes -= kept.code.nbytes + kept.offsets.nbytes + kept.arguments.nbytes
