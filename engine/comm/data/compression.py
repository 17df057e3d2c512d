"""lz4 for results between hosts, where it saves time: large buffers of which a sample compresses, on a slow connection.

lz4 is pyarrow's; a process that has not loaded pyarrow does not load it for this. For `transfer` alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from howdah.engine.comm.data.bulk_connection import BulkConnection
from howdah.engine.comm.data.receive_buffers import allocate
from howdah.engine.protocol.frames import Buffer, nbytes

MIN_BYTES = 64 << 10
"""Bytes below which a frame is not compressed."""

SAMPLE = 4 << 10
MAX_RATIO = 0.75
"""A sample must shrink to this share or less."""


class Compressor:
    """Compresses frames for one connection, whose measured speed decides what is worth it."""

    def __init__(self, connection: BulkConnection) -> None:
        self._connection = connection

    def compress(self, frames: list[Buffer]) -> Sequence[tuple[int, int]]:
        """Replace frames by compressed ones where that saves time; returns their indices and original sizes."""
        codec = _codec()
        if codec is None:
            return ()
        found: list[tuple[int, int]] = []
        for index, frame in enumerate(frames):
            size = nbytes(frame)
            if index and size >= MIN_BYTES:
                smaller = self._compressed(codec, memoryview(frame).cast("B"))
                if smaller is not None:
                    frames[index] = smaller
                    found.append((index, size))
        return found

    def _compressed(self, codec: Any, frame: memoryview) -> Buffer | None:
        started = time.thread_time()  # its own cost, without that of other threads meanwhile
        places = [0, (len(frame) // 2) & ~63, len(frame) - SAMPLE]
        sample = b"".join(frame[at : at + SAMPLE] for at in places)
        share = len(codec.compress(sample, asbytes=True)) / len(sample)
        seconds_per_byte = (time.thread_time() - started) / len(sample)
        if share > MAX_RATIO or seconds_per_byte > (1 - share) * self._connection.seconds_per_byte:
            return None
        return memoryview(codec.compress(frame)).cast("B")


def decompress(frames: list[memoryview], compressed: Sequence[tuple[int, int]]) -> None:
    """Replace compressed frames by the original ones. `compressed`: their indices and original sizes."""
    import pyarrow as pa

    codec = pa.Codec("lz4_raw")
    for index, size in compressed:
        memory = allocate(size)
        memory[:] = memoryview(codec.decompress(frames[index], size)).cast("B")
        frames[index] = memory


def _codec() -> Any:
    pa = sys.modules.get("pyarrow")
    return pa.Codec("lz4_raw") if pa is not None and hasattr(pa, "Codec") else None
