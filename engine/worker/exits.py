"""How a worker's process and its supervisor end: exit codes, and what they mean to users. A leaf, for both and for
clusters that start workers.
"""

from __future__ import annotations

import signal

LEFT, LOST, REFUSED, BROKEN, GAVE_UP = 0, 3, 4, 5, 6
"""Exit codes: the worker left as requested; it lost the scheduler; the scheduler refused it; an error of howdah's own;
the supervisor gave it up."""

RESTART_CODE = 75
"""The worker's exit code when its process is to be replaced for a reason that is not its fault."""

MAX_CRASHES = 10
"""Deaths of one worker within `CRASH_SECONDS` after which it is not started again."""

CRASH_SECONDS = 60.0


def exit_reason(pid: int, code: int) -> str:
    """Return a sentence for users about a process's exit code (negative: the number of a signal).

    >>> exit_reason(7, -11), exit_reason(7, 1)
    ('its process 7 was ended by signal SIGSEGV', 'its process 7 exited with code 1')
    """
    if code >= 0:
        return f"its process {pid} exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"its process {pid} was ended by signal {name}"
