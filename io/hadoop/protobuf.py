"""Protocol buffers, as far as Hadoop RPC needs them: varints, strings, bytes, messages.

For `rpc` and those who call it. A dependency on protobuf would bring its version conflicts (skein pins one) into every
user's environment for a handful of message types.
"""

from __future__ import annotations

from typing import TypeAlias

Value: TypeAlias = int | str | bytes | None


def varint(number: int) -> bytes:
    """Encode an integer as a varint; negative ones in 64-bit two's complement.

    >>> varint(300)
    b'\\xac\\x02'
    """
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number: int) -> int:
    """Map a signed integer to the unsigned one of a `sint32` field.

    >>> [zigzag(n) for n in (0, -1, 1, -3)]
    [0, 1, 2, 5]
    """
    return number << 1 ^ number >> 63


def encode(*fields: tuple[int, Value]) -> bytes:
    """Encode a message of (field number, value) pairs; None is left out.

    >>> encode((1, "/x"), (2, b""), (3, 1), (4, None))
    b'\\n\\x02/x\\x12\\x00\\x18\\x01'
    """
    out = []
    for number, value in fields:
        if isinstance(value, int):
            out.append(varint(number << 3) + varint(value))
        elif value is not None:
            data = value.encode() if isinstance(value, str) else value
            out.append(varint(number << 3 | 2) + delimited(data))
    return b"".join(out)


def delimited(data: bytes) -> bytes:
    """Return bytes with their length in front."""
    return varint(len(data)) + data


def read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """Return the varint at `position`, and the position after it. Raises `ValueError` where the data end inside it."""
    value = shift = 0
    while shift < 70:
        if position >= len(data):
            raise ValueError("a message ends inside a number")
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position
    raise ValueError("a number of more than ten bytes")


class ProtobufMessage:
    """A decoded message: its fields by number, nested messages still as bytes. Raises `ValueError` if malformed.

    >>> m = ProtobufMessage(memoryview(encode((1, "/x"), (3, 5), (3, 6))))
    >>> m.text(1), m.number(3), m.number(9), m.numbers(3)
    ('/x', 6, 0, [5, 6])
    """

    __slots__ = ("_fields",)

    def __init__(self, data: memoryview) -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        position = 0
        while position < len(data):
            tag, position = read_varint(data, position)
            kind = tag & 7
            value: int | memoryview
            if kind == 0:
                value, position = read_varint(data, position)
            else:
                if kind == 2:
                    size, position = read_varint(data, position)
                elif kind in (1, 5):
                    size = 8 if kind == 1 else 4
                else:
                    raise ValueError(f"a field of the unknown wire type {kind}")
                value, position = data[position : position + size], position + size
                if position > len(data):
                    raise ValueError("a message ends inside a field")
            self._fields.setdefault(tag >> 3, []).append(value)

    def __contains__(self, field: int) -> bool:
        return field in self._fields

    def numbers(self, field: int) -> list[int]:
        """Return all integers of a field."""
        return [value for value in self._fields.get(field, ()) if isinstance(value, int)]

    def number(self, field: int, default: int = 0) -> int:
        """Return the last integer of a field."""
        found = self.numbers(field)
        return found[-1] if found else default

    def raw(self, field: int) -> bytes:
        """Return the last bytes of a field; b"" where there are none."""
        found = self._fields.get(field)
        return bytes(found[-1]) if found and not isinstance(found[-1], int) else b""

    def text(self, field: int) -> str:
        """Return the last string of a field; "" where there is none."""
        return self.raw(field).decode("utf-8", "surrogateescape")

    def messages(self, field: int) -> list[ProtobufMessage]:
        """Return all nested messages of a field."""
        return [ProtobufMessage(value) for value in self._fields.get(field, ()) if not isinstance(value, int)]

    def message(self, field: int) -> ProtobufMessage:
        """Return the last nested message of a field; an empty one where there is none."""
        found = self.messages(field)
        return found[-1] if found else ProtobufMessage(memoryview(b""))
