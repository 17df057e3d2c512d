"""Hadoop's token files: the right token is found, and cut files raise `ValueError`."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.io.hadoop.tokens import Token, find_token, read_vint


def token_file(*tokens: tuple[str, bytes, bytes]) -> bytes:
    """Hadoop's container_tokens."""

    def chunk(data: bytes) -> bytes:
        size = len(data)
        return (bytes([size]) if size < 128 else bytes([0x8F, size])) + data

    rows = b"".join(chunk(b"alias") + chunk(a) + chunk(b) + chunk(kind.encode()) + chunk(b"") for kind, a, b in tokens)
    return b"HDTS\0" + bytes([len(tokens)]) + rows


def test_the_right_token_of_a_file() -> None:
    file = token_file(("HDFS_DELEGATION_TOKEN", b"x" * 200, b"y"), ("YARN_AM_RM_TOKEN", b"id", b"secret"))
    assert find_token(file, "YARN_AM_RM_TOKEN") == Token(b"id", b"secret")
    assert find_token(file, "KMS") is None
    with pytest.raises(ValueError, match="first format"):
        find_token(b"HDTS\1", "KMS")


@given(st.integers(0, 200), st.binary(max_size=200), st.binary(max_size=200))
def test_a_cut_file_is_a_value_error(cut: int, identifier: bytes, password: bytes) -> None:
    file = token_file(("OTHER", b"a", b"b"), ("WANTED", identifier, password))
    assert find_token(file, "WANTED") == Token(identifier, password)
    if 0 < cut < len(file):
        with pytest.raises(ValueError, match=r"cut off|first format"):
            find_token(file[:-cut], "WANTED")


def write_vint(value: int) -> bytes:
    """Hadoop's `WritableUtils.writeVLong`, from its documentation."""
    if -112 <= value <= 127:
        return struct.pack("b", value)
    base, magnitude = (-112, value) if value >= 0 else (-120, ~value)
    data = magnitude.to_bytes((magnitude.bit_length() + 7) // 8)
    return struct.pack("b", base - len(data)) + data


@given(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=3))
def test_integers_come_back(value: int, after: bytes) -> None:
    data = write_vint(value)
    assert read_vint(data + after, 0) == (value, len(data))


def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(Token(b"id", b"secret"))
