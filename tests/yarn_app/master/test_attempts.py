"""What one master stores for the next, and how many attempts there are."""

from __future__ import annotations

from typing import Any

import pytest

from howdah.errors import PathMissing
from howdah.yarn_app.master.attempts import STATE_FILE, AttemptState, attempts_granted
from howdah.yarn_app.protocol.status import ApplicationResult


class Folder:
    """Stands for `Staging`: files of one application, in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def write(self, app_id: str, name: str, content: bytes, timeout: float | None = None) -> None:
        self.files[name] = content

    def read(self, app_id: str, name: str) -> bytes:
        if name not in self.files:
            raise PathMissing(name)
        return self.files[name]


def test_the_next_attempt_finds_what_was_stored() -> None:
    folder: Any = Folder()
    assert AttemptState.read(folder, "application_1_0001") is None, "the first attempt"
    result = ApplicationResult("FAILED", "job.py ended with exit code 3", 3)
    state = AttemptState(wanted=5, lost=["a container"], preempted=["another"], result=result)
    state.write(folder, "application_1_0001")
    assert AttemptState.read(folder, "application_1_0001") == state


@pytest.mark.parametrize("content", [b'{"wanted": 3, "of a later version": 1}', b'{"wanted": "many"}', b"", b'{"wan'])
def test_a_state_of_another_form_is_none(content: bytes) -> None:
    folder: Any = Folder()
    folder.files[STATE_FILE] = content
    assert AttemptState.read(folder, "application_1_0001") is None


@pytest.mark.parametrize(
    ("requested", "limit", "granted"),
    [(2, None, 2), (5, None, 2), (1, "4", 1), (5, " 4 ", 4), (2, "?", 2), (2, "0", 1)],
)
def test_yarn_grants_what_is_requested_up_to_its_limit(requested: int, limit: str | None, granted: int) -> None:
    assert attempts_granted(requested, limit) == granted
