"""Which hosts a byte range should be read on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from howdah.io.filesystem.block_locations import locate, preferred_hosts
from howdah.io.hadoop.records import Block

HOSTS = st.sampled_from(["a", "b", "c", "d", "e", "localhost"])


@st.composite
def files(draw: st.DrawFn) -> list[Block]:
    blocks, offset = [], 0
    for length in draw(st.lists(st.integers(1, 20), max_size=6)):
        blocks.append(Block(offset, length, tuple(draw(st.sets(HOSTS, max_size=4)))))
        offset += length
    return blocks


@given(files(), st.integers(0, 80), st.integers(0, 80), st.integers(0, 3))
def test_hosts_are_those_that_hold_most_bytes(blocks: list[Block], start: int, length: int, salt: int) -> None:
    end = start + length
    held: dict[str, int] = {}
    for byte in range(start, end):  # counted byte by byte
        for block in blocks:
            if block.offset <= byte < block.offset + block.length:
                for host in block.hosts:
                    held[host] = held.get(host, 0) + 1
    held.pop("localhost", None)
    found = preferred_hosts(blocks, start, end, salt=salt)
    assert [held[host] for host in found] == sorted(held.values(), reverse=True)[:3]
    assert len(set(found)) == len(found)
    assert found == preferred_hosts(list(reversed(blocks)), start, end, salt=salt)


def test_equal_holders_are_not_the_same_host_first_everywhere() -> None:
    blocks = [Block(0, 100, ("a", "b", "c"))]
    assert {preferred_hosts(blocks, 0, 100, salt=salt)[0] for salt in range(50)} == {"a", "b", "c"}


def test_loopback_names_are_kept() -> None:
    """A small Hadoop on one machine has 127.0.0.2, 127.0.0.3, ... as its hosts."""
    assert preferred_hosts([Block(0, 9, ("127.0.0.2", "localhost"))], 0, 9) == ("127.0.0.2",)


def test_local_files_have_a_block_without_hosts(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from howdah.io import open_filesystem

    (tmp_path / "f").write_bytes(b"12345")
    filesystem, path = open_filesystem(tmp_path / "f")
    assert locate(filesystem, path) == {path: [Block(0, 5, ())]}
    assert filesystem.locate([path]) == {path: [Block(0, 5, ())]}
