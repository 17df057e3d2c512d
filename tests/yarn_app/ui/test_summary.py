"""The summary: what is not known is left out, and each loss is one line."""

from __future__ import annotations

from howdah.yarn_app.protocol.status import MasterStatus, WorkStatus
from howdah.yarn_app.ui import summary


def test_without_a_status_all_is_zero() -> None:
    done = summary.work(None)
    assert (done.tasks, done.placed, done.attempt) == (0, {"node": 0, "rack": 0, "remote": 0}, 1)
    assert summary.phases({}, 0.0, None) == {}
    assert summary.to_first_task(0.0, None) is None
    assert summary.lines("a", "KILLED", 1.0, {}, done) == ["a KILLED in 1.0 s"]


def test_tasks_bytes_and_losses_are_the_masters() -> None:
    work = WorkStatus(tasks={"done": 5, "failed": 1}, placed={"node": 3}, bytes={"remote": 9})
    done = summary.work(MasterStatus(work=work, lost=["a"], preempted=["b"], restarted=["c"], attempt=2))
    assert (done.tasks, done.tasks_failed, done.placed["node"], done.placed["rack"], done.bytes["remote"]) == (
        5,
        1,
        3,
        0,
        9,
    )
    assert summary.losses(done) == [
        "worker container lost: a",
        "worker container preempted: b",
        "scheduler: c",
        "the application master was lost: attempt 2 went on",
    ]


def test_phases_without_a_driver_program_end_with_the_application() -> None:
    final = MasterStatus(times={"master": 3.0, "first_container": 4.0, "first_worker": 6.0, "end": 9.5})
    found = summary.phases({"driver": 2.0, "submitting": 0.5}, 1.0, final)
    assert found == {"driver": 2.0, "submit": 0.5, "AM": 2.0, "containers": 1.0, "workers": 2.0, "compute": 3.5}
    assert list(found) == [name for name in summary.PHASES if name in found]


def test_clocks_that_differ_give_no_negative_seconds() -> None:
    assert summary.phases({}, 10.0, MasterStatus(times={"master": 8.0}))["AM"] == 0.0
    assert summary.to_first_task(10.0, MasterStatus(times={"first_task": 9.0})) == 0.0
