"""Which cluster a client finds: the one it is given, the one around its program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from howdah.engine.api.cluster_address import check_options, find_cluster
from howdah.engine.deploy.cluster import Cluster
from howdah.errors import HowdahError, InputError


class Given(Cluster):
    scheduler_address = "unix:///given"
    scratch_root = "hdfs:///scratch"
    expected_workers = 3

    def close(self) -> None:
        """Nothing was started."""


def test_an_address_is_taken_as_it_is() -> None:
    found = find_cluster("tls://host:1", "folder", {})
    assert (found.address, found.security, found.cluster, found.owned) == ("tls://host:1", "folder", None, False)


def test_a_cluster_object_brings_what_a_client_needs() -> None:
    cluster = Given()
    found = find_cluster(cluster, None, {})
    assert found[:4] == ("unix:///given", None, "hdfs:///scratch", 3)
    assert found.locate == cluster.locate_scheduler
    assert (found.cluster, found.owned) == (cluster, False)


def test_a_program_finds_the_cluster_around_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "scheduler.json"
    for name, value in {
        "HOWDAH_SCHEDULER": "tls://host:1",
        "HOWDAH_SECURITY": "folder",
        "HOWDAH_STAGING": "hdfs:///staging",
        "HOWDAH_WORKERS": "4",
        "HOWDAH_SCHEDULER_FILE": str(file),
    }.items():
        monkeypatch.setenv(name, value)
    found = find_cluster(None, None, {})
    assert found[:4] == ("tls://host:1", "folder", "hdfs:///staging", 4)
    assert found.locate is not None
    assert found.locate() == ""  # while the file is not there
    file.write_text(json.dumps({"address": "tls://host:2"}))
    assert found.locate() == "tls://host:2"
    file.write_text(json.dumps({"ended": "it was killed"}))
    with pytest.raises(HowdahError, match="it was killed"):
        found.locate()


def test_options_that_no_cluster_has_are_refused() -> None:
    check_options(None, {"n_workers": 1})
    with pytest.raises(InputError, match="address: got 5"):
        check_options(5, {})
    with pytest.raises(InputError, match="unknown option 'n_worker'; did you mean 'n_workers'"):
        check_options(None, {"n_worker": 1})
    with pytest.raises(InputError, match="only for a local cluster"):
        check_options("tls://host:1", {"n_workers": 1})
