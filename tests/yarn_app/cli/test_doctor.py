"""`howdah doctor` on a machine without Hadoop: one line per check, with the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from howdah.version import VERSION
from howdah.yarn_app.cli.doctor import command


@pytest.fixture(autouse=True)
def no_hadoop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HADOOP_CONF_DIR", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_json_is_one_finding_a_line() -> None:
    result = CliRunner().invoke(command, ["--json"])
    found = {row["what"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert result.exit_code == 1
    assert found["python"] == {"what": "python", "state": "ok", "text": found["python"]["text"]}
    assert f"howdah {VERSION} on Python 3." in found["python"]["text"]
    assert {what: found[what]["state"] for what in ("configuration", "yarn command", "java")} == {
        "configuration": "wrong",
        "yarn command": "wrong",
        "java": "wrong",
    }
    assert "HADOOP_CONF_DIR is not set" in found["configuration"]["text"]
    assert "HDFS" not in found, "without a configuration nothing else is looked for"


def test_for_people_each_finding_has_its_mark() -> None:
    lines = CliRunner().invoke(command, []).stdout.splitlines()
    assert lines[0].startswith("ok      python")
    assert any(line.startswith("wrong   java") and "JAVA_HOME" in line for line in lines)
