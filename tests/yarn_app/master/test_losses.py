"""What people read about a worker container that ended."""

from __future__ import annotations

import msgspec

from howdah.yarn_app.master.fleet import PREEMPTED, ContainerLost
from howdah.yarn_app.master.losses import MAX_LOSSES_SHOWN, ExitMessages, report_loss, strip_container_paths
from howdah.yarn_app.protocol import kv_keys
from howdah.yarn_app.protocol.status import MasterStatus
from howdah.yarn_app.yarn.reports import ContainerStatus

FAILED = ContainerStatus(
    "w_0", "w", "FAILED", "node1", "container_1_0001_01_000002", "Container failed, see logs for more", "node1:1"
)


def no_log(url: str, limit: int) -> str:
    raise AssertionError("the log is not needed")


def test_a_lost_container_is_reported_with_its_memory_and_its_own_reason() -> None:
    status = MasterStatus()
    reasons = {kv_keys.EXIT_REASON + "w_0": b"howdah: no such library\n/a/container_1_0001_01_000002/lib is missing"}
    completed = ExitMessages(no_log).complete(FAILED, reasons)
    line = report_loss(status, ContainerLost("w_0", "node1", FAILED.container, completed.message, True), 700 << 20)
    assert line.splitlines() == [
        "container_1_0001_01_000002 on node1: Container failed; its worker was seen to use 700.0 MiB at most",
        "    howdah: no such library",
        "    lib is missing",
    ]
    assert (status.lost, status.preempted) == ([line], [])


def test_without_a_reason_of_its_own_the_end_of_its_log_is_read_once() -> None:
    read: list[str] = []

    def log(url: str, limit: int) -> str:
        read.append(url)
        return "\n".join(f"line {number}" for number in range(20))

    messages = ExitMessages(log)
    completed = [messages.complete(FAILED, {}) for _ in range(2)]
    assert completed[0] == completed[1]
    assert completed[0].message.splitlines() == ["Container failed", *(f"    line {n}" for n in range(14, 20))]
    assert read == ["http://node1:1/ws/v1/node/containers/container_1_0001_01_000002/logs/w.log"]


def test_what_yarn_took_and_what_runs_needs_no_log() -> None:
    messages = ExitMessages(no_log)
    for message in ("Container preempted by scheduler", "Container released on a *lost* node"):
        taken = msgspec.structs.replace(FAILED, message=message)
        assert messages.complete(taken, {}) == taken
    running = msgspec.structs.replace(FAILED, state="RUNNING", message="")
    assert messages.complete(running, {}) == running


def test_preempted_containers_are_listed_apart() -> None:
    status = MasterStatus()
    report_loss(status, ContainerLost("w_1", "node1", "", "Container preempted by scheduler", True, PREEMPTED), 0)
    assert (status.lost, status.preempted) == ([], ["w_1 on node1: Container preempted by scheduler"])


def test_only_the_newest_losses_are_kept() -> None:
    status = MasterStatus()
    for number in range(20):
        report_loss(status, ContainerLost(f"w_{number}", "node1", "", "gone", True), 0)
    assert [line.split()[0] for line in status.lost] == [f"w_{number}" for number in range(20 - MAX_LOSSES_SHOWN, 20)]


def test_paths_outside_of_containers_stay() -> None:
    assert strip_container_paths("/etc/hosts and /a/container_1/x") == "/etc/hosts and x"
