"""Look-ups of the reports of YARN and skein."""

from __future__ import annotations

import pytest

from howdah.yarn_app.yarn.reports import ApplicationReport, ContainerStatus


@pytest.mark.parametrize(
    ("state", "ended"),
    [("ACCEPTED", False), ("RUNNING", False), ("FINISHED", True), ("FAILED", True), ("KILLED", True)],
)
def test_an_application_has_ended(state: str, ended: bool) -> None:
    report = ApplicationReport("a", "n", "u", "q", state, "UNDEFINED", 0.0, "", "", "", 0.0, 0.0, 0, 0, 0)
    assert report.ended == ended


@pytest.mark.parametrize(
    ("state", "pending", "active"),
    [
        ("WAITING", True, True),
        ("REQUESTED", True, True),
        ("RUNNING", False, True),
        ("SUCCEEDED", False, False),
        ("FAILED", False, False),
        ("KILLED", False, False),
    ],
)
def test_a_container_is_pending_or_active(state: str, pending: bool, active: bool) -> None:
    status = ContainerStatus("w_0", "w", state)
    assert (status.pending, status.active) == (pending, active)
