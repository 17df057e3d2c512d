"""`config.json`: what the edge node writes for the containers of an application.

Written by `submit` through `storage.bundle`, read by the master and by workers. `ApplicationConfig.decode` refuses a
file of another version with `EnvironmentMismatch`, before it reads anything else, and a wrong field with the field's
path.
"""

from __future__ import annotations

import platform
from typing import Any

import msgspec

from howdah.errors import EnvironmentMismatch, HowdahError
from howdah.version import VERSION


class Versions(msgspec.Struct, frozen=True):
    """What the edge node and the containers of an application must have in common."""

    python: str
    howdah: str

    @classmethod
    def current(cls) -> Versions:
        """Return the versions of this process; of Python only the minor version counts, as in "3.12"."""
        return cls(".".join(platform.python_version_tuple()[:2]), VERSION)

    def check(self) -> None:
        """Check that this process has these versions.

        Raises
        ------
        EnvironmentMismatch
            The environment of the container differs from the edge node's.
        """
        found = Versions.current()
        for what in ("python", "howdah"):
            mine, theirs = getattr(found, what), getattr(self, what)
            if mine != theirs:
                raise EnvironmentMismatch(
                    f"the environment has {what} {mine} and the edge node, which submitted, has {theirs}: "
                    "pack the environment from the one you work in (howdah env pack), or work in the one that is packed"
                )


class ServiceGroup(msgspec.Struct, frozen=True):
    """Worker containers that are requested together: one service of skein's.

    Attributes
    ----------
    service : skein's name of the service.
    instances : containers requested at the start.
    host : the only host for them; "" is any host.
    """

    service: str
    instances: int
    host: str = ""


class DriverProgram(msgspec.Struct, frozen=True):
    """The driver program of cluster mode: a script in the container's folder, and its arguments."""

    script: str
    arguments: list[str]


class ApplicationConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration of one application, for its master and its workers.

    Attributes
    ----------
    token : the cluster's name in all of its certificates.
    versions : versions of the edge node.
    specification : the fields of the `Specification`, for users who read the file.
    max_attempts : application masters that the application asks YARN for.
    n_workers, worker_cores : workers at the start, and slots of each.
    worker_bytes : memory limit of each worker, in bytes.
    worker_resources : amounts that each worker offers to tasks, by name.
    failures_allowed : worker containers that may fail within `fleet.WINDOW` seconds; None for no limit.
    lease : seconds that the application outlives its last client.
    grace : seconds between YARN's SIGTERM and its SIGKILL that a worker may use.
    groups : the services of workers.
    racks : rack of each host.
    submitter : login name on the edge node.
    driver : the driver program, for the master alone; None in client mode and for workers.
    """

    token: str
    versions: Versions
    specification: dict[str, Any]
    max_attempts: int
    n_workers: int
    worker_cores: int
    worker_bytes: int
    worker_resources: dict[str, float]
    failures_allowed: int | None
    lease: float
    grace: float
    groups: list[ServiceGroup]
    racks: dict[str, str]
    submitter: str
    driver: DriverProgram | None = None

    def encode(self) -> bytes:
        """Return the configuration as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes, source: str) -> ApplicationConfig:
        """Read the JSON of `encode`.

        Parameters
        ----------
        data
            The JSON text.
        source
            Where it comes from, for the error message.

        Raises
        ------
        EnvironmentMismatch
            This Python or this howdah differs from the edge node's.
        HowdahError
            It is no configuration; the message has the path of the wrong field, as in ``$.groups[0].instances``.
        """
        try:
            msgspec.json.decode(data, type=_VersionsOnly).versions.check()
            return msgspec.json.decode(data, type=cls)
        except msgspec.DecodeError as error:
            raise HowdahError(f"{source} is not a configuration of howdah: {error}") from error


class _VersionsOnly(msgspec.Struct):
    versions: Versions
