"""The master's status: its public field names, and what is not one."""

from __future__ import annotations

import json

import msgspec
import pytest

from howdah.errors import HowdahError
from howdah.yarn_app.protocol import kv_keys
from howdah.yarn_app.protocol.status import ApplicationResult, FinalStatus, MasterStatus, WorkStatus, decode

PUBLIC = [
    "phase", "attempt", "scheduler", "wanted", "running", "joined", "pending", "times", "unpacked", "work", "lost",
    "preempted", "restarted", "staging",
]  # fmt: skip


def test_the_field_names_are_those_of_the_documents() -> None:
    assert list(MasterStatus().as_dict()) == PUBLIC
    assert list(WorkStatus.__struct_fields__) == ["tasks", "placed", "bytes", "moved", "clients", "first_task"]
    final = FinalStatus.of(MasterStatus(), ApplicationResult("FAILED", "why", 3), "out", "err")
    assert list(json.loads(msgspec.json.encode(final))) == [*PUBLIC, "status", "exit_code", "diagnostics", "out", "err"]


def test_a_final_status_keeps_the_last_one() -> None:
    last = MasterStatus(attempt=2, wanted=3, lost=["a"], work=WorkStatus(tasks={"done": 7}))
    final = FinalStatus.of(last, ApplicationResult("SUCCEEDED", "fine"), "", "")
    assert (final.attempt, final.wanted, final.lost, final.work.tasks["done"]) == (2, 3, ["a"], 7)
    assert decode(msgspec.json.encode(final), FinalStatus, kv_keys.FINAL) == final


def test_each_status_has_lists_of_its_own() -> None:
    MasterStatus().lost.append("x")
    assert MasterStatus().lost == []


def test_a_time_is_marked_once() -> None:
    status = MasterStatus()
    status.mark("driver")
    first = dict(status.times)
    status.mark("driver")
    assert status.times == first


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b'{"wanted": "two"}', "$.wanted"),
        (b'{"work": {"tasks": {"done": "all"}}}', "$.work.tasks"),
        (b'{"unpacked": {"w_0": [1, "x"]}}', "$.unpacked"),
    ],
)
def test_a_wrong_field_is_named_by_key_and_path(data: bytes, path: str) -> None:
    with pytest.raises(HowdahError) as caught:
        decode(data, MasterStatus, kv_keys.STATUS)
    assert str(caught.value).startswith(kv_keys.STATUS + ": ")
    assert path in str(caught.value)


def test_what_the_scheduler_answers_more_is_left_out() -> None:
    answer = {"tasks": {"done": 1}, "clients": 2, "workers": {"w_0": {}}, "layers": [], "first_task": None}
    assert msgspec.convert(answer, WorkStatus) == WorkStatus(tasks={"done": 1}, clients=2)
