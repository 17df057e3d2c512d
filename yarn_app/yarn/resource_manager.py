"""The ResourceManager over REST: nodes, applications, queues, and whether it answers at all. No Java.

For `yarn_app` alone. It promises: every call ends within seconds; a ResourceManager that cannot be reached is a
`HadoopNotFound` that names its address; one that is reached and does not answer the request (a secure cluster without
the `kerberos` extra) raises `RestUnavailable`, and the caller then uses skein's driver or does without.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from howdah.errors import HadoopNotFound, HowdahError, NotSupported, ResourceRefused
from howdah.io.hadoop.rest import RestClient
from howdah.yarn_app.specification.units import MIB, format_memory
from howdah.yarn_app.yarn.reports import ApplicationReport

CONNECT_SECONDS = 2.0
READ_SECONDS = 10.0


class HadoopProperties(Protocol):
    """Hadoop properties by name (`howdah.io.HadoopConfig`)."""

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the property's value, `default` where it has none."""


class RestUnavailable(HowdahError):
    """A Hadoop service is reached and does not answer this request over REST."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A NodeManager. Memory in bytes."""

    host: str
    rack: str
    state: str
    memory: int
    cores: int
    address: str
    used_memory: int = 0
    used_cores: int = 0


class ResourceManager:
    """One YARN, from its configuration; with high availability, whichever ResourceManager is active.

    Raises
    ------
    HadoopNotFound
        From `check` and every request: none of its addresses takes connections.
    """

    def __init__(self, configuration: HadoopProperties) -> None:
        self.configuration = configuration
        self.rest = RestClient(seconds=READ_SECONDS, use_proxies=True)
        """The HTTP client, for the NodeManagers as well (`logs`)."""
        ids = [
            one.strip() for one in (configuration.get("yarn.resourcemanager.ha.rm-ids") or "").split(",") if one.strip()
        ]
        self._suffixes = [f".{one}" for one in ids] or [""]

    def _address(self, kind: str, suffix: str, port: int) -> str:
        host = self.configuration.get(f"yarn.resourcemanager.hostname{suffix}") or "0.0.0.0"
        found = self.configuration.get(f"yarn.resourcemanager.{kind}{suffix}")
        return found.strip() if found and "${" not in found else f"{host}:{port}"

    @property
    def addresses(self) -> list[str]:
        """Where clients reach it (host:port), one per ResourceManager."""
        return [self._address("address", suffix, 8032) for suffix in self._suffixes]

    @property
    def scheduler_addresses(self) -> list[str]:
        """Where application masters reach it (host:port), one per ResourceManager."""
        return [self._address("scheduler.address", suffix, 8030) for suffix in self._suffixes]

    @property
    def urls(self) -> list[str]:
        """Its pages, one per ResourceManager."""
        if (self.configuration.get("yarn.http.policy") or "HTTP_ONLY").strip() == "HTTPS_ONLY":
            return ["https://" + self._address("webapp.https.address", suffix, 8090) for suffix in self._suffixes]
        return ["http://" + self._address("webapp.address", suffix, 8088) for suffix in self._suffixes]

    def check(self) -> None:
        """Check that one of its addresses takes connections; ends within 2 s for each."""
        seen = []
        for address in self.addresses:
            host, _, port = address.rpartition(":")
            if host == "0.0.0.0":
                seen.append("yarn-site.xml names no yarn.resourcemanager.hostname or .address")
                continue
            try:
                socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
            except (OSError, ValueError) as error:
                seen.append(f"{address}: {error}")
            else:
                return
        raise HadoopNotFound(
            f"YARN's ResourceManager does not answer ({'; '.join(seen)}): is it running, and is HADOOP_CONF_DIR the "
            "configuration of the right cluster? `howdah doctor` checks one thing after the other"
        )

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Return the JSON at `/ws/v1/cluster/<path>`.

        Raises
        ------
        RestUnavailable
            It requires a login that this process lacks, or has no such path.
        """
        return fetch_json(self.rest, [f"{url}/ws/v1/cluster/{path}" for url in self.urls], query)

    # -- requests

    def nodes(self) -> list[NodeReport]:
        """Return all running nodes, by host."""
        rows = ((self.get("nodes").get("nodes")) or {}).get("node") or []
        found = [
            NodeReport(
                host=row["nodeHostName"],
                rack=row.get("rack") or "/default-rack",
                state=row["state"],
                memory=(int(row["usedMemoryMB"]) + int(row["availMemoryMB"])) * MIB,
                cores=int(row["usedVirtualCores"]) + int(row["availableVirtualCores"]),
                address=row.get("nodeHTTPAddress", ""),
                used_memory=int(row["usedMemoryMB"]) * MIB,
                used_cores=int(row["usedVirtualCores"]),
            )
            for row in rows
        ]
        return sorted((node for node in found if node.state == "RUNNING"), key=lambda node: node.host)

    def applications(
        self, *, user: str = "", tags: Sequence[str] = (), states: Sequence[str] = ()
    ) -> list[ApplicationReport]:
        """Return the reports on skein's applications, newest first."""
        query = {"applicationTypes": "skein"}
        if user:
            query["user"] = user
        if tags:
            query["applicationTags"] = ",".join(tags)
        if states:
            query["states"] = ",".join(states)
        rows = (self.get("apps", query).get("apps") or {}).get("app") or []
        return sorted((_report(row) for row in rows), key=lambda report: report.started, reverse=True)

    def application(self, app_id: str) -> ApplicationReport:
        """Return the report on one application."""
        return _report(self.get(f"apps/{quote(app_id)}")["app"])

    def attempts(self, app_id: str) -> list[dict[str, Any]]:
        """Return the application's attempts as YARN describes them (container id, node, log address)."""
        found = self.get(f"apps/{quote(app_id)}/appattempts")
        rows = (found.get("appAttempts") or {}).get("appAttempt") or []
        return [dict(row) for row in rows]

    def describe_queue(self, queue: str) -> str:
        """Describe a queue in one line: how full it is, and how many containers wait.

        Raises
        ------
        RestUnavailable
            There is no queue of that name, or this scheduler does not describe its queues.
        """
        for row in self._queues():
            if queue in (row.get("queueName"), row.get("queuePath")):
                pending = int(row.get("pendingContainers") or 0)
                waits = f", {pending} containers waiting" if pending else ""
                used = float(row.get("absoluteUsedCapacity") or row.get("usedCapacity") or 0)
                return f"queue {queue} is {used:.0f} % full{waits}"
        raise RestUnavailable(f"YARN has no information on a queue {queue!r}")

    def queue_names(self) -> list[str]:
        """Queues that take applications; [] where this scheduler makes queues as it goes, or shows none."""
        return [str(row["queueName"]) for row in self._queues() if not (row.get("queues") or {}).get("queue")]

    def _queues(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        open_rows = [self.get("scheduler").get("scheduler", {}).get("schedulerInfo", {})]
        if open_rows[0].get("type") != "capacityScheduler":
            raise RestUnavailable("only the capacity scheduler's queues are read")
        while open_rows:
            row = open_rows.pop()
            found.append(row)
            open_rows += (row.get("queues") or {}).get("queue") or []
        return [row for row in found if row.get("queueName")]

    # -- limits

    def check_capacity(self, requested: Mapping[str, tuple[int, int]], nodes: Sequence[NodeReport]) -> None:
        """Check that each container (what it is -> memory in bytes, cores) fits YARN's maximum and some node.

        Raises
        ------
        ResourceRefused
            One does not; the message names it, the request and the maximum.
        """
        largest = max((node.memory for node in nodes), default=0)
        limit = int(self.configuration.get("yarn.scheduler.maximum-allocation-mb") or 0) * MIB or largest
        most_cores = int(self.configuration.get("yarn.scheduler.maximum-allocation-vcores") or 0)
        most = min(limit, largest) if largest else limit
        for what, (memory, cores) in requested.items():
            if most and memory > most:
                raise ResourceRefused(
                    f"{what} needs a container of {format_memory(memory)}, and the largest that this YARN gives is "
                    f"{format_memory(most)} (largest node {format_memory(largest)}, "
                    f"yarn.scheduler.maximum-allocation-mb {limit // MIB}): ask for less"
                )
            if most_cores and cores > most_cores:
                raise ResourceRefused(
                    f"{what} needs {cores} cores, and the most that this YARN gives to one container is {most_cores} "
                    "(yarn.scheduler.maximum-allocation-vcores): ask for less"
                )


def fetch_json(rest: RestClient, urls: Sequence[str], query: Mapping[str, str] | None = None) -> Any:
    """Return the JSON of the first of these addresses that answers with it.

    Raises
    ------
    RestUnavailable
        One is reached, and none answers with JSON.
    HadoopNotFound
        None is reached.
    """
    unreached, refused = [], []
    for url in urls:
        try:
            response = rest.get(url, query)
            if response.ok:
                return json.loads(response.content)
            refused.append(f"{url}: {response.status_code} {response.reason}")
        except NotSupported as error:
            refused.append(str(error))
        except ValueError as error:
            refused.append(f"{url}: not JSON ({error})")
        except OSError as error:
            unreached.append(f"{url}: {error}")
    if refused:
        raise RestUnavailable("; ".join(refused))
    raise HadoopNotFound(
        f"YARN's pages do not answer ({'; '.join(unreached)}): `howdah doctor` checks one thing after the other"
    )


def _report(row: Mapping[str, Any]) -> ApplicationReport:
    return ApplicationReport(
        app_id=row["id"],
        name=row["name"],
        user=row["user"],
        queue=row["queue"],
        state=row["state"],
        final_status=row["finalStatus"],
        progress=float(row.get("progress") or 0) / 100,
        diagnostics=(row.get("diagnostics") or "").strip(),
        tracking_url=row.get("trackingUrl") or "",
        address=row.get("amRPCAddress") or "",
        started=float(row.get("startedTime") or 0) / 1e3,
        finished=float(row.get("finishedTime") or 0) / 1e3,
        memory=max(0, int(row.get("allocatedMB") or 0)) * MIB,
        cores=max(0, int(row.get("allocatedVCores") or 0)),
        containers=max(0, int(row.get("runningContainers") or 0)),
        tags=tuple(sorted(t for t in (row.get("applicationTags") or "").split(",") if t)),
    )
