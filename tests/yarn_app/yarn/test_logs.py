"""Logs of containers: from NodeManagers over REST, and from the output of `yarn logs`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hadoop_web import Answer, Request, web_server

from howdah.errors import HowdahError
from howdah.io import HadoopConfig
from howdah.yarn_app.yarn import logs
from howdah.yarn_app.yarn.resource_manager import ResourceManager

APP = "application_1_0001"
MINE, OTHER = "container_1_0001_01_000002", "container_1_0002_01_000001"


def node(request: Request) -> Answer:
    """ResourceManager and NodeManager in one."""
    address = request.headers["Host"]
    row = {"nodeHostName": "n", "state": "RUNNING", "nodeHTTPAddress": address, "usedMemoryMB": 0, "availMemoryMB": 1}
    found = {
        "/ws/v1/cluster/nodes": {"nodes": {"node": [{**row, "usedVirtualCores": 0, "availableVirtualCores": 1}]}},
        "/ws/v1/node/containers": {"containers": {"container": [{"id": MINE}, {"id": OTHER}]}},
        f"/ws/v1/node/containers/{MINE}/logs": {
            "containerLogsInfo": {"containerLogInfo": [{"fileName": "worker.log"}, {"fileName": "empty"}]}
        },
    }.get(request.path)
    if found is not None:
        return 200, {}, found
    if "text/plain" not in request.headers["Accept"]:
        return 406, {}, b"Not Acceptable"  # as a NodeManager answers for a log
    if request.path.endswith(f"{MINE}/logs/worker.log"):
        text = "0123456789"[int(request.query.get("size", 0)) :]
        return 200, {}, f"Head: x\nLogContents:\n{text}\nEnd of LogType:worker.log\n".encode()
    return (200, {}, b"") if request.path.endswith("empty") else (404, {}, b"LogContents:\nno such file")


def test_logs_of_live_containers() -> None:
    with web_server(node) as server:
        manager = ResourceManager(HadoopConfig({"yarn.resourcemanager.webapp.address": server.address}))
        assert logs.container_logs(manager, APP, ended=False) == {MINE: {"worker.log": "0123456789"}}
        assert logs.live_logs(manager, APP, limit=3) == {MINE: {"worker.log": "789"}}
        assert not any(OTHER in request.path for request in server.requests)


def test_a_log_that_cannot_be_had_is_empty() -> None:
    with web_server(node) as server:
        assert logs.fetch_text(f"{server.url}/nope") == ""
    assert logs.fetch_text(f"{server.url}/nope") == "", "nobody listens any more"


def test_nodes_that_refuse_are_named() -> None:
    with web_server(lambda request: (401, {}, b"")) as server:
        manager = ResourceManager(HadoopConfig({"yarn.resourcemanager.webapp.address": server.address}))
        with pytest.raises(HowdahError, match=r"401 Unauthorized\): they are there when the application ends"):
            logs.container_logs(manager, APP, ended=False)


def fake_yarn(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "yarn").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "yarn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_logs_of_an_ended_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"Container: {MINE} on node1_1\\nLogType:a\\nLogContents:\\nx\\ny\\n\\nEnd of LogType:a\\n"
    fake_yarn(tmp_path, f"test \"$1 $2 $3\" = 'logs -applicationId {APP}' && printf '{text}'", monkeypatch)
    manager = ResourceManager(HadoopConfig({}))
    assert logs.container_logs(manager, APP, ended=True) == {MINE: {"a": "x\ny\n"}}


def test_an_ended_application_without_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_yarn(tmp_path, "echo 'Log aggregation is not enabled' >&2", monkeypatch)
    with pytest.raises(HowdahError, match=rf"no logs of {APP}: Log aggregation is not enabled"):
        logs.aggregated_logs(APP, wait=0.0)
