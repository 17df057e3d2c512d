"""The history of transitions: the ring of the last ones, and the file of all."""

from __future__ import annotations

import json
from pathlib import Path

from howdah.engine.scheduler.core.history import History


def test_json_lines_hold_every_transition(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    history = History(most=2)
    history.write_to(str(path))
    for i in range(5):
        history.record(float(i), b"k", "inc", 0, 3, ("ready", "running"), "w", i + 1, 1)
    history.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["run"] for line in lines] == [1, 2, 3, 4, 5]
    assert len(history.entries) == 2
    assert history.counts["ready", "running"] == 15
