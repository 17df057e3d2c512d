"""Exceptions that travel: their type, their traceback, their cause, and what cannot be pickled of them."""

from __future__ import annotations

import copyreg
import errno
import os
import traceback
from typing import Any

import pytest

from howdah.engine.protocol.events import TaskError
from howdah.engine.serialization.exceptions import is_platform_error, rebuild_exception, task_error
from howdah.engine.serialization.serialize import dumps
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


def test_an_exception_arrives_without_the_attributes_that_cannot_travel() -> None:
    found = travelled(Unopenable(1, 2))
    assert type(found) is Unopenable
    assert str(found) == "1 and 2"
    assert not hasattr(found, "detail")
    assert any("attribute detail could not travel" in note for note in found.__notes__)


def test_an_exception_that_cannot_be_unpickled_arrives_as_text() -> None:
    found = travelled(ValueError("1 and 2", Refusing()))
    assert isinstance(found, HowdahError)
    assert "1 and 2" in str(found)


class Quota(Exception):
    def __init__(self, user: str, limit: int) -> None:
        super().__init__(f"{user} has more than {limit}")
        self.user, self.limit = user, limit


class Prefixed(Exception):
    def __init__(self, text: str) -> None:
        super().__init__("prefix " + text)


class Keywords(ValueError):
    def __init__(self, *, code: int) -> None:
        super().__init__()
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int, unused: int) -> None:
        super().__init__("slotted")
        self.code = code


class MyDecodeError(UnicodeDecodeError):
    def __init__(self, data: bytes) -> None:
        super().__init__("utf-8", data, 0, 1, "bad")


class MyExit(SystemExit):
    def __init__(self, code: int, unused: int) -> None:
        super().__init__(code)


class MyOSError(OSError):
    def __init__(self, number: int, path: str, extra: int) -> None:
        super().__init__(number, os.strerror(number), path)
        self.extra = extra


class MyGroup(ExceptionGroup[Exception]):
    def __new__(cls, errors: list[Exception]) -> MyGroup:
        return super().__new__(cls, "mine", errors)


OWN_INITS: list[Any] = [
    Quota("etl", 10),
    Prefixed("text"),
    Keywords(code=3),
    Slotted(7, 0),
    MyDecodeError(b"\xe9"),
    MyExit(4, 0),
    UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "bad"),
    KeyError("x"),
    MyOSError(2, "/data/x", 5),
    MyGroup([Keywords(code=1)]),
    ImportError("no", name="module"),
    StopIteration(5),
    ExceptionGroup("two", [Quota("a", 1), ExceptionGroup("inner", [Keywords(code=9)])]),
]


@pytest.mark.parametrize("error", OWN_INITS, ids=lambda error: type(error).__name__)
def test_an_exception_with_its_own_init_keeps_type_text_and_attributes(error: BaseException) -> None:
    error.add_note("first")
    found: Any = travelled(error)
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert found.args == error.args or isinstance(error, ExceptionGroup)
    assert {**vars(found), "__notes__": 0} == {**vars(error), "__notes__": 0}
    assert found.__notes__[0] == "first"
    for name in ("code", "value", "reason", "start", "errno", "filename", "name", "extra"):
        assert getattr(found, name, None) == getattr(error, name, None)


def test_a_reducer_that_a_library_registered_for_all_exceptions_takes_no_field_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """distributed has tblib register one, which calls no `__init__`."""

    def bare(error: BaseException) -> Any:
        return BaseException.__new__, (type(error), *error.args)

    bare.__module__ = "tblib.pickling_support"
    for error in (StopIteration(5), UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "bad"), OSError(2, "none", "/x")):
        monkeypatch.setitem(copyreg.dispatch_table, type(error), bare)
        found: Any = travelled(error)
        assert (type(found), str(found), found.args) == (type(error), str(error), error.args)
    assert travelled(StopIteration(5)).value == 5  # type: ignore[attr-defined]


def test_the_members_of_a_group_keep_their_types() -> None:
    found = travelled(OWN_INITS[-1])
    assert isinstance(found, ExceptionGroup)
    first, inner = found.exceptions
    assert (type(first), first.user) == (Quota, "a")  # type: ignore[union-attr]
    assert inner.exceptions[0].code == 9  # type: ignore[union-attr]


def test_causes_and_contexts_arrive_with_their_frames() -> None:
    try:
        try:
            try:
                raise Quota("a", 1)
            except Quota as quota:
                raise Keywords(code=2) from quota
        except Keywords:
            raise ValueError("last")  # noqa: B904
    except ValueError as caught:
        found = travelled(caught)
    assert found.__cause__ is None
    assert not found.__suppress_context__
    assert type(found.__context__) is Keywords
    assert type(found.__context__.__cause__) is Quota
    assert traceback.extract_tb(found.__context__.__traceback__)[-1].line == "raise Keywords(code=2) from quota"


def test_one_that_cannot_travel_does_not_take_its_chain_along() -> None:
    error = Quota("a", 1)
    error.__cause__ = ValueError(Refusing())
    found = travelled(error)
    assert type(found) is Quota
    assert isinstance(found.__cause__, HowdahError)


def test_a_circle_of_contexts_ends() -> None:
    one, two = ValueError(1), ValueError(2)
    one.__context__, two.__context__ = two, one
    found = travelled(one)
    assert found.__context__ is not None
    assert found.__context__.__context__ is found


class Hostile(Exception):
    """Raises whenever it is looked at."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error("in __str__")

    __repr__ = __str__

    def __reduce__(self) -> Any:
        raise self.error("in __reduce__")


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, ValueError, RecursionError])
def test_an_exception_whose_own_methods_raise_arrives_by_its_name(error: type[BaseException]) -> None:
    assert "Hostile" in str(travelled(Hostile(error)))


def test_of_a_huge_text_both_ends_arrive() -> None:
    record = task_error(ValueError("a" + "x" * (50 << 20) + "b"), "", "", "")
    assert len(record.message) + len(record.traceback) + len(record.frame) < 1 << 20
    assert "characters are left out" in str(rebuild_exception(record, ""))


def leave() -> None:
    raise SystemExit(3)


class Leaves(Exception):
    def __reduce__(self) -> Any:
        return leave, ()


def test_an_exception_that_exits_when_it_is_opened_arrives_as_text() -> None:
    assert isinstance(travelled(Leaves("bye")), HowdahError)
    record = TaskError("raised", "message", frame=dumps(Leaves()))
    found = rebuild_exception(record, "where")
    assert isinstance(found, HowdahError)
    assert "SystemExit" in "".join(found.__notes__)


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
