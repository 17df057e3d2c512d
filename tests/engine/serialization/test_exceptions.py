"""Exceptions that travel: their type, their traceback, their cause, and what cannot be pickled of them."""

from __future__ import annotations

import errno
import traceback
from typing import Any

import pytest

from howdah.engine.protocol.events import TaskError
from howdah.engine.serialization.exceptions import is_platform_error, rebuild_exception, task_error
from howdah.errors import HowdahError, TaskTimeout, WorkerLost


def refuse() -> None:
    raise TypeError("cannot be opened here")


class Refusing:
    """Pickles, but cannot be unpickled."""

    def __reduce__(self) -> Any:
        return refuse, ()


class Unopenable(Exception):
    """Pickles, but cannot be unpickled: whatever a library has registered for exceptions (as tblib does)."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")
        self.detail = Refusing()


def fail() -> None:
    try:
        {}["key"]
    except KeyError as error:
        raise ValueError("wrong") from error


def travelled(error: BaseException) -> BaseException:
    return rebuild_exception(task_error(error, "w1", "node1", "c1"), "raised on w1")


def test_type_message_cause_and_frames_arrive() -> None:
    with pytest.raises(ValueError) as caught:
        fail()
    found = travelled(caught.value)
    assert type(found) is ValueError
    assert str(found) == "wrong"
    assert isinstance(found.__cause__, KeyError)
    assert [entry.name for entry in traceback.extract_tb(found.__traceback__)][-1] == "fail"
    assert "raised on w1" in found.__notes__


def test_an_exception_that_cannot_be_unpickled_arrives_as_text() -> None:
    found = travelled(Unopenable(1, 2))
    assert isinstance(found, HowdahError)
    assert "1 and 2" in str(found)


@pytest.mark.parametrize(("kind", "type_"), [("lost", WorkerLost), ("timeout", TaskTimeout), ("raised", HowdahError)])
def test_an_error_without_an_exception_gets_one_by_its_kind(kind: str, type_: type) -> None:
    assert type(rebuild_exception(TaskError(kind, "message"), "where")) is type_


def test_a_full_disk_is_the_platforms_and_a_missing_file_is_not() -> None:
    assert is_platform_error(OSError(errno.ENOSPC, "full"))
    assert not is_platform_error(FileNotFoundError(errno.ENOENT, "missing"))
    assert task_error(OSError(errno.EIO, "broken"), "", "", "").kind == "platform"


def test_the_last_output_of_the_task_is_a_note() -> None:
    error = TaskError("raised", "message", log_tail="one\ntwo")
    assert "the last output of the task:\n  one\n  two" in "".join(rebuild_exception(error, "where").__notes__)
