"""Addresses of howdah's sockets: `unix:///path`, `tls://host:port`, and `tcp://host:port` for benchmarks only."""

from __future__ import annotations

import dataclasses

from howdah.errors import bad_value


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """A parsed address: `path` for unix, `host` and `port` for the others.

    >>> parse("tls://node1:8786")
    Address(scheme='tls', host='node1', port=8786, path='')
    >>> str(parse("unix:///run/me/scheduler.sock"))
    'unix:///run/me/scheduler.sock'
    >>> parse("http://node1")
    Traceback (most recent call last):
    howdah.errors.InputError: address: got 'http://node1': write unix:///path, tls://host:port or tcp://host:port
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse(address: str) -> Address:
    """Parse an address. Raises InputError, which lists the valid forms."""
    scheme, sep, rest = address.partition("://")
    if sep and scheme == "unix" and rest.startswith("/"):
        return Address("unix", path=rest)
    if sep and scheme in ("tls", "tcp"):
        host, colon, port = rest.rpartition(":")
        if colon and host and port.isdigit() and int(port) < 65536:
            return Address(scheme, host=host.strip("[]"), port=int(port))
    raise bad_value("address", address, "write unix:///path, tls://host:port or tcp://host:port")
