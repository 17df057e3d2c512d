"""Whether a daemon is ready, from what its pages answer; the daemons here are an HTTP server of a few lines."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from hadoop_web import Answer, Request, web_server

from howdah.yarn_app.mini.readiness import web_address, why_not_ready
from howdah.yarn_app.mini.settings import MiniOptions, State

INFO = {"state": "STARTED", "haState": "ACTIVE"}
NODE = {"id": "127.0.0.2:7", "lastHealthUpdate": 100_000, "state": "RUNNING"}


def state(port: int) -> State:
    http = {"http": port, "data": 6, "rpc": 7}
    names = ("namenode", "datanode-1", "resourcemanager", "nodemanager-1")
    return State(MiniOptions(nodes=1), dict.fromkeys(names, http), "/jars", "/java")


def pages(*, safemode: str = "", live: str = "{}", actors: Any = (), info: Any = INFO, nodes: Any = ()) -> Any:
    def respond(request: Request) -> Answer:
        if request.path == "/jmx":
            bean = {"Safemode": safemode, "LiveNodes": live, "BPServiceActorInfo": json.dumps(list(actors))}
            return 200, {}, {"beans": [bean]}
        found = {"/ws/v1/cluster/info": {"clusterInfo": info}, "/ws/v1/cluster/nodes": {"nodes": {"node": list(nodes)}}}
        return 200, {}, found[request.path]

    return respond


@pytest.mark.parametrize(
    ("daemon", "answers", "missing"),
    [
        ("namenode", {}, ""),
        ("namenode", {"safemode": "Safe mode is ON"}, "Safe mode is ON"),
        ("resourcemanager", {}, ""),
        ("resourcemanager", {"info": {**INFO, "haState": "STANDBY"}}, "STARTED STANDBY"),
        ("datanode-1", {}, "has not registered with the NameNode"),
        ("datanode-1", {"actors": [{"ActorState": "RUNNING"}]}, "the NameNode does not list it"),
        ("datanode-1", {"actors": [{"ActorState": "RUNNING"}], "live": '{"127.0.0.2:6": {}}'}, ""),
        ("nodemanager-1", {}, "has not registered with the ResourceManager"),
        ("nodemanager-1", {"nodes": [NODE]}, ""),
        ("nodemanager-1", {"nodes": [{**NODE, "lastHealthUpdate": 99_000}]}, "has not registered"),
        ("nodemanager-1", {"nodes": [{**NODE, "state": "UNHEALTHY", "healthReport": "disk full"}]}, "disk full"),
        ("resourcemanager", {"info": {}}, "answers, but not fully yet"),
    ],
)
def test_what_is_missing(daemon: str, answers: dict[str, Any], missing: str) -> None:
    with web_server(pages(**answers)) as server:
        answer = why_not_ready(state(int(server.address.rpartition(":")[2])), daemon, started=100.0)
        assert missing in answer
        assert bool(missing) == bool(answer)


def test_a_daemon_that_does_not_answer_is_not_ready() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, and not listening
        assert why_not_ready(state(closed.getsockname()[1]), "namenode", 0.0).startswith("does not answer (")


def test_nodemanagers_have_addresses_of_their_own() -> None:
    assert [web_address(state(80), name) for name in ("namenode", "datanode-1", "nodemanager-1")] == [
        "http://127.0.0.1:80",
        "http://127.0.0.1:80",
        "http://127.0.0.2:80",
    ]
