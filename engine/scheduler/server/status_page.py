"""The scheduler's status over HTTP: `/status.json`, a page that polls it, `/events.json`, `/metrics` for Prometheus.

GET only, relative URLs only, no websockets: so it works behind YARN's proxy as well.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, StaticFileHandler

from howdah.engine.scheduler.server.metrics import CONTENT_TYPE, Metrics
from howdah.engine.scheduler.server.queries import Queries

STATIC = Path(__file__).parent / "static"


class _Json(RequestHandler):
    def initialize(self, query: Callable[[], Any]) -> None:
        self.query = query

    def get(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.write(msgspec.json.encode(self.query()))


class _MetricsHandler(RequestHandler):
    def initialize(self, metrics: Metrics) -> None:
        self.metrics = metrics

    def get(self) -> None:
        self.set_header("Content-Type", CONTENT_TYPE)
        self.write(self.metrics.render())


class StatusServer:
    """The HTTP server of one scheduler, on the scheduler's event loop."""

    def __init__(self, queries: Queries, metrics: Metrics) -> None:
        routes: list[Any] = [
            (r"/status\.json", _Json, {"query": queries.status}),
            (r"/summary\.json", _Json, {"query": queries.summary}),
            (r"/events\.json", _Json, {"query": queries.events}),
            (r"/metrics", _MetricsHandler, {"metrics": metrics}),
            (r"/(.*)", StaticFileHandler, {"path": str(STATIC), "default_filename": "index.html"}),
        ]
        self._http = HTTPServer(Application(routes))
        self.url = ""

    def open(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Begin to serve; return the page's URL."""
        sockets = bind_sockets(port, host, family=socket.AF_INET)
        self._http.add_sockets(sockets)
        self.url = f"http://{host}:{sockets[0].getsockname()[1]}/"
        return self.url

    def close(self) -> None:
        """Stop accepting requests."""
        self._http.stop()
