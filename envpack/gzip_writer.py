"""A gzip file that is compressed on several cores, by `isal`.

Promises: one ordinary gzip member, which every reader takes whole; java.util.zip.GZIPInputStream stops after the first
of several members where its input answers ``available() == 0`` between them (JDK-7036144), and YARN's localizer may use
it. The same writes give the same bytes whatever the number of threads. Called by `archive`.
"""

from __future__ import annotations

from typing import BinaryIO, Self

from isal import igzip_threaded

BLOCK = 1 << 20  # bytes that a thread compresses at once; 0.5 to 4 MiB measure the same, smaller costs ratio
LEVEL = 2  # of 0 to 3: as fast as 1 and 2 % smaller; 3 takes twice as long for another 3 %


class GzipWriter:
    """A write-only file object over another; `close` (or leaving the ``with``) ends the gzip stream, not that file.

    Parameters
    ----------
    raw
        An open binary file.
    threads
        How many blocks to compress at once.

    Examples
    --------
    >>> import gzip, io
    >>> raw = io.BytesIO()
    >>> with GzipWriter(raw, threads=2) as f:
    ...     _ = f.write(b"daily revenue" * 200_000)
    >>> gzip.decompress(raw.getvalue()) == b"daily revenue" * 200_000
    True
    """

    def __init__(self, raw: BinaryIO, *, threads: int):
        self._stream = igzip_threaded.open(  # type: ignore[no-untyped-call]  # it has no annotations
            raw, "wb", compresslevel=LEVEL, threads=max(1, threads), block_size=BLOCK
        )
        self._length = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Compress `data` soon; blocks while all threads have work. Raises an earlier write's error of `raw`."""
        self._stream.write(data)
        self._length += len(data)
        return len(data)

    def tell(self) -> int:
        """Return the bytes written so far, before compression (tarfile calls it)."""
        return self._length

    def close(self) -> None:
        """Write what is left and the trailer. A writer may be closed twice."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
