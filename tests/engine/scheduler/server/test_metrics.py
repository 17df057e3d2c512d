"""`/metrics` and `/events.json` on the status port of a running cluster."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pytest

from howdah.engine.api import Client
from howdah.engine.deploy.local import LocalCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(1, status_port=0) as made:
        yield made


def test_metrics_and_events_on_the_status_port(cluster: LocalCluster, client: Client) -> None:
    client.gather(client.map(abs, range(100), pure=False))
    text = urllib.request.urlopen(cluster.dashboard_link + "metrics", timeout=10).read().decode()
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(samples["howdah_tasks_completed_total"]) >= 100
    assert float(samples['howdah_transitions_total{from="running",to="done"}']) >= 100
    assert float(samples["howdah_workers"]) == 1
    assert text.count("# HELP") == text.count("# TYPE") >= 15
    events = json.load(urllib.request.urlopen(cluster.dashboard_link + "events.json", timeout=10))
    assert {"idle", "waiting", "ready", "running"} <= {event["old"] for event in events}
