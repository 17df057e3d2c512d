"""What can be seen of YarnCluster without a YARN: its signatures, and what it refuses."""

from __future__ import annotations

import inspect

import pytest

from howdah import YarnCluster
from howdah.engine.deploy.cluster import Cluster
from howdah.errors import HowdahError, InputError, SpecificationError
from howdah.yarn_app.cluster import CurrentCluster
from howdah.yarn_app.specification.specification import FIELDS


def test_the_signature_lists_the_fields_of_a_specification() -> None:
    assert tuple(inspect.signature(YarnCluster).parameters) == (*FIELDS, "show")
    assert tuple(inspect.signature(YarnCluster.from_specification).parameters) == ("source", "show")
    assert inspect.signature(YarnCluster).parameters["n_workers"].default == 2


def test_it_is_a_cluster_with_every_method_of_one() -> None:
    names = {name for name in vars(Cluster) if not name.startswith("_")}
    assert Cluster in YarnCluster.__mro__
    assert Cluster in CurrentCluster.__mro__
    assert names - {"adapt"} <= set(vars(YarnCluster))


def test_wrong_fields_are_refused_before_anything_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    with pytest.raises(SpecificationError, match=r"worker_memroy.*did you mean 'worker_memory'"):
        YarnCluster(worker_memroy="1GiB")
    with pytest.raises(SpecificationError, match="n_workers"):
        YarnCluster.from_specification({"n_workers": "many"})


def test_outside_of_an_application_there_is_no_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOWDAH_APPLICATION", raising=False)
    with pytest.raises(HowdahError, match="was not started by `howdah submit`"):
        YarnCluster.from_current()


def test_the_current_cluster_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "APPLICATION": "application_1_0001", "SCHEDULER": "tls://node1:1", "SECURITY": "/s", "WORKERS": "3",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"HOWDAH_{name}", value)
    monkeypatch.delenv("HOWDAH_STAGING", raising=False)
    with YarnCluster.from_current() as cluster:
        assert (cluster.app_id, cluster.scheduler_address, cluster.security) == (
            "application_1_0001",
            "tls://node1:1",
            "/s",
        )
        assert (cluster.expected_workers, cluster.scratch_root) == (3, None)
        with pytest.raises(InputError, match="n: got -1"):
            cluster.scale(-1)
