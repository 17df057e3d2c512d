"""Hadoop's token files: the delegation tokens that YARN writes for a container (`HADOOP_TOKEN_FILE_LOCATION`).

For `io.hadoop` and for callers that authenticate to a Hadoop service by token. Reads bytes and touches no disk. The
format: `org.apache.hadoop.security.Credentials`, its first version ("writable").
"""

from __future__ import annotations

from dataclasses import dataclass, field

_HEADER = b"HDTS\x00"


@dataclass(frozen=True, slots=True)
class Token:
    """A delegation token; the password stays out of its repr."""

    identifier: bytes
    password: bytes = field(repr=False)


def find_token(credentials: bytes, kind: str) -> Token | None:
    """Return the first token of `kind` in a token file's bytes; None where there is none.

    Raises
    ------
    ValueError
        The bytes are no token file of the first format, or are cut off.
    """
    if not credentials.startswith(_HEADER):
        raise ValueError("not a token file of Hadoop's first format")
    position = len(_HEADER)

    def number() -> int:
        nonlocal position
        value, position = read_vint(credentials, position)
        return value

    def chunk() -> bytes:
        nonlocal position
        size = number()
        position += size
        if size < 0 or position > len(credentials):
            raise ValueError("the token file is cut off")
        return credentials[position - size : position]

    for _ in range(number()):
        chunk()  # the alias
        identifier, password, its_kind, _service = chunk(), chunk(), chunk(), chunk()
        if its_kind.decode() == kind:
            return Token(identifier, password)
    return None


def read_vint(data: bytes, position: int) -> tuple[int, int]:
    """Read one integer as Hadoop's `WritableUtils.readVInt` does, and return it with the position after it.

    Raises
    ------
    ValueError
        The data end inside the integer.

    Examples
    --------
    >>> read_vint(bytes([7]), 0), read_vint(bytes([0x8F, 200]), 0), read_vint(bytes([0x8E, 1, 44]), 0)
    ((7, 1), (200, 2), (300, 3))
    """
    if position >= len(data):
        raise ValueError("the token file is cut off")
    first = data[position] - 256 if data[position] > 127 else data[position]
    if first >= -112:
        return first, position + 1
    size = -120 - first if first < -120 else -112 - first
    end = position + 1 + size
    if end > len(data):
        raise ValueError("the token file is cut off")
    value = int.from_bytes(data[position + 1 : end])
    return (~value if first < -120 else value), end
