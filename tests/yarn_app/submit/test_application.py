"""How the edge node sees an application: its losses, its outcome. No Hadoop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from howdah.errors import ApplicationFailed, HadoopNotFound
from howdah.yarn_app.protocol.status import FinalStatus, MasterStatus
from howdah.yarn_app.submit.application import KILLED_CODE, Application, ApplicationOutcome
from howdah.yarn_app.yarn.reports import ApplicationReport
from howdah.yarn_app.yarn.skein_client import MasterUnreachable

APP = "application_1_0001"


def report(state: str, final: str = "UNDEFINED", diagnostics: str = "") -> ApplicationReport:
    return ApplicationReport(APP, "n", "me", "q", state, final, 0.0, diagnostics, "", "", 1.0, 0.0, 0, 0, 0)


def application(answer: ApplicationReport) -> Application:
    manager: Any = SimpleNamespace(application=lambda app_id: answer)
    staging: Any = SimpleNamespace()
    return Application(APP, manager, staging, None)


def test_a_watcher_is_shown_each_loss_once_also_the_hundredth() -> None:
    notes: list[str] = []
    reporter: Any = SimpleNamespace(note=notes.append)
    shown: set[str] = set()
    for number in range(100):
        status = MasterStatus(lost=[f"container_{n} on node1: gone" for n in range(max(0, number - 8), number)])
        Application.show_losses(status, shown, reporter)
    assert notes == [f"worker container lost: container_{number} on node1: gone" for number in range(99)]


@pytest.mark.parametrize(
    ("answer", "status", "code", "diagnostics"),
    [
        (report("FINISHED", "SUCCEEDED", "fine"), "SUCCEEDED", 0, "fine"),
        (report("FINISHED", "FAILED", "job.py ended with exit code 3"), "FAILED", 3, "job.py ended with exit code 3"),
        (report("FAILED", "FAILED", ""), "FAILED", 1, "(YARN gives no diagnostics)"),
        (report("KILLED", "KILLED", "by an operator"), "KILLED", KILLED_CODE, "by an operator"),
    ],
)
def test_without_a_final_status_yarns_report_decides(
    answer: ApplicationReport, status: str, code: int, diagnostics: str
) -> None:
    found = application(answer).outcome(answer)
    assert (found.status, found.exit_code, found.diagnostics, found.final) == (status, code, diagnostics, None)
    assert found.succeeded == (status == "SUCCEEDED")


def test_an_outcome_is_an_exception_with_all_of_it() -> None:
    final = FinalStatus(status="FAILED", exit_code=3, diagnostics="why")
    error = ApplicationOutcome(APP, "FAILED", 3, "why", final).error()
    assert isinstance(error, ApplicationFailed)
    assert (error.app_id, error.state, error.diagnostics, error.exit_code) == (APP, "FAILED", "why", 3)


def test_another_users_application_has_no_master_here() -> None:
    with pytest.raises(MasterUnreachable, match="is not yours"):
        application(report("RUNNING")).master()
    assert application(report("RUNNING")).status() is None


def test_a_resource_manager_that_is_restarted_is_waited_for() -> None:
    answers: list[Any] = [HadoopNotFound("away"), HadoopNotFound("away"), report("FINISHED", "SUCCEEDED", "fine")]

    def answer(app_id: str) -> ApplicationReport:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    removed: list[str] = []
    manager: Any = SimpleNamespace(application=answer)
    staging: Any = SimpleNamespace(remove=removed.append)
    Application(APP, manager, staging, None).kill("not needed")
    assert (answers, removed) == ([], [APP])
