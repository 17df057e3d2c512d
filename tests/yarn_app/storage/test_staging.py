"""A user's folder: what an application left is removed, whatever it was, and nothing else. Here on local files."""

from __future__ import annotations

from pathlib import Path

import pytest

from howdah.errors import HowdahError, PathMissing
from howdah.io import open_filesystem
from howdah.yarn_app.storage.staging import Staging, collect_quietly

ONE, TWO = "application_1_0001", "application_1_0002"


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    found = Staging(open_filesystem(f"file://{tmp_path}")[0], str(tmp_path))
    for app_id in (ONE, TWO):
        Path(found.application_folder(app_id)).mkdir(parents=True)
        Path(found.skein_folder(app_id)).mkdir(parents=True)
    return found


def test_small_files_are_replaced_whole(staging: Staging) -> None:
    for content in (b"first", b"second"):
        staging.write(ONE, "master.json", content)
    assert staging.read(ONE, "master.json") == b"second"


def test_a_file_that_is_not_there_names_the_application(staging: Staging) -> None:
    with pytest.raises(PathMissing, match=rf"master.json is not there: {ONE} has ended, or is not yours"):
        staging.read(ONE, "master.json")


def test_removing_takes_the_unfinished_output_too(staging: Staging, tmp_path: Path) -> None:
    unfinished, other = tmp_path / "table" / ".unfinished", tmp_path / "table" / "part-0"
    unfinished.mkdir(parents=True)
    other.write_text("kept")
    staging.write(ONE, "cleanup.json", f'["file://{unfinished}", "file://{tmp_path}/gone"]'.encode())
    staging.remove(ONE)
    assert not unfinished.exists()
    assert other.read_text() == "kept"
    assert (staging.exists(ONE), staging.exists(TWO)) == (False, True)
    staging.remove(ONE)  # a second time does nothing


def test_skeins_folder_may_stay(staging: Staging) -> None:
    staging.remove(ONE, skein=False)
    assert staging.exists(ONE)
    assert not Path(staging.application_folder(ONE)).exists()


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}', b"[1]"])
def test_a_list_that_cannot_be_read_removes_nothing(staging: Staging, content: bytes) -> None:
    staging.write(ONE, "cleanup.json", content)
    assert staging.cleanups(ONE) == []


def test_only_what_ended_applications_left_is_collected(staging: Staging) -> None:
    (Path(staging.root) / "apps" / "something else").mkdir()
    assert staging.leftovers() == [ONE, TWO]
    assert staging.collect(lambda app_id: app_id == ONE) == [ONE]
    assert (staging.exists(ONE), staging.exists(TWO)) == (False, True)


def test_a_failure_of_collecting_is_left_to_the_next_command(staging: Staging) -> None:
    def fails(app_id: str) -> bool:
        raise HowdahError("YARN does not answer")

    assert collect_quietly(staging, fails) == []
    assert staging.leftovers() == [ONE, TWO]


def test_paths_have_urls(staging: Staging) -> None:
    assert staging.url("hdfs://other/x") == "hdfs://other/x"
    assert staging.url(staging.application_folder(ONE)).endswith(f"/.howdah/apps/{ONE}")
