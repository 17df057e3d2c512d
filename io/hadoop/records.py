"""What file systems and locality providers say about a file. Plain frozen records; everybody may import them."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """One HDFS block: `length` bytes of its file from `offset`, on `hosts` (lower case); `racks` in the same order."""

    offset: int
    length: int
    hosts: tuple[str, ...]
    racks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file or folder. `size` in bytes, `mtime` in nanoseconds; `blocks` is None where nobody asked for them."""

    path: str
    size: int
    mtime: int
    is_dir: bool
    blocks: tuple[Block, ...] | None = None

    @property
    def name(self) -> str:
        return posixpath.basename(self.path)

    @property
    def hidden(self) -> bool:
        """Files that writers leave for themselves (`_SUCCESS`, `.crc`), which no reader of a table looks at."""
        return self.name.startswith(("_", "."))
