"""The format of messages, against what the page of the module says of it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.engine.protocol.frames import (
    JOINED_FRAME,
    LARGE_FRAME,
    LENGTH_BYTES,
    PREFIX,
    byte_view,
    decode_lengths,
    encode_message,
    group_frames,
    nbytes,
    split_group,
)

SIZES = st.lists(st.sampled_from([0, 1, 9, JOINED_FRAME, JOINED_FRAME + 1, LARGE_FRAME]), min_size=1, max_size=12)


def decode(data: bytes) -> list[bytes]:
    """Read a message by the description alone."""
    count, first = PREFIX.unpack_from(data)
    body = PREFIX.size + LENGTH_BYTES * (count - 1)
    sizes = decode_lengths(first, data[PREFIX.size : body])
    frames = []
    for together, members in group_frames(sizes):
        frames += [bytes(frame) for frame in split_group(memoryview(data)[body : body + together], members)]
        body += together
    assert body == len(data)
    return frames


@given(SIZES)
def test_a_message_decodes_to_its_frames(sizes: list[int]) -> None:
    frames = [bytes([at % 256]) * size for at, size in enumerate(sizes)]
    pieces = encode_message(frames)
    assert decode(b"".join(pieces)) == frames
    large = [frame for frame in frames if len(frame) > JOINED_FRAME]
    assert [piece for piece in pieces if any(piece is frame for frame in large)] == large  # never copied


@given(SIZES)
def test_groups_cover_all_frames_and_large_ones_are_alone(sizes: list[int]) -> None:
    groups = group_frames(sizes)
    assert [size for _, members in groups for size in members] == sizes
    for together, members in groups:
        assert together == sum(members)
        assert together <= LARGE_FRAME or len(members) == 1


def test_lengths_are_little_endian() -> None:
    assert b"".join(encode_message([b"a", b"bc"])) == struct.pack("<IQQ", 2, 1, 2) + b"abc"


@pytest.mark.parametrize("frame", [b"12345678", bytearray(8), memoryview(bytearray(8)).cast("Q")])
def test_the_size_of_a_frame_is_in_bytes(frame: bytes | bytearray | memoryview) -> None:
    assert nbytes(frame) == 8
    assert len(byte_view(frame)) == 8
