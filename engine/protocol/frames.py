"""The format of a message: u32 number of frames, a u64 length of each, then the frames themselves; all little-endian.

The only place that knows this format. It performs no I/O: `comm.connection` reads it from event loops, `comm.data` from
blocking sockets. A frame that is read is a writable memoryview; large frames get memory of their own, smaller
neighbours share one allocation.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

Buffer = bytes | bytearray | memoryview

LARGE_FRAME = 256 * 1024
"""Bytes from which a frame gets memory of its own when it is read."""

JOINED_FRAME = 64 * 1024
"""Bytes up to which a frame is copied next to its neighbours for one write."""

MAX_FRAMES = 1 << 22
"""Frames of one message, at most; a larger number is a sign of another protocol."""

PREFIX = struct.Struct("<IQ")
"""The number of frames and the length of the first, which every message has."""

LENGTH_BYTES = 8
"""Bytes of each further length."""


def nbytes(frame: Buffer) -> int:
    """Return the size of `frame` in bytes."""
    return frame.nbytes if isinstance(frame, memoryview) else len(frame)


def byte_view(frame: Buffer) -> memoryview:
    """Return `frame` as a one-dimensional memoryview of bytes, without a copy."""
    view = memoryview(frame)
    if type(frame) is bytes:
        return view
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def encode_message(frames: Sequence[Buffer]) -> list[Buffer]:
    """Return what to write for `frames`: as few pieces as possible, large frames uncopied.

    >>> b"".join(encode_message([b"ab", b"c"])).hex()
    '0200000002000000000000000100000000000000616263'
    """
    sizes = [nbytes(frame) for frame in frames]
    small: list[Buffer] = [struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes)]
    pieces: list[Buffer] = []
    for frame, size in zip(frames, sizes):
        if size <= JOINED_FRAME:
            small.append(frame)
        else:
            pieces.append(b"".join(small))
            pieces.append(frame)
            small = []
    if small:
        pieces.append(b"".join(small))
    return pieces


def decode_lengths(first: int, rest: Buffer) -> list[int]:
    """Return the lengths of all frames: `first` is in the prefix, the others follow it as `rest`.

    >>> decode_lengths(2, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
    [2, 1]
    """
    return [first, *struct.unpack(f"<{nbytes(rest) // LENGTH_BYTES}Q", rest)]


def group_frames(sizes: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Return which neighbouring frames share memory: the bytes of each group, and the sizes in it.

    >>> group_frames([10, 20, LARGE_FRAME])
    [(30, [10, 20]), (262144, [262144])]
    """
    found: list[tuple[int, list[int]]] = []
    at, n = 0, len(sizes)
    while at < n:
        stop, together = at + 1, sizes[at]
        while stop < n and together + sizes[stop] <= LARGE_FRAME:
            together += sizes[stop]
            stop += 1
        found.append((together, list(sizes[at:stop])))
        at = stop
    return found


def split_group(memory: memoryview, sizes: Sequence[int]) -> list[memoryview]:
    """Return the frames of one group, as views of the memory that they share.

    >>> [bytes(frame) for frame in split_group(memoryview(b"abc"), [2, 1])]
    [b'ab', b'c']
    """
    frames: list[memoryview] = []
    begin = 0
    for size in sizes:
        frames.append(memory[begin : begin + size])
        begin += size
    return frames
