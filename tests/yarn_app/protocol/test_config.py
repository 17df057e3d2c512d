"""The configuration of an application: read back as written; a wrong field is named by its path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from howdah.errors import EnvironmentMismatch, HowdahError
from howdah.yarn_app.protocol.config import ApplicationConfig, DriverProgram, ServiceGroup, Versions

CONFIG = ApplicationConfig(
    token="etl-0001",
    versions=Versions.current(),
    specification={"name": "etl"},
    max_attempts=2,
    n_workers=2,
    worker_cores=1,
    worker_bytes=1 << 30,
    worker_resources={"gpu": 0.5},
    failures_allowed=4,
    lease=60.0,
    grace=0.2,
    groups=[ServiceGroup("howdah.worker.0", 2, "node1"), ServiceGroup("howdah.worker.any", 0)],
    racks={"node1": "/r1"},
    submitter="me",
    driver=DriverProgram("x.py", ["a b"]),
)


def test_it_is_read_back_as_written() -> None:
    assert ApplicationConfig.decode(CONFIG.encode(), "config.json") == CONFIG


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"n_workers": "two"}, "$.n_workers"),
        ({"groups": [{"service": "w", "instances": 1}, {"service": "v", "instances": 1.5}]}, "$.groups[1].instances"),
        ({"driver": {"script": "x.py", "arguments": [1]}}, "$.driver.arguments[0]"),
        ({"racks": None}, "$.racks"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(change: dict[str, Any], path: str) -> None:
    data = json.dumps({**json.loads(CONFIG.encode()), **change}).encode()
    with pytest.raises(HowdahError, match=r"^there is not a configuration of howdah") as caught:
        ApplicationConfig.decode(data, "there")
    assert path in str(caught.value)


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(HowdahError, match="not a configuration of howdah"):
        ApplicationConfig.decode(b"{", "there")


@pytest.mark.parametrize(("what", "value"), [("python", "3.10"), ("howdah", "9.9")])
def test_another_version_is_refused_with_both(what: str, value: str) -> None:
    fields = json.loads(CONFIG.encode())
    fields["versions"][what] = value
    mine = getattr(Versions.current(), what)
    with pytest.raises(EnvironmentMismatch, match=rf"{what} {mine}.*has {value}.*howdah env pack"):
        ApplicationConfig.decode(json.dumps(fields).encode(), "there")


def test_versions_are_compared_before_other_fields() -> None:
    with pytest.raises(EnvironmentMismatch):
        ApplicationConfig.decode(b'{"versions": {"python": "3.10", "howdah": "9.9"}, "of 9.9": 1}', "there")
