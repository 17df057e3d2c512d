"""The scheduler's status over HTTP: `/status.json`, a page that polls it, `/events.json`, `/metrics` for Prometheus.

GET only, relative URLs only, no websockets: so it works behind YARN's proxy as well (DESIGN, "One YARN application").
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, StaticFileHandler

from howdah.engine.scheduler.server.metrics import CONTENT_TYPE, metrics
from howdah.engine.scheduler.server.queries import events, status, summary

if TYPE_CHECKING:
    from howdah.engine.scheduler.server.server import Server

STATIC = Path(__file__).parent / "static"


class _Json(RequestHandler):
    def initialize(self, made_by: Any) -> None:
        self.made_by = made_by

    def get(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.write(json.dumps(self.made_by()))


class _Metrics(RequestHandler):
    def initialize(self, server: Any) -> None:
        self.server = server

    def get(self) -> None:
        self.set_header("Content-Type", CONTENT_TYPE)
        self.write(metrics(self.server))


class StatusPage:
    """The HTTP server of one scheduler; lives on the scheduler's loop."""

    def __init__(self, server: Server) -> None:
        routes: list[Any] = [
            (r"/status\.json", _Json, {"made_by": lambda: status(server)}),
            (r"/summary\.json", _Json, {"made_by": lambda: summary(server)}),
            (r"/events\.json", _Json, {"made_by": lambda: events(server)}),
            (r"/metrics", _Metrics, {"server": server}),
            (r"/(.*)", StaticFileHandler, {"path": str(STATIC), "default_filename": "index.html"}),
        ]
        self._http = HTTPServer(Application(routes))
        self.url = ""

    def open(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Begin to serve; returns the page's URL."""
        sockets = bind_sockets(port, host, family=socket.AF_INET)
        self._http.add_sockets(sockets)
        self.url = f"http://{host}:{sockets[0].getsockname()[1]}/"
        return self.url

    def close(self) -> None:
        self._http.stop()
