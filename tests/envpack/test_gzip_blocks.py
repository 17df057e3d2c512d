"""The parallel gzip stream is an ordinary one: for gzip(1), Python and Java alike."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from howdah.envpack.gzip_blocks import BLOCK, ParallelGzip


def squeezed(data: bytes, threads: int, step: int = 100_003) -> bytes:
    raw = io.BytesIO()
    with ParallelGzip(raw, threads=threads) as stream:
        for start in range(0, len(data), step):
            stream.write(data[start : start + step])
        assert stream.tell() == len(data)
    return raw.getvalue()


@pytest.fixture(scope="module")
def text() -> bytes:
    words = [bytes(random.Random(1).choices(range(97, 123), k=9)) for _ in range(500)]
    return b" ".join(random.Random(2).choices(words, k=400_000))


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_python_reads_every_size(text: bytes, size: int) -> None:
    assert gzip.decompress(squeezed(text[:size], 2)) == text[:size]


def test_the_bytes_do_not_depend_on_threads(text: bytes) -> None:
    assert squeezed(text, 1) == squeezed(text, 3, step=7_000_000)


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


def test_an_error_leaves_no_stream_that_looks_whole(text: bytes) -> None:
    raw = io.BytesIO()

    def fill() -> None:
        with ParallelGzip(raw, threads=2) as stream:
            stream.write(text)
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        fill()
    with pytest.raises(EOFError):
        gzip.decompress(raw.getvalue())
