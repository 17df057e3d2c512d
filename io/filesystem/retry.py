"""Which failures of a file system pass by themselves, how long they are waited for, and howdah's words for the rest.

For this folder alone. A *platform fault* is a NameNode or DataNode that is away for a moment: refused and broken
connections, safe mode after a restart, a standby. Everything else (missing path, no permission) is told at once.
"""

from __future__ import annotations

import errno
import logging
import re
import time
from collections.abc import Callable
from typing import TypeVar

from howdah.errors import HowdahError, NotSupported, PathExists, PathMissing, StorageAway, StorageError

logger = logging.getLogger("howdah.io")
T = TypeVar("T")

RETRY_SECONDS = 60.0
"""Seconds that a platform fault is waited for: a NameNode's restart with a big image takes longer only rarely."""
FIRST_CONTACT_SECONDS = 15.0
"""Seconds for a file system that nobody has reached yet: more likely a wrong address than a restart."""
_TELL_AFTER, _TELL_AGAIN = 3.0, 60.0
_told: dict[str, float] = {}  # when the log last said that an address does not answer: many threads, one line

_ERRNOS = frozenset({
    errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH,
    errno.ENETUNREACH, errno.ENOTCONN, errno.EHOSTDOWN,
})  # fmt: skip
_PASSING = re.compile(
    r"SafeModeException|RetriableException|StandbyException|ServerTooBusyException|ObserverRetryOnActive|"
    r"NotReplicatedYetException|could only be written to 0 of|BlocksNotFound|Zero blocklocations|"
    r"RPC listener disconnected|early eof|unexpected (end of file|eof)|connection (reset|refused|closed|aborted)|"
    r"timed out|broken pipe|Failed to complete file|DataTransferError|DataNode|No valid (DataNode|locations)",
    re.IGNORECASE,
)
_HOST = re.compile(r'host_name: "([^"]*)"')
_JAVA = re.compile(r'^\w*RPCError\("([^"]*)", "(.*)"\)$', re.DOTALL)


def is_transient(error: BaseException) -> bool:
    """That the same call may well succeed in a moment.

    >>> is_platform_fault(ConnectionRefusedError()), is_platform_fault(FileNotFoundError("/x"))
    (True, False)
    """
    if isinstance(error, HowdahError | FileNotFoundError | FileExistsError | PermissionError | IsADirectoryError):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError):
        number = error.errno
        if number is None:  # hdfs-native passes Rust's words on, without the number
            found = re.search(r"os error (\d+)", str(error))
            number = int(found[1]) if found else None
        return number in _ERRNOS or (number is None and _PASSING.search(str(error)) is not None)
    return isinstance(error, RuntimeError) and _PASSING.search(str(error)) is not None


def retry_transient(
    operation: Callable[[], T], *, where: str, retry_seconds: float, now: Callable[[], float] = time.monotonic
) -> T:
    """Call `act` again, a little later each time, until it works or `patience` seconds of platform faults are over.

    Anything but a platform fault is raised at once, and so is the last platform fault.

    Parameters
    ----------
    where : for the log: the address that does not answer.
    """
    started, pause = now(), 0.1
    while True:
        try:
            return operation()
        except (OSError, RuntimeError) as error:
            waited = now() - started
            if not is_transient(error) or waited + pause > retry_seconds:
                raise
            if waited > _TELL_AFTER and now() - _told.get(where, -_TELL_AGAIN) >= _TELL_AGAIN:
                _told[where] = now()
                logger.warning("%s: %s; trying again for up to %.0f s", where, short_message(error), retry_seconds)
        time.sleep(pause)
        pause = min(pause * 2, 2.0)


def short_message(error: BaseException) -> str:
    """The one line of an error that a person wants to read: no Java class names, no stack.

    >>> plain_words(RuntimeError('RPCError("org.x.SafeModeException", "Name node is in safe mode.\\\\nat org.x")'))
    'SafeModeException: Name node is in safe mode.'
    """
    text = str(error)
    if "All DataNodes failed" in text:
        hosts = ", ".join(dict.fromkeys(_HOST.findall(text.replace("\\", ""))))
        return f"no DataNode that holds the block could be read ({hosts or 'none is known'})"
    java = _JAVA.match(text)
    if java:
        return f"{java[1].rpartition('.')[2]}: {java[2]}".split("\\n")[0].split("\n")[0]
    return text.split("\n")[0] or type(error).__name__


def translate_error(
    error: Exception, *, url: str, action: str, where: str, waited: float | None = None, reached: bool = True
) -> HowdahError:
    """howdah's error for a client's.

    Parameters
    ----------
    url : the path at which it happened.
    action : what was tried: "read", "list", ...
    where : the NameNode's address, or "" for local files.
    waited : the seconds that platform faults were waited for.
    reached : the file system has answered before: its address is right.
    """
    words = short_message(error)
    if isinstance(error, HowdahError):
        return error
    if isinstance(error, IsADirectoryError) or "Path is not a file" in words:
        return StorageError(f"{url}: cannot {action}: it is a folder")
    if isinstance(error, FileNotFoundError):
        return PathMissing(f"{url}: no such file or folder")
    if isinstance(error, FileExistsError) or re.search("FileAlreadyExists|must both be directories", str(error)):
        return PathExists(f"{url}: exists already")
    if isinstance(error, PermissionError) or "AccessControlException" in words or "Permission denied" in words:
        return StorageError(f"{url}: no permission to {action}: {words}. Choose another path, or ask its owner")
    if isinstance(error, NotADirectoryError) or "ParentNotDirectoryException" in words:
        return StorageError(f"{url}: cannot {action}: a part of the path is a file, not a folder")
    if isinstance(error, NotImplementedError):
        return NotSupported(f"{url}: the HDFS client cannot {action} this: {words}. Set HOWDAH_HDFS_CLIENT=pyarrow")
    if where and is_transient(error):
        tried = f", tried for {waited:.0f} s" if waited is not None else ""
        kind = StorageAway if reached else StorageError
        return kind(f"{url}: cannot {action}: {words} (NameNode {where}{tried}). Is HDFS up, the address right?")
    return StorageError(f"{url}: cannot {action}: {words}")
