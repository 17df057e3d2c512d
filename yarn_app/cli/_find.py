"""What `list`, `status`, `logs` and `kill` share: finding the applications of a user."""

from __future__ import annotations

import re

from howdah.errors import HowdahError, bad_value
from howdah.yarn_app.specification.units import format_elapsed
from howdah.yarn_app.storage.staging import Staging
from howdah.yarn_app.submit.submit import TAG, collect_leftovers, connect_hadoop
from howdah.yarn_app.yarn.reports import ApplicationReport
from howdah.yarn_app.yarn.resource_manager import ResourceManager, RestUnavailable
from howdah.yarn_app.yarn.skein_client import SkeinDriver

_NOT_ENDED = ("NEW", "NEW_SAVING", "SUBMITTED", "ACCEPTED", "RUNNING")


class UnknownApplication(HowdahError):
    """YARN has no such application. (It forgets old ones.)"""


def connect() -> tuple[ResourceManager, Staging]:
    """Return YARN and HDFS; what ended applications of this user left is removed on the way."""
    manager, staging = connect_hadoop()
    collect_leftovers(manager, staging)
    return manager, staging


def find_report(manager: ResourceManager, app_id: str) -> ApplicationReport:
    """Return YARN's report on an application.

    Raises
    ------
    InputError
        It is not the id of an application.
    UnknownApplication
        YARN has none of this id.
    """
    if not re.fullmatch(r"application_\d+_\d+", app_id):
        raise bad_value("APP", app_id, "an id looks like application_1700000000000_0001: see `howdah list --all`")
    try:
        return manager.application(app_id)
    except RestUnavailable as error:
        if " 404 " not in f" {error} ":
            with SkeinDriver() as driver:
                return driver.report(app_id)
        raise UnknownApplication(f"YARN has no {app_id}: see `howdah list --all`") from error


def find_reports(manager: ResourceManager, user: str, *, ended: bool) -> list[ApplicationReport]:
    """Return the reports on howdah's applications, newest first; of all users where `user` is empty."""
    states = () if ended else _NOT_ENDED
    try:
        return manager.applications(user=user, tags=[TAG], states=states)
    except RestUnavailable:
        with SkeinDriver() as driver:
            found = driver.applications(states or None)
        mine = [one for one in found if TAG in one.tags and user in ("", one.user)]
        return sorted(mine, key=lambda one: one.started, reverse=True)


def elapsed(one: ApplicationReport, now: float) -> str:
    """Return for how long it has run, or ran."""
    return format_elapsed((one.finished or now) - one.started if one.started else 0.0)
