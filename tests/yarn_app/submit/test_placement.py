"""The services that are declared for workers: no worker is lost, and the hosts get equal shares."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from howdah.yarn_app.protocol.config import ServiceGroup
from howdah.yarn_app.submit.placement import MAX_HOST_GROUPS, spread


def test_many_hosts_are_one_service() -> None:
    assert spread(7, [f"node{n}" for n in range(MAX_HOST_GROUPS + 1)]) == [ServiceGroup("howdah.worker", 7)]


@given(st.integers(0, 50), st.integers(1, MAX_HOST_GROUPS))
def test_spreading_loses_no_worker_and_is_even(workers: int, hosts: int) -> None:
    groups = spread(workers, [f"node{n}" for n in range(hosts)])
    assert groups[-1] == ServiceGroup("howdah.worker.any", 0), "for what a host does not grant"
    assert [group.host for group in groups[:-1]] == [f"node{n}" for n in range(hosts)]
    counts = [group.instances for group in groups[:-1]]
    assert sum(counts) == workers
    assert max(counts) - min(counts) <= 1
