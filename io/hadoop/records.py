"""Records of files and their blocks, as file systems and block locations return them. Every folder may import them."""

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
    """A file or folder. `size` in bytes, `mtime` in nanoseconds; `blocks` is None where they were not requested."""

    path: str
    size: int
    mtime: int
    is_dir: bool
    blocks: tuple[Block, ...] | None = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return posixpath.basename(self.path)

    @property
    def hidden(self) -> bool:
        """Whether it is a file that writers leave for themselves (`_SUCCESS`, `.crc`) and readers of a table skip."""
        return self.name.startswith(("_", "."))
