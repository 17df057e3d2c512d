"""Two ends that fit, and ends that do not; archives that cannot be unpacked."""

from __future__ import annotations

from pathlib import Path

import pytest

from howdah.envpack import Archive, Environment, check_archive, check_compatible
from howdah.errors import EnvironmentMismatch, StorageError


@pytest.mark.parametrize(
    ("python", "howdah", "text"),
    [
        ("3.12.4", "0.1.0", r"'etl' has Python 3\.12\.4 and this program runs on Python 3\.11\.7"),
        ("3.1.7", "0.1.0", r"start this program with Python 3\.1, or pack"),
        ("3.11.9", None, r"'etl' has no howdah in it"),
        ("3.11.9", "0.2.0", r"has howdah 0\.2\.0 and this program uses howdah 0\.1\.0"),
    ],
)
def test_ends_that_do_not_fit(python: str, howdah: str | None, text: str) -> None:
    with pytest.raises(EnvironmentMismatch, match=text):
        check_compatible(python=python, howdah=howdah, python_version="3.11.7", howdah_version="0.1.0", what="'etl'")


def test_another_patch_release_fits() -> None:
    check_compatible(python="3.11.0", howdah="0.1.0", python_version="3.11.9", howdah_version="0.1.0")


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00 cut off"])
def test_an_archive_that_cannot_be_unpacked(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "env.tar.gz").write_bytes(content)
    archive = Archive(str(tmp_path / "env.tar.gz"), "0" * 32, len(content), 0, 0, {}, {})
    environment = Environment("venv", "/x", "3.11.7", "0" * 32, (), (), "linux-x86_64")
    with pytest.raises(StorageError, match=r"(?s)cannot unpack .*env\.tar\.gz .*TMPDIR"):
        check_archive(archive, environment)
