"""The events of `--json`: their public field names, and what is none."""

from __future__ import annotations

import json

import msgspec
import pytest

from howdah.errors import InputError
from howdah.yarn_app.ui import summary
from howdah.yarn_app.ui.events import AnyEvent, EndEvent, NoteEvent, PhaseEvent, ProgressEvent, SubmittedEvent, decode
from howdah.yarn_app.ui.progress import JsonReporter

END = EndEvent(
    t=1.0, app_id="application_1_0001", status="FAILED", exit_code=3, diagnostics="why", seconds={"AM": 5.0}, total=9.0,
    first_task=None, **msgspec.structs.asdict(summary.work(None)),
)  # fmt: skip
EVENTS: list[AnyEvent] = [
    PhaseEvent(t=1.0, phase="checking", text=""),
    ProgressEvent(t=1.0, phase="uploading", done=1.0, total=2.0),
    NoteEvent(t=1.0, text="lost"),
    SubmittedEvent(t=1.0, app_id="application_1_0001", seconds=2.5),
    END,
    msgspec.structs.replace(END, out="o", err="e"),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_read_back(event: AnyEvent) -> None:
    assert decode(msgspec.json.encode(event)) == event


def test_the_field_names_are_those_of_the_documents() -> None:
    found = [list(json.loads(msgspec.json.encode(event))) for event in EVENTS]
    assert found[0] == ["event", "t", "phase", "text"]
    assert {*found[1]} == {"event", "t", "phase", "done", "total"}
    assert {*found[3]} == {"event", "t", "app_id", "seconds"}
    assert {*found[4]} == {
        "event", "t", "app_id", "status", "exit_code", "diagnostics", "seconds", "total", "first_task", "tasks",
        "tasks_failed", "placed", "bytes", "lost_containers", "preempted_containers", "restarted", "attempt",
    }  # fmt: skip
    assert {*found[5]} - {*found[4]} == {"out", "err"}


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ('{"event": "end", "t": 1}', "app_id"),
        ('{"event": "progress", "t": 1, "phase": "x", "done": "half", "total": 2}', "$.done"),
        ('{"event": "party"}', "$.event"),
        ("howdah: nothing", "JSON"),
    ],
)
def test_a_wrong_event_is_refused_with_the_path(line: str, path: str) -> None:
    with pytest.raises(InputError) as caught:
        decode(line)
    assert path in str(caught.value)


def test_the_reporter_prints_a_phase_once_and_progress_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    with JsonReporter() as reporter:
        reporter.phase("packing", "a")
        reporter.phase("packing", "b")
        reporter.amount(1, 4)
        reporter.amount(2, 4)
        reporter.note("a worker was lost")
    found = [decode(line) for line in capsys.readouterr().out.splitlines()]
    assert [type(event) for event in found] == [PhaseEvent, ProgressEvent, NoteEvent]
    assert isinstance(found[1], ProgressEvent)
    assert (found[1].phase, found[1].done, found[1].total) == ("packing", 1.0, 4.0)
