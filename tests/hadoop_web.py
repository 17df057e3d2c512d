"""An HTTP server of a few lines that stands for Hadoop's, for the tests of `io` and `yarn_app`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


class Request:
    """One request as the server received it."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        self.path, self.query = parts.path, dict(parse_qsl(parts.query))
        self.headers = dict(handler.headers)
        self.client = handler.client_address


Answer = tuple[int, dict[str, str], Any]
"""Status, headers, body: bytes, or anything else as JSON."""


class WebServer:
    """Answers by `respond`, and records the requests."""

    def __init__(self, respond: Callable[[Request], Answer]) -> None:
        self.requests: list[Request] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                request = Request(self)
                outer.requests.append(request)
                status, headers, body = respond(request)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                """Nothing: the test's output is the assertions'."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.address}"


@contextmanager
def web_server(respond: Callable[[Request], Answer]) -> Iterator[WebServer]:
    """Serve while the ``with`` lasts."""
    made = WebServer(respond)
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


def negotiating(respond: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
    """Require SPNEGO: only a request with the ticket of `fake_gssapi` reaches `respond`."""

    def secured(request: Request) -> Answer:
        if request.headers.get("Authorization") == "Negotiate dGlja2V0":
            return respond(request)
        return 401, {"WWW-Authenticate": "Negotiate"}, b"Authentication required"

    return secured


class fake_gssapi:
    """Stands for the module `requests_gssapi`, which needs a compiler and a KDC."""

    OPTIONAL = 2
    made = 0

    class HTTPSPNEGOAuth:
        def __init__(self, mutual_authentication: int) -> None:
            assert mutual_authentication == fake_gssapi.OPTIONAL
            fake_gssapi.made += 1

        def __call__(self, request: Any) -> Any:
            request.headers["Authorization"] = "Negotiate dGlja2V0"
            return request
