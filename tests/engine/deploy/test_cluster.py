"""The interface of clusters: what a deployer leaves out says what to do in its place."""

from __future__ import annotations

import pytest

from howdah.engine.deploy.cluster import Cluster
from howdah.engine.deploy.local import LocalCluster
from howdah.errors import NotSupported
from howdah.yarn_app.cluster import CurrentCluster, YarnCluster


class Least(Cluster):
    scheduler_address = "unix:///nowhere"
    scratch_root = None
    expected_workers = 0
    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("method", "remedy"),
    [("status", "summary"), ("workers", "scheduler_info"), ("logs", "get_worker_logs"), ("adapt", "scale")],
)
def test_what_a_deployer_cannot_do_names_the_remedy(method: str, remedy: str) -> None:
    with pytest.raises(NotSupported, match=f"{method}: Least .*{remedy}"):
        getattr(Least(), method)()
    with pytest.raises(NotSupported, match="scale: "):
        Least().scale(3)


def test_the_least_cluster_is_one_that_a_client_can_use() -> None:
    with Least() as cluster:
        assert (cluster.security, cluster.dashboard_link, cluster.locate_scheduler()) == (None, "", None)
    assert cluster.closed


def test_the_deployers_implement_it() -> None:
    assert all(Cluster in kind.__mro__ for kind in (LocalCluster, YarnCluster, CurrentCluster))
    names = {name for name in vars(Cluster) if not name.startswith("_")}
    assert {"scale", "adapt", "close", "logs", "workers", "status", "dashboard_link", "locate_scheduler"} <= names
