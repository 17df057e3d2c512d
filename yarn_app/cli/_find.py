"""What `list`, `status`, `logs` and `kill` share: finding applications of whoever asks."""

from __future__ import annotations

import re

from howdah.errors import HowdahError, bad_value
from howdah.yarn_app.storage.staging import Staging
from howdah.yarn_app.submit import submit as submission
from howdah.yarn_app.yarn.reports import ApplicationReport
from howdah.yarn_app.yarn.resource_manager import ResourceManager, RestUnavailable


class UnknownApplication(HowdahError):
    """YARN knows no such application (it forgets old ones)."""


def connect() -> tuple[ResourceManager, Staging]:
    """YARN and HDFS; what dead applications of this user left is removed on the way."""
    manager, staging = submission.connect_hadoop()
    submission.collect_leftovers(manager, staging)
    return manager, staging


def find_report(manager: ResourceManager, app_id: str) -> ApplicationReport:
    """What YARN says of an application.

    Raises
    ------
    InputError
        That is no application's id.
    UnknownApplication
        YARN knows none of this id.
    """
    if not re.fullmatch(r"application_\d+_\d+", app_id):
        raise bad_value("APP", app_id, "an id looks like application_1700000000000_0001: see `howdah list --all`")
    try:
        return manager.application(app_id)
    except RestUnavailable as error:
        if " 404 " not in f" {error} ":
            from howdah.yarn_app.yarn.skein_client import SkeinDriver

            with SkeinDriver() as driver:
                return driver.report(app_id)
        raise UnknownApplication(f"YARN knows no {app_id}: see `howdah list --all`") from error


def find_reports(manager: ResourceManager, user: str, *, ended: bool) -> list[ApplicationReport]:
    """howdah's applications, newest first; of all users where `user` is empty."""
    from howdah.yarn_app.submit.submit import TAG

    states = () if ended else ("NEW", "NEW_SAVING", "SUBMITTED", "ACCEPTED", "RUNNING")
    try:
        return manager.applications(user=user, tags=[TAG], states=states)
    except RestUnavailable:
        from howdah.yarn_app.yarn.skein_client import SkeinDriver

        with SkeinDriver() as driver:
            found = driver.applications(states or None)
        mine = [one for one in found if TAG in one.tags and user in ("", one.user)]
        return sorted(mine, key=lambda one: one.started, reverse=True)


def as_json(one: ApplicationReport) -> dict[str, object]:
    """A report for scripts."""
    return {name: getattr(one, name) for name in one.__slots__}


def elapsed(one: ApplicationReport, now: float) -> str:
    """How long it has run.

    >>> from howdah.yarn_app.yarn.reports import Report
    >>> seconds(Report("a", "n", "u", "q", "RUNNING", "UNDEFINED", 0, "", "", "", 100.0, 0.0, 0, 0, 0), 3805.0)
    '1:01:45'
    """
    total = int((one.finished or now) - one.started) if one.started else 0
    hours, rest = divmod(max(0, total), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
