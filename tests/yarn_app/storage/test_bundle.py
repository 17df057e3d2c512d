"""The bundles of master and workers: each role gets what it needs, readable by its owner alone."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import msgspec
import pytest

from howdah.io import load_hadoop_config
from howdah.yarn_app.protocol.config import ApplicationConfig, DriverProgram, ServiceGroup, Versions
from howdah.yarn_app.storage.bundle import write_bundles
from howdah.yarn_app.storage.container_folder import FOLDER, copy_security, read_config

CONFIG = ApplicationConfig(
    token="etl-0001",
    versions=Versions.current(),
    specification={"name": "etl"},
    max_attempts=2,
    n_workers=2,
    worker_cores=1,
    worker_bytes=1 << 30,
    worker_resources={"gpu": 1.0},
    failures_allowed=None,
    lease=60.0,
    grace=0.2,
    groups=[ServiceGroup("howdah.worker", 2)],
    racks={"node1": "/r1"},
    submitter="me",
    driver=DriverProgram("x.py", ["secret"]),
)


@pytest.fixture
def container(tmp_path: Path) -> Path:
    """A container's folder as YARN would make it from the master's archive."""
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "core-site.xml").write_text(
        "<configuration><property><name>a.b</name><value>old</value><final>true</final></property></configuration>"
    )
    staged = tmp_path / "staged"
    staged.mkdir()
    master, worker = write_bundles(staged, CONFIG, conf, {"a.b": "new", "c": "d"}, "me")
    for archive in (master, worker):
        folder = tmp_path / archive.name.partition(".")[0] / FOLDER
        folder.mkdir(parents=True)
        subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True)
        assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    return tmp_path / "master"


def test_roles_get_what_they_need_and_no_more(container: Path) -> None:
    worker = container.parent / "worker"
    assert read_config(container) == CONFIG
    assert read_config(worker) == msgspec.structs.replace(CONFIG, driver=None)
    assert b"secret" not in (worker / FOLDER / "config.json").read_bytes()
    security = {path.name for path in (worker / FOLDER / "security" / "worker").iterdir()}
    assert security == {"ca.pem", "join.key"}, "a worker's containers hold nobody's key"
    copied = copy_security(container, "scheduler")
    assert {stat.S_IMODE(path.stat().st_mode) for path in copied.iterdir()} == {0o600}
    assert stat.S_IMODE(copied.stat().st_mode) == 0o700


def test_the_applications_properties_win(container: Path) -> None:
    config = load_hadoop_config(container / FOLDER / "conf")
    assert (config.get("a.b"), config.get("c")) == ("new", "d")
