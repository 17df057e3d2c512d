"""`howdah mini` where no small Hadoop was ever started."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from howdah.yarn_app.cli.mini import command


def test_nothing_was_started_there(tmp_path: Path) -> None:
    for words in (["status"], ["env"], ["kill", "namenode"]):
        answer = CliRunner().invoke(command, [*words, "--folder", str(tmp_path / "none")])
        assert answer.exit_code == 1
        assert "howdah mini start" in answer.output
    assert not (tmp_path / "none").exists()
