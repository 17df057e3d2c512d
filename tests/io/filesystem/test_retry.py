"""Transient errors: which they are, how long they are retried, and how the others are named."""

from __future__ import annotations

import errno
import itertools
import logging

import pytest

from howdah.errors import HowdahError, NotSupported, PathExists, PathMissing, StorageAway, StorageError
from howdah.io.filesystem import retry

SAFE_MODE = RuntimeError(
    'RPCError("org.apache.hadoop.hdfs.server.namenode.SafeModeException", "Name node is in safe mode.\nat x")'
)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError("Connection refused (os error 111)"), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (OSError(errno.ENOSPC, "full"), False),
        (OSError("No such file or directory (os error 2)"), False),
        (FileNotFoundError("/x"), False),
        (PermissionError("/x"), False),
        (SAFE_MODE, True),
        (RuntimeError('RPCError("org.apache.hadoop.ipc.StandbyException", "Operation category READ")'), True),
        (RuntimeError('RPCError("org.apache.hadoop.security.AccessControlException", "Permission denied")'), False),
        (RuntimeError("DataTransferError(\"All DataNodes failed\")"), True),
        (RuntimeError('OperationFailed("Failed to complete file in time")'), True),
        (StorageError("rewritten"), False),
        (NotImplementedError("File encryption"), False),
    ],
)  # fmt: skip
def test_which_errors_are_transient(error: Exception, passes: bool) -> None:
    assert retry.is_transient(error) is passes


class Clock:
    """A clock that moves only by waiting."""

    def __init__(self) -> None:
        self.now, self.waits = 0.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waits.append(seconds)


def failing(times: int, error: Exception):  # type: ignore[no-untyped-def]
    """An operation that fails so often, and then returns the number of calls."""
    calls = itertools.count(1)

    def operation() -> int:
        call = next(calls)
        if call <= times:
            raise error
        return call

    return operation


def test_transient_errors_are_retried_with_growing_waits() -> None:
    clock = Clock()
    operation = failing(8, SAFE_MODE)
    assert retry.retry_transient(operation, where="nn", retry_seconds=60, now=clock, sleep=clock.sleep) == 9
    longest = [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    assert all(most / 2 <= wait <= most for wait, most in zip(clock.waits, longest, strict=True))


def test_retrying_ends() -> None:
    clock = Clock()
    with pytest.raises(RuntimeError, match="safe mode"):
        retry.retry_transient(failing(999, SAFE_MODE), where="nn", retry_seconds=10, now=clock, sleep=clock.sleep)
    assert 7 < clock.now <= 10


def test_one_try_where_no_time_is_given() -> None:
    clock = Clock()
    with pytest.raises(ConnectionRefusedError):
        retry.retry_transient(
            failing(1, ConnectionRefusedError()), where="nn", retry_seconds=0, now=clock, sleep=clock.sleep
        )
    assert clock.waits == []


def test_other_errors_are_raised_at_once() -> None:
    clock = Clock()
    with pytest.raises(PermissionError):
        retry.retry_transient(failing(1, PermissionError()), where="nn", retry_seconds=9, now=clock, sleep=clock.sleep)
    assert clock.waits == []


def test_the_log_has_one_line_a_minute_for_an_address(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with caplog.at_level(logging.WARNING, "howdah.io"):
        for _ in range(3):  # three threads, so to speak
            retry.retry_transient(
                failing(10, SAFE_MODE), where="nn-of-the-log", retry_seconds=60, now=clock, sleep=clock.sleep
            )
    (line,) = caplog.messages
    assert line == "nn-of-the-log: SafeModeException: Name node is in safe mode.; trying again for up to 60 s"


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (FileNotFoundError("/x"), PathMissing, "nn/x: no such file or folder"),
        (FileExistsError("/x"), PathExists, "nn/x: exists already"),
        (RuntimeError('RPCError("org.x.FileAlreadyExistsException", "y")'), PathExists, "nn/x: exists already"),
        (IsADirectoryError("/x"), StorageError, "it is a folder"),
        (PermissionError("/x"), StorageError, "no permission to read"),
        (NotADirectoryError("/x"), StorageError, "a part of the path is a file"),
        (NotImplementedError("encryption"), NotSupported, "cannot read this: encryption. Set HOWDAH_HDFS_CLIENT"),
        (OSError(errno.ENOSPC, "full"), StorageError, "cannot read: .*full"),
        (StorageError("as it is"), StorageError, "^as it is$"),
    ],
)
def test_errors_are_named(error: Exception, kind: type[HowdahError], text: str) -> None:
    found = retry.translate_error(error, url="hdfs://nn/x", action="read", where="nn:8020")
    assert type(found) is kind
    with pytest.raises(kind, match=text):
        raise found


def test_a_file_system_that_was_reached_before_is_away() -> None:
    told = [
        retry.translate_error(SAFE_MODE, url="u", action="read", where="nn:1", waited=60.0, reached=reached)
        for reached in (True, False)
    ]
    assert [type(each) for each in told] == [StorageAway, StorageError]
    assert str(told[0]) == (
        "u: cannot read: SafeModeException: Name node is in safe mode. (NameNode nn:1, tried for 60 s). "
        "Is HDFS up, the address right?"
    )


def test_datanodes_that_cannot_be_read_are_listed() -> None:
    error = RuntimeError('All DataNodes failed: host_name: "node1" x host_name: "node2" host_name: "node1"')
    assert retry.short_message(error) == "no DataNode that holds the block could be read (node1, node2)"
