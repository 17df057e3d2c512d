"""The ResourceManager over REST, against one of a few lines: records, refusals, high availability, Kerberos."""

from __future__ import annotations

import socket
import sys
import time
from typing import Any

import pytest
from hadoop_web import Answer, Request, WebServer, fake_gssapi, negotiating, web_server

from howdah.errors import HadoopNotFound, ResourceRefused
from howdah.io import HadoopConfig
from howdah.yarn_app.yarn.resource_manager import NodeReport, ResourceManager, RestUnavailable

GIB = 1 << 30
NODE = {
    "nodeHostName": "node1", "rack": "/r1", "state": "RUNNING", "usedMemoryMB": 1024, "availMemoryMB": 3072,
    "usedVirtualCores": 1, "availableVirtualCores": 3, "nodeHTTPAddress": "node1:8042",
}  # fmt: skip
APP = {
    "id": "application_1_0001", "name": "etl", "user": "her", "queue": "root.default", "state": "RUNNING",
    "finalStatus": "UNDEFINED", "progress": 50.0, "startedTime": 1_700_000_000_000, "allocatedMB": 2048,
    "allocatedVCores": 2, "runningContainers": 2, "applicationTags": "b,a", "trackingUrl": "http://x",
}  # fmt: skip
QUEUES = {
    "type": "capacityScheduler", "queueName": "root",
    "queues": {"queue": [{"queueName": "etl", "absoluteUsedCapacity": 37.5, "pendingContainers": 2}]},
}  # fmt: skip
PAGES: dict[str, Any] = {
    "/ws/v1/cluster/nodes": {"nodes": {"node": [NODE, {**NODE, "nodeHostName": "node0", "state": "LOST"}]}},
    "/ws/v1/cluster/apps": {
        "apps": {"app": [APP, {**APP, "id": "application_1_0002", "startedTime": 1_800_000_000_000}]}
    },
    "/ws/v1/cluster/apps/application_1_0001": {"app": APP},
    "/ws/v1/cluster/apps/application_1_0001/appattempts": {"appAttempts": {"appAttempt": [{"id": 1}]}},
    "/ws/v1/cluster/scheduler": {"scheduler": {"schedulerInfo": QUEUES}},
}


def pages(request: Request) -> Answer:
    found = PAGES.get(request.path)
    return (200, {}, found) if found is not None else (404, {}, b"nothing here")


def manager(*servers: WebServer | str) -> ResourceManager:
    values = {"yarn.resourcemanager.ha.rm-ids": ",".join(f"rm{n}" for n in range(len(servers)))}
    for number, server in enumerate(servers):
        address = server if isinstance(server, str) else server.address
        values[f"yarn.resourcemanager.webapp.address.rm{number}"] = address
    return ResourceManager(HadoopConfig(values))


def test_records() -> None:
    with web_server(pages) as server:
        one = manager(server)
        (node,) = one.nodes()
        assert (node.host, node.rack, node.memory, node.cores, node.used_memory) == (
            "node1",
            "/r1",
            4 << 30,
            4,
            1 << 30,
        )
        newest, oldest = one.applications(user="her", tags=["a", "b"], states=["RUNNING"])
        assert (newest.app_id, oldest.app_id) == ("application_1_0002", "application_1_0001")
        assert (oldest.progress, oldest.started, oldest.memory, oldest.tags) == (0.5, 1.7e9, 2 << 30, ("a", "b"))
        assert one.application("application_1_0001") == oldest
        assert one.attempts("application_1_0001") == [{"id": 1}]
        assert one.queue_names() == ["etl"]
        assert one.describe_queue("etl") == "queue etl is 38 % full, 2 containers waiting"
        with pytest.raises(RestUnavailable, match="no information on a queue 'nope'"):
            one.describe_queue("nope")
    query = server.requests[1].query
    assert query == {"applicationTypes": "skein", "user": "her", "applicationTags": "a,b", "states": "RUNNING"}


def test_the_second_answers_where_the_first_is_dead() -> None:
    with socket.socket() as dead, web_server(pages) as server:
        dead.bind(("127.0.0.1", 0))  # nobody listens
        address = f"127.0.0.1:{dead.getsockname()[1]}"
        assert len(manager(address, server).nodes()) == 1
        with pytest.raises(HadoopNotFound, match=rf"{address}/ws/v1/cluster/nodes: \[Errno 111\] Connection refused"):
            manager(address).nodes()


@pytest.mark.parametrize(
    ("answer", "text"),
    [((404, {}, b""), "nodes: 404 Not Found"), ((200, {}, b"<html>"), "not JSON"), ((403, {}, {}), "403 Forbidden")],
)
def test_a_refusal_is_another_error_than_no_answer(answer: Answer, text: str) -> None:
    with web_server(lambda request: answer) as server, pytest.raises(RestUnavailable, match=text):
        manager(server).nodes()


def test_a_cluster_with_kerberos(monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server(negotiating(pages)) as server:
        monkeypatch.setitem(sys.modules, "requests_gssapi", None)
        with pytest.raises(RestUnavailable, match=r"requires Kerberos \(SPNEGO\): pip install 'howdah\[kerberos\]'"):
            manager(server).nodes()
        monkeypatch.setitem(sys.modules, "requests_gssapi", fake_gssapi)
        assert [node.host for node in manager(server).nodes()] == ["node1"]


# -- without any answer


def test_a_resource_manager_that_does_not_answer_is_told_in_seconds() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = nobody.getsockname()[1]
        one = ResourceManager(HadoopConfig({"yarn.resourcemanager.address": f"127.0.0.1:{port}"}))
        began = time.monotonic()
        with pytest.raises(HadoopNotFound, match=rf"127\.0\.0\.1:{port}.*howdah doctor"):
            one.check()
    assert time.monotonic() - began < 5


def test_a_configuration_without_a_resource_manager() -> None:
    with pytest.raises(HadoopNotFound, match=r"names no yarn\.resourcemanager\.hostname"):
        ResourceManager(HadoopConfig({})).check()


def test_with_high_availability_every_resource_manager_is_known() -> None:
    one = ResourceManager(
        HadoopConfig(
            {
                "yarn.resourcemanager.ha.rm-ids": "rm1, rm2",
                "yarn.resourcemanager.hostname.rm1": "one",
                "yarn.resourcemanager.hostname.rm2": "two",
                "yarn.resourcemanager.address.rm2": "two:9032",
                "yarn.http.policy": "HTTPS_ONLY",
            }
        )
    )
    assert one.addresses == ["one:8032", "two:9032"]
    assert one.urls == ["https://one:8090", "https://two:8090"]


def test_a_request_that_no_node_can_give_is_refused_with_the_maximum() -> None:
    one = ResourceManager(HadoopConfig({"yarn.scheduler.maximum-allocation-vcores": "4"}))
    nodes = [NodeReport("node1", "/r", "RUNNING", 4 * GIB, 4, ""), NodeReport("node2", "/r", "RUNNING", 8 * GIB, 4, "")]
    one.check_capacity({"a worker": (8 * GIB, 4)}, nodes)
    with pytest.raises(ResourceRefused, match=r"a worker needs a container of 9GiB, and the largest .* is 8GiB"):
        one.check_capacity({"a worker": (9 * GIB, 4)}, nodes)
    with pytest.raises(ResourceRefused, match=r"needs 5 cores.*is 4"):
        one.check_capacity({"a worker": (GIB, 5)}, nodes)
