"""A howdah reader for files of fixed-length binary records.

    hd.read_table("data/ticks", format="fixed_records", fields={"time": "<i8", "price": "<f8"})

Install it beside howdah (`pip install examples/fixed_records`). howdah finds it by its entry point and is not changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from howdah.errors import CorruptFile, PathMissing
from howdah.io import (
    TARGET_BYTES,
    Condition,
    FileInfo,
    FileSystem,
    Split,
    TableSource,
    open_filesystem,
    preferred_hosts,
)


@dataclass(frozen=True)
class RecordSplit(Split):
    """A split of `rows` records of one file, from byte `offset`."""

    filesystem: FileSystem
    path: str
    size: int
    fields: tuple[tuple[str, str], ...]
    offset: int
    nbytes: int
    rows: int
    first_row: int
    hosts: tuple[str, ...]

    def read(self, columns: Sequence[str]) -> pa.Table:
        data = self.filesystem.read_range(self.path, self.offset, self.nbytes, self.size)
        records = np.frombuffer(data, np.dtype(list(self.fields)))
        return pa.table({name: np.ascontiguousarray(records[name]) for name in columns})


class RecordTable(TableSource):
    """A table of all files of a folder, or of one file; each record has the same `fields` (name, numpy dtype)."""

    def __init__(self, url: str, fields: Mapping[str, str]) -> None:
        self.name = url
        self.fields = tuple(fields.items())
        self.record = np.dtype(list(self.fields))
        self.filesystem, path = open_filesystem(url)
        self.files: list[FileInfo] = [f for f in self.filesystem.ls(path, locate=True) if not f.is_dir and not f.hidden]
        self.schema = pa.schema([pa.field(n, pa.from_numpy_dtype(self.record[n]), nullable=False) for n in fields])
        if not self.files:
            raise PathMissing(f"{url}: no file in this folder")
        for file in self.files:
            if file.size % self.record.itemsize:
                raise CorruptFile(f"{file.path}: {file.size} bytes are not records of {self.record.itemsize} bytes")

    @property
    def fingerprint(self) -> bytes:
        return repr([self.fields, [(f.path, f.size, f.mtime) for f in self.files]]).encode()

    @property
    def rows(self) -> int:
        return sum(file.size for file in self.files) // self.record.itemsize

    @property
    def is_local(self) -> bool:
        return self.filesystem.is_local

    def splits(
        self, columns: Sequence[str], *, conditions: Sequence[Condition] = (), target_bytes: int = TARGET_BYTES
    ) -> list[RecordSplit]:
        width, row, found = self.record.itemsize, 0, []
        step = max(target_bytes // width, 1) * width
        for file in self.files:
            for start in range(0, file.size, step) or [0]:
                stop = min(start + step, file.size)
                hosts = preferred_hosts(file.blocks or (), start, stop)
                place = (self.filesystem, file.path, file.size, self.fields, start, stop - start)
                found.append(RecordSplit(*place, (stop - start) // width, row, hosts))
                row += (stop - start) // width
        return found


def open_records(url: str, fields: Mapping[str, str]) -> RecordTable:
    """Return the table at `url`; the reader's entry point."""
    return RecordTable(url, fields)
