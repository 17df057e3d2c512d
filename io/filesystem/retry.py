"""Transient errors of a file system: which they are, how long they are retried, and howdah's errors for the rest.

For this folder alone. A *transient error* is a NameNode or DataNode that is gone for a moment: refused and broken
connections, safe mode after a restart, a standby. Every other error (missing path, no permission) is raised at once.
"""

from __future__ import annotations

import errno
import logging
import re
import time
from collections.abc import Callable
from typing import TypeVar

from howdah.backoff import delays
from howdah.errors import HowdahError, NotSupported, PathExists, PathMissing, StorageAway, StorageError

logger = logging.getLogger("howdah.io")
T = TypeVar("T")

RETRY_SECONDS = 60.0
"""Seconds for which a transient error is retried: a NameNode's restart with a big image rarely takes longer."""
FIRST_CONTACT_SECONDS = 15.0
"""The same for a file system that was never reached yet: more likely a wrong address than a restart."""
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0
_LOG_AFTER, _LOG_AGAIN = 3.0, 60.0
_logged: dict[str, float] = {}  # when an address was last logged as away: many threads, one line

_ERRNOS = frozenset({
    errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH,
    errno.ENETUNREACH, errno.ENOTCONN, errno.EHOSTDOWN,
})  # fmt: skip
_TRANSIENT = re.compile(
    r"SafeModeException|RetriableException|StandbyException|ServerTooBusyException|ObserverRetryOnActive|"
    r"NotReplicatedYetException|could only be written to 0 of|BlocksNotFound|Zero blocklocations|"
    r"RPC listener disconnected|early eof|unexpected (end of file|eof)|connection (reset|refused|closed|aborted)|"
    r"timed out|broken pipe|Failed to complete file|DataTransferError|DataNode|No valid (DataNode|locations)",
    re.IGNORECASE,
)
_HOST = re.compile(r'host_name: "([^"]*)"')
_JAVA = re.compile(r'^\w*RPCError\("([^"]*)", "(.*)"\)$', re.DOTALL)


def is_transient(error: BaseException) -> bool:
    """Whether the same call may well succeed in a moment.

    >>> is_transient(ConnectionRefusedError()), is_transient(FileNotFoundError("/x"))
    (True, False)
    """
    if isinstance(error, HowdahError | FileNotFoundError | FileExistsError | PermissionError | IsADirectoryError):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError):
        number = error.errno
        if number is None:  # hdfs-native passes Rust's text on, without the number
            found = re.search(r"os error (\d+)", str(error))
            number = int(found[1]) if found else None
        return number in _ERRNOS or (number is None and _TRANSIENT.search(str(error)) is not None)
    return isinstance(error, RuntimeError) and _TRANSIENT.search(str(error)) is not None


def retry_transient(
    operation: Callable[[], T],
    *,
    where: str,
    retry_seconds: float,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """Call `operation` until it succeeds, or until transient errors have lasted for `retry_seconds`.

    Any other error is raised at once, and so is the last transient one.

    Parameters
    ----------
    operation
        Called without arguments.
    where
        The address, for the log.
    retry_seconds
        0 for a single try.
    now, sleep
        The clock.
    """
    started = now()
    for wait in delays(_FIRST_WAIT, _LONGEST_WAIT):
        try:
            return operation()
        except (OSError, RuntimeError) as error:
            waited = now() - started
            if not is_transient(error) or waited + wait > retry_seconds:
                raise
            if waited > _LOG_AFTER and now() - _logged.get(where, -_LOG_AGAIN) >= _LOG_AGAIN:
                _logged[where] = now()
                logger.warning("%s: %s; trying again for up to %.0f s", where, short_message(error), retry_seconds)
        sleep(wait)
    raise AssertionError("delays() has no end")


def short_message(error: BaseException) -> str:
    """Return the one readable line of an error: no Java class names, no stack.

    >>> short_message(RuntimeError('RPCError("org.x.SafeModeException", "Name node is in safe mode.\\\\nat org.x")'))
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
    """Return howdah's error for a client's.

    Parameters
    ----------
    error
        The client's error.
    url
        The path at which it happened.
    action
        What was tried: "read", "list", ...
    where
        The NameNode's address, or "" for local files.
    waited
        The seconds for which transient errors were retried.
    reached
        The file system has answered before: its address is right.
    """
    message = short_message(error)
    if isinstance(error, HowdahError):
        return error
    if isinstance(error, IsADirectoryError) or "Path is not a file" in message:
        return StorageError(f"{url}: cannot {action}: it is a folder")
    if isinstance(error, FileNotFoundError):
        return PathMissing(f"{url}: no such file or folder")
    if isinstance(error, FileExistsError) or re.search("FileAlreadyExists|must both be directories", str(error)):
        return PathExists(f"{url}: exists already")
    if isinstance(error, PermissionError) or "AccessControlException" in message or "Permission denied" in message:
        return StorageError(f"{url}: no permission to {action}: {message}. Choose another path, or ask its owner")
    if isinstance(error, NotADirectoryError) or "ParentNotDirectoryException" in message:
        return StorageError(f"{url}: cannot {action}: a part of the path is a file, not a folder")
    if isinstance(error, NotImplementedError):
        return NotSupported(f"{url}: the HDFS client cannot {action} this: {message}. Set HOWDAH_HDFS_CLIENT=pyarrow")
    if where and is_transient(error):
        tried = f", tried for {waited:.0f} s" if waited is not None else ""
        kind = StorageAway if reached else StorageError
        return kind(f"{url}: cannot {action}: {message} (NameNode {where}{tried}). Is HDFS up, the address right?")
    return StorageError(f"{url}: cannot {action}: {message}")
