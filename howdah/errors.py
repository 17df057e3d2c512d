"""Every error howdah raises on purpose, one type per kind of remedy.

A leaf: it imports nothing of howdah, and every folder may import it (docs/decisions/0001), so that
``except HowdahError`` catches them all. A message has what happened, where (host, container, file, column) and
what to do about it. A user's own exception is never wrapped: it is raised as it was, with howdah's facts as notes.
"""

from __future__ import annotations

import concurrent.futures
import difflib
from collections.abc import Iterable


class HowdahError(Exception):
    """The base of all errors of howdah."""


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
    """A feature is not there yet; the message names what to use instead."""


class HadoopNotFound(HowdahError):
    """`yarn` or the Hadoop configuration cannot be found, or a Hadoop service does not answer."""


class ResourceRefused(HowdahError):
    """No node, queue or limit of the cluster can ever satisfy the request."""


class EnvironmentMismatch(HowdahError):
    """Two processes run different versions of Python or howdah, or a packed environment cannot be used."""


class ApplicationFailed(HowdahError):
    """The YARN application ended without success. `diagnostics` has the messages of YARN and the driver."""

    def __init__(self, message: str, *, app_id: str = "", state: str = "", diagnostics: str = "", exit_code: int = 1):
        super().__init__(message)
        self.app_id, self.state, self.diagnostics, self.exit_code = app_id, state, diagnostics, exit_code


class StorageError(HowdahError, OSError):
    """A file system refused or failed; the message names the path."""

    __str__ = Exception.__str__


class StorageAway(StorageError):
    """A file system did not answer, or could not write, within the time limit.

    A task that fails with this error is retried later.
    """


class PathMissing(StorageError, FileNotFoundError):
    """An input path does not exist."""


class PathExists(StorageError, FileExistsError):
    """An output path exists already; it was not changed."""


class CorruptFile(StorageError):
    """A file is truncated, or is not of the expected format."""


class WorkerLost(HowdahError):
    """A task failed because the workers that ran it died; the message has their last lines of output."""


class TaskTimeout(HowdahError, TimeoutError):
    """A task did not end within its time limit (`timeout=`); the message names it and its worker."""


class PeerRefused(HowdahError):
    """The peer of a connection could not prove its role, or refused ours."""


class Unpicklable(HowdahError, TypeError):
    """A function, argument or result cannot be pickled; the message names the part inside that cannot."""


class DeadlineExceeded(HowdahError, TimeoutError):
    """A wait ended before its condition held; the message has the condition and the last state."""


class Cancelled(HowdahError, concurrent.futures.CancelledError):
    """The work was cancelled before it ended."""


def near(name: str, known: Iterable[str], most: int = 3) -> str:
    """Return half a sentence that suggests the nearest known names, or lists all when none is near.

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
    """Return an error that names the field, the value and the remedy.

    >>> str(bad_value("worker_memory", "1", "give a unit, as in '1GiB'"))
    "worker_memory: got '1': give a unit, as in '1GiB'"
    """
    return kind(f"{field}: got {value!r}: {remedy}")
