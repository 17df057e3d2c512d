"""Protocol buffers: what is encoded comes back, and malformed bytes raise `ValueError`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.io.hadoop.protobuf import ProtobufMessage, delimited, encode, read_varint, varint, zigzag


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 2**64 - 1) | st.binary(max_size=20))))
def test_messages_come_back(fields: list[tuple[int, int | bytes]]) -> None:
    message = ProtobufMessage(memoryview(encode(*fields)))
    for number in {number for number, _ in fields}:
        values = [value for n, value in fields if n == number]
        assert message.numbers(number) == [v for v in values if isinstance(v, int)]


@given(st.binary(max_size=60))
def test_garbage_is_a_value_error_and_never_a_hang(data: bytes) -> None:
    try:
        ProtobufMessage(memoryview(data))
    except ValueError:
        return


@given(st.integers(-(2**63), 2**64 - 1))
def test_varints(number: int) -> None:
    value, position = read_varint(memoryview(varint(number)), 0)
    assert value == number % 2**64
    assert position == len(varint(number))


def test_reference_bytes() -> None:
    """The examples of the encoding's documentation: 150 in field 1, "testing" in field 2."""
    assert encode((1, 150)) == bytes.fromhex("089601")
    assert encode((2, "testing")) == bytes.fromhex("120774657374696e67")
    assert [zigzag(n) for n in (0, -1, 1, -2, 0x7FFFFFFF, -0x80000000)] == [0, 1, 2, 3, 0xFFFFFFFE, 0xFFFFFFFF]


def test_nested_messages_and_the_last_value_of_a_repeated_field() -> None:
    inner = encode((1, "a")), encode((1, "b"))
    message = ProtobufMessage(memoryview(encode((4, inner[0]), (4, inner[1]), (5, 7), (5, 8), (6, None))))
    assert [each.text(1) for each in message.messages(4)] == ["a", "b"]
    assert message.message(4).text(1) == "b"
    assert message.number(5) == 8
    assert 6 not in message
    assert message.message(9).number(1, default=3) == 3


def test_fixed_width_fields_are_skipped() -> None:
    data = bytes([1 << 3 | 1]) + bytes(8) + bytes([2 << 3 | 5]) + bytes(4) + encode((3, 5))
    assert ProtobufMessage(memoryview(data)).number(3) == 5
    with pytest.raises(ValueError, match="unknown wire type 3"):
        ProtobufMessage(memoryview(bytes([1 << 3 | 3])))


@given(st.binary(max_size=300))
def test_delimited_bytes_have_their_length_in_front(data: bytes) -> None:
    framed = memoryview(delimited(data))
    length, position = read_varint(framed, 0)
    assert bytes(framed[position:]) == data
    assert length == len(data)
