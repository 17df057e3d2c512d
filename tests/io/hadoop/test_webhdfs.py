"""Block locations over WebHDFS, against a NameNode of a few lines: standbys, refusals, Kerberos."""

from __future__ import annotations

import logging
import socket
import sys

import pytest
from hadoop_web import Answer, Request, WebServer, fake_gssapi, negotiating, web_server

from howdah.errors import NotSupported
from howdah.io.filesystem.block_locations import locate_listing
from howdah.io.filesystem.filesystem import FileSystem
from howdah.io.hadoop.config import HadoopConfig, NameNode
from howdah.io.hadoop.records import Block, FileInfo
from howdah.io.hadoop.rpc import RemoteError
from howdah.io.hadoop.webhdfs import WebHdfs

LOCATIONS = {
    "BlockLocations": {
        "BlockLocation": [
            {"offset": 0, "length": 100, "hosts": ["Node1", "node2"], "topologyPaths": ["/r1/n1:1", "/r2/n2:1"]},
            {"offset": 100, "length": 20, "hosts": ["node2"]},
        ]
    }
}
KERBEROS = HadoopConfig({"hadoop.security.authentication": "kerberos"})


def refusal(java_class: str, message: str, status: int = 403) -> Answer:
    return status, {}, {"RemoteException": {"javaClassName": java_class, "message": message}}


STANDBY = refusal("org.apache.hadoop.ipc.StandbyException", "Operation category READ is not supported")


def active(request: Request) -> Answer:
    return 200, {}, LOCATIONS


def web(*servers: WebServer | str, config: HadoopConfig | None = None) -> WebHdfs:
    addresses = [each if isinstance(each, str) else each.address for each in servers]
    return WebHdfs([NameNode("", address) for address in addresses], config or HadoopConfig(), "her")


def test_blocks_with_hosts_and_racks() -> None:
    with web_server(active) as server:
        found = web(server).blocks("/t/a b", 120)
    assert found == (Block(0, 100, ("node1", "node2"), ("/r1", "/r2")), Block(100, 20, ("node2",), ()))
    (request,) = server.requests
    assert request.path == "/webhdfs/v1/t/a%20b"
    assert request.query == {"op": "GETFILEBLOCKLOCATIONS", "offset": "0", "length": "120", "user.name": "her"}


def test_standby_and_dead_namenodes_are_passed_over() -> None:
    with socket.socket() as dead, web_server(lambda request: STANDBY) as standby, web_server(active) as server:
        dead.bind(("127.0.0.1", 0))  # nobody listens
        assert len(web(f"127.0.0.1:{dead.getsockname()[1]}", standby, server).blocks("/t", 1)) == 2
        with pytest.raises(RemoteError, match="StandbyException"):
            web(standby).blocks("/t", 1)


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (refusal("java.io.FileNotFoundException", "File does not exist: /t", 404), FileNotFoundError, "/t"),
        (
            refusal("IllegalArgumentException", 'Invalid value for webhdfs parameter "op"', 400),
            NotSupported,
            "no GETFILE",
        ),
        (refusal("org.x.AccessControlException", "no\nat x"), RemoteError, r'"no"\)$'),
        ((404, {}, b"<html>"), NotSupported, "HTTP 404 Not Found: no WebHDFS"),
        ((200, {}, b"<html>"), NotSupported, "not a WebHDFS answer"),
    ],
)
def test_refusals(answer: Answer, error: type[Exception], text: str) -> None:
    with web_server(lambda request: answer) as server, pytest.raises(error, match=text):
        web(server).blocks("/t", 1)


def test_a_cluster_with_kerberos_is_asked_with_a_ticket_and_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests_gssapi", fake_gssapi)
    with web_server(negotiating(active)) as server:
        assert len(web(server, config=KERBEROS).blocks("/t", 1)) == 2
    assert "user.name" not in server.requests[-1].query


def test_without_the_extra_the_work_goes_on_without_locality(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "requests_gssapi", None)
    with web_server(negotiating(active)) as server:
        values = {"hadoop.security.authentication": "kerberos", "dfs.namenode.http-address": server.address}
        filesystem = FileSystem("hdfs", "127.0.0.1:9", HadoopConfig(values), "hdfs-native")
        monkeypatch.setattr(filesystem, "ls", lambda path, **_: [FileInfo(path, 10, 0, False)])
        with caplog.at_level(logging.INFO, "howdah.io"):
            assert locate_listing(filesystem, "/t/f") is None
    assert "pip install 'howdah[kerberos]'; tasks are placed without regard to blocks" in caplog.text
