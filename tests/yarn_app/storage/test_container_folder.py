"""What a container reads of its own folder."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from howdah.errors import EnvironmentMismatch, HowdahError
from howdah.yarn_app.storage.container_folder import CONFIG_FILE, FOLDER, copy_security, read_config


def test_the_edge_nodes_versions_are_compared_first(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    path = tmp_path / FOLDER / CONFIG_FILE
    path.write_bytes(b'{"versions": {"python": "3.10", "howdah": "9.9"}, "a field of 9.9": 1}')
    with pytest.raises(EnvironmentMismatch, match=r"python .*has 3\.10.*howdah env pack"):
        read_config(tmp_path)


def test_outside_of_a_container(tmp_path: Path) -> None:
    with pytest.raises(HowdahError, match="only inside a container"):
        read_config(tmp_path)


def test_copies_of_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    source = tmp_path / FOLDER / "security" / "worker"
    source.mkdir(parents=True)
    (source / "join.key").write_text("secret")
    (source / "join.key").chmod(0o644)
    for _ in range(2):  # a second copy replaces the first
        copied = copy_security(tmp_path, "worker")
        assert (copied / "join.key").read_text() == "secret"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (copied / "join.key", copied, copied.parent)]
    assert modes == [0o600, 0o700, 0o700]
