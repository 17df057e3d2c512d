"""lz4 on the wire, where it pays: between hosts, for large buffers of which a sample gets small, on a slow line.

lz4 is pyarrow's; a process that has not loaded pyarrow does not load it for this. For `transfer` only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from howdah.engine.comm.data.bulk_connection import BulkConnection
from howdah.engine.comm.data.receive_buffers import allocate
from howdah.engine.protocol.frames import Buffer, nbytes

LEAST = 64 << 10
"""Bytes below which a frame is not pressed."""

SAMPLE = 4 << 10
SHRINKS = 0.75
"""A sample must shrink to this share."""


class Compressor:
    """Presses frames for one line. What it knows of the line's pace it keeps there."""

    def __init__(self, line: BulkConnection) -> None:
        self._line = line

    def compress(self, frames: list[Buffer]) -> Sequence[tuple[int, int]]:
        """Replace frames where it pays; returns their indices with their real sizes."""
        codec = _codec()
        if codec is None:
            return ()
        found: list[tuple[int, int]] = []
        for index, frame in enumerate(frames):
            size = nbytes(frame)
            if index and size >= LEAST:
                pressed = self._pressed(codec, memoryview(frame).cast("B"))
                if pressed is not None:
                    frames[index] = pressed
                    found.append((index, size))
        return found

    def _pressed(self, codec: Any, frame: memoryview) -> Buffer | None:
        begun = time.thread_time()  # what it costs, not what others take from this thread meanwhile
        places = [0, (len(frame) // 2) & ~63, len(frame) - SAMPLE]
        sample = b"".join(frame[at : at + SAMPLE] for at in places)
        share = len(codec.compress(sample, asbytes=True)) / len(sample)
        seconds_per_byte = (time.thread_time() - begun) / len(sample)
        if share > SHRINKS or seconds_per_byte > (1 - share) * self._line.seconds_per_byte:
            return None
        return memoryview(codec.compress(frame)).cast("B")


def decompress(frames: list[memoryview], pressed: Sequence[tuple[int, int]]) -> None:
    """The real frames in place of the pressed ones."""
    import pyarrow as pa

    codec = pa.Codec("lz4_raw")
    for index, size in pressed:
        memory = allocate(size)
        memory[:] = memoryview(codec.decompress(frames[index], size)).cast("B")
        frames[index] = memory


def _codec() -> Any:
    pa = sys.modules.get("pyarrow")
    return pa.Codec("lz4_raw") if pa is not None and hasattr(pa, "Codec") else None
