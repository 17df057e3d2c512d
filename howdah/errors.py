"""Every error howdah raises on purpose, one type per kind of remedy.

A leaf: it imports nothing, and every folder of the house may import it (docs/decisions/0001), so that
``except HowdahError`` catches them all. A message says what happened, where (host, container, file, column) and
what to do about it. A user's own exception is never wrapped: it is raised as it was, with howdah's facts as notes.
"""

from __future__ import annotations

import concurrent.futures
import difflib
from collections.abc import Iterable


class HowdahError(Exception):
    """Base of all of howdah's errors."""


class InputError(HowdahError, ValueError):
    """An argument, option or field is wrong. Correct the value that the message names.

    Build it with :func:`bad_value` so that field, value and remedy are always there.
    """


class SpecificationError(InputError):
    """A cluster specification cannot be used as written."""


class SchemaError(InputError):
    """A column or dtype does not fit the operation; raised on the line that writes it, before anything runs."""


class UnknownColumn(SchemaError, KeyError):
    """A column that the frame does not have."""

    __str__ = Exception.__str__  # KeyError would show the message's repr


class NotSupported(HowdahError, NotImplementedError):
    """Not there yet; the message names what to use instead."""


class HadoopNotFound(HowdahError):
    """`yarn` or the Hadoop configuration cannot be found, or a Hadoop service does not answer."""


class ResourceRefused(HowdahError):
    """No node, queue or limit of the cluster can ever satisfy the request."""


class EnvironmentMismatch(HowdahError):
    """Two ends run different Pythons or howdahs, or a packed environment cannot be used."""


class ApplicationFailed(HowdahError):
    """The YARN application ended without success. `diagnostics` holds YARN's and the driver's words."""

    def __init__(self, message: str, *, app_id: str = "", state: str = "", diagnostics: str = "", exit_code: int = 1):
        super().__init__(message)
        self.app_id, self.state, self.diagnostics, self.exit_code = app_id, state, diagnostics, exit_code


class StorageError(HowdahError, OSError):
    """A file system refused or failed; the message names the path."""

    __str__ = Exception.__str__


class StorageAway(StorageError):
    """A file system that was there does not answer, or cannot write now, for as long as it was waited for. A task that
    fails of it is tried again later."""


class PathMissing(StorageError, FileNotFoundError):
    """An input path does not exist."""


class PathExists(StorageError, FileExistsError):
    """An output path exists already, and nothing of it has been touched."""


class CorruptFile(StorageError):
    """A file is truncated or is not of the format that it should be."""


class WorkerLost(HowdahError):
    """A task was given up because the workers that ran it died; the message has their last words."""


class TaskTimeout(HowdahError, TimeoutError):
    """A task did not end within the seconds that it was given (`timeout=`); the message names it and its worker."""


class PeerRefused(HowdahError):
    """The other end of a connection could not prove its role, or refused ours."""


class Unpicklable(HowdahError, TypeError):
    """A function, argument or result cannot travel; the message names the part inside that cannot."""


class DeadlineExceeded(HowdahError, TimeoutError):
    """A wait ended without its condition; the message says what was awaited and what was seen meanwhile."""


class Cancelled(HowdahError, concurrent.futures.CancelledError):
    """The work was cancelled before it ended."""


def near(name: str, known: Iterable[str], most: int = 3) -> str:
    """A half sentence that offers the nearest known names, or lists them when none is near.

    >>> near("l_shipdat", ["l_shipdate", "l_tax"])
    "did you mean 'l_shipdate'?"
    >>> near("zzz", ["a", "b"])
    "known: 'a', 'b'"
    """
    known = list(known)
    close = difflib.get_close_matches(name, known, n=most, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    shown = ", ".join(repr(k) for k in known[:12])
    return f"known: {shown}" + (", ..." if len(known) > 12 else "")


def bad_value(field: str, value: object, remedy: str, kind: type[InputError] = InputError) -> InputError:
    """An error that names the field, the value and the remedy.

    >>> str(bad_value("worker_memory", "1", "give a unit, as in '1GiB'"))
    "worker_memory: got '1': give a unit, as in '1GiB'"
    """
    return kind(f"{field}: got {value!r}: {remedy}")
