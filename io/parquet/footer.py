"""Parquet footers: read with few requests, checked, and cached per process by path, time and length.

Called by `table` and `read`. A footer is kept with its raw bytes, because `read` passes them to Polars again. A file
that was rewritten has another time or length, and so another footer.
"""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from howdah.errors import CorruptFile
from howdah.io.filesystem.filesystem import FileSystem

_MAGIC = b"PAR1"
_ENCRYPTED = b"PARE"
_TAIL = 64 << 10
"""Bytes read from the end at once: nearly every footer is smaller, and then one request is enough."""
_THREADS = 16


@dataclass(frozen=True)
class Footer:
    """A file's metadata; `raw` is the file from `start` to its end."""

    metadata: Any  # pyarrow.parquet.FileMetaData
    schema: pa.Schema
    start: int
    raw: bytes


class FooterCache:
    """The footers read last, up to `max_bytes` of raw footers, and at least one. For use by several threads."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        self._footers: OrderedDict[tuple[Any, ...], Footer] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[Any, ...]) -> Footer | None:
        """Return the footer of this key, if it is still there."""
        with self._lock:
            found = self._footers.get(key)
            if found is not None:
                self._footers.move_to_end(key)
            return found

    def put(self, key: tuple[Any, ...], footer: Footer) -> None:
        """Keep a footer; those that were used longest ago go."""
        with self._lock:
            if key not in self._footers:
                self._footers[key] = footer
                self.nbytes += len(footer.raw)
            while self.nbytes > self.max_bytes and len(self._footers) > 1:
                self.nbytes -= len(self._footers.popitem(last=False)[1].raw)

    def clear(self) -> None:
        """Forget all footers: the next read of each is from its file."""
        with self._lock:
            self._footers.clear()
            self.nbytes = 0


footer_cache = FooterCache(64 << 20)
"""The footers of this process."""


def read_footer(filesystem: FileSystem, path: str, size: int, mtime: int) -> Footer:
    """Return the footer of a file of `size` bytes, from `footer_cache` if it is there.

    Raises
    ------
    CorruptFile
        The file is empty, truncated or not Parquet; the message says which, and names it.
    """
    key = (filesystem.root_url, path, mtime, size)
    footer = footer_cache.get(key)
    if footer is None:
        footer = _read(filesystem, path, size)
        footer_cache.put(key, footer)
    return footer


def read_footers(filesystem: FileSystem, files: Sequence[tuple[str, int, int]]) -> list[Footer]:
    """Footers of many files (path, size, mtime), in their order, several at a time. The first error is raised."""
    if len(files) < 2:
        return [read_footer(filesystem, *file) for file in files]
    threads = min(_THREADS if not filesystem.is_local else 4, len(files))
    with ThreadPoolExecutor(threads, thread_name_prefix="howdah-footer") as pool:
        futures = [pool.submit(read_footer, filesystem, *file) for file in files]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _read(filesystem: FileSystem, path: str, size: int) -> Footer:
    url = filesystem.url(path)
    if size < 12:
        why = "it is empty" if size == 0 else f"it has only {size} bytes"
        raise CorruptFile(f"{url}: not a Parquet file: {why}. Remove it, or write it again")
    tail_start = max(0, size - _TAIL)
    tail = filesystem.read_range(path, tail_start, size - tail_start, size)
    if tail[-4:] == _ENCRYPTED:
        raise CorruptFile(f"{url}: an encrypted Parquet file, which howdah cannot read")
    if tail[-4:] != _MAGIC:
        head = tail[:4] if tail_start == 0 else filesystem.read_range(path, 0, 4, size)
        why = (
            f"it begins as Parquet, and its end is missing (it was truncated at {size} bytes)"
            if head == _MAGIC
            else "it does not begin as one"
        )
        raise CorruptFile(f"{url}: not a whole Parquet file: {why}. Write it again, or leave it out")
    length = struct.unpack("<I", tail[-8:-4])[0]
    start = size - 8 - length
    if start < 4:
        raise CorruptFile(f"{url}: damaged: its footer claims {length} bytes, and the file has {size}. Write it again")
    if start < tail_start:
        tail = filesystem.read_range(path, start, tail_start - start, size) + tail
        tail_start = start
    raw = tail[start - tail_start :]
    try:
        # pyarrow requires the magic number at the front as well
        metadata = pq.read_metadata(pa.BufferReader(_MAGIC + raw))
        schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        raise CorruptFile(f"{url}: damaged: its footer cannot be read: {error}. Write it again") from error
    _check_ranges(url, metadata, start)
    return Footer(metadata, schema, start, raw)


def _check_ranges(url: str, metadata: Any, end: int) -> None:
    """Raise CorruptFile unless row groups end before the footer: a file with a gap is found before any task runs."""
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for column in range(0, row_group.num_columns, max(1, row_group.num_columns - 1)):
            first, last = chunk_range(row_group.column(column))
            if first < 0 or last > end:
                raise CorruptFile(
                    f"{url}: damaged: row group {group} claims the bytes {first} to {last}, and the data ends at "
                    f"{end}. Write it again"
                )


def chunk_range(column: Any) -> tuple[int, int]:
    """First byte and end of a column chunk."""
    start: int = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < start:
        start = column.dictionary_page_offset
    return start, start + column.total_compressed_size


def leaves_of(schema: pa.Schema) -> dict[str, range]:
    """For each top-level column its Parquet leaf columns (a nested column has several).

    >>> pair = pa.struct([("x", pa.int8()), ("y", pa.int8())])
    >>> leaves_of(pa.schema([("a", pa.int64()), ("b", pair), ("c", pa.int8())]))
    {'a': range(0, 1), 'b': range(1, 3), 'c': range(3, 4)}
    """
    found, position = {}, 0
    for entry in schema:
        count = _leaves(entry.type)
        found[entry.name] = range(position, position + count)
        position += count
    return found


def _leaves(kind: pa.DataType) -> int:
    if isinstance(kind, pa.BaseExtensionType):
        return _leaves(kind.storage_type)
    if pa.types.is_struct(kind):
        return sum(_leaves(kind.field(i).type) for i in range(kind.num_fields))
    if pa.types.is_map(kind):
        return _leaves(kind.key_type) + _leaves(kind.item_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _leaves(kind.value_type)
    return 1
