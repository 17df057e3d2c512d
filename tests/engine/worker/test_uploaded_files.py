"""Files that users upload: imports find them, and find the new version of one that was uploaded again."""

from __future__ import annotations

import importlib
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from howdah.engine.worker.uploaded_files import UploadedFiles


@pytest.fixture
def files(tmp_path: Path) -> Iterator[UploadedFiles]:
    before = list(sys.path)
    made = UploadedFiles(str(tmp_path))
    yield made
    made.close()
    sys.path[:] = before
    for name in ("uploaded_module", "uploaded_package"):
        sys.modules.pop(name, None)
    assert not list(tmp_path.iterdir())


def install(files: UploadedFiles, name: str, content: bytes) -> None:
    files.install([name], [memoryview(content)])


def test_a_module_is_importable_and_a_newer_one_replaces_it(files: UploadedFiles) -> None:
    install(files, "uploaded_module.py", b"answer = 1")
    old = importlib.import_module("uploaded_module")
    install(files, "uploaded_module.py", b"answer = 22")
    assert importlib.import_module("uploaded_module").answer == 22
    assert old.answer == 1


def test_an_archive_is_importable(files: UploadedFiles) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("uploaded_package.py", "answer = 3")
    install(files, "uploaded_package.zip", data.getvalue())
    assert importlib.import_module("uploaded_package").answer == 3


def test_a_path_in_a_name_does_not_lead_out_of_the_folder(files: UploadedFiles, tmp_path: Path) -> None:
    install(files, "../escaped.txt", b"x")
    assert not (tmp_path / "escaped.txt").exists()
    assert (Path(files.folder) / "escaped.txt").read_bytes() == b"x"
