"""HTTP to Hadoop: SPNEGO only where the server requires it, plain errors, and no wait without an end."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys

import pytest
from hadoop_web import Answer, Request, fake_gssapi, negotiating, web_server

from howdah.errors import NotSupported
from howdah.io.hadoop.rest import RestClient


def echo(request: Request) -> Answer:
    return 200, {}, {"path": request.path, **request.query}


@pytest.fixture
def rest() -> RestClient:
    return RestClient(seconds=5)


def test_a_request_and_its_query(rest: RestClient) -> None:
    with web_server(echo) as server:
        assert rest.get(f"{server.url}/a%20b", {"op": "x", "n": -3}).json() == {"path": "/a%20b", "op": "x", "n": "-3"}
        assert server.requests[0].headers["Accept"] == "application/json"
        assert "Authorization" not in server.requests[0].headers


def test_a_response_without_success_is_returned(rest: RestClient) -> None:
    with web_server(lambda request: (403, {}, b"no")) as server:
        response = rest.get(server.url)
    assert (response.ok, response.status_code, response.content) == (False, 403, b"no")


def test_spnego_without_the_extra_names_it(rest: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests_gssapi", None)
    with web_server(negotiating(echo)) as server:
        with pytest.raises(NotSupported, match=rf"{server.url} requires Kerberos .*pip install 'howdah\[kerberos\]'"):
            rest.get(f"{server.url}/x")


def test_spnego_with_the_extra(rest: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests_gssapi", fake_gssapi)
    with web_server(negotiating(echo)) as server:
        assert rest.get(f"{server.url}/x", {"op": "y"}).json() == {"path": "/x", "op": "y"}
        assert [request.query for request in server.requests] == [{"op": "y"}] * 2


def test_no_login_is_made_where_none_is_required(rest: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests_gssapi", fake_gssapi)
    made = fake_gssapi.made
    with web_server(lambda request: (401, {"WWW-Authenticate": "Basic realm=x"}, b"")) as server:
        assert rest.get(server.url).status_code == 401
    assert fake_gssapi.made == made


def test_a_login_that_fails(rest: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    def fail(request: object) -> None:
        raise requests.RequestException("no credentials cache found")

    monkeypatch.setattr(fake_gssapi.HTTPSPNEGOAuth, "__call__", lambda self, request: fail(request))
    monkeypatch.setitem(sys.modules, "requests_gssapi", fake_gssapi)
    with web_server(negotiating(echo)) as server, pytest.raises(NotSupported, match=r"no credentials .*run kinit"):
        rest.get(server.url)


def test_a_server_that_is_not_there(rest: RestClient) -> None:
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))  # nobody listens
        with pytest.raises(ConnectionRefusedError, match=r"^\[Errno 111\] Connection refused$"):
            rest.get(f"http://127.0.0.1:{dead.getsockname()[1]}/")
    with pytest.raises(socket.gaierror):
        rest.get("http://no-such-host.invalid:1/")


def test_a_server_that_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError):
        RestClient(seconds=0.2).get(f"http://127.0.0.1:{silent.getsockname()[1]}/")


def test_a_server_that_hangs_up(rest: RestClient) -> None:
    with web_server(echo) as server, pytest.raises(ssl.SSLError):
        rest.get(f"https://{server.address}/")


def test_proxies_are_for_those_who_ask_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server(echo) as server, web_server(lambda request: (200, {}, {"by": "proxy"})) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        assert RestClient(seconds=5).get(f"{server.url}/x").json() == {"path": "/x"}
        assert RestClient(seconds=5, use_proxies=True).get(f"{server.url}/x").json() == {"by": "proxy"}
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert RestClient(seconds=5, use_proxies=True).get(f"{server.url}/x").json() == {"path": "/x"}


def test_connections_are_kept(rest: RestClient) -> None:
    with web_server(echo) as server:
        for _ in range(3):
            assert rest.get(server.url).ok
        assert len({request.client for request in server.requests}) == 1


def test_nothing_is_imported_before_the_first_request() -> None:
    code = "import sys, howdah.io.hadoop.webhdfs as w; w.RestClient(seconds=1); print('requests' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
