"""The gzip file is an ordinary one: for gzip(1), tar, Python and Java alike."""

from __future__ import annotations

import errno
import gzip
import io
import random
import shutil
import subprocess
import tarfile
import threading
import zlib
from pathlib import Path

import pytest

from howdah.envpack.gzip_writer import BLOCK, GzipWriter


def squeezed(data: bytes, threads: int, step: int = 100_003, raw: io.BytesIO | None = None) -> bytes:
    raw = raw or io.BytesIO()
    with GzipWriter(raw, threads=threads) as stream:
        for start in range(0, len(data), step):
            stream.write(data[start : start + step])
        assert stream.tell() == len(data)
    return raw.getvalue()


@pytest.fixture(scope="module")
def text() -> bytes:
    chance = random.Random(1)
    words = [bytes(chance.choices(range(97, 123), k=9)) for _ in range(500)]
    return b" ".join(chance.choices(words, k=400_000))


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_python_reads_every_size(text: bytes, size: int) -> None:
    assert gzip.decompress(squeezed(text[:size], 2)) == text[:size]


def test_the_bytes_do_not_depend_on_threads(text: bytes) -> None:
    assert len({squeezed(text, threads) for threads in (1, 2, 3, 8)}) == 1


def test_gzip_itself_finds_nothing_wrong(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "text.gz").write_bytes(squeezed(text, 2))
    subprocess.run(["gzip", "-t", tmp_path / "text.gz"], check=True)
    assert subprocess.run(["gzip", "-dc", tmp_path / "text.gz"], check=True, capture_output=True).stdout == text


def test_blocks_lose_little_to_one_stream(text: bytes) -> None:
    assert len(squeezed(text, 2)) < 1.02 * len(gzip.compress(text, 1))


@pytest.mark.skipif(shutil.which("javac") is None, reason="needs a JDK")
def test_java_reads_all_of_it(text: bytes, tmp_path: Path) -> None:
    """YARN's localizer reads .tar.gz with GZIPInputStream where it does not call tar; here through a plain stream."""
    (tmp_path / "text.gz").write_bytes(squeezed(text, 2))
    (tmp_path / "Read.java").write_text(
        """
        import java.io.*; import java.util.zip.*;
        public class Read {
            public static void main(String[] a) throws IOException {
                // available() is 0, as on a socket: the case in which concatenated members would be cut short
                InputStream raw = new FilterInputStream(new FileInputStream(a[0])) {
                    public int available() { return 0; }
                };
                long n = 0; byte[] b = new byte[65536]; InputStream in = new GZIPInputStream(raw);
                for (int k; (k = in.read(b)) > 0; ) n += k;
                System.out.println(n);
            }
        }
        """
    )
    command = ["java", "-Xmx64m", str(tmp_path / "Read.java"), str(tmp_path / "text.gz")]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert int(ran.stdout) == len(text)


def test_an_error_of_the_file_below_is_raised(text: bytes) -> None:
    """Threads write the blocks; the caller gets their error, and none of them is left."""

    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            if self.tell() > 1000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)  # type: ignore[arg-type]

    before = threading.active_count()
    with pytest.raises(OSError, match="No space left"):
        squeezed(text * 3, 2, raw=Full())
    assert threading.active_count() == before


def test_an_error_between_the_writes_leaves_no_thread(text: bytes) -> None:
    def fill() -> None:
        with GzipWriter(io.BytesIO(), threads=2) as stream:
            stream.write(text)
            raise RuntimeError("disk")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="disk"):
        fill()
    assert threading.active_count() == before


def test_tar_unpacks_it_and_it_is_one_member(text: bytes, tmp_path: Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        info = tarfile.TarInfo("text")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    data = squeezed(archive.getvalue(), 2)
    (tmp_path / "text.tar.gz").write_bytes(data)
    subprocess.run(["tar", "xzf", "text.tar.gz"], cwd=tmp_path, check=True)
    assert (tmp_path / "text").read_bytes() == text
    member = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert member.decompress(data) == archive.getvalue()
    assert member.eof
    assert member.unused_data == b"", "nothing follows the first member"
    assert data[4:8] == bytes(4), "no time in the header: the same bytes every day"
